"""Pictures continued by reflection at the right and the bottom: 0 1 2 3 2 1 0 1 2 ... for a side of 4 pixels."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def reflected(x: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) to sides that are multiples of a number, by reflection as often as it takes."""
    for dimension in (-2, -1):
        size = x.shape[dimension]
        padded = -(-size // multiple) * multiple
        if padded != size:
            places = torch.from_numpy(_places(size, padded)).to(x.device)
            x = x.index_select(dimension, places)
    return x


def extended(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """(C, H, W) of any type, no side above `size` -> (C, *size), by the same rule; a view if nothing is missing."""
    for axis, padded in zip((-2, -1), size, strict=True):
        if pixels.shape[axis] != padded:
            pixels = pixels.take(_places(pixels.shape[axis], padded), axis=axis)
    return pixels


def _places(size: int, padded: int) -> NDArray[np.int64]:
    """Which of `size` pixels stands at each of the `padded` places."""
    places = np.arange(padded) % max(1, 2 * size - 2)
    return np.where(places < size, places, 2 * size - 2 - places)
