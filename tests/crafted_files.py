"""Image files made by hand, whose headers may lie: what encoders do not write."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file of Pillow's."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def blank(kind: str, mode: str = "L", side: int = 16, **options: Any) -> bytes:
    return encoded(Image.new(mode, (side, side)), kind, **options)


# ---- TIFF --------------------------------------------------------------------------------------------------------


def tiff(values: NDArray[Any], **options: Any) -> bytes:
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def retagged(content: bytes, *changes: tuple[int, int]) -> bytes:
    """A little-endian TIFF with other 32-bit values of some tags of its first page."""
    changed, left = bytearray(content), dict(changes)
    start = struct.unpack_from("<I", content, 4)[0]
    for entry in range(struct.unpack_from("<H", content, start)[0]):
        at = start + 2 + 12 * entry
        value = left.pop(struct.unpack_from("<H", content, at)[0], None)
        if value is not None:
            struct.pack_into("<H", changed, at + 2, 4)
            struct.pack_into("<I", changed, at + 8, value)
    assert not left, f"no tag {left}"
    return bytes(changed)


def large_tile(side: int, dtype: str = "uint16") -> bytes:
    """A TIFF of 16x16 in one tile, which claims more."""
    return retagged(tiff(np.zeros((16, 16), dtype), tile=(16, 16), compression="zlib"), (322, side), (323, side))


def strip(data: bytes, compression: str) -> bytes:
    """A TIFF of 16x16 whose only strip is `data`."""
    content = tiff(np.zeros((16, 16), np.uint16), compression=compression)
    return retagged(content + data, (273, len(content)), (279, len(data)))


def coded(codec: str, side: int) -> bytes:
    """Zeros in a codec of imagecodecs, such as png."""
    import imagecodecs

    return bytes(getattr(imagecodecs, f"{codec}_encode")(np.zeros((side, side), np.uint16)))


def tiff_pages(count: int) -> bytes:
    pages = (struct.pack("<HHHIII", 1, 256, 4, 1, 16, 8 + 18 * (page + 1)) for page in range(count))
    return b"II*\0" + struct.pack("<I", 8) + b"".join(pages) + bytes(18)


# ---- PNG, JPEG, WebP ---------------------------------------------------------------------------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, bits: int = 8, colour: int = 0, *, rows: bytes = bytes(99), more: bytes = b""
) -> bytes:
    """A PNG whose pixels are `rows`, and which has `more` chunks before them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = header + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def one_colour_webp(side: int) -> bytes:
    """A lossless WebP whose pixels take no bits at all: 28 bytes."""
    bits = length = 0
    for value, width in [(0x2F, 8), (side - 1, 14), (side - 1, 14), (0, 1), (0, 3), (0, 3), *[(1, 1), (0, 3)] * 5]:
        bits, length = bits | value << length, length + width
    data = bits.to_bytes(-(-length // 16) * 2, "little")
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def large_jpeg(side: int, **options: Any) -> bytes:
    """A JPEG of 16x16 that claims more."""
    old, new = (b"\x08" + struct.pack(">HH", one, one) for one in (16, side))
    return blank("JPEG", **options).replace(old, new, 1)


def jpeg_scans(count: int, side: int = 16) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    content = blank("JPEG", side=side, progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + content[-2:]


# ---- arrays ------------------------------------------------------------------------------------------------------


def npy(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def npy_header(text: str) -> bytes:
    content = text.encode() + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(content)) + content
