"""A stacked pair (C, H, W) in, jittered and perhaps mirrored out: one draw goes for both images."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional

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
    """(C, H, W) uint8 -> (C, *size), bilinear, antialiased; the same tensor if it fits already."""
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    fitted: Tensor = functional.resize(pixels, list(size), antialias=True)
    return fitted


def augmented(pixels: Tensor, drawn: Draw, image_size: Size) -> Tensor:
    """(C, *load_size) -> (C, *image_size): the drawn crop, mirrored if drawn so."""
    height, width = image_size
    crop = pixels[:, drawn.top : drawn.top + height, drawn.left : drawn.left + width]
    return crop.flip(-1) if drawn.flip else crop
