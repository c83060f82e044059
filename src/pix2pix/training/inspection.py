"""Inspect the data before a training: describe them, refuse unusable ones, and make the plan."""

from collections.abc import Collection, Sequence

import torch

from pix2pix.config import Config, Data
from pix2pix.data.checks.check import check
from pix2pix.data.checks.report import CheckReport, Problem
from pix2pix.data.loading.dataset import planned_cache
from pix2pix.data.pairing.image_files import describe_ignored
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import PairSet, describe_unmatched
from pix2pix.errors import ConfigError, DataError
from pix2pix.metrics.palette import find_palette
from pix2pix.system.progress import ProgressBar
from pix2pix.text import escape_unprintable, format_list
from pix2pix.training.perceptual_validation import make_perceptual_validation
from pix2pix.training.plan import Plan, make_plan
from pix2pix.training.plan_text import describe_plan
from pix2pix.training.recorded_data import keep_recorded
from pix2pix.training.run_files import LEFT_OUT


def inspect_and_plan(
    config: Config, bar: ProgressBar, known: Collection[str] = (), resumed: Data | None = None
) -> tuple[Plan, PairSet, tuple[Problem, ...]]:
    """Inspect all pairs and plan the training. Returns the plan, the pairs, and what --skip-bad leaves out.

    `known` are the fingerprints of data of runs that may be resumed: what these took is taken again. `resumed`
    are the data settings that a run to be resumed recorded: it keeps them where `config` leaves them open. Raises
    DataError or ConfigError if training is not possible.
    """
    if resumed is not None:
        config = config.model_copy(update={"data": keep_recorded(config.data, resumed)})
    report, left_out = inspect_pairs(config, bar, known)
    for line in describe_data(report, left_out):
        bar.say(line)
    refuse_unusable_data(config, report)
    plan = make_plan(config, report, lambda done, total: bar.update(done, total, "measuring ranges"), resumed)
    refuse_unmeasurable(plan, report.pairs)
    for line in describe_training(plan, report.pairs):
        bar.say(line)
    return plan, report.pairs, left_out


def inspect_pairs(
    config: Config, bar: ProgressBar, known: Collection[str] = ()
) -> tuple[CheckReport, tuple[Problem, ...]]:
    """Read every file once. Returns the report, with --skip-bad that of the good pairs, and what is left out."""
    report = check(
        config.data, known=known, progress=lambda done, total: bar.update(done, total, "inspecting the pairs")
    )
    left_out = report.left_out if config.data.skip_bad else ()
    return (report.without_bad(known) if left_out else report), left_out


def describe_data(report: CheckReport, left_out: Sequence[Problem]) -> list[str]:
    """Describe the layout, what is left out, and warnings, in a few lines."""
    lines = [f"data         {report.pairs.layout}"]
    if report.pairs.hint:
        lines.append(f"hint         {report.pairs.hint}")
    if left_out:
        lines.append(f"left out     {len(left_out):,}, all of them in {LEFT_OUT}")
    lines += [f"             {escape_unprintable(path)}: {escape_unprintable(reason)}" for path, reason in left_out[:3]]
    lines += [f"ignored      {line}" for line in describe_ignored(report.pairs.ignored)]
    lines += [f"note         {note}" for note in report.notes]
    if report.warnings:
        (path, reason), *others = report.warnings
        more = f", and {len(others):,} more; `pix2pix data check` lists them" if others else ""
        lines.append(f"warnings     {escape_unprintable(path)}: {escape_unprintable(reason)}{more}")
    return lines


def describe_training(plan: Plan, pairs: PairSet) -> list[str]:
    """Describe the plan in a few lines."""
    lines = []
    if pairs.carved:
        seed = plan.config.data.split_seed
        lines.append(f"             {format_list(pairs.carved)} taken from train (seed {seed})")
    return [
        *lines,
        *describe_plan(plan),
        f"cache        {planned_cache(plan.prepared, plan.config, pairs.splits['train']).description}",
    ]


def refuse_unusable_data(config: Config, report: CheckReport) -> None:
    """Raise DataError for missing, unmatched or bad pairs, ConfigError for settings that need other splits."""
    pairs = report.pairs
    if "train" not in pairs.splits:
        only = f"only {', '.join(pairs.splits)}" if pairs.splits else "all of them are bad"
        raise DataError(f"{config.data.path or config.data.target}: has no pairs to train on, {only}")
    if pairs.unmatched:
        raise DataError(
            f"{describe_unmatched(pairs)}; add the missing halves or move these images away, or leave them out "
            "with --skip-bad (`pix2pix data check` lists all that is wrong)"
        )
    if report.problems:
        (path, reason), *others = report.problems
        more = f"; {len(others):,} more {'file has' if len(others) == 1 else 'files have'} problems" if others else ""
        raise DataError(f"{path}: {reason}{more} (`pix2pix data check` lists them all, --skip-bad leaves them out)")
    if config.training.patience is not None and "val" not in pairs.splits:
        raise ConfigError(
            "training.patience waits for a better validation, but the data have no val split: leave it out"
        )


def refuse_unmeasurable(plan: Plan, pairs: PairSet) -> None:
    """Raise ConfigError if `best_by` cannot be measured with these pairs on this machine."""
    best_by = plan.config.training.best_by
    if best_by in ("fid", "kid", "kid_vgg") and len(pairs.splits.get("val", ("", ""))) < 2:
        raise ConfigError(
            f"training.best_by {best_by} compares sets, but the val split has only one pair: choose another metric"
        )
    make_perceptual_validation(plan, torch.device("cpu"))
    if best_by == "label_accuracy":
        _refuse_without_labels(pairs.splits["train"])


def _refuse_without_labels(pairs: Sequence[Pair]) -> None:
    """Raise ConfigError if the sources are not label maps."""
    try:
        find_palette(pairs)
    except DataError as error:
        reason = str(error).partition(", which")[0]
        raise ConfigError(f"training.best_by label_accuracy cannot be measured: {reason}; choose another") from None
