"""Choose, create or overwrite the run folder of a training, or refuse it; and the result of a run."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pix2pix.config import Config
from pix2pix.config.io import make_config, read_yaml, to_yaml
from pix2pix.errors import ConfigError
from pix2pix.system.files import write_text
from pix2pix.text import escape_unprintable
from pix2pix.training.checkpoint import DESCRIPTION

# Settings that may change when a run is resumed, since they do not change what is learned.
FREE = {
    "data.path", "data.source", "data.target", "data.workers",
    "data.cache", "data.cache_dir",
    "training.epochs", "training.validate_every", "training.patience", "training.samples", "training.device",
    "training.devices", "training.nodes", "training.rank_timeout",
    "provenance.pix2pix", "provenance.python", "provenance.torch",
}  # fmt: skip


LEFT_OUT = "left_out.txt"
"""File that lists what --skip-bad left out."""
MARKER = ".pix2pix-run"
"""File that marks a run folder. Version 0.1 wrote none: its runs are recognised by the names in them."""
WRITTEN = (
    "config.yaml", "metrics.csv", "curves.png", "report.html", LEFT_OUT,
    "samples", "tensorboard", "checkpoints", "model", "evaluation", "segmenter", MARKER,
)  # fmt: skip
"""Everything that a run writes into its folder: --overwrite removes these names and nothing else."""


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


def open_run(asked: Path | None, name: str, config: Config, *, overwrite: bool) -> Path:
    """Choose the folder to train in; write nothing.

    It is `asked`, or else the first of runs/NAME, runs/NAME-2, ... that is free or can be resumed. Raises ConfigError
    if `asked` holds a run with other settings.
    """
    if asked is not None:
        if not overwrite and asked.exists():
            _refuse_other_settings(asked, config)
        return asked
    folder, number = Path("runs") / name, 1
    while folder.exists() and not overwrite and not _can_resume(folder, config):
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def begin_run(folder: Path, config: Config, *, overwrite: bool, data_files: Iterable[str] = ()) -> None:
    """Make the folder and write `config.yaml`; with `overwrite`, first remove an existing run.

    Raises ConfigError, and removes nothing, if it is not a run folder or holds one of `data_files`.
    """
    if overwrite and folder.exists():
        _refuse_to_remove(folder, data_files)
        _remove_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MARKER, "This folder belongs to a training of pix2pix.\n")
    write_text(folder / "config.yaml", to_yaml(config))


def write_left_out(folder: Path, left_out: Sequence[tuple[Path | str, str]]) -> None:
    """Write the list of what --skip-bad left out, one per line, or remove an older list."""
    path = folder / LEFT_OUT
    if left_out:
        lines = (f"{escape_unprintable(bad)}: {escape_unprintable(reason)}\n" for bad, reason in left_out)
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def _refuse_to_remove(folder: Path, data_files: Iterable[str]) -> None:
    """Raise ConfigError if a folder is no run's, or holds one of these files, whatever links lead to it."""
    if not (_is_run(folder) or _is_unused(folder)):
        raise ConfigError(f"{folder}: not a run folder, so --overwrite does not remove it; choose another --run")
    real, places = folder.resolve(), {}
    for file in data_files:
        parent, name = os.path.split(file)
        if parent not in places:
            places[parent] = Path(parent).resolve()
        place = places[parent] / name
        if (place.resolve() if place.is_symlink() else place).is_relative_to(real):
            raise ConfigError(f"{folder}: holds the data, such as {file}; choose another --run, or move the data")


def _remove_run(folder: Path) -> None:
    """Remove the files of a run by name."""
    for name in WRITTEN:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _is_run(folder: Path) -> bool:
    """Return whether a training made this folder. A `config.yaml` alone proves nothing: other programs write it too."""
    if (folder / MARKER).exists():
        return True
    try:
        provenance = read_yaml(folder / "config.yaml").get("provenance") or {}
    except ConfigError:
        return False
    has_fingerprint = isinstance(provenance, dict) and "data_fingerprint" in provenance
    return has_fingerprint and set(os.listdir(folder)) <= set(WRITTEN)  # version 0.1 wrote nothing else


def _is_unused(folder: Path) -> bool:
    """Return whether a folder is empty, or a training was killed there before it had written its settings."""
    return all(name == MARKER or (name.startswith(".") and name.endswith(".partial")) for name in os.listdir(folder))


def changed_settings(folder: Path, config: Config) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, saved value, new value) of the settings that prevent resuming."""
    path = folder / "config.yaml"
    saved = make_config(read_yaml(path), str(path))
    old, new = dict(_leaves(saved)), dict(_leaves(config))
    free = FREE if config.optimizer.schedule == "constant" else FREE - {"training.epochs"}
    if config.training.effective_batch == saved.training.effective_batch:
        free = free | {"training.batch_size"}  # each step sees the same pairs, in another number of processes
    for name in sorted(old.keys() | new.keys()):
        if name not in free and old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


def _refuse_other_settings(folder: Path, config: Config) -> None:
    if not (folder / "config.yaml").exists():
        if not _is_unused(folder):
            raise ConfigError(f"{folder}: exists and is not a run folder; choose another --run")
        return
    for name, old, new in changed_settings(folder, config):
        what = "the data have changed" if name == "provenance.data_fingerprint" else f"{name} was {old}, now {new}"
        raise ConfigError(
            f"{folder}: holds a run with other settings ({what}); give those settings to resume it, "
            "another --run to keep both, or --overwrite to replace it"
        )


def _can_resume(folder: Path, config: Config) -> bool:
    """Return whether a folder holds an unfinished run with the same settings; false if it is unreadable."""
    description = folder / "checkpoints" / DESCRIPTION
    try:
        finished = description.exists() and json.loads(description.read_text(encoding="utf-8"))["finished"]
        return _is_unused(folder) or (not finished and not any(changed_settings(folder, config)))
    except (OSError, ValueError, KeyError, TypeError):  # ConfigError is a ValueError
        return False


def _leaves(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            for key, item in value.items():
                inside = f"{prefix}{name}.{key}"
                yield from _leaves(item, f"{inside}.") if isinstance(item, BaseModel) else ((inside, item),)
        else:
            yield f"{prefix}{name}", value
