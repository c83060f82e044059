"""Choose the run folder of a training, lock it, and begin, resume or replace the run in it; and the result of a run."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from itertools import count
from pathlib import Path
from typing import NamedTuple

from pix2pix.config import Config
from pix2pix.config.io import make_config, read_yaml, to_yaml
from pix2pix.config.recorded import apply_choices
from pix2pix.errors import ConfigError, InUseError, RunError
from pix2pix.model.model_config import CONFIG
from pix2pix.system.files import make_folders, write_text
from pix2pix.system.locks import LOCK, find_holder, hold_lock
from pix2pix.text import escape_unprintable
from pix2pix.training.changed_settings import changed_settings, describe_change
from pix2pix.training.checkpoint_files import STATE_OF, newest_epoch, read_newest_description
from pix2pix.training.machine import continue_choices
from pix2pix.training.old_run import kept_until_begun, needs_recovery, recover, set_aside
from pix2pix.training.run_files import (
    ASIDE,
    FOLDERS,
    LEFT_OUT,
    MARKER,
    MOVING,
    REMOVING,
    WRITTEN,
    remove_unfinished,
)

Check = Callable[[Path], object]
"""Raise ConfigError for a folder that must not become a run folder."""


@dataclass(frozen=True)
class Run:
    """The folder of a finished training and its newest metrics: split -> name -> value."""

    path: Path
    metrics: dict[str, dict[str, float]]
    is_first: bool = True
    """Whether this is the first process of the training, which reports the result."""

    @property
    def model(self) -> Path:
        """The model folder, which translate and evaluate load."""
        return self.path / "model"


class RunChoice(NamedTuple):
    """The folder to train in, and why it is not the one of the plain name; empty if it is."""

    folder: Path
    reason: str = ""
    restored: bool = False
    """Whether the run in it had been moved aside by a training that was killed before it had begun."""

    def __str__(self) -> str:
        return f"{self.folder}{f' ({self.reason})' if self.reason else ''}"


class _Refusal(NamedTuple):
    """Why a folder cannot be used, and what to type."""

    reason: str
    advice: str
    ends: bool = False
    """Whether the search ends here, although the folder was not asked for."""


_NO_RUN = "not a run folder, so --overwrite does not remove it"
_COPY_BACK = "copy what is missing back to resume it, or give another --run to keep it, or --overwrite to replace it"

# ---- choosing --------------------------------------------------------------------------------------------------


def choose_run(asked: Path | None, name: str, config: Config, check: Check, *, overwrite: bool) -> RunChoice:
    """Choose the folder to train in as `open_run` does; write nothing."""

    def look(folder: Path) -> _Refusal | None:
        if (holder := find_holder(folder)) is None:
            return _find_refusal(folder, config, overwrite=overwrite, is_asked=asked is not None)
        if asked is not None:
            raise InUseError(folder, str(holder))
        return _Refusal(f"is in use by {holder}", "")

    return _choose(asked, name, check, look)


@contextmanager
def open_run(asked: Path | None, name: str, config: Config, check: Check, *, overwrite: bool) -> Iterator[RunChoice]:
    """Choose the folder to train in, and hold its lock within the block.

    It is `asked`, or else the first of runs/NAME, runs/NAME-2, ... that is free or can be resumed. What a killed
    training began there is finished first. Raises ConfigError if `asked` holds a run with other settings, and
    InUseError if another process trains in it.
    """
    restored: set[Path] = set()
    with ExitStack() as lock:

        def lock_and_look(folder: Path) -> _Refusal | None:
            refusal = _find_refusal(folder, config, overwrite=overwrite, is_asked=asked is not None)
            if refusal is not None:
                return refusal
            make_folders(folder)
            try:
                lock.enter_context(hold_lock(folder))
            except InUseError as error:
                if asked is not None:
                    raise
                return _Refusal(f"is in use by {error.holder}", "")
            if recover(folder):
                restored.add(folder)
            refusal = _find_refusal(folder, config, overwrite=overwrite, is_asked=asked is not None)
            if refusal is not None:  # the folder has changed before it was locked
                lock.close()
            return refusal

        choice = _choose(asked, name, check, lock_and_look)
        yield choice._replace(restored=choice.folder in restored)


def _choose(asked: Path | None, name: str, check: Check, find_refusal: Callable[[Path], _Refusal | None]) -> RunChoice:
    """Return the first folder that is not refused. Raises ConfigError if `asked` is."""
    reasons: list[str] = []
    for folder in _candidates(asked, name):
        check(folder)
        refusal = find_refusal(folder)
        if refusal is None:
            break
        if asked is not None or refusal.ends:
            raise ConfigError(f"{folder}: {refusal.reason}; {refusal.advice}")
        reasons.append(f"{folder} {refusal.reason}")
    more = f"; {len(reasons) - 1} more cannot be used" if len(reasons) > 1 else ""
    return RunChoice(folder, f"{reasons[0]}{more}" if reasons else "")


def _candidates(asked: Path | None, name: str) -> Iterator[Path]:
    """Yield the folders in which a training may run: `asked`, or runs/NAME, runs/NAME-2 and so on."""
    if asked is not None:
        yield asked
        return
    yield from (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in count(1))


def _find_refusal(folder: Path, config: Config, *, overwrite: bool, is_asked: bool) -> _Refusal | None:
    """Return why a training cannot begin or be resumed in a folder."""
    try:
        if not folder.exists() or _is_unused(folder) or needs_recovery(folder):
            return None
        if overwrite:
            return None if _is_replaceable(folder) else _Refusal(_NO_RUN, "choose another --run", ends=True)
        if not (folder / "config.yaml").exists() and _has_checkpoint(folder):
            return _Refusal("holds a checkpoint but no config.yaml, so its settings are not known", _COPY_BACK)
        if not is_run(folder):
            return _Refusal("exists and is not a run folder", "choose another --run")
        if (folder / "model" / CONFIG).exists() and not _has_checkpoint(folder):
            return _Refusal("holds a trained model but no checkpoint, so it cannot be resumed", _COPY_BACK)
        return _find_difference(folder, config) or (None if is_asked else _find_end(folder))
    except NotADirectoryError:
        return _Refusal("is a file, expected a folder", "choose another --run")
    except OSError as error:
        if is_asked:
            raise
        return _Refusal(f"cannot be read: {error.strerror}", "")


def _find_difference(folder: Path, config: Config) -> _Refusal | None:
    """Return why a run cannot be resumed with these settings."""
    if not (folder / "config.yaml").exists():
        return None  # killed before it had written its settings
    try:
        saved = _read_settings(folder)
    except ConfigError as error:
        return _Refusal(f"cannot be resumed, since {error}", _COPY_BACK)
    try:
        config = continue_choices(config, saved)
    except ConfigError as error:
        reason, _, advice = str(error).partition("; ")
        return _Refusal(f"cannot be resumed as it began: {reason}", advice, ends=True)
    changed = next(changed_settings(saved, config), None)
    if changed is None:
        return None
    name, old, new = changed
    if name == "data.skip_bad":
        return _Refusal(
            f"was begun {'with' if old else 'without'} --skip-bad, and with other pairs its epochs would be others",
            "repair the bad files (`pix2pix data check` lists them) and give the flags of the first start to resume, "
            "or give another --run to train anew",
        )
    return _Refusal(
        f"holds a run with other settings: {describe_change(config, name, old, new)}",
        "give those settings to resume it, another --run to keep both, or --overwrite to replace it",
    )


def _find_end(folder: Path) -> _Refusal | None:
    """Return that a run is finished. One that has lost its model is resumed, which makes it anew."""
    try:
        finished = read_newest_description(folder / "checkpoints").get("finished", False)
    except RunError:
        return None  # `restore` says what is wrong with the checkpoint
    return _Refusal("is finished", "") if finished and (folder / "model" / CONFIG).exists() else None


def refuse_inside_run(folder: Path) -> None:
    """Raise ConfigError for a folder inside one of the folders that another run writes."""
    real = folder.resolve()
    for parent in real.parents:
        if real.relative_to(parent).parts[0] in (*FOLDERS, ASIDE, MOVING, REMOVING) and is_run(parent):
            raise ConfigError(f"{folder}: lies in the files of another run, {parent}; choose another --run")


# ---- beginning -------------------------------------------------------------------------------------------------


@contextmanager
def begun_run(folder: Path, config: Config, *, overwrite: bool) -> Iterator[None]:
    """Begin a run as `begin_run` does. The run that it replaces is put back if the block ends before it is removed."""
    with kept_until_begun(folder):
        begin_run(folder, config, overwrite=overwrite)
        yield


def begin_run(folder: Path, config: Config, *, overwrite: bool) -> None:
    """Make the folder and write `config.yaml`; with `overwrite`, first move an existing run aside (`old_run`).

    Raises ConfigError, and changes nothing, for a folder with `overwrite` that is no run's.
    """
    make_folders(folder)
    replaced = overwrite and not _is_unused(folder)
    if replaced and not _is_replaceable(folder):
        raise ConfigError(f"{folder}: {_NO_RUN}; choose another --run")
    write_text(folder / MARKER, "This folder belongs to a training of pix2pix.\n")
    if replaced:
        set_aside(folder)
    remove_unfinished(folder)
    write_text(folder / "config.yaml", to_yaml(config))


def restore_settings(folder: Path, config: Config) -> bool:
    """Write `config.yaml` again if it was removed while the run was trained. Returns whether it was."""
    path = folder / "config.yaml"
    if path.exists():
        return False
    write_text(path, to_yaml(config))
    return True


def write_left_out(folder: Path, left_out: Sequence[tuple[Path | str, str]]) -> None:
    """Write the list of what --skip-bad left out, one per line, or remove an older list."""
    path = folder / LEFT_OUT
    if left_out:
        lines = (f"{escape_unprintable(bad)}: {escape_unprintable(reason)}\n" for bad, reason in left_out)
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


# ---- what a folder is ------------------------------------------------------------------------------------------


def name_run(data: str | None) -> str:
    """Return the name of the run of data, a folder or a manifest."""
    path = Path(data or "run").resolve()
    return (path.stem if path.is_file() else path.name) or "run"


def fingerprints_of_runs(asked: Path | None, name: str) -> list[str]:
    """Return the fingerprints of the data of runs that a training may resume: `asked`, or runs/NAME, runs/NAME-2."""
    found = []
    for folder in [asked] if asked is not None else sorted(Path("runs").glob(f"{escape(name)}*")):
        with suppress(ConfigError):
            provenance = read_yaml(folder / "config.yaml").get("provenance")
            found.append(provenance.get("data_fingerprint") if isinstance(provenance, dict) else None)
    return [one for one in found if isinstance(one, str)]


def find_resumable(asked: Path | None, name: str) -> tuple[Path, Config] | None:
    """Return a run that a training may resume, and its settings: `asked`, or the first unfinished one of its name."""
    for folder in _candidates(asked, name):
        if not folder.exists():
            return None
        with suppress(ConfigError, OSError):
            if is_run(folder) and (asked is not None or _find_end(folder) is None):
                return folder, _read_settings(folder)
    return None


def is_run(folder: Path) -> bool:
    """Return whether a training made this folder. A `config.yaml` alone proves nothing: other programs write it too."""
    return (folder / MARKER).exists() or _has_fingerprint(folder)


def _is_replaceable(folder: Path) -> bool:
    """Return whether --overwrite may remove the files of a run. Version 0.1 wrote no marker, and nothing but these."""
    return (folder / MARKER).exists() or (_has_fingerprint(folder) and set(os.listdir(folder)) <= WRITTEN)


def _has_fingerprint(folder: Path) -> bool:
    try:
        provenance = read_yaml(folder / "config.yaml").get("provenance") or {}
    except ConfigError:
        return False
    return isinstance(provenance, dict) and "data_fingerprint" in provenance


def _has_checkpoint(folder: Path) -> bool:
    """Return whether a run has a file of a checkpoint, intact or not."""
    return any((folder / "checkpoints" / name).exists() for names in STATE_OF.items() for name in names)


def _is_unused(folder: Path) -> bool:
    """Return whether a folder is empty, or a training was killed there before it had written its settings."""
    names = os.listdir(folder)
    return all(name in (MARKER, LOCK) or (name.startswith(".") and name.endswith(".partial")) for name in names)


def continued_settings(folder: Path, config: Config, *, overwrite: bool) -> Config:
    """Return the settings of a training that begins in a folder, or resumes the run in it, as `config.yaml` has them.

    Raises ConfigError as `continue_choices` does.
    """
    if overwrite or not (folder / "config.yaml").exists():
        return config
    return continue_choices(config, _read_settings(folder))


def describe_done(folder: Path, epochs: int, *, overwrite: bool) -> str | None:
    """Say that a run has been trained for more epochs than are asked for, so that nothing is to do; else None."""
    done = 0 if overwrite else newest_epoch(folder / "checkpoints")
    if done <= epochs:
        return None
    more = f"give --epochs {done + 1} or more"
    return f": is trained to epoch {done} already, so --epochs {epochs} changes nothing; {more}"


def _read_settings(folder: Path) -> Config:
    """Read the settings of a run. Raises ConfigError."""
    path = folder / "config.yaml"
    saved = make_config(read_yaml(path), str(path))
    apply_choices(saved)
    return saved
