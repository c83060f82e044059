"""Pairs of two sizes are brought to one, in a stated way, and can be trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pix2pix.config import Data
from pix2pix.data.io import images
from pix2pix.data.loading.dataset import read_pair
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.data.preparation.align import align
from pix2pix.errors import ConfigError


def pairs(folder: Path) -> Data:
    """A drawing that is four times as wide as high, white but for its black middle, and a square photo."""
    drawing = np.full((8, 32, 1), 255, np.uint8)
    drawing[2:6, 14:18] = 0
    photo = np.random.default_rng(0).integers(0, 65536, (16, 16, 3)).astype(np.uint16)
    for name in "abc":
        images.write(folder / f"A/train/{name}.png", drawing)
        images.write(folder / f"B/train/{name}.png", photo)
    return Data(path=str(folder), val_fraction=0, test_fraction=0)


@pytest.mark.parametrize(("fit", "black"), [("resize", 16), ("crop", 64), ("pad", 4)])
def test_a_pair_gets_the_size_of_its_target(tmp_path: Path, fit: str, black: int) -> None:
    """How much of the drawing is black tells how it was fitted: squeezed 2x4 in 8x32, cut, or made small."""
    data = pairs(tmp_path / "in")
    done = align(data, tmp_path / "out", fit=fit)  # type: ignore[arg-type]
    assert (done.pairs, done.changed) == (3, 3)
    pair = find_pairs(data.model_copy(update={"path": str(tmp_path / "out")})).splits["train"][0]
    source, target = read_pair(pair)
    assert source.shape == (16, 16, 1)
    assert np.array_equal(target, images.read(tmp_path / "in/B/train/a.png"))
    assert abs(int((source < 128).sum()) - black) <= black // 4


def test_any_size_and_either_direction(tmp_path: Path) -> None:
    data = pairs(tmp_path / "in").model_copy(update={"direction": "BtoA"})
    assert align(data, tmp_path / "out", size=(20, 40)).changed == 6
    assert images.probe(tmp_path / "out/A/train/a.png").dtype == "uint16", "sources are in A"
    assert images.probe(tmp_path / "out/B/train/a.png").size == (20, 40)
    with pytest.raises(ConfigError, match="exists already"):
        align(data, tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "channels", "clear"),
    [({}, 3, (32, 160, 64)), ({"source_kind": "labels"}, 3, (9, 9, 9)), ({"source_channels": 4}, 4, (9, 9, 9, 0))],
)
def test_transparent_pixels_are_laid_over_the_background(
    tmp_path: Path, settings: dict[str, Any], channels: int, clear: tuple[int, ...]
) -> None:
    """Unless opacity is a channel, or the drawing is a label map, whose transparency is ignored as in training."""
    drawing = np.full((16, 16, 4), (9, 9, 9, 0), np.uint8)
    drawing[8:, :, 3] = 255
    (tmp_path / "in/A/train").mkdir(parents=True)
    Image.fromarray(drawing).save(tmp_path / "in/A/train/a.png")
    images.write(tmp_path / "in/B/train/a.png", np.zeros((16, 16, 3), np.uint8))
    data = Data.model_validate({"path": str(tmp_path / "in"), "val_fraction": 0, "test_fraction": 0} | settings)
    done = align(data, tmp_path / "out", background="#20a040")
    assert (done.changed, done.laid_over) == (0, int(not settings))
    written = images.read(tmp_path / "out/A/train/a.png", alpha=channels == 4)
    assert tuple(written[0, 0]) == clear
    assert tuple(written[-1, 0][:3]) == (9, 9, 9)
    with pytest.raises(ConfigError, match="--background whitee: expected a colour"):
        align(data, tmp_path / "other", background="whitee")
