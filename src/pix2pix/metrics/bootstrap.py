"""The values of many images in, how sure their mean is out: seeded intervals of 95 %."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95
RESAMPLES = 2000
HALVES = 50  # half-samples of a set
FEWEST = 8  # images; of fewer no half says anything
CELLS = 4_000_000  # numbers in memory at a time


def mean_intervals(rows: Sequence[Mapping[str, float]], seed: int = 0) -> dict[str, Interval | None]:
    """Metric -> the percentile bootstrap's interval of its mean over the images.

    All metrics are resampled alike. None where a value is not finite, or for a single image.
    """
    names = list(rows[0]) if rows else []
    values = np.array([[row.get(name, math.nan) for name in names] for row in rows], np.float64)
    if len(rows) < 2:
        return dict.fromkeys(names)
    able = np.isfinite(values).all(axis=0)
    means = np.concatenate([weights @ values[:, able] for weights in resampled(len(rows), seed)])
    lows, highs = percentiles(means)
    found: dict[str, Interval | None] = dict.fromkeys(names)
    for name, low, high in zip(np.array(names)[able], lows, highs, strict=True):
        found[str(name)] = (float(low), float(high))
    return found


def mean_interval(values: Array, seed: int = 0) -> Interval | None:
    """The same for one metric (n,); of differences of two models on the same images, the paired bootstrap's."""
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    low, high = percentiles(np.concatenate([weights @ values for weights in resampled(len(values), seed)]))
    return float(low), float(high)


def resampled(count: int, seed: int = 0) -> Iterator[Array]:
    """Blocks (R, count) of weights that add up to 1: how often each image was drawn, RESAMPLES rows in all."""
    rng = np.random.default_rng(seed)
    block = max(1, min(RESAMPLES, CELLS // count))
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        yield rng.multinomial(count, np.full(count, 1 / count), size=size) / count


def percentiles(values: Array) -> tuple[Array, Array]:
    """(R, ...) -> the two ends of the middle 95 %, each (...)."""
    low, high = np.percentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)
    return low, high


def half_sample_interval(
    statistic: Callable[[NDArray[np.int64]], float], whole: float, count: int, seed: int = 0
) -> Interval | None:
    """The interval of a number that is of a whole set, such as a distance of distributions.

    `statistic` takes the indices of some images. Drawing with replacement would make a set look less varied than it
    is, so halves are drawn without: their spread is that of the whole (Politis and Romano 1994), and the interval is
    normal. None for fewer than FEWEST images.
    """
    if count < FEWEST or not math.isfinite(whole):
        return None
    rng = np.random.default_rng(seed)
    spread = float(np.std([statistic(rng.permutation(count)[: count // 2]) for _ in range(HALVES)], ddof=1))
    return whole - 1.96 * spread, whole + 1.96 * spread
