"""`train`: data and settings in, a run folder with a trained, validated model out."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pix2pix.config import Config
from pix2pix.config.io import nest_settings
from pix2pix.config.presets import choose_settings
from pix2pix.data.checks.check import check
from pix2pix.data.checks.report import Problem
from pix2pix.data.loading.dataset import planned_cache
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import PairSet, describe_unmatched
from pix2pix.distributed.environment import choose_processes
from pix2pix.distributed.process_group import process_group
from pix2pix.errors import ConfigError, DataError, Interrupted
from pix2pix.metrics.segmentation import find_palette
from pix2pix.reports.curves import read_metrics
from pix2pix.reports.pages import write_run_report
from pix2pix.system.files import write_text
from pix2pix.system.hardware import choose_device
from pix2pix.system.progress import ProgressBar
from pix2pix.system.signals import note_stop_signals
from pix2pix.text import escape_unprintable
from pix2pix.training.plan import Plan, describe, make_plan
from pix2pix.training.run_folder import Run, begin_run, open_run
from pix2pix.training.trainer import Trainer, metrics_for_selection

LEFT_OUT = "left_out.txt"
"""What --skip-bad left out, in the run folder."""

__all__ = ["Run", "plan_only", "train", "train_with"]


def train(
    data: str | Path | None = None,
    *,
    run: str | Path | None = None,
    preset: str | None = None,
    config: str | Path | None = None,
    overwrite: bool = False,
    **fields: Any,
) -> Run:
    """Train a translator on a folder of pairs; calling it again goes on where it was interrupted.

    `fields` are settings by their command-line names (`epochs=100`, `direction="BtoA"`, `base_channels=32`) or by
    section (`generator={"kind": "resnet"}`). Started by torchrun or srun, it is one process of a training; with
    `devices=N` by itself, it starts them. Raises ConfigError, DataError, RunError or OSError with one sentence, and
    Interrupted, a KeyboardInterrupt, when a signal ended it.
    """
    chosen = choose_settings(data, preset, config, nest_settings(fields))
    return train_with(chosen, None if run is None else Path(run), overwrite=overwrite)


def train_with(config: Config, run: Path | None = None, *, overwrite: bool = False) -> Run:
    """The same for settings that are complete."""
    config, info = choose_processes(config, os.environ)
    if info is None:
        return _launch(config, run, overwrite=overwrite)
    device, timeout = choose_device(config.training.device), config.training.rank_timeout
    with process_group(info, device, timeout) as group, ProgressBar(silent=not group.is_first) as display:
        plan, splits, folder = group.broadcast(lambda: _begin(config, run, display, overwrite=overwrite))
        trainer = Trainer(plan, splits, folder, display, group)

        def report() -> Path:
            trainer.draw_curves()
            return write_run_report(folder)

        with note_stop_signals() as stop:
            try:
                progress = trainer.fit(stop)
            except Interrupted:
                group.broadcast(report)
                raise
        page = group.broadcast(report)
        by = plan.config.training.best_by if "val" in splits else "last"
        display.say(f"kept epoch {progress.best_epoch} of {progress.epoch} (by {by}): {folder / 'model'}")
        if trainer.waited.of:
            display.say(f"loading      {trainer.waited}")
        display.say(f"report       {page}")
        return Run(folder, group.broadcast(lambda: _newest_metrics(folder)), group.is_first)


def _launch(config: Config, run: Path | None, *, overwrite: bool) -> Run:
    """Train in several processes on this machine."""
    from pix2pix.distributed.launcher import launch  # a training in one process has no use for torch's launcher

    training, call = config.training, functools.partial(train_with, config, run, overwrite=overwrite)
    assert training.devices != "auto"
    assert training.nodes != "auto"
    return launch(call, training.devices, training.nodes, timeout=training.rank_timeout, environment=os.environ)


def _begin(
    config: Config, run: Path | None, display: ProgressBar, *, overwrite: bool
) -> tuple[Plan, dict[str, tuple[Pair, ...]], Path]:
    """Look, plan, and make the run folder: what one process does for all."""
    plan, pairs, left_out = look(config, display)
    folder = open_run(run, _name(config), plan.config, overwrite=overwrite)
    _refuse_run_inside_data(folder, config)
    begin_run(folder, plan.config, overwrite=overwrite)
    _write_left_out(folder, left_out)
    display.say(f"run          {folder}")
    return plan, pairs.splits, folder


def _refuse_run_inside_data(folder: Path, config: Config) -> None:
    """A run among the pictures would be read as data the next time."""
    data = config.data
    for place in filter(None, (*(data.source or ()), data.target)):
        if folder.resolve().is_relative_to(Path(place).resolve()):
            raise ConfigError(f"{folder}: lies inside the data folder {place}; choose another --run")


def plan_only(config: Config, run: Path | None = None, *, overwrite: bool = False) -> None:
    """Look at the data and say what would be done, and where; writes nothing. Raises as `train` does."""
    config, info = choose_processes(config, os.environ)
    if info is not None and info.rank:
        return  # the first process says it
    with ProgressBar() as display:
        plan, _, _ = look(config, display)
        folder = open_run(run, _name(config), plan.config, overwrite=overwrite)
        _refuse_run_inside_data(folder, config)
        display.say(f"run          {folder} (nothing has been written)")


def look(config: Config, display: ProgressBar) -> tuple[Plan, PairSet, tuple[Problem, ...]]:
    """Look at the data, settle the plan, and what to leave out. Raises DataError naming what cannot be trained on."""

    def looked_at(done: int, total: int) -> None:
        display.update(done, total, "inspecting the pairs")

    report = check(config.data, progress=looked_at)
    left_out = report.left_out if config.data.skip_bad else ()
    if left_out:
        report = report.without_bad()
    pairs = report.pairs
    display.say(f"data         {pairs.layout}")
    if pairs.hint:
        display.say(f"hint         {pairs.hint}")
    _say_left_out(left_out, display)
    if report.warnings:
        path, reason = report.warnings[0]
        more = (
            f", and {len(report.warnings) - 1:,} more; `pix2pix data check` lists them" if report.warnings[1:] else ""
        )
        display.say(f"warnings     {escape_unprintable(path)}: {escape_unprintable(reason)}{more}")
    if "train" not in pairs.splits:
        only = f"only {', '.join(pairs.splits)}" if pairs.splits else "all of them are bad"
        raise DataError(f"{config.data.path or config.data.target}: has no pairs to train on, {only}")
    if pairs.unmatched:
        raise DataError(
            f"{describe_unmatched(pairs)}; add the missing halves or move these images away, or leave them out "
            "with --skip-bad"
        )
    if report.problems:
        path, reason = report.problems[0]
        more = f"; {len(report.problems) - 1} more files have problems" if len(report.problems) > 1 else ""
        raise DataError(f"{path}: {reason}{more} (`pix2pix data check` lists them all, --skip-bad leaves them out)")
    if config.training.patience is not None and "val" not in pairs.splits:
        raise ConfigError("training.patience waits for a better validation, and the data have no val split: drop it")
    plan = make_plan(config, report, lambda done, total: display.update(done, total, "measuring ranges"))
    if config.training.best_by in ("fid", "kid") and len(pairs.splits.get("val", ("", ""))) < 2:
        raise ConfigError(f"training.best_by {config.training.best_by} compares sets, and the val split has one pair")
    metrics_for_selection(plan.config, torch.device("cpu"), plan.smallest)
    if config.training.best_by == "label_accuracy":
        _refuse_photos(pairs.splits["train"])
    if pairs.carved:
        display.say(f"             {' and '.join(pairs.carved)} carved from train by seed {config.data.split_seed}")
    for line in describe(plan):
        display.say(line)
    display.say(f"cache        {planned_cache(plan.prepared, plan.config, pairs.splits['train']).description}")
    return plan, pairs, left_out


def _refuse_photos(pairs: Sequence[Pair]) -> None:
    """Raises ConfigError where the sources have no labels that could be read back."""
    try:
        find_palette(pairs)
    except DataError as error:
        reason = str(error).partition(", which")[0]
        raise ConfigError(f"training.best_by label_accuracy cannot be measured: {reason}; choose another") from None


def _say_left_out(left_out: Sequence[Problem], display: ProgressBar, most: int = 3) -> None:
    """How many things were left out, and the first few."""
    if left_out:
        display.say(f"left out     {len(left_out):,}, all of them in {LEFT_OUT}")
    for path, reason in left_out[:most]:
        display.say(f"             {escape_unprintable(path)}: {escape_unprintable(reason)}")


def _write_left_out(folder: Path, left_out: Sequence[Problem]) -> None:
    """One line for each file that was left out; none of an earlier look stays."""
    path = folder / LEFT_OUT
    if left_out:
        write_text(
            path, "".join(f"{escape_unprintable(bad)}: {escape_unprintable(reason)}\n" for bad, reason in left_out)
        )
    else:
        path.unlink(missing_ok=True)


def _name(config: Config) -> str:
    """A run is called after its data."""
    place = Path(config.data.path or config.data.target or "run").resolve()
    return (place.stem if place.is_file() else place.name) or "run"


def _newest_metrics(folder: Path) -> dict[str, dict[str, float]]:
    newest: dict[str, dict[str, float]] = {}
    for row in read_metrics(folder / "metrics.csv"):
        newest[row.split] = dict(row.values)
    return newest
