"""Train a model: inspect the data, plan, open the run folder, fit, report."""

import functools
import os
import signal
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix.config import Config, Training
from pix2pix.config.io import nest_settings
from pix2pix.config.presets import choose_settings
from pix2pix.config.recorded import apply_choices, record_choices
from pix2pix.data.checks.report import Problem
from pix2pix.data.pairing.nesting import refuse_data_inside, refuse_inside_data
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import PairSet
from pix2pix.distributed.environment import choose_processes
from pix2pix.distributed.process_group import ProcessGroup, process_group
from pix2pix.errors import ConfigError, DataError, Interrupted
from pix2pix.model.model_config import CONFIG
from pix2pix.reports.curves import read_metrics
from pix2pix.system.files import never_made_anew
from pix2pix.system.hardware import choose_device
from pix2pix.system.progress import ProgressBar
from pix2pix.system.signals import note_stop_signals
from pix2pix.system.threads import computing_threads
from pix2pix.text import is_unicode
from pix2pix.training.inspection import inspect_and_plan
from pix2pix.training.machine import describe_continued
from pix2pix.training.old_run import remove_old_run
from pix2pix.training.parent import inherit_settings, with_parent
from pix2pix.training.plan import Plan
from pix2pix.training.run_folder import (
    Run,
    RunChoice,
    begun_run,
    choose_run,
    continued_settings,
    describe_done,
    find_resumable,
    fingerprints_of_runs,
    name_run,
    open_run,
    refuse_inside_run,
    restore_settings,
    write_left_out,
)
from pix2pix.training.setup import make_trainer

__all__ = ["Run", "plan_only", "train", "train_with"]


