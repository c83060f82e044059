"""Padding by reflection at the right and the bottom: 0 1 2 3 2 1 0 1 2 ... for a side of 4 pixels."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) to sides that are multiples of a number, reflecting repeatedly if needed."""
    for dimension in (-2, -1):
        size = x.shape[dimension]
        padded = -(-size // multiple) * multiple
        if padded != size:
            indices = torch.from_numpy(reflected_indices(size, padded)).to(x.device)
            x = x.index_select(dimension, indices)
    return x


def pad_to_size(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Pad (C, H, W) of any type to (C, *size), which is not smaller; return a view if the size is the same."""
    for axis, padded in zip((-2, -1), size, strict=True):
        if pixels.shape[axis] != padded:
            pixels = pixels.take(reflected_indices(pixels.shape[axis], padded), axis=axis)
    return pixels


def reflected_indices(size: int, padded: int) -> NDArray[np.int64]:
    """Return the index of the pixel, of `size`, at each of `padded` positions."""
    indices = np.arange(padded) % max(1, 2 * size - 2)
    return np.where(indices < size, indices, 2 * size - 2 - indices)
