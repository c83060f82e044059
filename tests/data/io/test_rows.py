"""Images read and written by rows are those that are read and written whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from pix2pix.data.io import images
from pix2pix.data.io.arrays import ImageFacts
from pix2pix.data.io.row_reader import open_rows
from pix2pix.data.io.row_writer import begin_to_write_rows
from pix2pix.errors import DataError

H, W = 301, 277


def values(*shape: int, dtype: str = "uint8") -> NDArray[Any]:
    random = np.random.default_rng(0)
    if dtype.startswith("float"):
        return random.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


TIFFS: dict[str, dict[str, Any]] = {
    "one strip": {"shape": (H, W, 3), "rowsperstrip": H},
    "strips": {"shape": (H, W, 3), "rowsperstrip": 7, "compression": "lzw", "predictor": True},
    "tiles": {"shape": (H, W, 3), "tile": (64, 32), "compression": "zlib"},
    "packed bits": {"shape": (H, W), "compression": "packbits"},
    "big-endian": {"shape": (H, W), "dtype": "uint16", "byteorder": ">"},
    "big-endian tiles": {"shape": (H, W), "dtype": "uint16", "byteorder": ">", "tile": (32, 32), "compression": "zlib"},
    "floats": {"shape": (H, W), "dtype": "float32", "compression": "zlib", "predictor": 3},
    "half floats": {"shape": (H, W), "dtype": "float16"},
    "signed": {"shape": (H, W, 2), "dtype": "int16", "photometric": "minisblack", "planarconfig": "contig"},
    "pages": {"shape": (5, H, W), "dtype": "uint16", "photometric": "minisblack", "compression": "zlib"},
    "white is 0": {"shape": (H, W), "photometric": "miniswhite", "compression": "zlib"},
    "white is 0, 16 bits": {"shape": (H, W), "dtype": "uint16", "photometric": "miniswhite"},
    "with a small copy": {"shape": (H, W, 3), "dtype": "uint16", "tile": (64, 64)},
}
WHOLE: dict[str, dict[str, Any]] = {
    "planes": {"shape": (3, H, W), "photometric": "rgb", "planarconfig": "separate"},
    "JPEG": {"shape": (H, W, 3), "tile": (64, 64), "compression": "jpeg"},
    "turned": {"shape": (H, W, 3), "extratags": [(274, 3, 1, 6, True)]},
}


def write_tiff(path: Path, shape: tuple[int, ...], dtype: str = "uint8", **options: Any) -> None:
    byteorder = options.pop("byteorder", None)
    options.setdefault("photometric", "rgb" if shape[-1] == 3 else "minisblack")
    with tifffile.TiffWriter(path, byteorder=byteorder) as writer:
        writer.write(values(*shape, dtype=dtype), metadata=None, **options)
        if "small copy" in path.name:
            writer.write(values(9, 9, 3), photometric="rgb", subfiletype=1, metadata=None)


@pytest.mark.parametrize("kind", [*TIFFS, *WHOLE])
def test_rows_of_a_tiff(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{kind}.tif"
    write_tiff(path, **(TIFFS | WHOLE)[kind])
    expected = images.read(path)
    with open_rows(path) as reader:
        assert reader.facts == images.probe(path)
        assert reader.whole == (kind in WHOLE)
        assert bool(reader.held_bytes) == reader.whole
        for top, bottom in ((0, 1), (5, 190), (60, 64), (64, 130), (300, 301), (0, len(expected))):
            rows = reader.read(top, bottom)
            assert rows.dtype == expected.dtype
            np.testing.assert_array_equal(rows, expected[top:bottom])


@pytest.mark.parametrize("shape", [(H, W), (H, W, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", ">u2"])
def test_rows_of_an_array_file(tmp_path: Path, shape: tuple[int, ...], order: Any, dtype: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.asarray(values(*shape, dtype="uint8").astype(dtype), order=order))
    with open_rows(path) as reader:
        assert reader.whole == (order == "F")
        rows = np.concatenate([reader.read(0, 100), reader.read(100, H)])
    np.testing.assert_array_equal(rows, images.read(path))
    assert rows.dtype == images.read(path).dtype


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_other_files_are_decoded_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(values(H, W, 3)).save(path)
    with open_rows(path) as reader:
        assert reader.whole
        np.testing.assert_array_equal(reader.read(50, 60), images.read(path)[50:60])


@pytest.mark.parametrize("opaque", [True, False])
def test_alpha_is_read_as_it_is_read_whole(tmp_path: Path, opaque: bool) -> None:
    pixels = values(H, W, 4)
    pixels[..., 3] = 255 if opaque else pixels[..., 3]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"], rowsperstrip=9)
    with open_rows(tmp_path / "a.tif", alpha=True) as reader:
        assert not reader.whole
        np.testing.assert_array_equal(reader.read(3, 40), pixels[3:40])
    with open_rows(tmp_path / "a.tif") as reader:
        if opaque:
            np.testing.assert_array_equal(reader.read(3, 40), pixels[3:40, :, :3])
        else:
            with pytest.raises(DataError, match="has transparency"):
                reader.read(3, 40)


def test_damage_is_reported_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_tiff(path, (H, W, 3), tile=(64, 64), compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[-1]  # type: ignore[union-attr]
    content[offset : offset + 20] = bytes(20)
    path.write_bytes(content)
    with open_rows(path) as reader:
        reader.read(0, 64)
        with pytest.raises(DataError, match=r"a\.tif: cannot be read as an image"):
            reader.read(H - 10, H)


# ---- writing ---------------------------------------------------------------------------------------------------


def pieces(array: NDArray[Any], heights: list[int]) -> Iterator[NDArray[Any]]:
    top = 0
    while top < len(array):
        for height in heights:
            yield array[top : top + height]
            top += height


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".npy", ".png"])
@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, "uint8"), (3, "uint8"), (3, "uint16"), (4, "uint8"), (1, "uint16")]
)
@pytest.mark.parametrize("heights", [[1000], [1, 255, 300], [17]])
def test_written_rows_are_the_image(tmp_path: Path, suffix: str, channels: int, dtype: str, heights: list[int]) -> None:
    image = values(H, 513, channels, dtype=dtype)
    facts = ImageFacts(H, 513, channels, dtype)
    seen: list[Path] = []
    begin_to_write_rows(tmp_path / f"a{suffix}", facts, pieces(image, heights), seen.append)()
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]
    assert len(seen) == 1
    np.testing.assert_array_equal(images.read(tmp_path / f"a{suffix}", alpha=channels == 4), image)


@pytest.mark.parametrize("channels", [2, 7])
def test_written_floats(tmp_path: Path, channels: int) -> None:
    image = values(H, 40, channels, dtype="float32")
    for suffix in (".tif", ".npy"):
        path = tmp_path / f"a{suffix}"
        begin_to_write_rows(path, ImageFacts(H, 40, channels, "float32"), pieces(image, [100]))()
        np.testing.assert_array_equal(images.read(path), image)


def test_a_failure_between_rows_leaves_no_file(tmp_path: Path) -> None:
    def rows() -> Iterator[NDArray[Any]]:
        yield values(300, 300, 3)
        raise DataError("the source ended")

    for suffix in (".tif", ".npy", ".png"):
        with pytest.raises(DataError, match="the source ended"):
            begin_to_write_rows(tmp_path / f"a{suffix}", ImageFacts(600, 300, 3), rows())
    assert list(tmp_path.iterdir()) == []
