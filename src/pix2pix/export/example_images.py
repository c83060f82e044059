"""Draw source images in the type and values that a model takes, to compare a file with it where no photos are given."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.encoding.labels import LabelEncoding, class_levels
from pix2pix.data.encoding.prepared import ImageEncoding
from pix2pix.data.transforms.nearest import resize_nearest
from pix2pix.model.model_config import Size

Array = NDArray[Any]
CELL = 8
"""Pixels of a plain square."""


def draw_sources(sources: Sequence[ImageEncoding], size: Size, seed: int = 0) -> list[Array]:
    """Draw an image (H, W, C) for each source: squares of one value each, with noise in images that are not labels."""
    random = np.random.default_rng(seed)
    return [_draw(source, size, random) for source in sources]


def _draw(source: ImageEncoding, size: Size, random: np.random.Generator) -> Array:
    cells = -(-size[0] // CELL), -(-size[1] // CELL)
    if isinstance(source.values, LabelEncoding):
        table = np.array([class_levels(name) for name in source.values.classes], source.file_type)
        return table[_enlarge(random.integers(0, len(table), (1, *cells)), size)[0]]
    low, high = np.array(source.values.bounds, np.float64).T[..., None, None]
    levels = _enlarge(random.random((source.file_channels, *cells)), size)
    levels = np.clip(levels + random.normal(0, 0.05, levels.shape), 0, 1)
    values = (low + levels * (high - low)).transpose(1, 2, 0)
    return np.ascontiguousarray(values.astype(source.file_type))


def _enlarge(values: Array, size: Size) -> Array:
    """Return (C, h, w) as (C, *size) of plain squares."""
    return resize_nearest(values, size)
