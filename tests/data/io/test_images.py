"""Pixels survive the way in and out exactly, and whatever cannot be read exactly is refused by name."""

import os
import re
import struct
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from pix2pix.data.io import images
from pix2pix.data.io.arrays import TYPES, ImageFacts, to_pil, with_channels
from pix2pix.data.io.eight_bit import from_pil
from pix2pix.data.io.view import View
from pix2pix.errors import DataError
from tests.crafted_files import chunk, encoded, npy, png, retagged, tiff

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
GRAY = np.ascontiguousarray(COLOUR[..., :1])

pixel_arrays = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])))


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(COLOUR).convert(mode)


def looped(tiff: bytes) -> bytes:
    """A little-endian TIFF whose first page comes after itself again."""
    start = struct.unpack_from("<I", tiff, 4)[0]
    at = start + 2 + 12 * struct.unpack_from("<H", tiff, start)[0]
    return tiff[:at] + struct.pack("<I", start) + tiff[at + 4 :]


def masked_tiff() -> bytes:
    """A TIFF with an internal mask, as GDAL writes it."""
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(COLOUR, photometric="rgb", metadata=None)
        writer.write(COLOUR[..., 0] > 9, photometric="mask", subfiletype=4, metadata=None)
    return file.getvalue()


def two_ome_images() -> bytes:
    file = BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        writer.write(np.ones((6, 8), np.uint16))
        writer.write(np.zeros((6, 8), np.uint16))
    return file.getvalue()


# ---- arrays -----------------------------------------------------------------------------------------------------


def test_channels_on_request() -> None:
    assert with_channels(COLOUR, 3) is COLOUR
    assert np.array_equal(with_channels(GRAY, 3), np.repeat(GRAY, 3, axis=2))
    luminance = COLOUR @ [0.299, 0.587, 0.114]  # ITU-R 601
    assert np.abs(with_channels(COLOUR, 1)[..., 0] - luminance).max() <= 0.51


@given(pixel_arrays)
def test_pil_round_trip_is_exact(pixels: NDArray[np.uint8]) -> None:
    assert np.array_equal(from_pil(to_pil(pixels)), pixels)


# ---- files that are read -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tif", ".TIFF"])
@pytest.mark.parametrize("pixels", [COLOUR, GRAY], ids=["colour", "gray"])
def test_file_round_trip_is_exact(tmp_path: Path, pixels: NDArray[np.uint8], suffix: str) -> None:
    path = tmp_path / f"new folder/x{suffix}"
    images.write(path, pixels)
    expected = np.repeat(pixels, 3, axis=2) if suffix == ".webp" and pixels is GRAY else pixels  # has no gray
    assert np.array_equal(images.read(path), expected)
    assert images.probe(path) == ImageFacts(*expected.shape)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_jpeg_is_close(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64 * 64, dtype=np.uint8).reshape(64, 64, 1)
    images.write(tmp_path / "x.jpg", ramp)
    assert np.abs(images.read(tmp_path / "x.jpg").astype(int) - ramp).max() <= 8


