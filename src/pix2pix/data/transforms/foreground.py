"""Move random crops to places that hold foreground, such as the rare objects of a mask."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.transforms.augment import Array, Augmentation, Size

MOST_PLACES = 512
"""Foreground pixels remembered of an image, evenly spread over all of them."""

Places = NDArray[np.int32]
"""(n, 2): row and column of pixels."""


def find_foreground(
    values: Array, background: Sequence[str], unknown: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Return which pixels of (C, H, W) are known and have none of the background's values: (H, W).

    `background` holds gray values such as `0`, or colours such as `#0000df`; `unknown` is (C, H, W).
    """
    excluded = np.zeros(values.shape[1:], np.bool_)
    if unknown is not None:
        excluded |= unknown.any(axis=0)
    for name in background:
        levels = list(bytes.fromhex(name[1:])) if name.startswith("#") else [int(name)]
        excluded |= (values == np.array(levels).reshape(-1, 1, 1)).all(axis=0)
    return np.logical_not(excluded, out=excluded)


def choose_places(foreground: NDArray[np.bool_]) -> Places:
    """Return up to MOST_PLACES of the pixels that are true in (H, W)."""
    found = np.flatnonzero(foreground)
    chosen = found[np.linspace(0, len(found) - 1, min(len(found), MOST_PLACES)).astype(np.int64)]
    return np.stack(np.unravel_index(chosen, foreground.shape), axis=1).astype(np.int32)


def hold_foreground(
    drawn: Augmentation, rng: np.random.Generator, places: Places, load_size: Size, image_size: Size
) -> Augmentation:
    """Draw another crop, which holds a random one of these pixels; the same one if there are none."""
    if not len(places):
        return drawn
    pixel = places[rng.integers(len(places))]
    top, left = (
        int(rng.integers(max(0, at - side + 1), min(whole - side, at) + 1))
        for at, whole, side in zip(pixel.tolist(), load_size, image_size, strict=True)
    )
    return replace(drawn, top=top, left=left)
