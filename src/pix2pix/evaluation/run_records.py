"""The folder of a run or of an evaluation in; what its files say of it out."""

import csv
import json
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
from pix2pix.errors import ModelError
from pix2pix.metrics.pixel import HIGHER_IS_BETTER
from pix2pix.model import build_networks
from pix2pix.reports.curves import Row, read_metrics

Array = NDArray[np.float64]
State = Literal["finished", "stopped early", "unfinished"]

COLUMNS = {  # of tables of evaluations: name -> (title, higher is better; None where neither is)
    "label_accuracy": ("label accuracy", True),
    "label_class_accuracy": ("class accuracy", True),
    "label_iou": ("class IoU", True),
    **{name: (name, better) for name, better in HIGHER_IS_BETTER.items() if name != "label_accuracy"},
    "gradient_ratio": ("gradient_ratio", None),
    "fine_detail_ratio": ("fine_detail_ratio", None),
    "source_dependence": ("source_dependence", None),
}
OF_THE_SET = (
    "label_class_accuracy",
    "label_iou",
    "fid",
    "kid",
    "gradient_ratio",
    "fine_detail_ratio",
    "source_dependence",
)
"""Columns that no single image has."""
LABELS = {"label_accuracy": "pixel_accuracy", "label_class_accuracy": "class_accuracy", "label_iou": "iou"}


# ---- an evaluation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """An evaluation: its `metrics.json`, and the rows of its `per_image.csv`."""

    folder: Path
    metrics: Mapping[str, Any]
    names: tuple[str, ...]  # of the images, in order
    values: Mapping[str, Array]  # metric -> of each image, (n,)

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """Name -> number, those of labels and health among them; None for what was not measured."""
        labels = self.metrics.get("labels") or {}
        flat = {**self.metrics, **(self.metrics.get("health") or {})}
        return flat | {name: labels.get(inner) for name, inner in LABELS.items()}

    @cached_property
    def intervals(self) -> dict[str, Any]:
        """Name -> interval, or None."""
        labels = (self.metrics.get("labels") or {}).get("intervals") or {}
        return {**(self.metrics.get("intervals") or {}), **{name: labels.get(inner) for name, inner in LABELS.items()}}


def read_evaluation(folder: Path) -> Measured:
    """Raises ModelError naming a file that is broken, OSError for one that is not there."""
    path = folder / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(metrics, dict):
            raise ValueError("no object")
        path = folder / "per_image.csv"
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = tuple(row.pop("name") for row in rows)
        values = {name: np.array([float(row[name]) for row in rows]) for name in (rows[0] if rows else {})}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ModelError(f"{path}: not of an evaluation, or broken ({error!r}); evaluate again") from None
    return Measured(folder, metrics, names, values)


# ---- a run -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """A run: its settings, its epochs so far, and its evaluations by their names."""

    path: Path
    name: str
    config: Config
    rows: list[Row]
    state: State
    kept: int | None  # epoch of its model; None before there is one
    evaluations: dict[str, Measured]

    @property
    def head_start(self) -> int:
        """Epochs in which only D learns."""
        return self.config.training.discriminator_epochs

    @property
    def fingerprint(self) -> str | None:
        """Of its data."""
        return self.config.provenance.get("data_fingerprint")

    @cached_property
    def parameters(self) -> tuple[int, int]:
        """Of generator and discriminator."""
        with torch.device("meta"):
            networks = build_networks(self.config)
        generator, discriminator = (sum(weights.numel() for weights in one.parameters()) for one in networks)
        return generator, discriminator


def read_run(folder: Path, name: str) -> Record:
    """What a run says of itself, finished or not. Raises ModelError or ConfigError naming what is missing or broken."""
    if not (folder / "config.yaml").exists():
        raise ModelError(f"{folder}: {_what_else(folder)}")
    config = make_config(read_yaml(folder / "config.yaml"), str(folder / "config.yaml"))
    rows = read_metrics(folder / "metrics.csv")
    if not rows:
        raise ModelError(f"{folder}: no epoch has been finished yet; wait for the first, or leave this run out")
    evaluations = {path.parent.name: read_evaluation(path.parent) for path in folder.glob("evaluation/*/metrics.json")}
    kept = _said(folder / "model" / "config.json", "epoch")
    return Record(folder, name, config, rows, _state(folder, config, rows), kept, dict(sorted(evaluations.items())))


def _what_else(folder: Path) -> str:
    """Why a path is no run."""
    if not folder.exists():
        return "no such run folder"
    if (folder / "generator.safetensors").exists():
        return "a model without its run; give the run folder, which has the curves"
    if (folder / "runs").is_dir():
        return f"not a run but a folder of runs; give those in {folder / 'runs'}"
    return "not a run folder, as it has no config.yaml; give folders that `pix2pix train` made"


def _state(folder: Path, config: Config, rows: list[Row]) -> State:
    if rows[-1].epoch >= config.training.epochs:
        return "finished"
    return "stopped early" if _said(folder / "checkpoints" / "state.json", "finished") else "unfinished"


def _said(path: Path, name: str) -> Any:
    """One value of a JSON file; None where there is no such file or value. Raises ModelError if it is broken."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8")).get(name)
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path}: broken ({error})") from None
