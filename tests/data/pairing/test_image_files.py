"""Images are found by name at any depth, linked folders included; what is left out is said, with the reason."""

import os
from pathlib import Path

import numpy as np
import pytest

from pix2pix.cli import main
from pix2pix.config import Data
from pix2pix.data.io import images
from pix2pix.data.pairing.image_files import describe_ignored, list_images, walk_images
from pix2pix.data.pairing.nesting import refuse_inside_data
from pix2pix.data.pairing.pair import Ignored
from pix2pix.errors import ConfigError, DataError

LEFT_OUT = {
    "notes.txt": "not image files by their names",
    "stack.czi": "of formats that are not read",
    "1.nii.gz": "medical images, which are not read",
    "007": "names without a suffix",
    ".hidden.png": "hidden",
    ".git/1.png": "hidden",
    "._1.png": "written by the operating system",
    "Thumbs.db": "written by the operating system",
    ".DS_Store": "written by the operating system",
    "@eaDir/1.png": "folders of other programs",
    "__MACOSX/._1.png": "folders of other programs",
    ".ipynb_checkpoints/1.png": "folders of other programs",
}


def tree(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


@pytest.mark.parametrize("below", ["", "deep/er/"])
@pytest.mark.parametrize("file", LEFT_OUT)
def test_what_is_left_out_has_a_reason(tmp_path: Path, below: str, file: str) -> None:
    files, ignored = list_images(tree(tmp_path, "1.PNG", "2.Jp2", f"{below}{file}"))
    assert files == ["1.PNG", "2.Jp2"]
    ((path, reason),) = ignored
    assert path == tmp_path / below / file.split("/")[0]
    assert reason.startswith(LEFT_OUT[file])


def test_each_reason_has_a_line_with_three_names(tmp_path: Path) -> None:
    ignored = [Ignored(Path(f"{n}.txt"), "odd") for n in range(1200)] + [Ignored(Path("a\nb"), "hidden")]
    assert describe_ignored(ignored) == ["1,200 odd: 0.txt, 1.txt, 2.txt and 1,197 more", "1 hidden: a\\nb"]
    with pytest.raises(DataError, match=r"no images; .*; 1 name without a suffix: add that of .*: .*007"):
        list_images(tree(tmp_path, "007"))
    _, beside = list_images(tree(tmp_path / "flat", "1.png", "more/2.png"), recursive=False)
    assert beside == [Ignored(tmp_path / "flat/more", "folders beside the images")]


def test_dicom_without_a_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "IM000001").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(DataError, match=r"no images; .*; 1 medical image, which is not read: save its slices .*"):
        list_images(tmp_path)


def test_linked_folders_are_searched_once_and_circles_are_left(tmp_path: Path) -> None:
    root = tree(tmp_path / "A", "own.png", "z/2.png")
    tree(tmp_path / "elsewhere", "1.png", "sub/2.png")
    (tmp_path / "elsewhere/back").symlink_to(root)
    (tmp_path / "elsewhere/again").symlink_to("sub")
    for name, target in {"campaign": "../elsewhere", "a": "z", "up": "..", "self": ".", "gone": "nowhere"}.items():
        (root / name).symlink_to(target)
    ignored: list[Ignored] = []
    found = sorted(walk_images(root, ignored))
    assert found == ["campaign/1.png", "campaign/sub/2.png", "own.png", "z/2.png"]
    reasons = {os.path.relpath(path, root): reason for path, reason in ignored}
    searched = "links to folders that are searched anyway"
    assert reasons == dict.fromkeys(["a", "up", "self", "campaign/back", "campaign/again"], searched) | {
        "gone": "broken links"
    }


def test_outputs_may_not_lie_in_a_linked_folder(tmp_path: Path) -> None:
    tree(tmp_path, "elsewhere/sub/1.png", "data/A/0.png", "data/B/0.png")
    (tmp_path / "data/A/more").symlink_to(tmp_path / "elsewhere")
    data = Data(path=str(tmp_path / "data"))
    for inside in ("elsewhere/run", "data/A/more/run"):
        with pytest.raises(ConfigError, match="lies in the data"):
            refuse_inside_data(tmp_path / inside, data)
    refuse_inside_data(tmp_path / "runs", data)


def test_check_train_and_translate_say_the_same(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of the pairs are linked in, as batches of a campaign are."""
    rng = np.random.default_rng(0)
    for number in range(6):
        for side in "AB":
            for place in (f"pairs/{side}/own_{number}", f"elsewhere/{side}/x_{number}"):
                images.write(tmp_path / f"{place}.png", rng.integers(0, 255, (64, 64, 3), np.uint8))
    for side in "AB":
        (tmp_path / f"pairs/{side}/campaign").symlink_to(tmp_path / "elsewhere" / side)
    tree(tmp_path / "pairs/A", "@eaDir/own_1.png", "notes.txt", "Thumbs.db")
    said = []
    for words in (
        ["data", "check", str(tmp_path / "pairs")],
        ["train", str(tmp_path / "pairs"), "--dry-run", "--image-size", "64"],
        ["translate", str(run), str(tmp_path / "pairs/A"), "--output", str(tmp_path / "out")],
    ):
        main(words)
        out, err = capsys.readouterr()
        lines = (line.removeprefix("ignored").lstrip(": ") for line in (out + err).splitlines() if "ignored" in line)
        said.append(sorted(lines))
    assert said[0] == said[1] == said[2]
    assert [line.split(":")[0] for line in said[0]] == [
        "1 folder of another program", "1 not an image file by its name", "1 written by the operating system",
    ]  # fmt: skip
    assert len(list((tmp_path / "out").rglob("*.png"))) == 12
