"""Image arrays (H, W, C): types, size limit, halves, orientation, channels, and the errors of all formats."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pix2pix.data.io.limits import MemoryShortError
from pix2pix.data.io.view import Half
from pix2pix.errors import DataError
from pix2pix.text import format_count

Pixels = NDArray[np.uint8]
Array = NDArray[Any]
"""Values of any type in TYPES."""

TYPES = ("uint8", "int8", "uint16", "int16", "float32")
"""The accepted value types. Each is exact in float32, in which the networks compute."""

STRIP_PIXELS = 2**24
"""A larger PIL image is copied in strips of this many pixels; one copy of the whole would take twice the memory."""


@dataclass(frozen=True)
class ImageFacts:
    """Facts of an image header: the size after EXIF orientation, the channels without alpha, the value type."""

    height: int
    width: int
    channels: int
    dtype: str = "uint8"

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width


# ---- errors of all formats ---------------------------------------------------------------------------------------


def unreadable(path: Path, reason: object) -> DataError:
    """Return the error for a file that cannot be decoded; of an exception, the first line is the reason."""
    if isinstance(reason, MemoryError):
        return MemoryShortError(
            f"{path}: decoding it takes more memory than is free: close other programs, or cut it into parts"
        )
    if isinstance(reason, Exception):
        reason = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    line = next(iter(str(reason).splitlines()), "")[:300]  # decoders quote what they read
    return DataError(f"{path}: cannot be read as an image ({line}): remove or replace it")


def without_alpha(values: Array, name: object) -> Array:
    """Drop the alpha channel, the last one. Raises DataError unless all pixels are opaque."""
    if values[..., -1].min() < np.iinfo(values.dtype).max:
        raise DataError(
            f"{name}: has transparency; flatten it onto a background first, as `pix2pix data align` does, or take "
            "alpha as a channel (--source-channels 4 or --target-channels 4, or 2 for gray); of label maps "
            "(--source-kind labels or --target-kind labels) it is ignored"
        )
    return np.ascontiguousarray(values[..., :-1])


# ---- shape -------------------------------------------------------------------------------------------------------


def take_half(values: Array, half: Half, path: Path) -> Array:
    """Return the left or right half of (H, 2W, C). Raises DataError as `half_width`."""
    width = half_width(values.shape[1], path)
    return values[:, :width] if half == "left" else values[:, width:]


def half_width(width: int, path: Path) -> int:
    """Return half the width of a side-by-side image. Raises DataError, naming `path`, for an odd width."""
    if width % 2:
        raise DataError(f"{path}: is {width} pixels wide; two images side by side need an even width")
    return width // 2


def upright(values: Array, orientation: int) -> Array:
    """Apply an EXIF orientation, 1 to 8; any other number counts as 1."""
    if orientation not in range(2, 9):
        return values
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(values[::down, ::across])


def side_by_side(images: list[Pixels]) -> Pixels:
    """Join images (H, W, 1 or 3) of one height; a single one is returned as it is."""
    if len(images) == 1:
        return images[0]
    return np.concatenate([np.broadcast_to(image, (*image.shape[:2], 3)) for image in images], axis=1)


# ---- channels ----------------------------------------------------------------------------------------------------


def advise_channels(has: int, wanted: int, prefix: str) -> str:
    """Say how files of other channels become usable; `prefix` is that of the settings of their side."""
    flag = f"--{prefix.replace('_', '-')}"
    if {has, wanted} <= {1, 3}:
        return f"set {flag}channels 1 or 3 to convert"
    chosen = f", or choose them with {flag}from" if prefix in ("source_", "target_") else ""
    return f"save all with the same channels{chosen}; planes of stacks can be pictures, --planes pictures"


def with_channels(values: Array, channels: int, name: str = "the image") -> Array:
    """Convert (H, W, C) to (H, W, channels): repeat gray, or take the luminance of RGB (ITU-R 601); else DataError."""
    has = values.shape[2]
    if has == channels:
        return values
    if has == 1 and channels == 3:
        return np.repeat(values, 3, axis=2)
    if has != 3 or channels != 1:
        raise DataError(
            f"{name}: has {format_count(has, 'channel')}, expected {channels}; only gray and RGB are converted"
        )
    if values.dtype == np.uint8:
        return pil_to_array(to_pil(values).convert("L"))
    luminance = values @ np.array([[0.299], [0.587], [0.114]])
    return (luminance if values.dtype.kind == "f" else np.rint(luminance)).astype(values.dtype)


def to_viewable(values: Array) -> Pixels:
    """Convert (H, W, C) to (H, W, 1 or 3) uint8 for viewing; other types than uint8 are scaled to it."""
    displayed = values[..., : 3 if values.shape[2] >= 3 else 1]
    if values.dtype == np.uint8:
        return np.ascontiguousarray(displayed)
    numbers = np.nan_to_num(displayed.astype(np.float64))
    low, high = numbers.min(), numbers.max()
    return np.rint((numbers - low) * (255 / max(high - low, 1e-30))).astype(np.uint8)


# ---- PIL ---------------------------------------------------------------------------------------------------------


def to_pil(pixels: Pixels) -> Image.Image:
    """Convert (H, W, 1 or 3) uint8 to a PIL image of mode L or RGB."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def pil_to_array(image: Image.Image) -> Pixels:
    """Convert a PIL image of any 8-bit mode to (H, W, C)."""
    if image.width * image.height <= STRIP_PIXELS:
        pixels = np.array(image, dtype=np.uint8)
        return pixels if pixels.ndim == 3 else pixels[..., None]
    pixels = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(image.height, top + rows)))
        pixels[top : top + rows] = np.asarray(strip).reshape(strip.height, strip.width, -1)
    return pixels
