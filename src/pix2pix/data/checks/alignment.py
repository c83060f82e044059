"""Measure the offset of a target from its source, by the correlation of their edges."""

import math

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.io.arrays import Array

EdgeMap = NDArray[np.float32]
"""(2, h, w): strength of the changes downwards and to the right, from 0 to 1, in cells of `cell_size` pixels."""
Grid = NDArray[np.float64]

MAX_CELLS = 128
"""Largest number of cells along the longer side."""
FEWEST_CELLS = 32
"""Smallest number of cells along a side; on fewer, edges agree by chance."""
STRONG_PERCENTILE = 95
"""Edges from this percentile on count alike, so that the border of a hole does not outweigh all others."""
MAX_SHARE = 1 / 4
"""Largest offset as a share of the side; larger ones are not believed."""
MIN_CORRELATION = 0.15
"""Smallest correlation of the edges, moved by the offset, for which the offset counts."""
MARGIN = 0.05
"""By how much this correlation must exceed that of no shift, and that of every offset NEAR or more away. A pattern that
repeats itself, such as windows, agrees at many offsets, and is unclear."""
MARGIN_CELLS = 64 * 64
"""Number of cells for which MARGIN holds; on fewer cells more is due to chance."""
NEAR = 4
"""Cells; nearer offsets agree nearly as well as the best one."""


def edge_map(values: Array) -> EdgeMap:
    """Compute the edge map of (H, W, C), at most MAX_CELLS cells a side."""
    cell = cell_size(*values.shape[:2])
    step = max(1, cell // 4)  # a large image is subsampled
    sampled = values[::step, ::step].astype(np.float64)
    gray = np.nan_to_num(sampled, copy=False, posinf=0, neginf=0).mean(axis=2)
    block = cell // step
    height, width = gray.shape[0] // block, gray.shape[1] // block
    if min(height, width) < 2:
        return np.zeros((2, 1, 1), np.float32)
    cells = gray[: height * block, : width * block].reshape(height, block, width, block).mean(axis=(1, 3))
    # Apart from each other: a shift along an edge is not seen, and one across it is.
    edges = np.abs(np.stack(np.gradient(cells)))
    strong = max(float(np.percentile(np.hypot(*edges), STRONG_PERCENTILE)), 1e-300)
    return np.minimum(edges / strong, 1).astype(np.float32)


def cell_size(height: int, width: int) -> int:
    """Return the side of a cell in pixels; if it is 8 or more, a multiple of 4."""
    cell = max(1, math.ceil(max(height, width) / MAX_CELLS))
    return cell if cell < 8 else math.ceil(cell / 4) * 4


def find_offset(source: EdgeMap, target: EdgeMap) -> tuple[int, int] | None:
    """Return the offset of the target from the source in cells, (down, right); None unless the edges agree clearly."""
    if source.shape != target.shape or min(source.shape[1:]) < FEWEST_CELLS or min(source.std(), target.std()) < 1e-6:
        return None
    _, height, width = source.shape
    most = int(MAX_SHARE * height), int(MAX_SHARE * width)
    agreement = correlations(source, target, most)
    place = np.unravel_index(agreement.argmax(), agreement.shape)
    down, right = int(place[0]) - most[0], int(place[1]) - most[1]
    if abs(down) > most[0] - NEAR or abs(right) > most[1] - NEAR:
        return None  # perhaps the side of a maximum that lies beyond
    best = float(agreement[place])
    others = agreement.copy()
    others[max(0, place[0] - NEAR + 1) : place[0] + NEAR, max(0, place[1] - NEAR + 1) : place[1] + NEAR] = -1
    if (down, right) != (0, 0):
        others[most] = agreement[most]
    margin = MARGIN * max(1.0, math.sqrt(MARGIN_CELLS / (height * width)))
    is_clear = best >= MIN_CORRELATION and best >= others.max() + margin
    return (down, right) if is_clear else None


def correlations(source: EdgeMap, target: EdgeMap, most: tuple[int, int]) -> Grid:
    """Return the correlation of two edge maps where they overlap, for every offset of the target up to `most`.

    The result is (2 x most[0] + 1, 2 x most[1] + 1), with no offset in the middle.
    """
    _, height, width = source.shape
    down, right = (np.arange(-side, side + 1) for side in most)
    down, right = down[:, None], right[None]
    count = (height - np.abs(down)) * (width - np.abs(right))
    products = np.zeros(count.shape)
    variances = [np.zeros(count.shape), np.zeros(count.shape)]
    for moving, fixed in zip(source.astype(np.float64), target.astype(np.float64), strict=True):
        moving, fixed = moving - moving.mean(), fixed - fixed.mean()
        padded = 2 * height, 2 * width
        spectrum = np.fft.rfft2(fixed, padded) * np.conj(np.fft.rfft2(moving, padded))
        sums = [_overlap_sums(fixed, down, right), _overlap_sums(moving, -down, -right)]
        products += np.fft.irfft2(spectrum, padded)[down, right] - sums[0] * sums[1] / count
        for variance, part, at, total in zip(variances, (fixed, moving), (1, -1), sums, strict=True):
            variance += _overlap_sums(part**2, at * down, at * right) - total**2 / count
    scale = np.sqrt(np.maximum(variances[0], 0) * np.maximum(variances[1], 0))
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 1e-9)


def _overlap_sums(values: Grid, down: NDArray[np.int64], right: NDArray[np.int64]) -> Grid:
    """Sum (h, w) over its overlap with an image that lies (down, right) of it, for offsets that broadcast."""
    height, width = values.shape
    sums = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    top, bottom = np.maximum(0, down), height + np.minimum(0, down)
    left, end = np.maximum(0, right), width + np.minimum(0, right)
    return sums[bottom, end] - sums[top, end] - sums[bottom, left] + sums[top, left]
