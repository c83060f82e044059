"""Check the sizes that compressed parts (strips and tiles) of a TIFF claim for themselves, before they are decoded.

Decoders of image formats take the size from the part, not from the TIFF: a few bytes may claim gigabytes.
"""

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pix2pix.errors import DataError

PLAIN = {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000}
"""Compressions whose output has a given size: none, fax, LZW, deflate, PackBits, LZMA, Zstandard."""

_HEAD = 2**16


def refuse_segments(path: Path, pages: list[Any]) -> None:
    """Raise DataError for a part that claims more pixels than its place has, or whose compression has no check."""
    for page in pages:
        keyframe = page.keyframe
        code = int(keyframe.compression)
        if code in PLAIN:
            continue
        read_size = _SIZES.get(code)
        if read_size is None:
            name = getattr(keyframe.compression, "name", code)
            raise DataError(
                f"{path}: is compressed as {name}, expected deflate, LZW, Zstandard or none: save it as one of these"
            )
        place = math.prod(keyframe.chunks)
        file = page.parent.filehandle
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            file.seek(offset)
            height, width = read_size(file.read(min(count, _HEAD)))
            if height * width > place:
                raise DataError(
                    f"{path}: has a part of {height}x{width} pixels (HxW), too large for its place: replace it"
                )


def refuse_cut_jpeg(path: Path, pages: list[Any]) -> None:
    """Raise DataError for a part in JPEG that is cut off: decoders fill the rest with gray."""
    for page in pages:
        if int(page.keyframe.compression) not in (7, 33007):
            continue
        file = page.parent.filehandle
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            file.seek(offset + max(0, count - 4))
            if count and b"\xff\xd9" not in file.read(min(count, 4)):
                raise DataError(f"{path}: has a part in JPEG without its end: replace it")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Read (H, W) of a JPEG; (0, 0) for what the decoder cannot read either."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0


def _jpeg2000_size(data: bytes) -> tuple[int, int]:
    at = data.find(b"\xff\x4f\xff\x51")  # start of the code stream, and its size
    if at < 0 or len(data) < at + 24:
        return 0, 0
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
    return max(0, bottom - top), max(0, right - left)


def _lerc_size(data: bytes) -> tuple[int, int]:
    if not data.startswith(b"Lerc2 ") or len(data) < 22:
        return 0, 0
    (version,) = struct.unpack_from("<i", data, 6)
    height, width = struct.unpack_from("<2i", data, 14 if version >= 3 else 10)
    return height, width


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">2I", data, 16) if len(data) >= 24 else (0, 0)
    return height, width


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read (H, W) of a WebP whose first part is VP8X, VP8L or VP8."""
    if data[:4] != b"RIFF" or len(data) < 30:
        return 0, 0
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    width, height = struct.unpack_from("<2H", data, 26)
    return height & 0x3FFF, width & 0x3FFF


_SIZES: dict[int, Callable[[bytes], tuple[int, int]]] = {
    7: _jpeg_size,
    33003: _jpeg2000_size,
    33004: _jpeg2000_size,
    33005: _jpeg2000_size,
    33007: _jpeg_size,
    34712: _jpeg2000_size,
    34887: _lerc_size,
    34933: _png_size,
    50001: _webp_size,
}
"""Compression -> function that reads (H, W) from the first bytes of a part."""
