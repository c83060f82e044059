"""Write the HTML page of a run."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import yaml
from markupsafe import Markup
from PIL import Image

from pix2pix.config.io import read_yaml
from pix2pix.config.training import FirstPhase, first_phase
from pix2pix.data.io.arrays import Pixels
from pix2pix.errors import ModelError
from pix2pix.metrics.pixel import metric_names
from pix2pix.reports.advice import advise, describe_outdated
from pix2pix.reports.curves import Row, curve_svgs, read_metrics
from pix2pix.reports.epochs import (
    align_sheets,
    describe_choices,
    find_best_epoch,
    find_kept_models,
    find_sheets,
    list_choices,
    measured_metrics,
    read_kept_epoch,
)
from pix2pix.reports.evaluation_page import explain_numbers, summarize
from pix2pix.reports.metrics_file import read_evaluation_metrics
from pix2pix.reports.render import format_number, render
from pix2pix.system.files import write_text


@dataclass(frozen=True)
class _Settings:
    """The settings of a run that its page needs; defaults if config.yaml is missing."""

    config: dict[str, Any]
    provenance: Mapping[str, Any]
    epochs: int | None
    best_by: str
    phase: FirstPhase
    adversarial: str
    classes: bool  # whether outputs are label maps
    sources: int  # number of sources of a pair


def _read_settings(folder: Path) -> _Settings:
    config = read_yaml(folder / "config.yaml") if (folder / "config.yaml").exists() else {}
    provenance = config.pop("provenance", None) or {}
    data, training, loss, discriminator = (
        config[name] if isinstance(config.get(name), Mapping) else {}
        for name in ("data", "training", "loss", "discriminator")
    )
    return _Settings(
        config,
        provenance,
        training.get("epochs"),
        best_by if (best_by := training.get("best_by", "l1")) != "auto" else provenance.get("best_by", "l1"),
        first_phase(
            training.get("epochs", 0), training.get("discriminator_epochs", 0), training.get("reconstruction_first", 0)
        ),
        "classes" if discriminator.get("kind") == "classes" else loss.get("adversarial", "vanilla"),
        data.get("target_kind") == "labels",
        max(1, len(data.get("sources") or ())),
    )


def write_run_report(folder: Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    The page shows `config.yaml`, `metrics.csv`, `samples/` and `evaluation/*/metrics.json`, and says what is missing.
    Raises ConfigError or ModelError naming a broken file.
    """
    settings = _read_settings(folder)
    rows = read_metrics(folder / "metrics.csv")
    kept, warmup = read_kept_epoch(folder), settings.phase.epochs
    choices = list_choices(rows, warmup, kept, find_kept_models(folder, kept))
    sheets, damaged = _read_sheets(find_sheets(folder, kept))
    marks = {choice.epoch: ", ".join(choice.marks) for choice in choices if choice.marks}
    terms = _tabulate_newest(rows, find_best_epoch(rows, settings.best_by, warmup))
    page = render(
        "run",
        title=folder.resolve().name,
        config=settings.config,
        state=_describe_state(rows, settings),
        findings=[*advise(rows, settings.best_by, warmup), *damaged],
        terms=terms,
        curves=draw_run_curves(folder),
        choices=choices,
        choices_summary=describe_choices(choices),
        measured_metrics=measured_metrics(rows),
        best_by=settings.best_by,
        sheets=sheets,
        strips=align_sheets(sheets, settings.sources, marks),
        evaluations=list(_read_evaluations(folder, kept)),
        meanings=explain_numbers(settings.adversarial, classes=settings.classes),
        numbers=[name for name in metric_names() if any(name in column for column in terms.values())],
        settings=yaml.safe_dump(settings.config, sort_keys=False, allow_unicode=True) if settings.config else "",
        provenance=settings.provenance,
        has_model=(folder / "model").is_dir(),
        run=shlex.quote(str(folder)),
        run_literal=json.dumps(str(folder), ensure_ascii=False),
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


@dataclass(frozen=True)
class _RunState:
    """The state of a run: its newest row, and a sentence about the best epoch."""

    newest: Row
    epochs: int | None  # as set; None if unknown
    best: str


def _describe_state(rows: Sequence[Row], settings: _Settings) -> _RunState | None:
    """Describe the state of a run; None if no epoch has been finished."""
    if not rows:
        return None
    best_by, warmup = settings.best_by, settings.phase.epochs
    best = find_best_epoch(rows, best_by, warmup)
    if best_by == "last":
        sentence = "The newest epoch is kept."
    elif best is None:
        sentence = "No validation has selected a best epoch yet."
    else:
        sentence = f"Best by validation {best_by}: epoch {best.epoch}, with "
        sentence += f"{format_number(best.values[best_by], best_by)}."
    return _RunState(rows[-1], settings.epochs, sentence)


def _tabulate_newest(rows: Sequence[Row], best: Row | None) -> dict[str, dict[str, float]]:
    """Return column title -> term -> value: the newest row of each split, and the best validation if different."""
    newest = {row.split: row for row in rows}
    columns = {f"{split}, epoch {row.epoch}": row.values for split, row in newest.items()}
    if best is not None and best is not newest["val"]:
        columns[f"val, best epoch {best.epoch}"] = best.values
    terms = metric_names()  # the signs of failure are in the findings
    return {title: {name: values[name] for name in terms if name in values} for title, values in columns.items()}


def _read_evaluations(folder: Path, kept_epoch: int | None) -> Iterator[dict[str, Any]]:
    """Read every `evaluation/*/metrics.json`, with its summary, the link to its page and whether it is outdated."""
    for path in sorted(folder.glob("evaluation/*/metrics.json"), key=_natural_order):
        metrics = read_evaluation_metrics(path)
        try:
            sentence = summarize(metrics)
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            raise ModelError(f"{path}: not the metrics of an evaluation ({reason}); evaluate again") from None
        page = path.with_name("report.html")
        link = quote(page.relative_to(folder).as_posix()) if page.exists() else None
        outdated = describe_outdated(metrics.get("epoch"), kept_epoch)
        yield {
            "name": path.parent.name,
            "metrics": metrics,
            "headline": sentence,
            "link": link,
            "outdated": outdated,
        }


def draw_run_curves(run: Path) -> list[Markup]:
    """Draw the training's curves as SVG elements; none before its first epoch."""
    settings, rows = _read_settings(run), read_metrics(run / "metrics.csv")
    svgs = curve_svgs(rows, phase=settings.phase, adversarial=settings.adversarial)
    return [Markup(svg) for svg in svgs]


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts `epoch_9` before `epoch_10`."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]


def _read_sheets(paths: Mapping[int, Path]) -> tuple[dict[int, Pixels], list[str]]:
    """Return the sample sheets by epoch, and a sentence for each that cannot be read."""
    sheets, damaged = {}, []
    for epoch, path in paths.items():
        try:
            sheets[epoch] = _read_image(path)
        except ModelError as error:
            damaged.append(f"{error}.")
    return sheets, damaged


def _read_image(path: Path) -> Pixels:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # a damaged file may raise anything
        raise ModelError(f"{path}: cannot be shown ({str(error)[:200]}); remove it and try again") from None
