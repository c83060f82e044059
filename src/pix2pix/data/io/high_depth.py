"""Read and write formats that Pillow would reduce to 8 bits: .npy and 16-bit PNG (TIFF: `tiff.py`)."""

import io
import math
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pix2pix.data.io.arrays import TYPES, Array, ImageFacts, unreadable, upright, without_alpha
from pix2pix.data.io.eight_bit import read_png_orientation
from pix2pix.data.io.integrity import PNG_START, check_png
from pix2pix.data.io.limits import Reserve, refuse_expansion, refuse_too_large
from pix2pix.data.io.surroundings import NOTHING, Surroundings, add_to_png
from pix2pix.data.io.view import UNNAMED_AXES, Planes, View, count_planes, refuse_planes
from pix2pix.errors import DataError
from pix2pix.system.reading import open_regular
from pix2pix.text import format_count

NPY_START = b"\x93NUMPY"
COPIES = 3
"""Copies of the values in memory at the peak: decoded, in the byte order of this machine, upright."""
NPY_ADVICE = ", as by numpy.save(path, values.astype('float32'))"
LARGE_SIDE = 16
"""Where the two last axes of an array have this many positions, both may be height and width."""
_PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # colour type -> samples, of those with 16 bits


@dataclass(frozen=True)
class Header:
    """Facts of a file header, and a function that decodes the values."""

    path: Path
    shape: tuple[int, int, int]
    """(H, W, C) as stored, before EXIF orientation, with the alpha channel if there is one; of one plane of a stack."""
    dtype: str
    decode: Callable[[int | None], Array]
    """Return (H, W, C) of a plane as stored; None for a single picture, or for all planes as channels. May raise any
    exception for a damaged file."""
    planes: Planes = ()
    names: tuple[str, ...] = ()
    """Names of the channels, where the file has them."""
    plane: int | None = None
    """The plane to decode."""
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

    def viewed(self, view: View) -> "Header":
        """Return the header of one plane, or of all planes as channels. Raises DataError for a stack with neither."""
        count, (height, width, channels) = count_planes(self.planes), self.shape
        if not self.planes:
            if view.plane:
                raise DataError(f"{self.path}: has one plane, expected {view.plane + 1} or more: run the command again")
            return self
        unnamed = all(axis in UNNAMED_AXES for axis, _ in self.planes)
        if view.stacked or (unnamed and view.plane is None):
            return replace(self, shape=(height, width, channels * count), planes=(), names=(), alpha=False)
        if view.plane is None or view.plane >= count:
            raise refuse_planes(self.path, self.planes)
        return replace(self, planes=(), plane=view.plane)

    def read(self, *, alpha: bool, reserve: Reserve) -> Array:
        """Decode to (H, W, C), upright; with `alpha` an alpha channel is kept, otherwise it must be opaque.

        Raises DataError.
        """
        size = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        try:
            reserve(COPIES * size + self.segment + self.path.stat().st_size, size)
            values = self.decode(self.plane)
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
            f"{NPY_ADVICE if path.suffix.lower() == '.npy' else ''}"
        )
    return name


def to_native(path: Path, values: Array) -> Array:
    """Convert values to their `checked_type`, in the byte order of this machine; booleans become 0 and 255."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    return np.ascontiguousarray(values, dtype=checked_type(path, values.dtype))


# ---- .npy --------------------------------------------------------------------------------------------------------


def read_npy_header(path: Path, axes: str = "") -> Header:
    """Read the header of an array file, (H, W), (H, W, C), or with axes in the order given, such as CYX.

    Raises DataError, also for bytes after the values.
    """
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)  # maps the values without reading them
        extra = path.stat().st_size - stored.offset - stored.nbytes
    except (MemoryError, RecursionError):  # of Python's parser
        raise unreadable(path, "its header is damaged") from None
    except Exception as error:  # a damaged header raises nearly anything
        raise unreadable(path, error) from None
    order = _order_of_axes(path, stored.shape, axes)
    if extra:
        raise unreadable(path, f"it has {extra:,} bytes more than an array of shape {stored.shape} takes")
    sizes = dict(zip(order, stored.shape, strict=True))
    planes = tuple((axis, size) for axis, size in sizes.items() if axis not in "YXC")
    arranged = "".join([*(axis for axis, _ in planes), "Y", "X", *("C" if "C" in sizes else "")])

    def decode(plane: int | None) -> Array:
        with open_regular(path) as file:  # not mapped: a file that becomes shorter would end the process
            values = np.load(file, allow_pickle=False).transpose([order.index(axis) for axis in arranged])
        shape = (count_planes(planes), sizes["Y"], sizes["X"], sizes.get("C", 1))
        values = values.reshape(shape)
        if plane is None:
            values = np.moveaxis(values, 0, 2).reshape(*shape[1:3], -1)
        return to_native(path, values if plane is None else values[plane])

    shape = sizes["Y"], sizes["X"], sizes.get("C", 1)
    return Header(path, shape, checked_type(path, stored.dtype), decode, planes=planes)


def _order_of_axes(path: Path, shape: tuple[int, ...], given: str) -> str:
    """Return the axes of an array: those that are given, if there are as many, or the usual ones. Raises DataError."""
    if len(given) == len(shape) and 0 not in shape:
        return given
    if len(shape) not in (2, 3) or 0 in shape:
        more = "; name the axes of others, such as --npy-axes ZYX" if len(shape) == 4 else ""
        raise DataError(
            f"{path}: is an array of shape {shape}, expected (height, width) or (height, width, channels){more}"
        )
    if _is_unclear(shape):
        raise DataError(
            f"{path}: is an array of shape {shape}, which may be {format_count(shape[0], 'channel')} or "
            f"{format_count(shape[0], 'plane')} of {shape[1]}x{shape[2]}, or {format_count(shape[0], 'row')} of "
            f"{shape[1]} pixels with {format_count(shape[2], 'channel')}: say which, "
            "--npy-axes CYX, --npy-axes ZYX or --npy-axes YXC"
        )
    return "YXC"[: len(shape)]


def _is_unclear(shape: tuple[int, ...]) -> bool:
    """Return whether the first axis of an array may be channels or planes beside height and width."""
    return len(shape) == 3 and shape[0] < min(shape[1:]) and min(shape[1:]) >= LARGE_SIDE


def fitting_axes(path: Path, channels: int) -> str:
    """Return the one order of axes in which an array with an unclear one has so many channels; empty for others."""
    if path.suffix.lower() != ".npy":
        return ""
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except Exception:  # a damaged header raises nearly anything; it is reported when the file is read
        return ""
    return {shape[2]: "YXC", 1: "ZYX", shape[0]: "CYX"}.get(channels, "") if _is_unclear(shape) else ""


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

    def decode(_: int | None) -> Array:
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

    # A copy, since the encoder refuses the strides that numpy leaves on sides of one pixel.
    encoded = bytes(png_encode((values[..., 0] if values.shape[2] == 1 else values).copy()))
    return add_to_png(encoded, surroundings)


def _png_orientation(path: Path) -> int:
    with suppress(Exception), open_regular(path) as file:
        return read_png_orientation(file)
    # damaged metadata is ignored
    return 1