READABLE: dict[str, tuple[bytes, NDArray[np.uint8]]] = {
    "1-bit": (encoded(picture("1"), "PNG"), np.array(picture("1").convert("L"))[..., None]),
    "palette": (encoded(picture("P"), "PNG"), np.array(picture("P").convert("RGB"))),
    "gif": (encoded(picture("P"), "GIF"), np.array(picture("P").convert("RGB"))),
    "opaque alpha": (encoded(picture("RGBA"), "PNG"), COLOUR),
    "opaque gray alpha": (encoded(picture("LA"), "PNG"), np.array(picture("L"))[..., None]),
    "unused transparent colour": (encoded(Image.new("RGB", (8, 6), "red"), "PNG", transparency=(0, 0, 0)),
                                  np.full((6, 8, 3), (255, 0, 0), np.uint8)),
    "white is zero": (retagged(encoded(picture("L"), "TIFF"), (262, 0)), 255 - np.array(picture("L"))[..., None]),
    "damaged TIFF metadata": (retagged(encoded(picture(), "TIFF", dpi=(72, 72)), (282, 2**24)), COLOUR),
    "first of a camera's MPO": (encoded(Image.new("L", (8, 6), 9), "MPO", save_all=True,
                                        append_images=[Image.new("L", (8, 6))]), np.full((6, 8, 1), 9, np.uint8)),
    "1 x 20000": (encoded(Image.new("L", (20000, 1)), "PNG"), np.zeros((1, 20000, 1), np.uint8)),
    "damaged EXIF": (encoded(Image.new("L", (8, 6)), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"),
                     np.zeros((6, 8, 1), np.uint8)),
}  # fmt: skip


@pytest.mark.parametrize("kind", READABLE)
def test_modes_become_gray_or_colour(tmp_path: Path, kind: str) -> None:
    content, expected = READABLE[kind]
    path = tmp_path / "x.jpg"  # what is inside decides, not the suffix
    path.write_bytes(content)
    assert np.array_equal(images.read(path), expected)
    assert images.probe(path) == ImageFacts(*expected.shape)


UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_damaged_exif_data_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (8, 8)).save(path, exif=b"Exif\0\0garbage")
    with pytest.raises(DataError, match=r"cannot be read as an image \(its EXIF data are damaged"):
        images.read(path)
    with pytest.raises(ValueError, match="its EXIF data are damaged"):
        from_pil(Image.open(path))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("format", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("JPEG", {})],
)
def test_orientation_is_applied_once(tmp_path: Path, format: str, options: dict[str, object], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.open(BytesIO(encoded(picture(), format, **options)))  # what JPEG made of it
    path = tmp_path / "x"
    path.write_bytes(encoded(picture(), format, exif=exif, **options))
    expected = UPRIGHT[orientation](np.array(stored))
    assert np.array_equal(images.read(path), expected)
    assert images.probe(path) == ImageFacts(*expected.shape)
    as_stored = View(stored=True)
    assert np.array_equal(images.read(path, as_stored), np.array(stored))
    assert images.probe(path, as_stored) == ImageFacts(*np.array(stored).shape)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_high_depth_as_stored(tmp_path: Path, suffix: str) -> None:
    values, path = np.arange(48, dtype=np.uint16).reshape(6, 8, 1), tmp_path / f"x{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, values[..., 0], extratags=[(274, "H", 1, 6, True)])
    else:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(values[..., 0]).save(path, exif=exif)
    assert np.array_equal(images.read(path), np.rot90(values, -1))
    assert np.array_equal(images.read(path, View(stored=True)), values)
    assert images.probe(path, View(stored=True)).size == (6, 8)


def test_halves(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    images.write(path, COLOUR)
    assert np.array_equal(images.read(path, "left"), COLOUR[:, :4])
    assert np.array_equal(images.read(path, "right"), COLOUR[:, 4:])
    images.write(path, COLOUR[:, :7])
    with pytest.raises(DataError, match=r"x\.png: is 7 pixels wide"):
        images.read(path, "left")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".gif"])
def test_our_limit_stands_in_for_pillows(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"x{suffix}"
    picture().save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert images.read(path).shape == (6, 8, 3)
    assert Image.MAX_IMAGE_PIXELS == 10
    monkeypatch.setattr("pix2pix.data.io.limits.MAX_PIXELS", 47)
    with pytest.raises(DataError, match="more than 47 pixels"):
        images.read(path)


def test_threads_leave_the_warning_filters_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    images.write(path, COLOUR)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(pixels, COLOUR) for pixels in pool.map(images.read, [path] * 200))
    assert warnings.filters == before


# ---- files that are refused ----------------------------------------------------------------------------------

TOO_FEW = "has pixels of number 7, but a palette of 3 colours"
NO_IMAGE, DEEP, ALPHA = "cannot be read as an image", "holds int32 values", "has transparency"
DEEP_ROW = bytes(1 + 8 * 3 * 2) * 6

REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", NO_IMAGE),
    "text": (b"hello", NO_IMAGE),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", NO_IMAGE),
    "postscript": (b"%!PS-Adobe-3.0 EPSF\n%%BoundingBox: 0 0 10 10\n", NO_IMAGE),
    "truncated png": (encoded(picture(), "PNG")[:-40], NO_IMAGE),
    "truncated jpeg": (encoded(picture(), "JPEG")[:-30], NO_IMAGE),
    "no width": (png(0, 6, 8, 2, rows=b""), NO_IMAGE),
    "truncated 16-bit png": (png(8, 6, 16, 2, rows=DEEP_ROW)[:-40], NO_IMAGE),
    "16-bit png without its end": (png(8, 6, 16, 2, rows=DEEP_ROW[:90]), NO_IMAGE),
    "truncated deep tiff": (tiff(np.ones((60, 80), np.uint16))[:-3000], "pixels for only a part"),
    "no height": (retagged(encoded(picture(), "TIFF", compression="tiff_lzw"), (277, 259)).replace(
        struct.pack("<2H", 257, 3), struct.pack("<2H", 256, 3)), "has the size 0x8 (HxW), which has no pixels"),
    "samples of several depths": (retagged(encoded(picture(), "TIFF"), (256, 2**24)).replace(
        struct.pack("<3H", 8, 8, 8), struct.pack("<3H", 8, 0, 8)), NO_IMAGE),
    "colours without a name": (retagged(tiff(np.ones((3, 6, 8), np.uint16), photometric="minisblack"), (262, 99)),
                               "has the colour space 99"),
    "endless tiff": (looped(encoded(picture(), "TIFF")), "pages that link back to an earlier one"),
    "endless deep tiff": (looped(tiff(np.ones((6, 8), np.uint16))), "pages that link back to an earlier one"),
    "32-bit tiff": (encoded(picture("I"), "TIFF"), DEEP),
    "double tiff": (tiff(np.ones((6, 8))), "holds float64 values"),
    "pages of two sizes": (encoded(picture(), "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 6))]),
                           "pages of several sizes"),
    "two images in OME": (two_ome_images(), "has 2 images of (6, 8) uint16, expected one image"),
    "deep bomb": (png(30000, 30000, 16, 2, rows=b""), "more than 536,870,912 pixels"),
    "pickle in npy": (npy(np.array([[{}]], dtype=object)), NO_IMAGE),
    "truncated npy": (npy(np.ones((6, 8), np.float32))[:-9], NO_IMAGE),
    "lying npy": (npy(np.ones((6, 8), np.float32)).replace(b"(6, 8)", b"(9, 9)"), NO_IMAGE),
    "npy of one axis": (npy(np.ones(8, np.float32)), "is an array of shape"),
    "npy of complex numbers": (npy(np.ones((6, 8), complex)), "holds complex128 values"),
    "alpha": (encoded(Image.new("RGBA", (8, 6), (9, 9, 9, 254)), "PNG"), ALPHA),
    "gray alpha": (encoded(Image.new("LA", (8, 6), (9, 0)), "PNG"), ALPHA),
    "webp alpha": (encoded(Image.new("RGBA", (8, 6)), "WEBP"), ALPHA),
    "transparent palette": (encoded(Image.new("P", (8, 6)), "PNG", transparency=0), ALPHA),
    "transparent gif": (encoded(Image.new("P", (8, 6)), "GIF", transparency=0), ALPHA),
    "transparent colour": (encoded(Image.new("RGB", (8, 6)), "PNG", transparency=(0, 0, 0)), ALPHA),
    "transparent gray": (encoded(Image.new("L", (8, 6)), "PNG", transparency=0), ALPHA),
    "palette too short": (png(8, 6, 8, 3, more=chunk(b"PLTE", bytes(9)), rows=bytes([0, *range(8)]) * 6), TOO_FEW),
    "transparent gray of 2 bits": (png(8, 6, 2, more=chunk(b"tRNS", b"\0\1"), rows=bytes([0, 0x55, 0x55]) * 6), ALPHA),
    "transparent gray of 4 bits": (png(8, 6, 4, more=chunk(b"tRNS", b"\0\7"), rows=bytes([0, *b"wwww"]) * 6), ALPHA),
    "tiff of 3 bits": (retagged(tiff(np.ones((6, 8), np.uint8)), (258, 3)), "has samples of 3 bits, expected 8"),
    "palette of 16 bits": (retagged(tiff(np.ones((6, 8), np.uint16)), (262, 3)), "has the colour space PALETTE"),
    "tiff of no kind": (retagged(encoded(picture(), "TIFF"), (262, 99)), "it begins as a TIFF, but is damaged or of"),
    "a sound": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "not a PNG, JPEG"),
    "mask of valid pixels": (masked_tiff(), "has a mask of valid pixels"),
    "cmyk": (encoded(picture("CMYK"), "JPEG"), "colour mode CMYK"),
    "ycbcr": (encoded(picture("YCbCr"), "TIFF"), "colour mode YCbCr"),
    "lab": (encoded(picture("LAB"), "TIFF"), "colour mode LAB"),
    "animated gif": (encoded(picture(), "GIF", save_all=True, append_images=[Image.new("RGB", (8, 6))]),
                     "several frames"),
    "animated webp": (encoded(picture(), "WEBP", save_all=True, append_images=[Image.new("RGB", (8, 6))]), "2 frames"),
    "animated png": (encoded(picture(), "PNG", save_all=True, append_images=[Image.new("RGB", (8, 6))]), "2 frames"),
    "strips missing": (retagged(encoded(picture(), "TIFF"), (257, 60)), "pixels for only a part of its 8x60"),
    "far strips missing": (retagged(encoded(picture(), "TIFF"), (257, 2**24)), "pixels for only a part"),
    "frame smaller than its gif": (encoded(Image.new("P", (8, 6)), "GIF").replace(b"GIF87a\x08", b"GIF87a\x0f"),
                                   "pixels for only a part of its 15x6"),
    "bomb": (png(30000, 30000, 8, 2, rows=b""), "more than 536,870,912 pixels"),
    "far bomb": (png(2**30, 2**30, 8, 2, rows=b""), "more than 536,870,912 pixels"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_strange_files_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    content, reason = REFUSED[kind]
    path = tmp_path / "x.png"
    path.write_bytes(content)
    start = time.monotonic()
    with pytest.raises(DataError) as error:
        images.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert reason in str(error.value)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    "kind", [kind for kind, (_, reason) in REFUSED.items() if reason not in (NO_IMAGE, ALPHA, TOO_FEW)]
)
def test_a_header_is_enough_to_refuse(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(REFUSED[kind][0])
    with pytest.raises(DataError, match=re.escape(REFUSED[kind][1])):
        images.probe(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes and links")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("folder", "is a folder"),
        ("pipe", "is a pipe"),
        ("loop", "symbolic links"),
        ("gone", "No such file"),
        ("x" * 300, "name too long"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for look in (images.read, images.probe):
        with pytest.raises(DataError, match=reason):
            look(tmp_path / kind)


def test_a_pil_image_follows_the_same_rules() -> None:
    with pytest.raises(DataError, match="the image: has the colour mode CMYK"):
        from_pil(picture("CMYK"))
    with pytest.raises(DataError, match="the image: has transparency"):
        from_pil(Image.new("RGBA", (8, 6)))


SEEDS = {
    format: encoded(picture(), format)
    for format in ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
} | {
    "LZW": encoded(picture(), "TIFF", compression="tiff_lzw"),
    "PAGES": tiff(np.ones((3, 6, 8), np.uint16), photometric="minisblack"),
}  # fmt: skip


@settings(max_examples=300)
@given(st.data())
def test_damaged_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(SEEDS[data.draw(st.sampled_from(sorted(SEEDS)))])
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        pixels = images.read(path)
    except DataError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
    else:
        assert pixels.dtype.name in TYPES
        assert pixels.ndim == 3
        assert 0 not in pixels.shape


# ---- writing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.gif", "x"])
def test_unknown_suffix_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"use \.bmp, \.jfif, \.jpeg"):
        images.write(tmp_path / name, COLOUR)


def test_a_failed_write_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    images.write(path, GRAY)

    def save(_: Image.Image, file: BytesIO, **options: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(DataError, match=r"x\.png: cannot be written \(No space left"):
        images.write(path, COLOUR)
    assert np.array_equal(images.read(path), GRAY)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA", "P", "1"])
def test_a_large_image_is_copied_in_strips(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger than a strip, and no multiple of one, is the same to the bit."""
    noise = np.random.default_rng(0).integers(0, 256, (37, 29, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).convert(mode)
    picture.save(tmp_path / "a.png")
    at_once = images.read(tmp_path / "a.png", alpha=True)
    monkeypatch.setattr("pix2pix.data.io.arrays.STRIP_PIXELS", 100)
    assert np.array_equal(images.read(tmp_path / "a.png", alpha=True), at_once)


@pytest.mark.parametrize("size", [(1, 1), (50, 1), (1, 50), (3, 4)])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".webp", ".bmp"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_arrays_of_any_strides_are_written(tmp_path: Path, size: tuple[int, int], suffix: str, dtype: str) -> None:
    """Of sides of one pixel numpy does not care for the strides, but encoders do."""
    for channels in (1, 3, 4):
        if (suffix in (".webp", ".bmp") and (dtype == "uint16" or channels == 4)) or (
            suffix == ".webp" and channels == 1
        ):
            continue
        planes = np.random.default_rng(0).integers(0, 2**8, (channels, *size)).astype(dtype)
        values = planes.transpose(1, 2, 0)
        images.write(tmp_path / f"a{suffix}", values)
        found = images.read(tmp_path / f"a{suffix}", alpha=channels == 4)
        if suffix != ".webp":  # which loses some
            assert np.array_equal(found, values)
