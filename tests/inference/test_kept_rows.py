"""A huge translation that was killed goes on where it was, and gives the same file."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pix2pix.data.io import images
from pix2pix.data.io.arrays import ImageFacts
from pix2pix.inference import bands, huge
from pix2pix.inference.huge import HugeImage, Tiling
from pix2pix.inference.kept_rows import keep_rows
from pix2pix.inference.pipeline import Options, translate_files
from pix2pix.inference.tiles import TileGrid, translate_tiles
from pix2pix.inference.translator import Translator
from tests.inference.small_models import make_model, noise


class KilledError(BaseException):
    """What no code of the package catches."""


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 0.6), (1.3, 0.8)])
def test_a_killed_translation_goes_on(
    tmp_path: Path, scale: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(huge, "CHUNK_BYTES", 6_000)
    monkeypatch.setattr(bands, "CHUNK_BYTES", 6_000)
    translator = Translator(make_model(scale=scale, depth=2, statistics="image" if scale == (1.0, 1.0) else "running"))
    tifffile.imwrite(tmp_path / "a.tif", noise(170, 40, 3), photometric="rgb", tile=(32, 32))
    options, made = Options(tiling=Tiling(32, 16)), []
    rows = HugeImage.rows

    def count(self: HugeImage, *args: Any) -> Iterator[Any]:
        for array in rows(self, *args):
            made.append(len(array))
            if kill_after is not None and sum(made) > kill_after:
                raise KilledError
            yield array

    monkeypatch.setattr(HugeImage, "rows", count)
    kill_after: int | None = None
    translate_files(translator, [tmp_path / "a.tif"], tmp_path / "calm", options)
    expected = images.read(tmp_path / "calm/a.tif")
    kill_after = 80
    made.clear()
    with pytest.raises(KilledError):
        translate_files(translator, [tmp_path / "a.tif"], tmp_path / "out", options)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".a.tif.rows"]
    made.clear()
    kill_after = None
    caplog.clear()
    assert translate_files(translator, [tmp_path / "a.tif"], tmp_path / "out", options).failed == ()
    assert "goes on from row" in caplog.text
    assert 0 < sum(made) < 100
    difference = np.abs(images.read(tmp_path / "out/a.tif").astype(int) - expected)
    assert difference.max() <= (0 if scale == (1.0, 1.0) else 1)
    assert not list((tmp_path / "out").glob(".*.rows"))
    if scale != (1.0, 1.0):
        return
    # Of another picture nothing is taken.
    kill_after = 80
    made.clear()
    with pytest.raises(KilledError):
        translate_files(translator, [tmp_path / "a.tif"], tmp_path / "new", options)
    tifffile.imwrite(tmp_path / "a.tif", noise(170, 40, 3)[::-1], photometric="rgb", tile=(32, 32))
    kill_after = None
    made.clear()
    translate_files(translator, [tmp_path / "a.tif"], tmp_path / "new", options)
    assert sum(made) == 170


@pytest.mark.parametrize("first", range(6))
def test_tiles_begin_at_any_row(first: int) -> None:
    """Also where three rows of tiles overlap, at the end."""
    source = np.random.default_rng(0).random((1, 88, 40), np.float32)
    import torch

    image = torch.from_numpy(source)
    grid = TileGrid.plan((88, 40), 32, 16)
    network = lambda x: x * x.mean()  # noqa: E731
    read = lambda top, end: image[:, top:end]  # noqa: E731
    first = min(first, len(grid.rows.starts) - 1)
    whole = torch.cat(list(translate_tiles(grid, read, network)), dim=1)
    rest = torch.cat(list(translate_tiles(grid, read, network, first=first)), dim=1)
    assert torch.equal(rest, whole[:, grid.rows.starts[first] :])


@pytest.mark.parametrize("damage", ["cut", "flip", "header", "other"])
def test_what_is_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    facts, values = ImageFacts(8, 5, 3), noise(8, 5, 3)
    path = tmp_path / "a.npy"
    with suppress(KilledError), keep_rows(path, "x", facts) as kept:
        assert kept is not None
        for _ in kept.rows((32, 8), lambda first: (part for part in np.split(values, 4) if first == 0)):
            pass
        raise KilledError
    file = tmp_path / ".a.npy.rows"
    data = bytearray(file.read_bytes())
    if damage == "cut":
        del data[-3:]
    else:
        data[-3 if damage == "flip" else 3] ^= 1
    file.write_bytes(data)
    asked: list[int] = []

    def make(first: int) -> Iterator[Any]:
        asked.append(first)
        yield values[first:]

    with keep_rows(path, "y" if damage == "other" else "x", facts) as kept:
        assert kept is not None
        with keep_rows(path, "x", facts) as second:
            assert second is None, "another process has them"
        assert np.array_equal(np.concatenate(list(kept.rows((32, 8), make))), values)
    assert asked == [0 if damage in ("header", "other") else 6]
    assert not file.exists()