def train(
    data: str | Path | None = None,
    *,
    run: str | Path | None = None,
    preset: str | None = None,
    config: str | Path | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Run:
    """Train a translator on a folder of pairs; the same call again resumes an interrupted training.

    `settings` are named as on the command line (`epochs=100`, `direction="BtoA"`, `base_channels=32`) or by section
    (`generator={"kind": "resnet"}`). Under torchrun or srun, the caller is one process of the training; otherwise
    `devices=N` starts N processes. Raises ConfigError, DataError, RunError or OSError with one sentence, and
    Interrupted, a KeyboardInterrupt, after a signal.
    """
    folder = None if run is None else Path(run)
    inherit = functools.partial(inherit_settings, folder, overwrite)
    return train_with(
        choose_settings(data, preset, config, nest_settings(settings), inherit), folder, overwrite=overwrite
    )


def train_with(config: Config, run: Path | None = None, *, overwrite: bool = False) -> Run:
    """Train with checked settings: inspect the data, plan, open the run folder, fit, report."""
    settled, info = choose_processes(config, os.environ)
    training = settled.training
    if info is None:
        call = functools.partial(train_with, config, run, overwrite=overwrite)
        return _launch(call, training)
    with (
        computing_threads(training.threads, info.local_size),
        process_group(info, choose_device(training.device), training.rank_timeout) as group,
        ProgressBar(silent=not group.is_first) as bar,
        ExitStack() as held,  # by rank 0, for the life of the training
    ):
        begun = group.broadcast(lambda: _begin(settled, config.training, run, bar, held, overwrite=overwrite))
        plan, splits, folder = begun.plan, begun.splits, begun.folder
        if begun.is_done:
            return Run(folder, group.broadcast(lambda: _newest_metrics(folder)), group.is_first)
        held.enter_context(never_made_anew(folder))
        trainer = make_trainer(plan, splits, folder, bar, group)
        with note_stop_signals() as stop:
            try:
                try:
                    progress = trainer.fit(stop, begun=lambda: remove_old_run(folder))
                except Interrupted:
                    _restore_settings(begun, group, bar)
                    raise
                _restore_settings(begun, group, bar)
                if group.broadcast(lambda: not (folder / "model" / CONFIG).exists()):
                    trainer.write_newest_model()
                    bar.say(f"model        was missing: made of the newest epoch, {progress.epoch}")
            except Interrupted as interrupted:
                if interrupted.signal == signal.SIGINT:  # the other signals leave little time
                    bar.say(f"saved        {folder}; drawing the report, which another Ctrl-C skips")
                    trainer.writer.write_report()
                raise
        report = trainer.writer.write_report()
        by = plan.config.training.best_by if "val" in splits else "last"
        bar.say(f"model        {folder / 'model'}: kept epoch {progress.best_epoch} of {progress.epoch} (by {by})")
        if trainer.step_time.total:
            bar.say(f"loading      {100 * trainer.step_time.loading_share:.0f} % of the training time")
        bar.say(f"report       {report}")
        return Run(folder, group.broadcast(lambda: _newest_metrics(folder)), group.is_first)


def plan_only(config: Config, run: Path | None = None, *, overwrite: bool = False) -> None:
    """Inspect the data and print what would be trained, and where; write nothing. Raises as `train` does."""
    settled, info = choose_processes(config, os.environ)
    if info is not None and info.rank:
        return  # rank 0 prints it
    with ProgressBar() as bar:
        plan, pairs, _ = _inspect(settled, config.training, run, bar, overwrite=overwrite)
        settings, check = record_choices(plan.config, config.training), _folder_check(config, pairs)
        choice = choose_run(run, _name_run(config), settings, check, overwrite=overwrite)
        settings = continued_settings(choice.folder, settings, overwrite=overwrite)
        done = describe_done(choice.folder, config.training.epochs, overwrite=overwrite)
        _say_choice(choice, plan, apply_choices(settings), bar, done or ": nothing has been written")


class _Begun(NamedTuple):
    """What rank 0 has prepared for all processes."""

    plan: Plan
    splits: dict[str, tuple[Pair, ...]]
    folder: Path
    settings: Config  # as `config.yaml` has them
    is_done: bool = False  # trained for more epochs than were asked for, so nothing has been written


def _launch(call: Callable[[], Run], training: Training) -> Run:
    """Train in several processes on this machine."""
    from pix2pix.distributed.launcher import launch  # not needed for one process

    assert training.devices != "auto"
    assert training.nodes != "auto"
    return launch(call, training.devices, training.nodes, timeout=training.rank_timeout, environment=os.environ)


def _begin(
    config: Config, asked: Training, run: Path | None, bar: ProgressBar, held: ExitStack, *, overwrite: bool
) -> _Begun:
    """Inspect, plan, and make and lock the run folder; rank 0 does this for all processes.

    `asked` are the settings before `auto` was resolved in them.
    """
    plan, pairs, left_out = _inspect(config, asked, run, bar, overwrite=overwrite)
    settings, check = record_choices(plan.config, asked), _folder_check(config, pairs)
    choice = held.enter_context(open_run(run, _name_run(config), settings, check, overwrite=overwrite))
    folder, settings = choice.folder, continued_settings(choice.folder, settings, overwrite=overwrite)
    resolved, done = apply_choices(settings), describe_done(folder, asked.epochs, overwrite=overwrite)
    _say_choice(choice, plan, resolved, bar, done or "")
    begun = _Begun(replace(plan, config=resolved), pairs.splits, folder, settings, is_done=done is not None)
    if begun.is_done:
        return begun
    held.enter_context(begun_run(folder, settings, overwrite=overwrite))
    write_left_out(folder, left_out)
    return begun


def _inspect(
    config: Config, asked: Training, run: Path | None, bar: ProgressBar, *, overwrite: bool
) -> tuple[Plan, PairSet, tuple[Problem, ...]]:
    """Inspect and plan; a run that is resumed keeps what it recorded about its data where `config` leaves it open."""
    name = _name_run(config)
    known, found = fingerprints_of_runs(run, name), None if overwrite else find_resumable(run, name)
    resumed = None if found is None else found[1]
    if found is not None and run is None and not _resumes(*found, config, asked, known):
        resumed = None
    return _plan(config, run, bar, known, resumed)


def _plan(
    config: Config, run: Path | None, bar: ProgressBar, known: Collection[str], resumed: Config | None
) -> tuple[Plan, PairSet, tuple[Problem, ...]]:
    """Inspect and plan, with the settings of the run that is resumed, if there is one."""
    plan, pairs, left_out = inspect_and_plan(config, bar, known, None if resumed is None else resumed.data)
    plan, lines = with_parent(plan, run, resumed)
    for line in lines:
        bar.say(line)
    return plan, pairs, left_out


def _resumes(folder: Path, saved: Config, config: Config, asked: Training, known: Collection[str]) -> bool:
    """Return whether a training without --run resumes a run if it keeps what that recorded about its data."""
    name = _name_run(config)
    with ProgressBar(silent=True) as silent, suppress(ConfigError, DataError):
        plan, pairs, _ = _plan(config, None, silent, known, saved)
        settings, check = record_choices(plan.config, asked), _folder_check(config, pairs)
        return choose_run(None, name, settings, check, overwrite=False).folder == folder
    return False


def _say_choice(choice: RunChoice, plan: Plan, resolved: Config, bar: ProgressBar, more: str) -> None:
    """Say which folder was chosen, and which of the plan's choices its run replaces."""
    bar.say(f"run          {choice}{more}")
    if choice.restored:
        bar.say("             the run that a killed --overwrite had moved aside was put back first")
    if (continued := describe_continued(plan.config.training, resolved.training)) is not None:
        bar.say(f"machine      {continued}")


def _restore_settings(begun: _Begun, group: ProcessGroup, bar: ProgressBar) -> None:
    """Write `config.yaml` again if it was removed in the meantime, and say so."""
    if group.broadcast(lambda: restore_settings(begun.folder, begun.settings)):
        bar.say(f"warning      {begun.folder / 'config.yaml'} was removed during the training; written again")


def _name_run(config: Config) -> str:
    """Return the name of the run of these data."""
    return name_run(config.data.path or config.data.target)


def _folder_check(config: Config, pairs: PairSet) -> Callable[[Path], None]:
    """Return a function that raises ConfigError for a run folder in the data, with data in it, or in another run."""

    def check(folder: Path) -> None:
        if not is_unicode(folder):
            raise ConfigError(f"{folder}: the name is not UTF-8, which TensorBoard needs; choose another --run")
        refuse_inside_run(folder)
        refuse_inside_data(folder, config.data)
        files = (ref.file for split in pairs.splits.values() for pair in split for ref in pair.refs)
        refuse_data_inside(folder, config.data, files)

    return check


def _newest_metrics(folder: Path) -> dict[str, dict[str, float]]:
    """Return the last row of each split of `metrics.csv`."""
    return {row.split: dict(row.values) for row in read_metrics(folder / "metrics.csv")}
