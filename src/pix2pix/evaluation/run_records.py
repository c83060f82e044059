"""Read the folder of a run or of an evaluation."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pix2pix.config import Config
from pix2pix.config.io import make_config, read_yaml
from pix2pix.config.recorded import apply_choices
from pix2pix.data.encoding.prepared import PreparedData
from pix2pix.errors import ConfigError, ModelError
from pix2pix.metrics.pixel import HIGHER_IS_BETTER
from pix2pix.model import build_networks
from pix2pix.reports.curves import Row, read_metrics
from pix2pix.reports.epochs import read_kept_epoch
from pix2pix.reports.metrics_file import read_evaluation_metrics
from pix2pix.system.reading import LARGE, read_text
from pix2pix.text import escape_unprintable
from pix2pix.training.checkpoint_files import read_newest_description

Array = NDArray[np.float64]
State = Literal["finished", "stopped early", "unfinished"]

COLUMNS = {  # of tables: name -> (title, whether higher is better; None if neither)
    "label_accuracy": ("label accuracy", True),
    "label_class_accuracy": ("class accuracy", True),
    "label_iou": ("class IoU", True),
    **{name: (name, better) for name, better in HIGHER_IS_BETTER.items() if name != "label_accuracy"},
    "gradient_ratio": ("gradient_ratio", None),
    "fine_detail_ratio": ("fine_detail_ratio", None),
    "grid_energy": ("grid_energy", None),
    "source_dependence": ("source_dependence", None),
}
SET_METRICS = (
    "label_class_accuracy",
    "label_iou",
    "fid",
    "kid",
    "kid_vgg",
    "gradient_ratio",
    "fine_detail_ratio",
    "grid_energy",
    "source_dependence",
)
"""Columns that describe a whole set, not single images."""
LABELS = {"label_accuracy": "pixel_accuracy", "label_class_accuracy": "class_accuracy", "label_iou": "iou"}


# ---- an evaluation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EvaluationRecord:
    """An evaluation: its `metrics.json` and the rows of its `per_image.csv`."""

    folder: Path
    metrics: Mapping[str, Any]
    names: tuple[str, ...]  # of the images, in order
    values: Mapping[str, Array]  # metric -> its value for each image, (n,)

    @property
    def diagnostics(self) -> Mapping[str, Any]:
        """The diagnostics (`health` in version 0.1); empty if there are none."""
        return self.metrics.get("diagnostics") or self.metrics.get("health") or {}

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """Name -> number, including labels and diagnostics; None if not measured."""
        labels = self.metrics.get("labels") or {}
        return {**self.metrics, **self.diagnostics, **{name: labels.get(inner) for name, inner in LABELS.items()}}

    @cached_property
    def intervals(self) -> dict[str, Any]:
        """Name -> interval, or None."""
        labels = (self.metrics.get("labels") or {}).get("intervals") or {}
        return {**(self.metrics.get("intervals") or {}), **{name: labels.get(inner) for name, inner in LABELS.items()}}


def read_evaluation(folder: Path) -> EvaluationRecord:
    """Read an evaluation. Raises ModelError naming a broken file, OSError for a missing one."""
    metrics = read_evaluation_metrics(folder / "metrics.json")
    path = folder / "per_image.csv"
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path, LARGE), newline="")))
        names = tuple(row.pop("name") for row in rows)
        values = {name: np.array([float(row[name]) for row in rows]) for name in (rows[0] if rows else {})}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        reason = escape_unprintable(f"{type(error).__name__}: {error}"[:200])
        raise ModelError(
            f"{path}: not a file of an evaluation, or broken ({reason}); run `pix2pix evaluate` again"
        ) from None
    return EvaluationRecord(folder, metrics, names, values)


# ---- a run -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunRecord:
    """A run: its settings, its epochs so far, and its evaluations by name."""

    path: Path
    name: str
    config: Config
    rows: list[Row]
    state: State
    kept_epoch: int | None  # epoch of its model; None if there is no model yet
    evaluations: dict[str, EvaluationRecord]

    @property
    def warmup(self) -> int:
        """Number of epochs of the first phase, in which one network learns alone."""
        return self.config.training.first_phase.epochs

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of its data."""
        return self.config.provenance.get("data_fingerprint")

    @cached_property
    def parameters(self) -> tuple[int, int]:
        """Number of parameters of generator and discriminator."""
        with torch.device("meta"):
            networks = build_networks(self.config)
        generator, discriminator = (sum(weights.numel() for weights in one.parameters()) for one in networks)
        return generator, discriminator


def read_run(folder: Path, name: str) -> RunRecord:
    """Read a run, finished or not. Raises ModelError or ConfigError naming a missing or broken file."""
    if not (folder / "config.yaml").exists():
        raise ModelError(f"{folder}: {_explain_missing_run(folder)}")
    config = _read_resolved(folder / "config.yaml")
    rows = read_metrics(folder / "metrics.csv")
    if not rows:
        raise ModelError(f"{folder}: no epoch has been finished yet; wait for the first one, or leave this run out")
    evaluations = {path.parent.name: read_evaluation(path.parent) for path in folder.glob("evaluation/*/metrics.json")}
    kept = read_kept_epoch(folder)
    return RunRecord(
        folder, name, config, rows, _find_state(folder, config, rows), kept, dict(sorted(evaluations.items()))
    )


def _read_resolved(path: Path) -> Config:
    """Read the settings that a training wrote, in which none is open. Raises ConfigError."""
    config = apply_choices(make_config(read_yaml(path), str(path)))
    try:
        PreparedData.from_settings(config.data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


def _explain_missing_run(folder: Path) -> str:
    if not folder.exists():
        return "no such run folder"
    if (folder / "generator.safetensors").exists():
        return "a model folder, without curves; give its run folder, or compare the numbers of `pix2pix evaluate`"
    if (folder / "runs").is_dir():
        return f"not a run but a folder of runs; give the runs in {folder / 'runs'}"
    return "not a run folder, as it has no config.yaml; give folders that `pix2pix train` made"


def _find_state(folder: Path, config: Config, rows: list[Row]) -> State:
    if rows[-1].epoch >= config.training.epochs:
        return "finished"
    return "stopped early" if read_newest_description(folder / "checkpoints").get("finished") else "unfinished"
