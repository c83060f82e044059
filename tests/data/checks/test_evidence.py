"""Images are cut in halves where they are evidently two, or where --layout says so."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from pix2pix.config import Data
from pix2pix.data.checks.check import check
from pix2pix.data.io import images
from pix2pix.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
Write = Callable[[Path], object]


def picture(height: int, width: int, channels: int = 3, dtype: str = "uint8") -> np.ndarray:
    return RNG.integers(0, 200, (height, width, channels)).astype(dtype)


def ome(path: Path) -> None:
    tifffile.imwrite(path, RNG.integers(0, 255, (3, 16, 32), np.uint8), ome=True, metadata={"axes": "CYX"})


SINGLE: dict[str, tuple[str, Write, str]] = {
    "OME-TIFF of three 8-bit channels": ("{}.ome.tif", ome, "16x32 with 3 channels of uint8"),
    "16-bit": ("{}.png", lambda path: images.write(path, picture(16, 32, 1, "uint16")), "16x32 with 1 channel of uint"),
    "photos": ("{}.jpg", lambda path: images.write(path, picture(24, 32)), "24x32 with 3 channels of uint8"),
    "three to one": ("{}.png", lambda path: images.write(path, picture(16, 48)), "16x48 with 3 channels"),
    "arrays": ("{}.npy", lambda path: images.write(path, picture(16, 32, 3)), "16x32 with 3 channels of uint8"),
}  # fmt: skip
CHANNELS = {"OME-TIFF of three 8-bit channels", "arrays"}
"""Of which a file may hold source and target."""
PHOTOS = {"photos", "three to one"}


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("kind", SINGLE)
def test_what_is_not_evident_is_asked_for(tmp_path: Path, kind: str, decode: bool) -> None:
    name, write, seen = SINGLE[kind]
    for number in range(5):
        write(tmp_path / name.format(number))
    with pytest.raises(
        DataError, match=f"may be single ones: 5 of {seen}.*give --layout side-by-side if.*--source DIR"
    ) as error:
        check(Data(path=str(tmp_path)), decode=decode)
    assert ("--source-from 0 --target-from 1" in str(error.value)) == (kind in CHANNELS)
    assert (f"`pix2pix data make {tmp_path} --kind edges" in str(error.value)) == (kind in PHOTOS)
    asked = check(Data(path=str(tmp_path), layout="side-by-side"), decode=decode)
    assert asked.ok
    assert asked.counts == {"train": 3, "val": 1, "test": 1}
    before = check(Data(path=str(tmp_path)), decode=decode, known=[asked.fingerprint])  # as an older run took them
    assert before.fingerprint == asked.fingerprint


def test_names_of_sources_and_targets_in_one_folder_suggest_patterns(tmp_path: Path) -> None:
    for number in range(5):
        for side in ("photo", "mask"):
            images.write(tmp_path / f"{number}_{side}.png", picture(24, 32))
    flags = '--source-pattern "{id}_mask.png" --target-pattern "{id}_photo.png"'
    with pytest.raises(DataError, match=f"give {flags}, or the two swapped, as the names suggest, --layout"):
        check(Data(path=str(tmp_path)))


def test_an_older_run_that_left_out_bad_files_is_known_by_the_rest(tmp_path: Path) -> None:
    for number in range(5):
        images.write(tmp_path / f"{number}.png", picture(24, 32))
    (tmp_path / "bad.png").write_bytes(b"text")
    older = check(Data(path=str(tmp_path), layout="side-by-side", skip_bad=True)).without_bad()
    again = check(Data(path=str(tmp_path), skip_bad=True), known=[older.fingerprint])
    assert [path.name for path, _ in again.problems] == ["bad.png"]
    assert again.without_bad([older.fingerprint]).fingerprint == older.fingerprint
    with pytest.raises(DataError, match="may be single ones"):
        check(Data(path=str(tmp_path)), known=[older.fingerprint])


def test_the_whole_set_decides(tmp_path: Path) -> None:
    """The first file alone would say that these are single, or that all are evident."""
    images.write(tmp_path / "0.png", picture(24, 32))
    for number in range(1, 4):
        images.write(tmp_path / f"{number}.png", picture(16, 32))
    ((path, reason),) = check(Data(path=str(tmp_path))).problems
    assert path.name == "0.png"
    assert reason.endswith("if it is one, give --layout side-by-side")
    for number in range(4, 9):
        images.write(tmp_path / f"{number}.png", picture(24, 32))
    with pytest.raises(DataError, match="6 of 24x32"):
        check(Data(path=str(tmp_path)))


def test_the_flag_is_for_folders_of_such_images(tmp_path: Path) -> None:
    for side in ("images", "masks"):  # whose names are those of two sides
        images.write(tmp_path / f"train/{side}/1.png", picture(16, 30))
    halves = check(Data(path=str(tmp_path), layout="side-by-side", val_fraction=0, test_fraction=0))
    assert halves.counts == {"train": 2}
    with pytest.raises(ConfigError, match="leave it out beside named files"):
        check(Data(source=str(tmp_path), target=str(tmp_path / "train"), layout="side-by-side"))
    with pytest.raises(ConfigError, match="needs no patterns"):
        check(Data(path=str(tmp_path), layout="side-by-side", source_pattern="{id}_a"))


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize(
    ("photo", "mask", "orientation", "kind"),
    [
        ((32, 32), (32, 32), 6, "doubtful"),
        ((32, 48), (32, 48), 3, "doubtful"),
        ((32, 48), (32, 48), 6, "mismatched"),
        ((32, 48), (48, 32), 6, "agreeing"),
        ((32, 48), (32, 48), 1, "none"),
    ],
)
def test_sides_that_are_turned_differently(
    tmp_path: Path, photo: tuple[int, int], mask: tuple[int, int], orientation: int, kind: str, decode: bool
) -> None:
    """Phone photos whose masks were drawn on the stored pixels, or on the upright picture."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for number in range(3):
        (tmp_path / "A").mkdir(exist_ok=True)
        Image.fromarray(picture(*photo)).save(tmp_path / f"A/{number}.jpg", exif=exif)
        images.write(tmp_path / f"B/{number}.png", picture(*mask))
    report = check(Data(path=str(tmp_path)), decode=decode)
    named = [reason for _, reason in report.problems if f"turned by EXIF orientation {orientation}" in reason]
    warned = [reason for _, reason in report.warnings if "upright their sizes agree" in reason]
    assert len(report.problems) == len(named) == (3 if kind in ("doubtful", "mismatched") else 0)
    assert len(warned) == (3 if kind == "agreeing" else 0)
    asked = check(Data(path=str(tmp_path), exif="apply"), decode=decode)
    assert len(asked.problems) == (3 if kind == "mismatched" else 0)
    ignored = check(Data(path=str(tmp_path), exif="ignore"), decode=decode)  # from the same cache of facts
    assert len(ignored.problems) == (3 if kind == "agreeing" else 0)
    assert not [reason for _, reason in ignored.warnings if "EXIF" in reason]
    assert ignored.sizes == {f"{photo[0]}x{photo[1]}": 3}
    offered = {"doubtful": ("--exif apply", "--exif ignore"), "mismatched": ("--exif ignore",)}.get(kind, ())
    assert all(word in reason for word in offered for reason in named)
    assert kind == "mismatched" or check(Data(path=str(tmp_path)), decode=decode, known=[report.fingerprint]).ok
