"""Read and write formats that Pillow would reduce to 8 bits: .npy and 16-bit PNG (TIFF: `tiff.py`)."""

import io
import math
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pix2pix.data.io.arrays import TYPES, Array, ImageFacts, unreadable, upright, without_alpha
from pix2pix.data.io.eight_bit import read_png_orientation
from pix2pix.data.io.integrity import PNG_START, check_png
from pix2pix.data.io.limits import Reserve, refuse_expansion, refuse_too_large
from pix2pix.data.io.surroundings import NOTHING, Surroundings, add_to_png
from pix2pix.errors import DataError
from pix2pix.system.reading import open_regular

NPY_START = b"\x93NUMPY"
COPIES = 3
"""Copies of the values in memory at the peak: decoded, in the byte order of this machine, upright."""
_PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # colour type -> samples, of those with 16 bits


@dataclass(frozen=True)
class Header:
    """Facts of a file header, and a function that decodes the values."""

    path: Path
    shape: tuple[int, int, int]
    """(H, W, C) as stored, before EXIF orientation, with the alpha channel if there is one."""
    dtype: str
    decode: Callable[[], Array]
    """Return (H, W, C) as stored. May raise any exception for a damaged file."""
    alpha: bool = False
    """Whether the last channel is opacity."""
    orientation: int = 1
    """EXIF orientation, 1 to 8."""
    segment: int = 0
    """Bytes of the largest part that is decoded at once, if that may be more than the image."""

    @property
    def facts(self) -> ImageFacts:
        height, width, channels = self.shape
        if self.orientation in (5, 6, 7, 8):
            height, width = width, height
        return ImageFacts(height, width, channels - self.alpha, self.dtype)

    def read(self, *, alpha: bool, reserve: Reserve) -> Array:
        """Decode to (H, W, C), upright; with `alpha` an alpha channel is kept, otherwise it must be opaque.

        Raises DataError.
        """
        size = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        try:
            reserve(COPIES * size + self.segment + self.path.stat().st_size, size)
            values = self.decode()
        except DataError:
            raise
        except Exception as error:  # decoders of damaged files raise nearly anything
            raise unreadable(self.path, error) from None
        has_alpha = self.alpha or values.shape[2] == self.shape[2] + 1  # of a PNG with one transparent colour
        values = upright(values, self.orientation)
        return without_alpha(values, self.path) if has_alpha and not alpha else values


def checked_type(path: Path, dtype: np.dtype[np.generic]) -> str:
    """Name the type in TYPES that holds values of `dtype` exactly. Raises DataError if there is none."""
    name = {"float16": "float32", "bool": "uint8"}.get(dtype.name, dtype.name)
    if name not in TYPES:
        raise DataError(
            f"{path}: holds {dtype.name} values, expected 8- or 16-bit integers or float32: convert it to one of these"
        )
    return name


def to_native(path: Path, values: Array) -> Array:
    """Convert values to their `checked_type`, in the byte order of this machine; booleans become 0 and 255."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    return np.ascontiguousarray(values, dtype=checked_type(path, values.dtype))


# ---- .npy --------------------------------------------------------------------------------------------------------


def read_npy_header(path: Path) -> Header:
    """Read the header of an array file, (H, W) or (H, W, C). Raises DataError, also for bytes after the values."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)  # maps the values without reading them
        extra = path.stat().st_size - stored.offset - stored.nbytes
    except (MemoryError, RecursionError):  # of Python's parser
        raise unreadable(path, "its header is damaged") from None
    except Exception as error:  # a damaged header raises nearly anything
        raise unreadable(path, error) from None
    if stored.ndim not in (2, 3) or 0 in stored.shape:
        raise DataError(
            f"{path}: is an array of shape {stored.shape}, expected (height, width) or (height, width, channels)"
        )
    if extra:
        raise unreadable(path, f"it has {extra:,} bytes more than an array of shape {stored.shape} takes")
    shape = (*stored.shape[:2], stored.shape[2] if stored.ndim == 3 else 1)

    def decode() -> Array:
        with open_regular(path) as file:  # not mapped: a file that becomes shorter would end the process
            return to_native(path, np.load(file, allow_pickle=False).reshape(shape))

    return Header(path, shape, checked_type(path, stored.dtype), decode)


def encode_npy(values: Array, surroundings: Surroundings = NOTHING) -> bytes:
    """Encode (H, W, C) of any type as a .npy file; planes become axes before height and width."""
    file = io.BytesIO()
    if surroundings.planes:
        values = values[..., 0] if values.shape[3] == 1 else values
        values = values.reshape(*(length for _, length in surroundings.planes), *values.shape[1:])
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


# ---- 16-bit PNG --------------------------------------------------------------------------------------------------


def is_16bit_png(start: bytes) -> bool:
    """Return whether a file that starts with these bytes (26 or more) is a PNG with 16 bits per sample."""
    return start.startswith(PNG_START) and start[12:16] == b"IHDR" and len(start) > 25 and start[24] == 16


def read_png_header(path: Path, start: bytes) -> Header:
    """Read the header of a 16-bit PNG from its first bytes. Raises DataError."""
    width, height, _, colour = struct.unpack(">IIBB", start[16:26])
    if colour not in _PNG_CHANNELS:
        raise unreadable(path, "its PNG header is damaged")

    def decode() -> Array:
        from imagecodecs import png_decode

        with open_regular(path) as file:
            check_png(path, file)
            values = png_decode(file.read())
        return to_native(path, values if values.ndim == 3 else values[..., None])

    shape = (height, width, _PNG_CHANNELS[colour])
    refuse_too_large(path, height, width, 2 * shape[2])
    refuse_expansion(path, height * width, path.stat().st_size, "PNG")
    return Header(path, shape, "uint16", decode, alpha=colour in (4, 6), orientation=_png_orientation(path))


def encode_png(values: Array, surroundings: Surroundings = NOTHING) -> bytes:
    """Encode (H, W, 1 to 4) of 8 or 16 bits as a PNG file."""
    from imagecodecs import png_encode

    encoded = bytes(png_encode(np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values)))
    return add_to_png(encoded, surroundings)


def _png_orientation(path: Path) -> int:
    with suppress(Exception), open_regular(path) as file:
        return read_png_orientation(file)
    # damaged metadata is ignored
    return 1
