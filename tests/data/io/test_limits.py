"""Hostile and damaged files are refused before they cost memory, and no file opens another."""

import io
import json
import os
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from pix2pix.data.io import images, limits
from pix2pix.data.io.view import View
from pix2pix.errors import DataError
from tests.crafted_files import (
    blank,
    chunk,
    coded,
    encoded,
    jpeg_scans,
    large_jpeg,
    large_tile,
    npy,
    npy_header,
    one_colour_webp,
    png,
    retagged,
    strip,
    tiff,
    tiff_pages,
)

GRAY16 = np.arange(48, dtype=np.uint16).reshape(6, 8)


SIDE = 22000
SIZE16, SIZE = struct.pack("<HH", 16, 16), struct.pack("<HH", SIDE, SIDE)
CLAIMS = f"its header claims {SIDE**2:,} pixels, but the file has only"
PART = "has a part of 600x600 pixels (HxW), too large"
SIDES = ((256, SIDE), (257, SIDE))
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "PNG": (lambda: png(SIDE, SIDE), CLAIMS),
    "16-bit PNG": (lambda: png(SIDE, SIDE, 16), CLAIMS),
    "JPEG": (lambda: large_jpeg(SIDE), CLAIMS),
    "progressive JPEG": (lambda: large_jpeg(SIDE, progressive=True), CLAIMS),
    "WebP": (lambda: one_colour_webp(16000), "its header claims 256,000,000 pixels, but the file has only 28"),
    "GIF": (lambda: blank("GIF").replace(SIZE16, SIZE), CLAIMS),
    "BMP": (lambda: blank("BMP").replace(struct.pack("<II", 16, 16), struct.pack("<II", SIDE, SIDE), 1), CLAIMS),
    "TIFF": (lambda: retagged(blank("TIFF", compression="zstd"), *SIDES), CLAIMS),
    "TIFF without its end": (lambda: _cut_jpeg_strip(), "has a part in JPEG without its end"),
    "fax TIFF": (lambda: retagged(blank("TIFF", "1", compression="group4"), *SIDES), CLAIMS),
    "a tile": (lambda: large_tile(SIDE), CLAIMS),
    "a tile beyond the limit": (lambda: large_tile(60000), "more than 536,870,912 pixels"),
    "a part in JPEG 2000": (lambda: strip(coded("jpeg2k", 600), "jpeg2000"), PART),
    "a part in PNG": (lambda: strip(coded("png", 600), "png"), PART),
    "a part in LERC": (lambda: strip(coded("lerc", 600), "lerc"), PART),
    "an unbounded compression": (lambda: tiff(GRAY16, compression="jpegxl"), "is compressed as JPEGXL, expected"),
    "pages": (lambda: tiff_pages(10_001), "has more than 10,000 pages"),
    "long text": (lambda: png(16, 16, more=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**27)))), "cannot be read"),
    "scans": (lambda: jpeg_scans(200), "has more than 100 scans"),
    "a wrong checksum": (lambda: blank("PNG").replace(b"IEND\xaeB`\x82", b"IEND\xaeB`\x83"),
                         "the checksum of its part IEND is wrong"),
    "no end": (lambda: blank("PNG")[:-12], "it is cut off before its end"),
    "bytes after an array": (lambda: npy(GRAY16) + b"more", "it has 4 bytes more than an array of shape (6, 8) takes"),
    "an array of 20 GB": (lambda: npy_header("{'descr': '<u2', 'fortran_order': False, 'shape': (99999, 99999), }"),
                          "cannot be read"),
    "a header without end": (lambda: npy_header("-" * 9000 + "1"), "its header is damaged"),
}  # fmt: skip


