"""Describe the curves of a run, or a comparison of runs, in sentences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pix2pix.metrics.bootstrap import FEWEST_JUDGED, describe_too_few
from pix2pix.metrics.pixel import HIGHER_IS_BETTER, SAME_ORDER
from pix2pix.reports.alarms import ALARMS, find_alarms
from pix2pix.reports.curves import Row
from pix2pix.text import format_count, format_digits, format_list

FEWEST_EPOCHS = 3
CHANGE = 0.02  # share by which a smoothed error must rise or fall
IMPROVEMENT = 0.005  # share


# ---- one run -----------------------------------------------------------------------------------------------------


def advise(rows: Sequence[Row], best_by: str, warmup: int) -> list[str]:
    """Return findings from the curves of a run; none for a short run.

    `best_by` is the metric that selects the model. `warmup` is the number of epochs of the first phase, in which one
    network learns alone; they do not count.
    """
    train = [row for row in rows if row.split == "train" and row.epoch > warmup]
    val = [row for row in rows if row.split == "val" and row.epoch > warmup]
    metric = "l1" if best_by == "last" else best_by
    return [
        *_find_skipped(rows),
        *_find_alarms(rows, warmup),
        *(overfitting := list(_find_overfitting(train, val))),
        *_find_improvement(val, metric, overfits=bool(overfitting), slowed=_has_slowed(rows)),
    ]


def _find_alarms(rows: Sequence[Row], warmup: int) -> Iterator[str]:
    """Describe the alarms that last at the end, and when others have lasted."""
    lasting = find_alarms(rows, warmup)
    for name, alarm in ALARMS.items():
        past = [row.epoch for row in rows if row.values.get(name)]
        if name in lasting:
            yield f"Since epoch {lasting[name]}: {alarm.meaning}"
        elif past:
            yield f"Between epochs {past[0]} and {past[-1]}, but not at the end: {alarm.meaning}"


def _find_skipped(rows: Sequence[Row]) -> Iterator[str]:
    skipped = {row.epoch: int(row.values["skipped_steps"]) for row in rows if row.values.get("skipped_steps")}
    if skipped:
        yield (
            f"{format_count(sum(skipped.values()), 'step')} skipped in {format_count(len(skipped), 'epoch')} (first in "
            f"epoch {min(skipped)}), because a loss or a gradient was not finite; the messages of the training name "
            "the files. A lower --learning-rate or --precision 32 may help."
        )


def _find_overfitting(train: Sequence[Row], val: Sequence[Row]) -> Iterator[str]:
    if len(val) < 3 * FEWEST_EPOCHS or len(train) < len(val):
        return
    term, name = ("g_cross_entropy", "cross-entropy") if "g_cross_entropy" in val[-1].values else ("g_l1", "L1")
    raw = [row.values.get(term, np.nan) for row in val]
    of_val, of_train = _smooth(raw), _smooth([row.values.get(term, np.nan) for row in train])
    best = int(np.argmin(of_val)) if np.isfinite(of_val).all() else len(of_val) - 1
    since = len(of_val) - max(best, int(np.argmin(raw)))  # epochs since its last minimum
    rises, falls = of_val[-1] > (1 + CHANGE) * of_val[best], of_train[-1] < (1 - CHANGE) * of_train[best]
    if since > FEWEST_EPOCHS and rises and falls:
        yield (
            f"Overfitting begins around epoch {val[best].epoch}: from there the {name} of training pairs falls and the "
            f"{name} of validation pairs rises. {name[0].upper()}{name[1:]} does not measure how real outputs look: "
            "look at the samples before you stop there."
        )


def _has_slowed(rows: Sequence[Row]) -> bool:
    """Return whether the learning rate has begun to fall: errors fall with it, and more epochs need not help."""
    rates = [row.learning_rate for row in rows if row.split == "train"]
    return bool(rates) and rates[-1] < max(rates)


def _find_improvement(val: Sequence[Row], metric: str, *, overfits: bool, slowed: bool) -> Iterator[str]:
    """Say that more epochs may help: one of the newest is the best, and so are the newest medians, clearly."""
    measured = [row for row in val if metric in row.values and np.isfinite(row.values[metric])]
    if len(measured) < 3 * FEWEST_EPOCHS:
        return
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    raw = [sign * row.values[metric] for row in measured]
    smooth = _smooth(raw)
    last, before = smooth[-1], smooth[-1 - FEWEST_EPOCHS]
    is_best = smooth.argmax() == len(smooth) - 1 and np.argmax(raw) >= len(raw) - FEWEST_EPOCHS
    if is_best and not slowed and last - before > IMPROVEMENT * abs(before):
        advice = ", although the L1 rises" if overfits else ": more epochs may help"
        yield f"Validation {metric} is still improving in the newest epochs{advice}."


def _smooth(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return running medians of each value and up to four before it."""
    return np.array([float(np.median(values[max(0, n - 4) : n + 1])) for n in range(len(values))], np.float64)


def describe_outdated(measured: int | None, kept: int | None) -> str | None:
    """Say that an evaluation measured another epoch than that of the model; None if it is up to date or unknown."""
    if measured is None or kept is None or measured == kept:
        return None
    return f"Measured on epoch {measured}; the model is now epoch {kept}: run `pix2pix evaluate` again."


