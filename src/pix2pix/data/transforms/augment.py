"""The pictures of a pair (C, H, W) in, jittered, mirrored, turned or warped out: one draw goes for both images."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pix2pix.config import Augment

Array = NDArray[Any]
Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True)
class Draw:
    """One outcome of the random changes: where the crop begins, whether it is mirrored, and the rarer ones."""

    top: int
    left: int
    flip: bool
    upside_down: bool = False
    turns: int = 0
    """By 90 degrees, against the clock."""
    affine: tuple[float, float] | None = None
    """(angle in degrees, scale)."""
    light: tuple[float, float] | None = None
    """(factor, summand) of the source's numbers in [-1, 1]."""


def draw(rng: np.random.Generator, load_size: Size, image_size: Size, settings: Augment) -> Draw:
    """A crop of image_size anywhere inside load_size; mirrored half of the time if so set (paper, 6.2)."""
    top = int(rng.integers(0, load_size[0] - image_size[0] + 1))
    left = int(rng.integers(0, load_size[1] - image_size[1] + 1))
    flip = settings.flip and bool(rng.random() < 0.5)

    def happens(probability: float) -> bool:  # what is off draws nothing, so that the others' draws stay
        return probability > 0 and bool(rng.random() < probability)

    upside_down = happens(settings.vertical_flip)
    turns = 0
    if happens(settings.rotate90):
        turns = int(rng.integers(1, 4)) if image_size[0] == image_size[1] else 2
    affine = light = None
    if happens(settings.affine):
        scale = 1 + settings.affine_scale
        affine = (
            float(rng.uniform(-settings.affine_degrees, settings.affine_degrees)),
            float(scale ** rng.uniform(-1, 1)),
        )
    if happens(settings.photometric):
        strength = settings.photometric_strength
        light = (1 + float(rng.uniform(-strength, strength)), 2 * float(rng.uniform(-strength, strength)))
    return Draw(top, left, flip, upside_down, turns, affine, light)


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


def augmented(pixels: Array, drawn: Draw, size: Size, *, whole: bool = False) -> Array:
    """(C, *load_size) -> (C, *size): the drawn crop, turned and warped as drawn; a view where it can be.

    With `whole`, for labels and holes, pixels are moved and never mixed; otherwise a warped crop is float32.
    """
    height, width = size
    crop = pixels[:, drawn.top : drawn.top + height, drawn.left : drawn.left + width]
    if drawn.flip:
        crop = torch.from_numpy(crop).flip(-1).numpy()  # numpy would go byte by byte
    if drawn.upside_down:
        crop = crop[:, ::-1]
    if drawn.turns:
        crop = np.rot90(crop, drawn.turns, axes=(1, 2))
    return crop if drawn.affine is None else _warped(crop, *drawn.affine, whole=whole)


def _warped(pixels: Array, degrees: float, scale: float, *, whole: bool) -> Array:
    """(C, H, W) rotated and enlarged about its middle, continued by reflection; float32 unless `whole`."""
    height, width = pixels.shape[-2:]
    angle = math.radians(degrees)
    sine, cosine = math.sin(angle) / scale, math.cos(angle) / scale
    # In coordinates that run from -1 to 1 along either side.
    matrix = torch.tensor([[[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]]])
    image = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))[None]
    grid = F.affine_grid(matrix, list(image.shape), align_corners=False)
    mode = "nearest" if whole else "bilinear"
    warped = F.grid_sample(image, grid, mode=mode, padding_mode="reflection", align_corners=False)[0].numpy()
    return warped.astype(pixels.dtype) if whole else warped
