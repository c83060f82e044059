"""A run's rows in, what they say in plain words out: who is winning, since when, and whether to go on."""

from collections.abc import Iterator, Sequence

import numpy as np

from pix2pix.evaluation.curves import Row
from pix2pix.evaluation.metrics import HIGHER_IS_BETTER

SURE = 0.99  # accuracy of D on both kinds from which it teaches G little
LASTING = 3  # epochs before anything is said
WORSE = 0.02  # share by which a smoothed error must rise, or fall


def advice(rows: Sequence[Row], chosen: str, head_start: int) -> list[str]:
    """Sentences on a run's curves, of which `chosen` is the metric that picks the model; none for a young run."""
    train = [row for row in rows if row.split == "train" and row.epoch > head_start]
    val = [row for row in rows if row.split == "val" and row.epoch > head_start]
    return [*_saturated(train), *_overfitting(train, val), *_improving(val, "l1" if chosen == "last" else chosen)]


def _saturated(train: Sequence[Row]) -> Iterator[str]:
    sure = [min(row.values.get(f"d_{kind}_accuracy", 0.0) for kind in ("real", "fake")) >= SURE for row in train]
    lasting = len(sure) - (len(sure) - sure[::-1].index(False) if False in sure else 0)
    if lasting >= LASTING:
        yield (
            f"The discriminator is saturated since epoch {train[-lasting].epoch}: it tells outputs from targets "
            "without error, so the generator learns little from it; a smaller patch, less weight for D or more "
            "data may help."
        )


def _overfitting(train: Sequence[Row], val: Sequence[Row]) -> Iterator[str]:
    if len(val) < 3 * LASTING or len(train) < len(val):
        return
    held, taught = (_smooth([row.values.get("g_l1", np.nan) for row in split]) for split in (val, train))
    best = int(np.argmin(held)) if np.isfinite(held).all() else len(held) - 1
    if len(held) - best > LASTING and held[-1] > (1 + WORSE) * held[best] and taught[-1] < (1 - WORSE) * taught[best]:
        yield (
            f"Overfitting begins around epoch {val[best].epoch}: from there the L1 of training pairs falls, and that "
            "of validation pairs rises. L1 alone does not judge pictures: look at the samples before you stop there."
        )


def _improving(val: Sequence[Row], chosen: str) -> Iterator[str]:
    able = [row for row in val if chosen in row.values]
    if len(able) < 3 * LASTING:
        return
    sign = 1 if HIGHER_IS_BETTER[chosen] else -1
    smooth = sign * _smooth([row.values[chosen] for row in able])
    last, before = smooth[-1], smooth[-1 - LASTING]
    if np.isfinite(smooth).all() and smooth.argmax() == len(smooth) - 1 and last - before > 0.005 * abs(before):
        yield f"Validation {chosen} is still improving in the newest epochs: more epochs may help."


def _smooth(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Running medians of up to five epochs, the last of which is the value's own."""
    found = [float(np.median(values[max(0, n - 4) : n + 1])) for n in range(len(values))]
    return np.array(found, np.float64)