def _cut_jpeg_strip() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    content = encoded(Image.fromarray(pixels), "TIFF", compression="jpeg")
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        return retagged(content, (279, file.pages.first.databytecounts[0] // 2))


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_by_name_before_they_are_decoded(tmp_path: Path, kind: str) -> None:
    make, reason = HOSTILE[kind]
    path = tmp_path / "x.png"
    path.write_bytes(make())
    with pytest.raises(DataError) as error:
        images.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert reason in str(error.value)


BLANK = {
    "PNG": {}, "WEBP": {"lossless": True}, "GIF": {}, "JPEG": {"progressive": True, "optimize": True},
    "TIFF": {"compression": "tiff_deflate"},
}  # fmt: skip


@pytest.mark.parametrize("kind", BLANK)
def test_blank_images_of_any_size_are_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule itself, without the exception for ordinary sizes: no honest file comes near it."""
    monkeypatch.setattr(limits, "UNSUSPICIOUS", 0)
    path = tmp_path / "x"
    path.write_bytes(encoded(Image.new("1" if kind == "TIFF" else "L", (2000, 2000)), kind, **BLANK[kind]))
    assert images.read(path).shape[:2] == (2000, 2000)


def test_a_small_one_colour_file_is_read_up_to_an_ordinary_size(tmp_path: Path) -> None:
    path = tmp_path / "x.webp"
    path.write_bytes(one_colour_webp(1000))
    assert images.read(path).shape == (1000, 1000, 3)


def test_a_blank_scan_in_one_strip_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(np.zeros((8192, 8192), bool), compression="zstd", rowsperstrip=8192))
    assert images.probe(path).size == (8192, 8192)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("bits", [8, 16])
def test_long_compressed_metadata_of_a_png_change_nothing(tmp_path: Path, bits: int, place: str) -> None:
    """A profile or text of several million bytes: the file is read, and its orientation counts."""
    mode, exif = "L" if bits == 8 else "I;16", Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.new(mode, (20, 10)), "PNG", exif=exif)
    at = content.index(b"eXIf" if place == "before" else b"IEND") - 4
    kinds = (b"iCCP", b"zTXt") if place == "before" else (b"zTXt",)
    long = b"".join(chunk(kind, b"k\0\0" + zlib.compress(bytes(3_000_000))) for kind in kinds)
    path = tmp_path / "x.png"
    path.write_bytes(content[:at] + long + content[at:])
    assert images.probe(path).size == (20, 10)
    assert images.read(path).shape == (20, 10, 1)


# ---- memory ------------------------------------------------------------------------------------------------------


def test_an_image_that_takes_more_than_the_free_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (3000, 3000)).save(path)
    monkeypatch.setattr(limits, "free_memory", lambda: 10**8)
    with pytest.raises(
        limits.MemoryShortError, match=r"x\.png: decoding it takes about 0\.1 GB of memory, but 0\.1 GB"
    ):
        images.read(path)
    monkeypatch.setattr(limits, "free_memory", lambda: 0)  # unknown
    assert images.read(path).shape == (3000, 3000, 3)


def test_threads_share_the_memory_and_one_large_image_is_decoded_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SMALL", 10)
    monkeypatch.setattr(limits, "TOGETHER", 100)
    lock, now, most = threading.Lock(), [0], [0]

    def work(needed: int) -> None:
        with limits.memory_for(Path("x"), needed), limits.memory_for(Path("y"), needed):  # the inner one need not wait
            with lock:
                now[0] += needed
                most[0] = max(most[0], now[0] if needed <= 100 else (0 if now[0] == needed else 999))
            threading.Event().wait(0.002)
            with lock:
                now[0] -= needed

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [40, 60, 500, 30] * 10))
    assert 60 <= most[0] <= 100
    assert limits._in_use == 0


# ---- other files -------------------------------------------------------------------------------------------------


@contextmanager
def _opened() -> Iterator[list[str]]:
    """Collect the paths that Python opens or lists within the block."""
    seen: list[str] = []
    active = [True]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if active[0] and event in ("open", "os.listdir", "os.scandir", "socket.connect") and args:
            seen.append(str(args[0]))

    sys.addaudithook(hook)  # stays for the process, so that it must be switched off
    try:
        yield seen
    finally:
        active[0] = False


def ome(names: list[str], planes: int = 1) -> bytes:
    parts = "".join(
        f'<TiffData FirstT="{place}" FirstC="0" FirstZ="0" IFD="0" PlaneCount="{planes}">'
        f'<UUID FileName="{name}">urn:uuid:{place}</UUID></TiffData>'
        for place, name in enumerate(names)
    )
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:0"><Image '
        f'ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="8" SizeY="6" SizeC="1" '
        f'SizeZ="1" SizeT="{len(names) * planes}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{parts}</Pixels>'
        "</Image></OME>"
    ).encode()


SCN = b'<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"></scn>'
NAMING: dict[str, Callable[[Path], dict[str, Any]]] = {
    "a sibling": lambda folder: {"description": ome(["x.tif", "other.tif"])},
    "a folder above": lambda folder: {"description": ome(["x.tif", f"../{folder.name}/other.tif"])},
    "an absolute path": lambda folder: {"description": ome(["x.tif", str(folder / "other.tif")])},
    "a pipe": lambda folder: {"description": ome(["x.tif", "pipe"])},
    "a missing file": lambda folder: {"description": ome(["x.tif", "gone.tif"])},
    "only others": lambda folder: {"description": ome(["other.tif", "gone.tif"])},
    "Micro-Manager": lambda folder: {"extratags": [(51123, 2, 0, json.dumps({"Summary": {"MajorVersion": 3}}), True)]},
    "Leica": lambda folder: {"description": SCN},
    "MetaMorph": lambda folder: {"extratags": [(33628, 4, 1, 0, True), (33629, 5, 1, (1, 1), True)]},
    "ImageJ": lambda folder: {"description": "ImageJ=1.53\nimages=999999999\nslices=999999999\nhyperstack=true\n"},
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", NAMING)
def test_a_tiff_is_its_own_pages_and_opens_no_other_file(tmp_path: Path, kind: str) -> None:
    tifffile.imwrite(tmp_path / "other.tif", GRAY16 + 1000)
    (tmp_path / "NDTiff.index").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, GRAY16, metadata=None, photometric="minisblack", **NAMING[kind](tmp_path))
    with _opened() as seen:
        values = images.read(path)
    assert np.array_equal(values[..., 0], GRAY16)
    others = {name for name in seen if name.startswith(str(tmp_path)) or "other" in name or "pipe" in name}
    assert others == {str(path)}


def test_planes_that_an_ome_tiff_lacks_are_never_zeros(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, GRAY16, metadata=None, photometric="minisblack", description=ome(["x.tif"], planes=3))
    with pytest.raises(DataError, match="has pixels for only a part of its size"):
        images.read(path)


def test_an_ome_tiff_of_one_file_keeps_its_planes(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 48, dtype=np.uint16).reshape(2, 3, 6, 8)
    tifffile.imwrite(tmp_path / "x.ome.tif", values, metadata={"axes": "TCYX"})
    read = images.read(tmp_path / "x.ome.tif", View(stacked=True))
    assert np.array_equal(read, values.reshape(6, 6, 8).transpose(1, 2, 0))


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_an_orientation_after_the_pixels_of_a_png_counts(tmp_path: Path, mode: str) -> None:
    content, exif = encoded(Image.new(mode, (20, 10)), "PNG"), Image.Exif()
    exif[0x0112] = 6
    end = content.rindex(b"IEND") - 4
    path = tmp_path / "x.png"
    path.write_bytes(content[:end] + chunk(b"eXIf", exif.tobytes()[6:]) + content[end:])
    assert images.probe(path).size == (20, 10)
    assert images.read(path).shape == (20, 10, 1)
