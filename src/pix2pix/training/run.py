"""A name and settings in; a run folder that is new, resumed or refused out."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pix2pix.config import Config
from pix2pix.errors import ConfigError
from pix2pix.files import write_text
from pix2pix.settings import make_config, read_yaml, to_yaml
from pix2pix.training.checkpoint import DESCRIPTION

# What may change between two sittings of one run, since it does not change what is learnt.
FREE = {
    "data.path", "data.source", "data.target", "data.workers",
    "data.cache", "data.cache_dir", "data.cache_gigabytes",
    "training.epochs", "training.validate_every", "training.patience", "training.samples", "training.device",
    "training.devices", "training.nodes", "training.rank_timeout",
    "provenance.pix2pix", "provenance.python", "provenance.torch",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A training's folder and, once it has been validated, its newest metrics (`split` -> name -> value)."""

    path: Path
    metrics: dict[str, dict[str, float]]
    first: bool = True
    """Whether this process is the one that speaks, among those that torchrun or srun started."""

    @property
    def model(self) -> Path:
        """The folder that translate, evaluate, export and serve load."""
        return self.path / "model"


def open_run(asked: Path | None, name: str, config: Config, *, overwrite: bool) -> Path:
    """The folder to train in: `asked`, or else the first of runs/NAME, runs/NAME-2, ... that is free or unfinished
    with the same settings. Nothing is written. Raises ConfigError if `asked` belongs to other settings.
    """
    if asked is not None:
        if not overwrite and asked.exists():
            _refuse_other_settings(asked, config)
        return asked
    folder, number = Path("runs") / name, 1
    while folder.exists() and not overwrite and not _goes_on(folder, config):
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


def begin_run(folder: Path, config: Config, *, overwrite: bool) -> None:
    """Make the folder and write `config.yaml`; with `overwrite`, remove the run that stands there."""
    if overwrite and folder.exists():
        if any(folder.iterdir()) and not (folder / "config.yaml").exists():
            raise ConfigError(f"{folder}: not a run folder, so --overwrite does not remove it; choose another --run")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", to_yaml(config))


def changed(folder: Path, config: Config) -> Iterator[tuple[str, Any, Any]]:
    """The settings in which `config` differs from the run's own and may not: (field, saved, asked)."""
    path = folder / "config.yaml"
    saved = make_config(read_yaml(path), str(path))
    old, new = dict(_leaves(saved)), dict(_leaves(config))
    free = FREE if config.optimizer.schedule == "constant" else FREE - {"training.epochs"}
    if config.training.effective_batch == saved.training.effective_batch:
        free = free | {"training.batch_size"}  # the same pairs in each update, divided otherwise
    for field in sorted(old.keys() | new.keys()):
        if field not in free and old.get(field) != new.get(field):
            yield field, old.get(field), new.get(field)


def _refuse_other_settings(folder: Path, config: Config) -> None:
    if not (folder / "config.yaml").exists():
        if any(folder.iterdir()):
            raise ConfigError(f"{folder}: exists and is not a run folder; choose another --run")
        return
    for field, old, new in changed(folder, config):
        what = "the data have changed" if field == "provenance.data_fingerprint" else f"{field} was {old}, now {new}"
        raise ConfigError(
            f"{folder}: holds a run with other settings ({what}); give those to resume it, "
            "another --run to keep both, or --overwrite to replace it"
        )


def _goes_on(folder: Path, config: Config) -> bool:
    """Whether a folder holds an unfinished run with the same settings; one that cannot be read holds none."""
    description = folder / "checkpoints" / DESCRIPTION
    try:
        finished = description.exists() and json.loads(description.read_text(encoding="utf-8"))["finished"]
        return not finished and not any(changed(folder, config))
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
