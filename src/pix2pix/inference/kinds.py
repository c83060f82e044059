"""The kinds of images that Python programs hand over: PIL images, arrays and tensors, as values (H, W, C) and back."""

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pix2pix.data.io.arrays import Array
from pix2pix.data.io.eight_bit import from_pil

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import TypeIs

HIGH_DEPTH_MODES = {"I;16": "uint16", "I;16L": "uint16", "I;16B": "uint16", "F": "float32"}
"""Modes of PIL images that hold more than 8 bits, and the type of their values."""


def is_tensor(image: Any) -> "TypeIs[Tensor]":
    """Return whether an object is a tensor of torch. Where torch is not imported, there is none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


def pil_values(image: Image.Image, *, stored: bool = False) -> tuple[Array, bool]:
    """Return (H, W, C) of a PIL image, upright unless `stored`, and whether the last channel is opacity.

    Raises DataError for a colour mode other than gray and RGB.
    """
    if image.mode in HIGH_DEPTH_MODES:
        return in_native_order(np.asarray(image)[..., None]).astype(HIGH_DEPTH_MODES[image.mode]), False
    values = from_pil(image, alpha=True, stored=stored)
    return values, values.shape[2] in (2, 4)


def fits_pil(dtype: str, channels: int) -> bool:
    """Return whether a PIL image can hold such values."""
    return channels in (1, 2, 3, 4) if dtype == "uint8" else dtype in ("uint16", "float32") and channels == 1


def to_pil_image(values: Array) -> Image.Image:
    """Convert (H, W, C) to a PIL image of mode L, LA, RGB, RGBA, I;16 or F."""
    return Image.fromarray(np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values))


def in_native_order(array: NDArray[Any]) -> NDArray[Any]:
    """Copy an array in the byte order of this machine, rows first: torch takes no other, and no read-only array.

    Raises TypeError for an array with masked elements.
    """
    if np.ma.is_masked(array):
        raise TypeError("got a masked array, whose mask would be lost: give array.filled(value)")
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def to_values(image: Any, *, stored: bool = False) -> tuple[Array, bool]:
    """Return (H, W, C) of a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W); and whether it has opacity.

    Raises TypeError for anything else.
    """
    if isinstance(image, Image.Image):
        return pil_values(image, stored=stored)
    if is_tensor(image) and image.ndim == 3:
        return image.detach().permute(1, 2, 0).contiguous().cpu().numpy(), False
    if isinstance(image, np.ndarray) and image.ndim in (2, 3):
        return in_native_order(image[..., None] if image.ndim == 2 else image), False
    shape = f" of shape {tuple(image.shape)}" if isinstance(image, np.ndarray) or is_tensor(image) else ""
    raise TypeError(
        f"expected a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W) of each source, "
        f"got {type(image).__name__}{shape}"
    )
