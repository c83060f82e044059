"""Read JPEG 2000 files that Pillow would reduce to 8 bits or cannot open; it reads the others (`eight_bit.py`)."""

import struct
from pathlib import Path

from pix2pix.data.io.arrays import Array, unreadable
from pix2pix.data.io.high_depth import Header, to_native
from pix2pix.data.io.limits import refuse_expansion, refuse_too_large
from pix2pix.data.io.newer_formats import CODESTREAM
from pix2pix.errors import DataError
from pix2pix.system.reading import open_regular

SEARCHED = 2**20
"""Bytes in which the codestream must begin."""


def read_jpeg2000_header(path: Path) -> Header | None:
    """Read the sizes and depths of the channels. None for 8-bit gray and colour. Raises DataError."""
    with open_regular(path) as file:
        start = file.read(SEARCHED)
    at = start.find(CODESTREAM)
    if at < 0 or len(start) < at + 42:
        raise unreadable(path, "it has no JPEG 2000 codestream")
    right, bottom, left, top, *_, channels = struct.unpack(">4x8IH", start[at + 4 : at + 42])
    components = [start[at + 42 + 3 * n : at + 45 + 3 * n] for n in range(channels)]
    if not channels or len(components[-1]) < 3 or right <= left or bottom <= top:
        raise unreadable(path, "its JPEG 2000 header is damaged")
    bits, is_signed = (components[0][0] & 0x7F) + 1, bool(components[0][0] & 0x80)
    if bits <= 8 and not is_signed and channels <= 4:
        return None
    if len(set(components)) > 1 or bits > 16:
        raise DataError(f"{path}: has channels of several depths or sizes, or of more than 16 bits: convert it to TIFF")
    dtype = f"{'' if is_signed else 'u'}int{8 if bits <= 8 else 16}"
    shape = (bottom - top, right - left, channels)

    def decode(_: int | None) -> Array:
        from imagecodecs import jpeg2k_decode

        with open_regular(path) as file:
            values = jpeg2k_decode(file.read())
        return to_native(path, values.reshape(shape))

    refuse_too_large(path, shape[0], shape[1], channels * (1 if bits <= 8 else 2))
    refuse_expansion(path, shape[0] * shape[1], path.stat().st_size, "JPEG2000")
    return Header(path, shape, dtype, decode)
