"""Choose the images of an evaluation for which runs differ most, and hold what a page shows of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pix2pix.metrics.error_map import Window
from pix2pix.metrics.pixel import HIGHER_IS_BETTER, SAME_ORDER
from pix2pix.reports.pictures import ErrorView, Scale, View

Values = Mapping[str, NDArray[np.float64]]
"""Metric -> its value for each image, (n,)."""


@dataclass(frozen=True)
class Difference:
    """One pair with the outputs of several runs."""

    name: str
    size: tuple[int, int]  # (height, width) before it was shrunk for the page
    values: Mapping[str, Mapping[str, float]]  # metric by which the runs differ most for this image -> run -> value
    window: Window  # where the differences of the runs' outputs from the target differ most
    source: View
    target: View
    outputs: Mapping[str, View]  # of each run, as are the others
    errors: Mapping[str, ErrorView]


@dataclass(frozen=True)
class DifferenceGallery:
    """The images of an evaluation for which runs differ most; without any, `note` says why."""

    evaluation: str
    images: int = 0  # of the evaluation
    differences: Sequence[Difference] = ()
    best_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # metric -> run -> images it is best in
    classes: bool = False  # whether outputs are label maps
    span: float | None = None  # width of the full range in the target's own units, if all channels have the same
    note: str = ""

    @cached_property
    def scale(self) -> Scale:
        """The colour scale of all difference maps."""
        views = [errors for one in self.differences for errors in one.errors.values()]
        return Scale.of(views, classes=self.classes, span=self.span)


def _shared_metrics(runs: Mapping[str, Values]) -> dict[str, NDArray[np.float64]]:
    """Return metric -> values (runs, images), of those that all runs have."""
    names = [name for name in HIGHER_IS_BETTER if name not in SAME_ORDER]
    return {
        name: np.stack([values[name] for values in runs.values()])
        for name in names
        if all(name in values for values in runs.values())
    }


def choose_differing(runs: Mapping[str, Values]) -> dict[int, list[str]]:
    """Return image -> the metrics by which the values of the runs are farthest apart for it."""
    chosen: dict[int, list[str]] = {}
    for name, values in _shared_metrics(runs).items():
        apart = np.where(np.isfinite(values).all(axis=0), np.ptp(np.nan_to_num(values), axis=0), 0)
        if apart.size and apart.max() > 0:
            chosen.setdefault(int(apart.argmax()), []).append(name)
    return chosen


def count_best(runs: Mapping[str, Values]) -> dict[str, dict[str, int]]:
    """Return metric -> run -> the number of images for which this run alone is best."""
    counts = {}
    for name, values in _shared_metrics(runs).items():
        known = values[:, ~np.isnan(values).any(axis=0)] * (1 if HIGHER_IS_BETTER[name] else -1)
        best = known == known.max(axis=0, keepdims=True, initial=-np.inf)
        alone = best & (best.sum(axis=0) == 1)
        counts[name] = {run: int(count) for run, count in zip(runs, alone.sum(axis=1), strict=True)}
    return counts
