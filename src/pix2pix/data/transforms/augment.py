"""Augmentations of a pair (C, H, W): jitter, flips, 90-degree rotation, affine, brightness and contrast.

All images of a pair get the same random draw.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pix2pix.config import Augment
from pix2pix.data.encoding.tensors import channels_first
from pix2pix.data.transforms.nearest import resize_nearest

Array = NDArray[Any]
Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True)
class Augmentation:
    """One random draw of all augmentations."""

    top: int
    """First row of the crop."""
    left: int
    """First column of the crop."""
    flip: bool = False
    """Whether left and right are exchanged."""
    vertical_flip: bool = False
    """Whether top and bottom are exchanged."""
    quarter_turns: int = 0
    """Rotations by 90 degrees, counterclockwise."""
    affine: tuple[float, float] | None = None
    """(angle in degrees, scale) about the centre."""
    photometric: tuple[float, float] | None = None
    """(factor, summand) for the source in [-1, 1]: contrast and brightness."""


def draw_augmentation(rng: np.random.Generator, load_size: Size, image_size: Size, settings: Augment) -> Augmentation:
    """Draw the crop of image_size in load_size, the flip (paper, 6.2), and every augmentation that is turned on."""
    top = int(rng.integers(0, load_size[0] - image_size[0] + 1))
    left = int(rng.integers(0, load_size[1] - image_size[1] + 1))
    flip = settings.flip and bool(rng.random() < 0.5)

    def happens(probability: float) -> bool:  # draws no number if turned off, so other draws stay the same
        return probability > 0 and bool(rng.random() < probability)

    vertical_flip = happens(settings.vertical_flip)
    quarter_turns = 0
    if happens(settings.rotate90):
        quarter_turns = int(rng.integers(1, 4)) if image_size[0] == image_size[1] else 2
    affine = photometric = None
    if happens(settings.affine):
        scale = 1 + settings.affine_scale
        affine = (
            float(rng.uniform(-settings.affine_degrees, settings.affine_degrees)),
            float(scale ** rng.uniform(-1, 1)),
        )
    if happens(settings.photometric):
        strength = settings.photometric_strength
        photometric = (1 + float(rng.uniform(-strength, strength)), 2 * float(rng.uniform(-strength, strength)))
    return Augmentation(top, left, flip, vertical_flip, quarter_turns, affine, photometric)


def apply_augmentation(pixels: Array, drawn: Augmentation, size: Size, *, nearest: bool = False) -> Array:
    """Crop (C, *load_size) to (C, *size) and transform it as drawn; the result is a view where possible.

    `nearest`, for labels and unknown values, moves pixels without mixing them. Without it an affine crop is float32.
    """
    height, width = size
    crop = pixels[:, drawn.top : drawn.top + height, drawn.left : drawn.left + width]
    if drawn.flip:
        crop = torch.from_numpy(crop).flip(-1).numpy()  # numpy would copy byte by byte
    if drawn.vertical_flip:
        crop = crop[:, ::-1]
    if drawn.quarter_turns:
        crop = np.rot90(crop, drawn.quarter_turns, axes=(1, 2))
    return crop if drawn.affine is None else _apply_affine(crop, *drawn.affine, nearest=nearest)


def _apply_affine(pixels: Array, degrees: float, scale: float, *, nearest: bool) -> Array:
    """Rotate and scale (C, H, W) about its centre, with reflection at the borders; float32 unless `nearest`."""
    height, width = pixels.shape[-2:]
    angle = math.radians(degrees)
    sine, cosine = math.sin(angle) / scale, math.cos(angle) / scale
    # In coordinates from -1 to 1 along each axis.
    matrix = torch.tensor([[[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]]])
    image = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))[None]
    grid = F.affine_grid(matrix, list(image.shape), align_corners=False)
    mode = "nearest" if nearest else "bilinear"
    result = F.grid_sample(image, grid, mode=mode, padding_mode="reflection", align_corners=False)[0].numpy()
    return result.astype(pixels.dtype) if nearest else result


# ---- resizing ----------------------------------------------------------------------------------------------------


def interpolate(x: Tensor, size: Size) -> Tensor:
    """Resize (N, C, H, W) to (N, C, *size), bilinear, antialiased."""
    if size[1] == 1 < size[0]:  # torch takes wrong rows for a result that is one pixel wide, but not for one row
        return interpolate(x.transpose(2, 3), (1, size[0])).transpose(2, 3)
    return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)


def resize(pixels: Tensor, size: Size) -> Tensor:
    """Resize (C, H, W) to (C, *size), bilinear, antialiased; return the same tensor if it has that size.

    uint8 stays uint8; other integer types become rounded float32.
    """
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    if pixels.dtype not in (torch.uint8, torch.float32):
        return resize(pixels.to(torch.float32), size).round()
    # torch has fast code for up to four channels with the same result: eight times as fast as six channels at once
    groups = [interpolate(group[None], size)[0] for group in torch.split(pixels, 4)]
    return groups[0] if len(groups) == 1 else torch.cat(groups)


def resize_values(values: Array, size: Size, *, nearest: bool) -> Array:
    """Resize (H, W, C) to (*size, C) of the same type, rounded: bilinear, antialiased, or by nearest neighbour."""
    if values.shape[:2] == size:
        return values
    if nearest:
        return resize_nearest(values.transpose(2, 0, 1), size).transpose(1, 2, 0)
    floats = values.dtype.kind == "f"
    pixels = channels_first(values).to(torch.float32) if floats else channels_first(values)
    array: Array = resize(pixels, size).permute(1, 2, 0).numpy()
    return array.astype(values.dtype)
