"""The pictures of a pair (C, H, W) in, jittered and perhaps mirrored out: one draw goes for both images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True)
class Draw:
    """One outcome of the random jitter: where the crop begins, and whether it is mirrored."""

    top: int
    left: int
    flip: bool


def draw(rng: np.random.Generator, load_size: Size, image_size: Size, flip: bool) -> Draw:
    """A crop of image_size anywhere inside load_size; mirrored half of the time if `flip` (paper, 6.2)."""
    top = int(rng.integers(0, load_size[0] - image_size[0] + 1))
    left = int(rng.integers(0, load_size[1] - image_size[1] + 1))
    return Draw(top, left, flip and bool(rng.random() < 0.5))


def resized(pixels: Tensor, size: Size) -> Tensor:
    """(C, H, W) -> (C, *size), bilinear, antialiased; the same tensor if it fits already.

    uint8 stays uint8; other integers become whole numbers in float32.
    """
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    if pixels.dtype not in (torch.uint8, torch.float32):
        return resized(pixels.to(torch.float32), size).round()
    # torch has vector code for up to four channels, with the same result: eight times faster than six at once
    parts = [
        F.interpolate(part[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
        for part in torch.split(pixels, 4)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def nearest(pixels: Array, size: Size) -> Array:
    """(C, H, W) -> (C, *size) of the nearest pixels, of which none are mixed."""
    if pixels.shape[-2:] == size:
        return pixels
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
        for old, new in zip(pixels.shape[-2:], size, strict=True)
    )
    return pixels[:, rows][:, :, columns]


def augmented(pixels: Array, drawn: Draw, size: Size) -> Array:
    """(C, *load_size) -> (C, *size): the drawn crop, mirrored if drawn so; a view where it can be."""
    height, width = size
    crop = pixels[:, drawn.top : drawn.top + height, drawn.left : drawn.left + width]
    if not drawn.flip:
        return crop
    return torch.from_numpy(np.ascontiguousarray(crop)).flip(-1).numpy()  # numpy would go byte by byte
