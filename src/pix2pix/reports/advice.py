"""The rows of a run, or a comparison of several, in; what they say in plain words out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pix2pix.metrics.pixel import HIGHER_IS_BETTER
from pix2pix.reports.curves import Row

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
    raw = [row.values.get("g_l1", np.nan) for row in val]
    held, taught = _smooth(raw), _smooth([row.values.get("g_l1", np.nan) for row in train])
    best = int(np.argmin(held)) if np.isfinite(held).all() else len(held) - 1
    newest = len(held) - max(best, int(np.argmin(raw)))  # epochs since the last sign that it still falls
    if newest > LASTING and held[-1] > (1 + WORSE) * held[best] and taught[-1] < (1 - WORSE) * taught[best]:
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


# ---- several runs ----------------------------------------------------------------------------------------------


NEUTRAL = (
    "data.path", "data.source", "data.target", "data.workers", "data.cache", "data.cache_dir",
    "training.samples", "training.device", "training.rank_timeout",
)  # fmt: skip
"""Settings that do not change what is learnt."""
FOLLOW = {
    "training.batch_size": ("training.norm_statistics",),
    "data.image_size": ("augment.load_size", "generator.depth"),
}
"""Settings that are derived from others, unless they are set."""
FASTER = 1.1  # times as fast as another run before it is said


def compared_in_words(results: Mapping[str, Any]) -> Iterator[str]:
    """What a comparison (the content of `compare.json` but these words) says in plain words."""
    runs = results["runs"]
    yield from results["notes"]
    for name, facts in runs.items():
        if facts["state"] == "unfinished":
            yield (
                f"{name} has done {facts['epochs']} of {facts['of']} epochs and may still be training: its numbers can "
                "change."
            )
    if results["same_data"]:
        yield _what_differs(results["differences"])
    yield from _by_validation(results)
    for split, evaluation in results["evaluations"].items():
        yield from _by_evaluation(split, evaluation)
    yield from _pace(runs)
    for name, facts in runs.items():
        yield from (f"{name}: {sentence}" for sentence in facts["findings"])


def _what_differs(differences: Mapping[str, Any]) -> str:
    fields = [field for field in differences if field not in NEUTRAL and not field.startswith("provenance.")]
    followers = {follower for field in fields for follower in FOLLOW.get(field, ())}
    fields = [field for field in fields if field not in followers]
    others = [field for field in fields if field != "training.seed"]
    if not fields:
        return "The settings that matter are the same: what differs is due to versions, the machine or interruptions."
    if not others:
        return "The runs differ in the seed alone: how far they are apart is what chance does."
    if len(others) == 1:
        seed = " and in the seed" if len(fields) > 1 else ""
        return (
            f"The runs differ in {others[0]}{seed}: what else differs is its doing, as far as one training of each can "
            "tell; other seeds would say more."
        )
    return f"The runs differ in {len(others)} settings, so that no difference can be laid to one of them."


def _by_validation(results: Mapping[str, Any]) -> Iterator[str]:
    winners: dict[str, list[str]] = {}
    for name, row in results["validation"].items():
        if (best := row["best"]) is not None and name != "l2":  # which says what psnr says
            value, epoch = row["values"][best]["value"], row["values"][best]["epoch"]
            ahead = f"{_number(row['ahead'])} ahead of {row['next']}" if row["ahead"] else f"level with {row['next']}"
            winners.setdefault(best, []).append(f"{name} ({_number(value)} in epoch {epoch}, {ahead})")
    if not winners:
        if not results["validation"]:
            yield "No run has a validation, so that none can be called better by one."
        return
    said = "; ".join(f"{run} by {', '.join(names)}" for run, names in winners.items())
    yield f"Best by validation: {said}. Each is the best of its epochs, of which a longer run has more to choose from."


def _by_evaluation(split: str, evaluation: Mapping[str, Any]) -> Iterator[str]:
    if (reason := evaluation["not_paired"]) is not None:
        yield f"Split {split}: {reason}."
        return
    count = next(iter(evaluation["images"].values()))
    for name, row in evaluation["metrics"].items():
        if row["best"] is None or name == "l2":
            continue
        first = row["against"][row["next"]]
        text = f"On {count} {split} images {row['best']} is best by {name}, {_number(row['values'][row['best']])}"
        text += f", {_number(row['ahead'])} ahead of {row['next']}"
        if first["interval"] is None:
            yield f"{text}; that has no interval image by image."
            continue
        ends = " to ".join(_number(end) for end in sorted(abs(end) for end in first["interval"]))
        like = [run for run, difference in row["against"].items() if difference["clear"] is False]
        if first["clear"]:
            yield f"{text} (95 %: {ends}): more than other images of the kind would change."
        else:
            yield f"{text}, but these images do not tell it apart from {' and '.join(like)}."
    if evaluation["absent"]:
        yield f"Split {split} was not evaluated for {' and '.join(evaluation['absent'])}."


def _pace(runs: Mapping[str, Any]) -> Iterator[str]:
    pace = {name: facts["images_per_second"] for name, facts in runs.items() if facts["images_per_second"]}
    if len(pace) > 1:
        fast, slow = max(pace, key=lambda name: pace[name]), min(pace, key=lambda name: pace[name])
        if pace[fast] > FASTER * pace[slow]:
            yield (
                f"{fast} trained {pace[fast] / pace[slow]:.1f} times as fast as {slow} ({pace[fast]:.3g} and "
                f"{pace[slow]:.3g} pairs a second), which means something only on one and the same idle machine."
            )


def _number(value: float) -> str:
    return f"{value:.4g}"
