"""Measure the offset of a target from its source, by phase correlation of their edges."""

import math

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.io.arrays import Array

EdgeMap = NDArray[np.float32]
"""(h, w): strength of edges from 0 to 1, in cells of `cell_size` pixels."""

MAX_CELLS = 128
"""Largest number of cells along the longer side."""
STRONG_PERCENTILE = 95
"""Edges from this percentile on count alike, so that the border of a hole does not outweigh all others."""
MAX_SHARE = 1 / 3
"""Largest offset as a share of the side; larger ones are not believed."""
MIN_CORRELATION = 0.25
"""Smallest correlation of the two edge maps, shifted by the offset, for which the offset counts; edge maps of unrelated
images stay below 0.12."""
MIN_GAIN = 1.3
"""Smallest ratio of the correlation with the offset to the correlation without it, in the overlap. A pattern that
repeats itself, such as windows, agrees at many offsets."""


def edge_map(values: Array) -> EdgeMap:
    """Compute the edge map of (H, W, C), at most MAX_CELLS cells a side."""
    cell = cell_size(*values.shape[:2])
    step = max(1, cell // 4)  # a large image is subsampled
    sampled = values[::step, ::step].astype(np.float64)
    gray = np.nan_to_num(sampled, copy=False, posinf=0, neginf=0).mean(axis=2)
    block = cell // step
    height, width = gray.shape[0] // block, gray.shape[1] // block
    if min(height, width) < 2:
        return np.zeros((1, 1), np.float32)
    cells = gray[: height * block, : width * block].reshape(height, block, width, block).mean(axis=(1, 3))
    edges = np.hypot(*np.gradient(cells))
    strong = max(float(np.percentile(edges, STRONG_PERCENTILE)), 1e-300)
    return np.minimum(edges / strong, 1).astype(np.float32)


def cell_size(height: int, width: int) -> int:
    """Return the side of a cell in pixels; if it is 8 or more, a multiple of 4."""
    cell = max(1, math.ceil(max(height, width) / MAX_CELLS))
    return cell if cell < 8 else math.ceil(cell / 4) * 4


def find_offset(source: EdgeMap, target: EdgeMap) -> tuple[int, int] | None:
    """Return the offset of the target from the source in cells, (down, right); None unless the edges agree clearly."""
    if source.shape != target.shape or min(source.shape) < 16:
        return None
    window = np.outer(np.hanning(source.shape[0]), np.hanning(source.shape[1]))
    fixed, moving = ((side - side.mean()) * window for side in (target, source))
    if min(fixed.std(), moving.std()) < 1e-6:
        return None
    from skimage.registration import phase_cross_correlation

    shift, _, _ = phase_cross_correlation(fixed, moving, normalization="phase")
    down, right = (int(cells) for cells in shift)
    moved = np.roll(moving, (down, right), (0, 1))
    if np.corrcoef(moved.ravel(), fixed.ravel())[0, 1] < MIN_CORRELATION:
        return None
    moved_agreement, own_agreement = (_correlate(source, target, at) for at in ((down, right), (0, 0)))
    within = abs(down) <= MAX_SHARE * source.shape[0] and abs(right) <= MAX_SHARE * source.shape[1]
    if within and moved_agreement >= MIN_GAIN * own_agreement:
        return down, right
    return (0, 0) if own_agreement >= MIN_CORRELATION else None


def _correlate(source: EdgeMap, target: EdgeMap, offset: tuple[int, int]) -> float:
    """Return the correlation of two edge maps where they overlap, the source moved by (down, right) cells."""
    (height, width), (down, right) = source.shape, offset
    fixed = target[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
    moved = source[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    if min(fixed.std(), moved.std()) == 0:
        return 0.0
    return float(np.corrcoef(fixed.ravel(), moved.ravel())[0, 1])
