"""Hostile image files, made by hand: what encoders do not write."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 22_000


def encoded(kind: str, mode: str = "L", side: int = 16, **options: Any) -> bytes:
    """A blank image."""
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, kind, **options)
    return file.getvalue()


def tiff(values: NDArray[Any], **options: Any) -> bytes:
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def retagged(content: bytes, *changes: tuple[int, int]) -> bytes:
    """A little-endian TIFF with other 32-bit values of some tags."""
    changed, start = bytearray(content), struct.unpack_from("<I", content, 4)[0]
    for entry in range(struct.unpack_from("<H", content, start)[0]):
        at = start + 2 + 12 * entry
        value = dict(changes).get(struct.unpack_from("<H", content, at)[0])
        if value is not None:
            struct.pack_into("<H", changed, at + 2, 4)
            struct.pack_into("<I", changed, at + 8, value)
    return bytes(changed)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(side: int = 16, bits: int = 8, colour: int = 0, more: bytes = b"", pixels: bytes | None = None) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0))
    rows = zlib.compress(bytes((side * bits // 8 + 1) * side)) if pixels is None else pixels
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """That many zeros, deflated."""
    packer, block = zlib.compressobj(1), bytes(2**20)
    return b"".join([*(packer.compress(block) for _ in range(size // 2**20)), packer.flush()])


def one_colour_webp(side: int) -> bytes:
    """A lossless WebP whose pixels take no bits at all: 28 bytes."""
    bits = length = 0
    for value, width in [(0x2F, 8), (side - 1, 14), (side - 1, 14), (0, 1), (0, 3), (0, 3), *[(1, 1), (0, 3)] * 5]:
        bits, length = bits | value << length, length + width
    data = bits.to_bytes(-(-length // 16) * 2, "little")
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_claims(**options: Any) -> bytes:
    return encoded("JPEG", **options).replace(
        b"\x08" + struct.pack(">HH", 16, 16), b"\x08" + struct.pack(">HH", SIDE, SIDE), 1
    )


def jpeg_scans(count: int) -> bytes:
    content = encoded("JPEG", side=2000, progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + content[-2:]


def bmp_claims(compression: int) -> bytes:
    content = bytearray(encoded("BMP"))
    struct.pack_into("<II", content, 18, SIDE, SIDE)
    struct.pack_into("<I", content, 30, compression)
    return bytes(content)


def gif_frames(count: int) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 16, 16) + b"\0\x02\0"
    return encoded("GIF")[:-1] + frame * count + b";"


def tile(side: int, dtype: str) -> bytes:
    return retagged(tiff(np.zeros((16, 16), dtype), tile=(16, 16), compression="zlib"), (322, side), (323, side))


def tiff_claims(side: int, **options: Any) -> bytes:
    return retagged(tiff(np.zeros((16, 16), np.uint16), **options), (256, side), (257, side))


def strip(data: bytes, compression: str) -> bytes:
    """A TIFF of 16x16 whose only strip is `data`."""
    content = tiff(np.zeros((16, 16), np.uint16), compression=compression)
    return retagged(content + data, (273, len(content)), (279, len(data)))


def tiff_pages(count: int) -> bytes:
    pages = (struct.pack("<HHHIII", 1, 256, 4, 1, 16, 8 + 18 * (page + 1)) for page in range(count))
    return b"II*\0" + struct.pack("<I", 8) + b"".join(pages) + bytes(18)


def npy(header: str) -> bytes:
    content = header.encode() + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(content)) + content


def array(shape: str, descr: str = "<f4") -> bytes:
    return npy(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")


def coded(codec: str, side: int) -> bytes:
    import imagecodecs

    return bytes(getattr(imagecodecs, f"{codec}_encode")(np.zeros((side, side), np.uint16)))


def zstd(size: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.zstd_encode(bytes(size)))


BOMBS: dict[str, Callable[[], bytes]] = {
    "claims.png": lambda: png(SIDE, pixels=zlib.compress(b"")),
    "claims_16.png": lambda: png(SIDE, 16, pixels=zlib.compress(b"")),
    "claims_far.png": lambda: png(2**30, pixels=zlib.compress(b"")),
    "text.png": lambda: png(more=chunk(b"iTXt", b"k\0\1\0\0\0" + zeros(2**28))),
    "texts.png": lambda: png(more=chunk(b"zTXt", b"k\0\0" + zeros(2**20)) * 2000),
    "profile.png": lambda: png(more=chunk(b"iCCP", b"k\0\0" + zeros(2**28))),
    "claims.jpg": jpeg_claims,
    "claims_progressive.jpg": lambda: jpeg_claims(progressive=True),
    "scans.jpg": lambda: jpeg_scans(5000),
    "one_colour.webp": lambda: one_colour_webp(16383),
    "claims.gif": lambda: encoded("GIF").replace(struct.pack("<HH", 16, 16), struct.pack("<HH", SIDE, SIDE)),
    "frames.gif": lambda: gif_frames(1_000_000),
    "claims.bmp": lambda: bmp_claims(0),
    "run_lengths.bmp": lambda: bmp_claims(1),
    "claims.tif": lambda: retagged(encoded("TIFF", compression="zstd"), (256, SIDE), (257, SIDE)),
    "claims_fax.tif": lambda: retagged(encoded("TIFF", "1", compression="group4"), (256, SIDE), (257, SIDE)),
    "claims_16.tif": lambda: tiff_claims(15_000, compression="zlib"),
    "claims_raw.tif": lambda: tiff_claims(15_000),
    "tile.tif": lambda: tile(SIDE, "uint16"),
    "tile_8.tif": lambda: tile(SIDE, "uint8"),
    "tile_far.tif": lambda: tile(60_000, "uint16"),
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
    "minus.npy": lambda: npy("-" * 9000 + "1"),
    "nested.npy": lambda: npy("(" * 9000),
    "header.npy": lambda: b"\x93NUMPY\x02\0" + struct.pack("<I", 2**31) + b"{",
    "objects.npy": lambda: array("(9, 9)", "|O") + b"cos\nsystem\n(S'true'\ntR.",
}
"""File name -> content that must be refused."""
