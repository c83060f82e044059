"""The contact sheet shows the files' own pixels and training's own draws, whatever the layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pix2pix.config import Config, Data
from pix2pix.config.presets import choose_settings
from pix2pix.data.checks.contact_sheet import GAP, title_height
from pix2pix.data.checks.preview import preview
from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels, with_channels
from pix2pix.data.loading.dataset import make_dataset
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import ConfigError, DataError

SIDE = 128  # neither enlarged nor made smaller on a sheet
TOP = title_height(SIDE)
RNG = np.random.default_rng(0)


def noise(height: int = SIDE, width: int = SIDE, channels: int = 3) -> Pixels:
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


def cell(sheet: NDArray[np.uint8], row: int, column: int) -> Pixels:
    y, x = TOP + row * (SIDE + GAP), GAP + column * (SIDE + GAP)
    return sheet[y : y + SIDE, x : x + SIDE]


def two_folders(root: Path, a: str, b: str) -> Data:
    for number in range(3):
        images.write(root / a / f"{number}.png", noise(channels=1))
        images.write(root / b / f"{number}.png", noise())
    return Data(path=str(root))


def side_by_side(root: Path) -> Data:
    for number in range(3):
        images.write(root / f"train/{number}.png", noise(width=2 * SIDE))
    return Data(path=str(root))


def manifest(root: Path) -> Data:
    two_folders(root, "some", "other")
    rows = [f"some/{number}.png,other/{number}.png" for number in range(3)]
    (root / "pairs.csv").write_text("\n".join(["source,target", *rows]))
    return Data(path=str(root / "pairs.csv"))


def named_folders(root: Path) -> Data:
    two_folders(root, "some", "other")
    return Data(source=str(root / "some"), target=str(root / "other"))


LAYOUTS: dict[str, Callable[[Path], Data]] = {
    "A and B": lambda root: two_folders(root, "A", "B"),
    "A and B with splits": lambda root: two_folders(root, "A/train", "B/train"),
    "trainA and trainB": lambda root: two_folders(root, "trainA", "trainB"),
    "side by side": side_by_side,
    "manifest": manifest,
    "source and target": named_folders,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_every_layout(layout: str, direction: str, tmp_path: Path) -> None:
    data = LAYOUTS[layout](tmp_path / "data")
    if layout not in ("manifest", "source and target"):
        data = data.model_copy(update={"direction": direction})
    drawn = preview(Config(data=data), tmp_path / "sheet.png", count=3)
    sheet = images.read(drawn.path)
    assert sheet.shape == (TOP + 3 * (SIDE + GAP), GAP + 2 * (SIDE + GAP), 3)
    pairs = {f"{split}/{pair.name}": pair for split, pairs in find_pairs(data).splits.items() for pair in pairs}
    assert sorted(drawn.names) == sorted(pairs)
    for row, name in enumerate(drawn.names):
        for column, ref in enumerate((pairs[name].source, pairs[name].target)):
            expected = with_channels(images.read(ref.path, ref.half), 3)
            np.testing.assert_array_equal(cell(sheet, row, column), expected)


def test_draws_are_those_of_training(tmp_path: Path) -> None:
    data = side_by_side(tmp_path / "data")
    values = {"data": {"image_size": SIDE}, "augment": {"load_size": SIDE + 20}}
    config = choose_settings(data.path, None, None, values)
    drawn = preview(config, tmp_path / "sheet.png", split="train", augmented=True, seed=3)
    sheet = images.read(drawn.path)
    pairs = find_pairs(config.data).splits["train"]
    dataset = make_dataset(pairs, prepare_data(config.data, pairs), config.data, config.augment, config.load_size, 3)
    for row in range(len(pairs)):
        for epoch in (1, 2):
            for side, image in enumerate(dataset[epoch, row][:2]):
                np.testing.assert_array_equal(cell(sheet, row, 2 * epoch + side), tensors.to_array(image))


def test_seed_split_and_count(tmp_path: Path) -> None:
    for number in range(40):
        images.write(tmp_path / f"data/{number}.png", noise(8, 16))
    config = Config(data=Data(path=str(tmp_path / "data")))
    first, again, other = (preview(config, tmp_path / "sheet.png", count=5, seed=seed).names for seed in (0, 0, 1))
    assert first == again
    assert len(set(first)) == 5
    assert first != other
    in_val = preview(config, tmp_path / "sheet.png", split="val", count=100).names
    assert in_val == tuple(f"val/{pair.name}" for pair in find_pairs(config.data).splits["val"])


def test_large_pictures_are_made_smaller(tmp_path: Path) -> None:
    images.write(tmp_path / "data/wide.png", np.full((300, 2000, 3), 90, np.uint8))
    sheet = images.read(preview(Config(data=Data(path=str(tmp_path / "data"))), tmp_path / "sheet.png").path)
    assert sheet.shape[1] == GAP + 2 * (256 + GAP)
    below_titles = sheet[title_height(256) :]
    assert (below_titles == 90).all(axis=2).sum() == 2 * 256 * 77  # 300 x 1000 -> 77 x 256


def test_refusals_write_nothing(tmp_path: Path) -> None:
    data = side_by_side(tmp_path / "data")
    config, output = Config(data=data), tmp_path / "sheet.png"
    with pytest.raises(ConfigError, match=r"--count 0: .* 1 to 200"):
        preview(config, output, count=0)
    with pytest.raises(ConfigError, match=r"ending in \.png"):
        preview(config, tmp_path / "sheet.jpg")
    with pytest.raises(ConfigError, match="lies in the data"):
        preview(config, tmp_path / "data/train/sheet.png")
    with pytest.raises(DataError, match="no split 'vall'; the data have train, val, test"):
        preview(config, output, split="vall")
    own = tmp_path / "own.png"
    for content in (b"mine", (tmp_path / "data/train/1.png").read_bytes()):
        own.write_bytes(content)
        with pytest.raises(ConfigError, match=r"own\.png: exists, and `data preview` did not draw it"):
            preview(config, own)
        assert own.read_bytes() == content
    own.unlink()
    for _ in range(2):  # its own sheet is replaced
        preview(config, own)
    own.unlink()
    (tmp_path / "data/train/1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1\.png"):
        preview(config, output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
