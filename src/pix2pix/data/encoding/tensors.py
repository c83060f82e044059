"""8-bit image arrays (H, W, C) to tensors (C, H, W) in [-1, 1], and back.

torch is imported when a tensor is made, since files and arrays are read without it too.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.io.arrays import Array, Pixels

if TYPE_CHECKING:
    from torch import Tensor


def from_numpy(array: NDArray[Any]) -> "Tensor":
    """Return a tensor that shares the memory of an array."""
    import torch

    return torch.from_numpy(array)


def channels_first(values: Array) -> "Tensor":
    """Return (H, W, C) as a tensor (C, H, W) of the same type; it shares the array's memory where that is writable."""
    return from_numpy(values if values.flags.writeable else values.copy()).permute(2, 0, 1)


def scale(pixels: "Tensor") -> "Tensor":
    """Scale uint8 of any shape to float32 in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1)


def scale_into(image: NDArray[np.float32], pixels: Pixels) -> None:
    """Write the same bits as `scale(pixels)` into the array `image`; both (C, H, W), `pixels` may be any view."""
    image[...] = pixels  # a sixth faster than a division that also converts
    np.divide(image, np.float32(127.5), out=image)
    np.subtract(image, np.float32(1), out=image)


def to_tensor(pixels: Pixels) -> "Tensor":
    """Convert (H, W, C) uint8 to (C, H, W) float32 in [-1, 1]."""
    image = np.empty((pixels.shape[2], *pixels.shape[:2]), np.float32)
    scale_into(image, pixels.transpose(2, 0, 1))
    return from_numpy(image)


def to_array(image: "Tensor") -> Pixels:
    """Convert (C, H, W) in [-1, 1] to (H, W, C) uint8, rounded. Raises ValueError for values outside [-1, 1]."""
    return to_arrays(image[None])[0]


def to_arrays(batch: "Tensor") -> list[Pixels]:
    """Convert each image of a batch (N, C, H, W), as `to_array`."""
    levels = batch.detach().cpu().float().add(1).mul_(127.5).round_()
    lowest, highest = levels.aminmax()
    if not (lowest >= 0 and highest <= 255):  # NaN fails too
        raise ValueError(f"expected an image in [-1, 1], got values in [{batch.min()}, {batch.max()}]")
    return list(levels.byte().permute(0, 2, 3, 1).contiguous().numpy())


def to_viewable(image: "Tensor") -> Pixels:
    """Convert (C, H, W) to (H, W, 1 or 3) uint8 for viewing: clipped; the first three channels, or the first one."""
    displayed = image[: 3 if len(image) >= 3 else 1].detach().float().nan_to_num(-1).clamp(-1, 1)
    return to_array(displayed)
