"""What surrounds the pixels comes back where the format can hold it, and is named where it cannot."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from pix2pix.data.io import images
from pix2pix.data.io.arrays import ImageFacts
from pix2pix.data.io.row_writer import begin_to_write_rows
from pix2pix.data.io.surroundings import NOTHING, Surroundings

GEO = [
    (33550, 12, 3, (10.0, 10.0, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4.649e6, 0.0), True),
    (34735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 32631), True),
]
GDAL = (
    '<GDALMetadata><Item name="DATE">2020</Item><Item name="STATISTICS_MAXIMUM" sample="0">7</Item>'
    '<Item name="DESCRIPTION" sample="0" role="description">height</Item></GDALMetadata>'
)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
BOUNDS = (0.0, 900.0)


def values(channels: int, dtype: str = "uint8") -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 100, (20, 24, channels)).astype(dtype)


@pytest.fixture
def geotiff(tmp_path: Path) -> Path:
    tags = [*GEO, (42112, 2, len(GDAL) + 1, GDAL, True), (42113, 2, 6, "-9999", True)]
    tifffile.imwrite(tmp_path / "geo.tif", values(1, "uint16")[..., 0], extratags=tags, metadata=None)
    return tmp_path / "geo.tif"


def test_a_georeference_goes_in_and_comes_back(geotiff: Path) -> None:
    found = images.read_surroundings(geotiff)
    kept, lost = found.fit(".tif", "float32", 1, BOUNDS)
    assert not lost
    for path in (geotiff.with_name("whole.tif"), geotiff.with_name("rows.tif")):
        if path.stem == "whole":
            images.write(path, values(1, "float32"), kept)
        else:
            facts = ImageFacts(20, 24, 1, "float32")
            begin_to_write_rows(path, facts, [values(1, "float32")], surroundings=kept)()
        with tifffile.TiffFile(path) as tiff:
            tags = tiff.pages[0].tags
            assert [tags[code].value for code, *_ in GEO] == [value for *_, value, _ in GEO]
            assert tags[42113].value == "-9999"
            assert "2020" in tags[42112].value
            assert "STATISTICS" not in tags[42112].value, "of the source's values"
            assert "height" not in tags[42112].value


def test_a_resized_picture_has_larger_pixels_at_the_same_place() -> None:
    tiepoint = (33922, 12, 6, (4.0, 8.0, 0.0, 5e5, 4.649e6, 0.0))
    matrix = (34264, 12, 16, tuple(map(float, range(16))))
    found = Surroundings(
        geo=((33550, 12, 3, (10.0, 20.0, 0.0)), tiepoint, matrix), voxel=(0.3, 0.1, 0.2), dpi=(300, 100)
    )
    resized = found.resized((2.0, 4.0))
    assert [value for *_, value in resized.geo] == [
        (40.0, 40.0, 0.0),
        (1.0, 4.0, 0.0, 5e5, 4.649e6, 0.0),
        (0, 2, 2, 3, 16, 10, 6, 7, 32, 18, 10, 11, 48, 26, 14, 15),
    ]
    assert (resized.voxel, resized.dpi) == ((0.3, 0.2, 0.8), (75, 50))
    assert found.resized((1.0, 1.0)) is found


@pytest.mark.parametrize("kind", ["ome", "imagej"])
@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (3, "uint8"), (4, "uint8"), (3, "uint16"), (5, "int8")])
def test_microscopy_keeps_its_pixel_size(tmp_path: Path, kind: Any, channels: int, dtype: str) -> None:
    found = Surroundings(kind=kind, voxel=(0.3, 0.1, 0.2), unit="µm", interval=2.0)
    pixels, facts = values(channels, dtype), ImageFacts(20, 24, channels, dtype)
    images.write(tmp_path / "whole.tif", pixels, found)
    begin_to_write_rows(tmp_path / "rows.tif", facts, [pixels], surroundings=found)()
    for name in ("whole.tif", "rows.tif"):
        assert np.array_equal(images.read(tmp_path / name, alpha=True), pixels)
        again = images.read_surroundings(tmp_path / name)
        assert again.voxel is not None
        assert np.allclose(again.voxel[1:], (0.1, 0.2))
        assert again.unit in ("µm", "um")
        whole = name == "whole.tif"
        assert again.kind == ("imagej" if whole and kind == "imagej" and dtype != "int8" else "ome")


def test_channels_of_an_ome_tiff_have_names(tmp_path: Path) -> None:
    named = Surroundings(kind="ome", channel_names=("nuclei", "actin"))
    images.write(tmp_path / "x.tif", values(2, "uint16"), named)
    assert images.read_surroundings(tmp_path / "x.tif").channel_names == ("nuclei", "actin")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_resolution_and_colour_profile(tmp_path: Path, suffix: str) -> None:
    found = Surroundings(dpi=(300.0, 300.0), profile=ICC)
    kept, lost = found.fit(suffix, "uint8", 3, BOUNDS)
    images.write(tmp_path / f"x{suffix}", values(3), kept)
    again = images.read_surroundings(tmp_path / f"x{suffix}")
    assert again.profile == ICC
    if suffix == ".webp":
        assert lost == ("resolution (.webp holds none)",)
    else:
        assert again.dpi == pytest.approx((300, 300), abs=0.01)
    images.write(tmp_path / "deep.png", values(3, "uint16"), found)
    with Image.open(tmp_path / "deep.png") as deep:
        assert deep.info["icc_profile"] == ICC
        assert round(deep.info["dpi"][0]) == 300


def test_a_turned_photo_turns_its_resolution_and_is_turned_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(values(3)).save(tmp_path / "x.jpg", exif=exif, dpi=(300, 100))
    found = images.read_surroundings(tmp_path / "x.jpg")
    assert found.dpi == (100, 300)
    images.write(tmp_path / "y.jpg", images.read(tmp_path / "x.jpg"), found)
    assert images.probe(tmp_path / "y.jpg").size == (24, 20)


@pytest.mark.parametrize(
    ("found", "output", "lost"),
    [
        (Surroundings(geo=((33550, 12, 3, (1, 1, 0)),)), (".png", "uint8", 1), "georeference (.png holds none)"),
        (Surroundings(voxel=(None, 1, 1)), (".npy", "float32", 1), "pixel size (.npy holds none)"),
        (Surroundings(nodata="0"), (".tif", "uint8", 1), "nodata value 0 (it may be a pixel's value in the outputs)"),
        (Surroundings(nodata="-9999"), (".tif", "uint8", 3), "nodata value -9999 (uint8 has no such value)"),
        (Surroundings(nodata="nan"), (".tif", "int16", 1), "nodata value nan (int16 has no such value)"),
        (Surroundings(nodata="-9999"), (".tif", "int16", 1), None),
        (Surroundings(profile=ICC), (".png", "uint8", 1), "colour profile (the outputs are not colours of its kind)"),
        (Surroundings(profile=ICC), (".tif", "float32", 3), "colour profile (the outputs are not colours of its kind)"),
        (Surroundings(dpi=(300, 300)), (".npy", "uint8", 1), "resolution (.npy holds none)"),
        (Surroundings(dpi=(72, 72)), (".npy", "uint8", 1), None),
        (Surroundings(nodata="nan"), (".tif", "float32", 1), None),
    ],
)
def test_what_cannot_be_kept_is_named(found: Surroundings, output: Any, lost: str | None) -> None:
    assert found.fit(*output, BOUNDS)[1] == (() if lost is None else (lost,))


def test_damaged_metadata_count_as_none(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(b"II*\0 damaged")
    assert images.read_surroundings(tmp_path / "x.tif") == NOTHING
