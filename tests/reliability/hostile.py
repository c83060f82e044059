"""Hostile image files, made by hand: what encoders do not write."""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.crafted_files import (
    blank,
    chunk,
    coded,
    jpeg_scans,
    large_jpeg,
    large_tile,
    npy_header,
    one_colour_webp,
    png,
    retagged,
    strip,
    tiff,
    tiff_pages,
)

SIDE = 22_000


def zeros(size: int) -> bytes:
    """That many zeros, deflated."""
    packer, block = zlib.compressobj(1), bytes(2**20)
    return b"".join([*(packer.compress(block) for _ in range(size // 2**20)), packer.flush()])


def bmp_claims(compression: int) -> bytes:
    content = bytearray(blank("BMP"))
    struct.pack_into("<II", content, 18, SIDE, SIDE)
    struct.pack_into("<I", content, 30, compression)
    return bytes(content)


def gif_frames(count: int) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 16, 16) + b"\0\x02\0"
    return blank("GIF")[:-1] + frame * count + b";"


def tiff_claims(side: int, **options: Any) -> bytes:
    return retagged(tiff(np.zeros((16, 16), np.uint16), **options), (256, side), (257, side))


def array(shape: str, descr: str = "<f4") -> bytes:
    return npy_header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")


def zstd(size: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.zstd_encode(bytes(size)))


BOMBS: dict[str, Callable[[], bytes]] = {
    "claims.png": lambda: png(SIDE, SIDE, rows=b""),
    "claims_16.png": lambda: png(SIDE, SIDE, 16, rows=b""),
    "claims_far.png": lambda: png(2**30, 2**30, rows=b""),
    "text.png": lambda: png(16, 16, rows=bytes(17 * 16), more=chunk(b"iTXt", b"k\0\1\0\0\0" + zeros(2**28))),
    "texts.png": lambda: png(16, 16, rows=bytes(17 * 16), more=chunk(b"zTXt", b"k\0\0" + zeros(2**20)) * 2000),
    "profile.png": lambda: png(16, 16, rows=bytes(17 * 16), more=chunk(b"iCCP", b"k\0\0" + zeros(2**28))),
    "claims.jpg": lambda: large_jpeg(SIDE),
    "claims_progressive.jpg": lambda: large_jpeg(SIDE, progressive=True),
    "scans.jpg": lambda: jpeg_scans(5000, side=2000),
    "one_colour.webp": lambda: one_colour_webp(16383),
    "claims.gif": lambda: blank("GIF").replace(struct.pack("<HH", 16, 16), struct.pack("<HH", SIDE, SIDE)),
    "frames.gif": lambda: gif_frames(1_000_000),
    "claims.bmp": lambda: bmp_claims(0),
    "run_lengths.bmp": lambda: bmp_claims(1),
    "claims.tif": lambda: retagged(blank("TIFF", compression="zstd"), (256, SIDE), (257, SIDE)),
    "claims_fax.tif": lambda: retagged(blank("TIFF", "1", compression="group4"), (256, SIDE), (257, SIDE)),
    "claims_16.tif": lambda: tiff_claims(15_000, compression="zlib"),
    "claims_raw.tif": lambda: tiff_claims(15_000),
    "tile.tif": lambda: large_tile(SIDE, "uint16"),
    "tile_8.tif": lambda: large_tile(SIDE, "uint8"),
    "tile_far.tif": lambda: large_tile(60_000, "uint16"),
    "strip_deflate.tif": lambda: strip(zeros(2**28), "zlib"),
    "strip_zstd.tif": lambda: strip(zstd(2**28), "zstd"),
    "strip_jpeg2000.tif": lambda: strip(coded("jpeg2k", 3000), "jpeg2000"),
    "strip_png.tif": lambda: strip(coded("png", 3000), "png"),
    "strip_lerc.tif": lambda: strip(coded("lerc", 3000), "lerc"),
    "unbounded.tif": lambda: tiff(np.zeros((16, 16), np.uint16), compression="jpegxl"),
    "pages.tif": lambda: tiff_pages(300_000),
    "shape.tif": lambda: tiff(np.zeros((6, 8), np.uint16), description='{"shape": [10000000, 6, 8]}', metadata=None),
    "claims.npy": lambda: array("(100000, 100000)"),
    "far.npy": lambda: array("(9999999999999, 9999999999999)"),
    "axes.npy": lambda: array("(" + "1," * 4000 + ")"),
    "minus.npy": lambda: npy_header("-" * 9000 + "1"),
    "nested.npy": lambda: npy_header("(" * 9000),
    "header.npy": lambda: b"\x93NUMPY\x02\0" + struct.pack("<I", 2**31) + b"{",
    "objects.npy": lambda: array("(9, 9)", "|O") + b"cos\nsystem\n(S'true'\ntR.",
}
"""File name -> content that must be refused."""