# ---- several runs ------------------------------------------------------------------------------------------------


NEUTRAL = (
    "data.path", "data.source", "data.target", "data.workers", "data.cache", "data.cache_dir",
    "training.samples", "training.device", "training.threads", "training.rank_timeout", "training.keep_every",
)  # fmt: skip
"""Settings that do not change what is learned."""
DERIVED = {
    "training.batch_size": ("training.norm_statistics",),
    "data.image_size": ("augment.load_size", "generator.depth"),
    "generator.bottleneck_size": ("generator.depth",),
}
"""Setting -> settings whose defaults follow from it."""
FASTER = 1.1  # ratio of speeds from which a difference is reported


def describe_comparison(results: Mapping[str, Any]) -> Iterator[str]:
    """Describe a comparison, the content of `compare.json`, in sentences."""
    runs = results["runs"]
    yield from results["notes"]
    for name, facts in runs.items():
        if facts["state"] == "unfinished":
            yield (
                f"{name} has done {facts['epochs']} of {facts['of']} epochs and may still be training: its numbers can "
                "change."
            )
    if results["same_data"]:
        yield _describe_differences(results["differences"])
    yield from _describe_validation(results)
    for split, evaluation in results["evaluations"].items():
        yield from _describe_evaluation(split, evaluation)
    yield from _describe_speed(runs)
    for name, facts in runs.items():
        yield from (f"{name}: {sentence}" for sentence in facts["findings"])


def _describe_differences(differences: Mapping[str, Any]) -> str:
    settings = [name for name in differences if name not in NEUTRAL and not name.startswith("provenance.")]
    derived = {other for name in settings for other in DERIVED.get(name, ())}
    settings = [name for name in settings if name not in derived]
    others = [name for name in settings if name != "training.seed"]
    if not settings:
        return "The settings that matter are the same: differences come from versions, the machine or interruptions."
    if not others:
        return "The runs differ in the seed alone: their differences are due to chance."
    if len(others) == 1:
        seed = " and in the seed" if len(settings) > 1 else ""
        return (
            f"The runs differ in {others[0]}{seed}: other differences are probably its effect. More seeds would "
            "confirm this."
        )
    rest = len(differences) - len(settings)
    more = f" (the others in the table, {rest}, follow from these or do not change what is learned)" if rest else ""
    return (
        f"The runs differ in {len(settings)} settings: {format_list(settings)}{more}. "
        "So no difference can be attributed to one of them."
    )


def _describe_validation(results: Mapping[str, Any]) -> Iterator[str]:
    winners: dict[str, list[str]] = {}
    for name, row in results["validation"].items():
        if (best := row["best"]) is not None and name not in SAME_ORDER:
            value, epoch = row["values"][best]["value"], row["values"][best]["epoch"]
            lead = f"{format_digits(row['ahead'])} ahead of" if row["ahead"] else "level with"
            winners.setdefault(best, []).append(
                f"{name} ({format_digits(value)} in epoch {epoch}, {lead} {row['next']})"
            )
    if winners:
        best_runs = "; ".join(f"{run} by {', '.join(names)}" for run, names in winners.items())
        yield f"Best by validation: {best_runs}. Each is the run's best epoch; a longer run has more to choose from."
    elif not results["validation"]:
        yield "No run has a validation split, so none can be called better by it."


def _describe_evaluation(split: str, evaluation: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{name}, split {split}: {sentence}" for name, sentence in evaluation["outdated"].items())
    if (reason := evaluation["not_paired"]) is not None:
        yield f"Split {split}: {reason}."
        return
    count = next(iter(evaluation["images"].values()))
    if count < FEWEST_JUDGED:
        yield f"Split {split}: {describe_too_few(count)}, so no run is called better by it."
        return
    for name, row in evaluation["metrics"].items():
        if row["best"] is None or name in SAME_ORDER:
            continue
        first = row["against"][row["next"]]
        text = f"On {count} {split} images {row['best']} is best by {name}, {format_digits(row['values'][row['best']])}"
        text += f", {format_digits(row['ahead'])} ahead of {row['next']}"
        if first["interval"] is None:
            yield f"{text}; there is no interval for this difference."
        elif first["clear"] is None:
            yield f"{text}; too few of these images have a value to conclude anything."
        elif first["clear"]:
            ends = " to ".join(format_digits(end) for end in sorted(abs(end) for end in first["interval"]))
            yield f"{text} (95 %: {ends}): more than the choice of images explains."
        else:
            close = [run for run, difference in row["against"].items() if difference["clear"] is False]
            yield f"{text}, but these images do not distinguish it from {format_list(close)}."
    if evaluation["absent"]:
        yield f"Split {split} was not evaluated for {format_list(evaluation['absent'])}."


def _describe_speed(runs: Mapping[str, Any]) -> Iterator[str]:
    speed = {name: facts["images_per_second"] for name, facts in runs.items() if facts["images_per_second"]}
    if len(speed) > 1:
        fast, slow = max(speed, key=lambda name: speed[name]), min(speed, key=lambda name: speed[name])
        if speed[fast] > FASTER * speed[slow]:
            yield (
                f"{fast} trained {speed[fast] / speed[slow]:.1f} times as fast as {slow} ({speed[fast]:.3g} and "
                f"{speed[slow]:.3g} images per second). This is comparable only on one idle machine."
            )
