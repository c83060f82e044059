"""Recognise label maps: images (H, W, C) of few colours, in flat areas."""

import math
from collections.abc import Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.io.arrays import Array

MAX_COLOURS, MAX_GRAYS = 256, 32
"""An image with more colours, or more shades of gray, is not taken for a label map."""
MIDDLE = 2048
"""Of a larger image, the areas in the middle are examined, this many pixels a side."""
LEAST_INSIDE = 0.6
"""Least share of the pixels of a label map whose eight neighbours have their colour; dots and noise have fewer."""
LEAST_INSIDE_COLOUR = 0.2
"""The same for each colour that is not rare; drawn lines have fewer."""
RARE = 0.01
"""Share of the pixels below which a colour does not count."""
MOST_GRADUAL = 0.8
"""Largest share of the steps between neighbours that go from one shade of gray to the next, of FEWEST_SHADES or more; a
photo with few shades has nothing but these."""
FEWEST_SHADES = 5
BLOCK_PIXELS = 2**22
"""Colours are counted in this many pixels at a time, since that takes four times their memory or more."""


def list_colours(values: Array, block_pixels: int = BLOCK_PIXELS, *, declared: bool = False) -> tuple[str, ...] | None:
    """List the colours of (H, W, 1 or 3) uint8 as hexadecimal digits; None if it does not look like a label map.

    Of one that is `declared` as such, the areas are not examined.
    """
    channels = values.shape[2]
    if values.dtype != np.uint8 or channels not in (1, 3):
        return None
    step = max(1, math.isqrt(values.shape[0] * values.shape[1] // 4096))
    rows = max(1, block_pixels // values.shape[1])
    blocks = (values[top : top + rows] for top in range(0, len(values), rows))
    found: set[int] = set()
    for block in chain([values[::step, ::step]], blocks):  # a few pixels first: they suffice to recognise a photo
        found.update(np.unique(_colour_codes(block)).tolist())
        if len(found) > (MAX_GRAYS if _are_grays(found, channels) else MAX_COLOURS):
            return None
    top, left = (max(0, side - MIDDLE) // 2 for side in values.shape[:2])
    middle = values[top : top + MIDDLE, left : left + MIDDLE]
    if not declared and not has_flat_areas(middle, grays=_are_grays(found, channels)):
        return None
    return tuple(f"{code:0{2 * channels}x}" for code in sorted(found))


def has_flat_areas(values: Array, *, grays: bool) -> bool:
    """Return whether (H, W, 1 or 3) uint8 consists of areas of one colour: not of lines, noise or gradual shades.

    `grays` tells that its few colours are shades of gray.
    """
    levels, index = np.unique(_colour_codes(values), return_inverse=True)
    index = index.reshape(values.shape[:2])
    if min(index.shape) < 3 or len(levels) < 2:
        return min(index.shape) >= 3
    centre = index[1:-1, 1:-1]
    inside = np.ones(centre.shape, np.bool_)
    for down, right in ((down, right) for down in range(3) for right in range(3)):
        inside &= index[down : down + centre.shape[0], right : right + centre.shape[1]] == centre
    counts, flat = (np.bincount(part.ravel(), minlength=len(levels)) for part in (centre, centre[inside]))
    common = counts >= RARE * centre.size
    steps = np.concatenate([np.abs(np.diff(index, axis=axis)).ravel() for axis in (0, 1)])
    is_gradual = grays and len(levels) >= FEWEST_SHADES and (steps == 1).sum() > MOST_GRADUAL * (steps > 0).sum()
    return bool(
        not is_gradual
        and inside.mean() >= LEAST_INSIDE
        and (flat[common] >= LEAST_INSIDE_COLOUR * counts[common]).all()
    )


def _colour_codes(values: Array) -> NDArray[np.uint32]:
    """Return one number for the colour of each pixel: (H, W, 1 or 3) uint8 -> (H, W)."""
    weights = np.array([1] if values.shape[2] == 1 else [1 << 16, 1 << 8, 1], np.uint32)
    return np.asarray(values.astype(np.uint32) @ weights)


def _are_grays(codes: Iterable[int], channels: int) -> bool:
    """Return whether all colours are shades of gray."""
    return channels == 1 or all(code % 0x10101 == 0 for code in codes)
