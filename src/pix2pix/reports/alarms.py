"""Alarms: signs in the rows of `metrics.csv` that a training has gone wrong, said while it runs and in its report.

An alarm stops nothing. It needs LASTING rows in a row, all after FIRST_STEP, since an untrained network shows the same
signs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pix2pix.metrics.diagnostics import is_constant, is_ignored
from pix2pix.reports.curves import Row

SATURATED_ACCURACY = 0.99  # of D, on targets and on outputs
SATURATED_LOSS = 0.05  # of D, on targets and on outputs
MOST = 0.5  # share of the pixels at the ends of the range
MORE = 0.25  # by which this share is larger than that of the targets
LASTING = 3  # rows of one split
FIRST_STEP = 200

Values = Mapping[str, float]


class Alarm(NamedTuple):
    """A sign: in the rows of which split, when, what it means, and what may help."""

    split: str
    holds: Callable[[Values], bool]
    meaning: str


def _is_saturated(values: Values) -> bool:
    accuracies = [values.get(f"d_{kind}_accuracy", 0.0) for kind in ("real", "fake")]
    losses = [values.get(f"d_{kind}", 0.0) for kind in ("real", "fake")]
    return min(accuracies) >= SATURATED_ACCURACY and max(losses) <= SATURATED_LOSS


def _is_constant(values: Values) -> bool:
    return "source_dependence" in values and is_constant(values["source_dependence"])


def _is_ignored(values: Values) -> bool:
    return "shuffled_ratio" in values and not _is_constant(values) and is_ignored(1.0, values["shuffled_ratio"])


def _is_at_ends(values: Values) -> bool:
    output, target = values.get("output_at_ends", 0.0), values.get("target_at_ends", 0.0)
    return output >= MOST and output >= target + MORE


ALARMS: dict[str, Alarm] = {
    "alarm_saturated": Alarm(
        "train",
        _is_saturated,
        "The discriminator is saturated: it separates outputs from targets almost without error, so the generator "
        "learns little from it. More pairs, --discriminator.augment adaptive, a lower --discriminator-learning-rate "
        "or, where it decides by patches, a smaller --discriminator.patch-size may help.",
    ),
    "alarm_constant": Alarm(
        "val",
        _is_constant,
        "The output is constant: almost the same image comes out for every source. A lower --learning-rate or a larger "
        "--l1-weight may help; look at the samples.",
    ),
    "alarm_ignored": Alarm(
        "val",
        _is_ignored,
        "The source is ignored: the outputs fit their own targets no better than those of other sources. Check with "
        "`pix2pix data preview` that each source belongs to its target.",
    ),
    "alarm_ends": Alarm(
        "val",
        _is_at_ends,
        "Most output pixels are at the ends of the range, black or white, and the targets' are not: the last layer is "
        "saturated. Begin again with a lower --learning-rate.",
    ),
}
"""Column of `metrics.csv` -> alarm; the column holds 1 as long as the alarm lasts, else 0."""


def find_alarms(rows: Sequence[Row], warmup: int = 0) -> dict[str, int]:
    """Return alarm -> epoch in which it began, for the alarms that last in the newest row of their split.

    `warmup` is the number of epochs of the first phase, in which one network learns alone; they do not count.
    """
    found: dict[str, int] = {}
    for name, alarm in ALARMS.items():
        counted = [row for row in rows if row.split == alarm.split and row.epoch > warmup and row.step >= FIRST_STEP]
        lasting = 0
        while lasting < len(counted) and alarm.holds(counted[-1 - lasting].values):
            lasting += 1
        if lasting >= LASTING:
            found[name] = counted[-lasting].epoch
    return found


def describe_changes(before: Mapping[str, int], now: Mapping[str, int]) -> Iterator[str]:
    """Describe the alarms that have begun and those that have ended."""
    for name, epoch in now.items():
        if name not in before:
            yield f"alarm since epoch {epoch}: {ALARMS[name].meaning}"
    for name in before:
        if name not in now:
            yield f"alarm over: no longer: {ALARMS[name].meaning.partition(':')[0]}."
