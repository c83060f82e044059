"""Translations of OME-Zarr are those of the same picture as TIFF; outputs are whole, recorded, and never torn."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

pytest.importorskip("zarr")

from pix2pix.data.io import images, ngff
from pix2pix.data.io.arrays import ImageFacts
from pix2pix.data.io.row_writer import begin_to_write_rows
from pix2pix.data.io.surroundings import StoreAxis, Surroundings
from pix2pix.data.pairing.image_files import list_images
from pix2pix.errors import ConfigError, DataError
from pix2pix.inference import bands, huge
from pix2pix.inference.huge import HugeImage, Tiling
from pix2pix.inference.pipeline import Options, translate_files
from pix2pix.inference.translator import Translator
from tests.inference.small_models import make_model, noise

AXES = tuple(StoreAxis(name, "space", "micrometer", 0.5) for name in "cyx")


def write_sources(folder: Path, version: str = "0.5", height: int = 80) -> None:
    picture = noise(height, 40, 3)
    kept = Surroundings(ngff=version, axes=AXES)
    begin_to_write_rows(folder / "a.zarr", ImageFacts(height, 40, 3), [picture], surroundings=kept)()
    tifffile.imwrite(folder / "b.tif", picture, photometric="rgb")


@pytest.mark.parametrize(("version", "tiling"), [("0.4", Tiling()), ("0.5", Tiling(32, 16))])
def test_equal_to_tiff(tmp_path: Path, version: str, tiling: Tiling) -> None:
    write_sources(tmp_path / "in", version)
    translator, options = Translator(make_model(depth=2)), Options(tiling=tiling)
    done = translate_files(translator, [tmp_path / "in"], tmp_path / "out", options)
    assert done.failed == ()
    assert done.lost == {}
    assert [path.name for path in done.written] == ["a.zarr", "b.tif"]
    assert np.array_equal(images.read(tmp_path / "out/a.zarr"), images.read(tmp_path / "out/b.tif"))
    image = ngff.read_image(tmp_path / "out/a.zarr")
    assert (image.version, image.axes) == (version, AXES)
    # The same command does nothing; a changed chunk of the source counts, one of the output stays.
    done = translate_files(translator, [tmp_path / "in"], tmp_path / "out", options)
    assert len(done.already) == 2
    chunk = next(path for path in (tmp_path / "out/a.zarr/0").rglob("*") if path.name == "0")
    chunk = next(path for path in (chunk, *chunk.rglob("*")) if path.is_file())
    chunk.write_bytes(chunk.read_bytes())
    assert len(translate_files(translator, [tmp_path / "in"], tmp_path / "out", options).already) == 2
    chunk.write_bytes(b"edited")
    done = translate_files(translator, [tmp_path / "in"], tmp_path / "out", options)
    assert [path.name for path in done.edited] == ["a.zarr"]
    done = translate_files(translator, [tmp_path / "in"], tmp_path / "out", Options(tiling=tiling, overwrite=True))
    assert len(done.written) == 2
    assert np.array_equal(images.read(tmp_path / "out/a.zarr"), images.read(tmp_path / "out/b.tif"))


def test_a_killed_translation_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(huge, "CHUNK_BYTES", 6_000)
    monkeypatch.setattr(bands, "CHUNK_BYTES", 6_000)
    write_sources(tmp_path, height=150)
    translator, options = Translator(make_model(depth=2)), Options(tiling=Tiling(32, 16))
    translate_files(translator, [tmp_path / "b.tif"], tmp_path / "calm", options)
    rows = HugeImage.rows

    def interrupted(self: HugeImage, *args: Any) -> Iterator[Any]:
        for number, array in enumerate(rows(self, *args)):
            if number == 4:
                raise KeyboardInterrupt
            yield array

    out = tmp_path / "out"
    monkeypatch.setattr(HugeImage, "rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        translate_files(translator, [tmp_path / "a.zarr"], out, options)
    monkeypatch.setattr(HugeImage, "rows", rows)
    assert [path.name for path in out.iterdir()] == [".a.zarr.rows"]
    (out / ".a.zarr.1.partial/0").mkdir(parents=True)  # as a killed process leaves it
    assert translate_files(translator, [tmp_path / "a.zarr"], out, options).failed == ()
    assert "goes on from row" in caplog.text
    assert np.array_equal(images.read(out / "a.zarr"), images.read(tmp_path / "calm/b.tif"))
    assert sorted(path.name for path in out.iterdir()) == [".pix2pix-translations.jsonl", "a.zarr"]


def test_what_is_in_the_way_stays(tmp_path: Path) -> None:
    write_sources(tmp_path / "in")
    translator, source = Translator(make_model(depth=2)), tmp_path / "in/a.zarr"
    with pytest.raises(ConfigError, match="lies in"):
        translate_files(translator, [source], source / "out", Options())
    (tmp_path / "out/a.zarr").mkdir(parents=True)
    (tmp_path / "out/a.zarr/mine.txt").write_text("mine")
    ((_, reason),) = translate_files(translator, [source], tmp_path / "out", Options(overwrite=True)).failed
    assert "something else is in the way" in reason
    assert (tmp_path / "out/a.zarr/mine.txt").read_text() == "mine"
    write_sources(tmp_path / "other")
    with pytest.raises(DataError, match="no translation wrote it"):
        translate_files(translator, [source], tmp_path / "other", Options())
    with pytest.raises(DataError, match="is an address"):
        translate_files(translator, [Path("s3://bucket/a.zarr")], tmp_path / "out", Options())


def test_names_of_images_in_collections(tmp_path: Path) -> None:
    write_sources(tmp_path / "in")
    (tmp_path / "plate.zarr/A").mkdir(parents=True)
    for group in ("plate.zarr", "plate.zarr/A"):
        (tmp_path / group / ".zgroup").write_text("{}")
    (tmp_path / "in/a.zarr").rename(tmp_path / "plate.zarr/A/0")
    done = translate_files(Translator(make_model(depth=2)), [tmp_path / "plate.zarr/A/0"], tmp_path / "out", Options())
    assert [path.name for path in done.written] == ["plate-A-0.zarr"]


def test_training_names_stores_that_it_does_not_read(tmp_path: Path) -> None:
    write_sources(tmp_path)
    files, ignored = list_images(tmp_path)
    assert files == ["b.tif"]
    assert [(one.path.name, "only `pix2pix translate` reads" in one.reason) for one in ignored] == [("a.zarr", True)]
