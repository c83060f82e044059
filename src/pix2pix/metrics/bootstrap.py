"""Compute 95 % bootstrap intervals of the mean over images, or of a statistic of a set; seeded."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pix2pix.text import format_count

Array = NDArray[np.float64]
Interval = tuple[float, float]

CONFIDENCE = 0.95
RESAMPLES = 2000
HALF_SAMPLES = 50
FEWEST_IMAGES = 8  # for half-samples
FEWEST_JUDGED = 20
"""Images from which a difference or a flaw is concluded; fewer are one lucky or unlucky choice."""
BLOCK_NUMBERS = 4_000_000  # resampling weights in memory at a time


def mean_intervals(rows: Sequence[Mapping[str, float]], seed: int = 0) -> dict[str, Interval | None]:
    """Return the percentile bootstrap interval of every metric's mean over the images.

    All metrics use the same resamples. The interval is None for a metric with a value that is not finite, and for a
    single image.
    """
    names = list(rows[0]) if rows else []
    intervals: dict[str, Interval | None] = dict.fromkeys(names)
    if len(rows) < 2:
        return intervals
    values = np.array([[row.get(name, math.nan) for name in names] for row in rows], np.float64)
    finite = np.isfinite(values).all(axis=0)
    means = np.concatenate([weights @ values[:, finite] for weights in resample_weights(len(rows), seed)])
    for name, low, high in zip(np.array(names)[finite], *percentile_interval(means), strict=True):
        intervals[str(name)] = _round(low), _round(high)
    return intervals


def mean_interval(values: Array) -> Interval | None:
    """Return the interval of the mean of (n,) values; for differences of two models, the paired bootstrap."""
    return mean_intervals([{"value": value} for value in values.tolist()]).get("value")


def excludes_zero(interval: Interval | None, images: int) -> bool | None:
    """Return whether the interval of a difference excludes 0; None without one, and for too few images to conclude."""
    return None if interval is None or images < FEWEST_JUDGED else interval[0] > 0 or interval[1] < 0


def describe_too_few(images: int) -> str:
    """Return `5 images are too few to conclude anything (20 or more are needed)`."""
    verb = "is" if images == 1 else "are"
    return f"{format_count(images, 'image')} {verb} too few to conclude anything ({FEWEST_JUDGED} or more are needed)"


def resample_weights(count: int, seed: int = 0) -> Iterator[Array]:
    """Yield blocks (R, count) of weights, RESAMPLES rows in all; each row sums to 1.

    A weight is the number of times that an image was drawn with replacement, divided by `count`.
    """
    rng = np.random.default_rng(seed)
    block = max(1, min(RESAMPLES, BLOCK_NUMBERS // count))
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        yield rng.multinomial(count, np.full(count, 1 / count), size=size) / count


def percentile_interval(values: Array) -> tuple[Array, Array]:
    """Return the two ends (...) of the middle 95 % of (R, ...) resampled values."""
    low, high = np.percentile(values, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)], axis=0)
    return low, high


def half_sample_interval(statistic: Callable[[NDArray[np.int64]], float], whole: float, count: int) -> Interval | None:
    """Return a normal interval for a statistic of a set of images, such as FID; `whole` is its value on all of them.

    `statistic` takes indices of images. Drawing with replacement would repeat images and make a set look less varied.
    So halves are drawn without replacement; their spread estimates that of the whole (Politis and Romano 1994). Returns
    None for fewer than FEWEST_IMAGES images.
    """
    if count < FEWEST_IMAGES or not math.isfinite(whole):
        return None
    rng = np.random.default_rng(0)
    halves = [statistic(rng.permutation(count)[: count // 2]) for _ in range(HALF_SAMPLES)]
    deviation = float(np.std(halves, ddof=1))
    return _round(whole - 1.96 * deviation), _round(whole + 1.96 * deviation)


def _round(value: float) -> float:
    """Round to ten significant digits, so that the mean of equal values is that value."""
    return float(f"{value:.10g}")
