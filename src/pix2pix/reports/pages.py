"""Write the HTML pages of an evaluation and of a run."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import yaml
from markupsafe import Markup
from PIL import Image

from pix2pix.config.io import read_yaml
from pix2pix.data.io.arrays import Pixels
from pix2pix.errors import ModelError
from pix2pix.metrics.bootstrap import FEWEST_JUDGED, describe_too_few
from pix2pix.metrics.diagnostics import Diagnostics
from pix2pix.metrics.pixel import HIGHER_IS_BETTER, MEASURES, metric_names
from pix2pix.reports.advice import advise, describe_outdated
from pix2pix.reports.curves import Row, curve_svgs, read_metrics, spectrum_svg, spread_svg
from pix2pix.reports.metrics_file import read_evaluation_metrics
from pix2pix.reports.render import format_number, render, shown_metrics
from pix2pix.system.files import write_text
from pix2pix.system.reading import read_json
from pix2pix.text import escape_unprintable, format_count, format_list

FEWEST_VALUES = 5  # for a histogram
GROUPS = ("best", "median", "worst")
QUESTIONS = {  # diagnostic -> (question, names of its numbers)
    "dropout": ("Does the output vary with dropout?", ("dropout_movement",)),
    "source": ("Does it depend on the source?", ("source_dependence", "matched_l1", "shuffled_l1")),
    "sharpness": ("Is it sharp?", ("gradient_ratio", "fine_detail_ratio")),
    "grid": ("Is there a grid?", ("grid_energy", "target_grid_energy")),
    "memory": ("Does it copy a training image?", ("nearest_ratio", "remembered")),
}
IMAGE_NUMBERS = ("g_adversarial", "g_l1", "d_real", "d_fake", "l1", "psnr", "ssim")
CLASS_NUMBERS = ("g_adversarial", "g_cross_entropy", "d_real", "d_fake", "mean_iou", "pixel_accuracy")
CROSS_ENTROPY = {"g_cross_entropy": "Mean −log p of the right class over the pixels, in nats: 0 is certain and right."}
G_L1 = "Mean |y − G(x)| with images in [−1, 1]: 0 is a perfect copy, 2 is black in place of white."
FOUR_NUMBERS = {  # (lecture, "Test"): adversarial loss -> metric -> what it means
    "vanilla": {
        "g_adversarial": "The generator's adversarial loss, −log D(x, G(x)): log 2 = 0.693 is chance; "
        "above it the discriminator recognises outputs.",
        "g_l1": G_L1,
        "d_real": "The discriminator's loss on targets, −log D(x, y): log 2 = 0.693 is chance; "
        "below it the discriminator accepts targets as real.",
        "d_fake": "The discriminator's loss on outputs, −log(1 − D(x, G(x))): log 2 = 0.693 is chance; "
        "above it the discriminator accepts outputs as real.",
    },
    "lsgan": {
        "g_adversarial": "Squared distance of D's answer to outputs from 1, which means real: 0 if D accepts them.",
        "g_l1": G_L1,
        "d_real": "Squared distance of D's answer to targets from 1: 0 is no error, 0.25 undecided.",
        "d_fake": "Squared distance of D's answer to outputs from 0: 0 is no error, 0.25 undecided.",
    },
    "hinge": {
        "g_adversarial": "Minus D's answer to outputs: below 0 D accepts them as real.",
        "g_l1": G_L1,
        "d_real": "Hinge loss of D on targets: 0 is a clear decision, 1 undecided.",
        "d_fake": "Hinge loss of D on outputs: 0 is a clear decision, 1 undecided.",
    },
    "classes": {
        "g_adversarial": "Mean −log p of the right class that D gives the pixels of outputs, over the classes.",
        "g_l1": G_L1,
        "d_real": "Mean −log p of the right class that D gives the pixels of targets, over the classes: 0 is certain.",
        "d_fake": "Mean −log p that D gives the pixels of outputs for being generated: 0 is certain.",
    },
}


# ---- an evaluation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """One pair and its output, for the page of an evaluation."""

    name: str
    group: Literal["best", "median", "worst"]
    source: Pixels  # (H, W, 1 or 3)
    output: Pixels
    target: Pixels
    values: Mapping[str, float]


def write_evaluation_report(
    path: Path,
    metrics: Mapping[str, Any],
    examples: Sequence[Example],
    *,
    scores: Sequence[Mapping[str, float]] = (),
    adversarial: str = "vanilla",
    diagnostics: Diagnostics | None = None,
    run: Path | None = None,
    classes: bool = False,
) -> None:
    """Write the page of one evaluation.

    `metrics` is the content of `metrics.json`, `scores` are the metrics of each image, `adversarial` is the kind of
    loss, `run` is the folder of the training, for its curves, and `classes` tells whether outputs are label maps.
    """
    spectrum = None if diagnostics is None else diagnostics.spectrum
    page = render(
        "evaluation",
        title=f"{metrics['model']}: {metrics['split']}",
        metrics=metrics,
        headline=summarize(metrics),
        meanings=_explain_numbers(adversarial, classes=classes),
        groups={group: [example for example in examples if example.group == group] for group in GROUPS},
        spreads=list(_draw_spreads(scores)),
        diagnostics=diagnostics,
        questions=QUESTIONS,
        spectrum=None if spectrum is None else Markup(spectrum_svg(*spectrum)),
        curves=[] if run is None else _draw_curves(run),
        all_numbers=json.dumps(metrics, indent=2, ensure_ascii=False),
    )
    write_text(path, page)


def _explain_numbers(adversarial: str, *, classes: bool) -> dict[str, str]:
    """Return the four numbers of an adversarial loss -> what they mean."""
    meanings = FOUR_NUMBERS.get(adversarial, {})
    if not classes:
        return meanings
    return {("g_cross_entropy" if name == "g_l1" else name): text for name, text in meanings.items()} | CROSS_ENTROPY


def summarize(metrics: Mapping[str, Any]) -> str:
    """Summarize an evaluation in one or two sentences."""
    if metrics.get("classes"):
        sentence = (
            f"On {format_count(metrics['images'], metrics['split'] + ' image')} "
            f"{100 * metrics['pixel_accuracy']:.1f} % of the pixels have the right class "
            f"(mean IoU {format_number(metrics['mean_iou'])})."
        )
        return " ".join([sentence, *_describe_baselines(metrics)])
    sentence = (
        f"On {format_count(metrics['images'], metrics['split'] + ' image')} the output differs from the target by "
        f"{100 * metrics['l1']:.1f} % of the full range on average "
        f"(PSNR {format_number(metrics['psnr'], 'dB')}, SSIM {format_number(metrics['ssim'])})."
    )
    return " ".join([sentence, *_describe_baselines(metrics)])


def _describe_baselines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield `It is better than both baselines on l1, but not on psnr.` and on which metrics this is not clear."""
    baselines = metrics.get("baselines") or {}
    if baselines and metrics["images"] < FEWEST_JUDGED:
        yield f"{describe_too_few(metrics['images'])}, so it is not compared with the baselines."
        return
    metrics_by_outcome: dict[str, list[str]] = {"better": [], "not better": [], "unclear": []}
    for name in shown_metrics(metrics):
        if baselines and None not in (metrics[name], *(baseline[name] for baseline in baselines.values())):
            outcomes = {_compare_with_baseline(metrics, baseline, name) for baseline in baselines}
            worst = next(outcome for outcome in ("not better", "unclear", "better") if outcome in outcomes)
            metrics_by_outcome[worst].append(name)
    better, worse, unclear = metrics_by_outcome.values()
    those = "both baselines" if len(baselines) == 2 else "the baseline"
    if better and worse:
        yield f"It is better than {those} on {format_list(better)}, but not on {format_list(worse)}."
    elif better or worse:
        yield f"It is {'' if better else 'not '}better than {those} on {format_list(better or worse)}."
    if unclear:
        yield f"It is not clearly better on {format_list(unclear)}: the 95 % interval of a difference includes 0."


def _compare_with_baseline(metrics: Mapping[str, Any], baseline: str, name: str) -> str:
    """Return whether the model is better: by the interval of the difference, or by the mean if there is none."""
    sign = 1 if HIGHER_IS_BETTER[name] else -1
    ends = ((metrics.get("baseline_differences") or {}).get(baseline) or {}).get(name)
    if ends is None:
        ends = [metrics[name] - metrics["baselines"][baseline][name]] * 2
    low, high = sorted(sign * end for end in ends)
    return "better" if low > 0 else "not better" if high <= 0 else "unclear"


def _draw_spreads(scores: Sequence[Mapping[str, float]]) -> Iterator[Markup]:
    for name, _, unit, _ in MEASURES:
        values = [score[name] for score in scores if name in score]
        if len(values) >= FEWEST_VALUES:
            yield Markup(spread_svg(values, name, unit))


# ---- a run -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Settings:
    """The settings of a run that its page needs; defaults if config.yaml is missing."""

    config: dict[str, Any]
    provenance: Mapping[str, Any]
    epochs: int | None
    best_by: str
    warmup: int  # epochs of discriminator warm-up
    adversarial: str
    classes: bool  # whether outputs are label maps


def _read_settings(folder: Path) -> _Settings:
    config = read_yaml(folder / "config.yaml") if (folder / "config.yaml").exists() else {}
    provenance = config.pop("provenance", None) or {}
    training, loss, discriminator = (
        config[name] if isinstance(config.get(name), Mapping) else {} for name in ("training", "loss", "discriminator")
    )
    return _Settings(
        config,
        provenance,
        training.get("epochs"),
        training.get("best_by", "l1"),
        training.get("discriminator_epochs", 0),
        "classes" if discriminator.get("kind") == "classes" else loss.get("adversarial", "vanilla"),
        (config.get("data") or {}).get("target_kind") == "labels",
    )


def write_run_report(folder: Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    The page shows `config.yaml`, `metrics.csv`, `samples/` and `evaluation/*/metrics.json`, and says what is missing.
    Raises ConfigError or ModelError naming a broken file.
    """
    settings = _read_settings(folder)
    rows = read_metrics(folder / "metrics.csv")
    samples = sorted((folder / "samples").glob("*.png"), key=_natural_order)
    sheets, damaged = _read_sheets([*samples[:1], *samples[1:][-1:]])
    page = render(
        "run",
        title=folder.resolve().name,
        config=settings.config,
        state=_describe_state(rows, settings),
        findings=[*advise(rows, settings.best_by, settings.warmup), *damaged],
        terms=_tabulate_newest(rows, find_best_epoch(rows, settings.best_by, settings.warmup)),
        curves=_draw_curves(folder),
        sheets=sheets,
        evaluations=list(_read_evaluations(folder, _read_kept_epoch(folder))),
        meanings=_explain_numbers(settings.adversarial, classes=settings.classes),
        main_numbers=CLASS_NUMBERS if settings.classes else IMAGE_NUMBERS,
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
    best_by, warmup = settings.best_by, settings.warmup
    best = find_best_epoch(rows, best_by, warmup)
    if best_by == "last":
        sentence = "The newest epoch is kept."
    elif best is None:
        sentence = "No validation has selected a best epoch yet."
    else:
        sentence = f"Best by validation {best_by}: epoch {best.epoch}, with "
        sentence += f"{format_number(best.values[best_by], best_by)}."
        others = {name: find_best_epoch(rows, name, warmup) for name in HIGHER_IS_BETTER}
        apart = [f"{name} {row.epoch}" for name, row in others.items() if row is not None and row.epoch != best.epoch]
        sentence += f" Other metrics are best in other epochs: {format_list(apart)}." if apart else ""
    return _RunState(rows[-1], settings.epochs, sentence)


def find_best_epoch(rows: Sequence[Row], metric: str, warmup: int) -> Row | None:
    """Return the row of the best validation by a metric, after discriminator warm-up; the first of equal ones."""
    measured = [row for row in rows if row.split == "val" and row.epoch > warmup and metric in row.values]
    sign = 1 if HIGHER_IS_BETTER.get(metric) else -1
    return max(measured, key=lambda row: sign * row.values[metric], default=None)


def _tabulate_newest(rows: Sequence[Row], best: Row | None) -> dict[str, dict[str, float]]:
    """Return column title -> term -> value: the newest row of each split, and the best validation if different."""
    newest = {row.split: row for row in rows}
    columns = {f"{split}, epoch {row.epoch}": row.values for split, row in newest.items()}
    if best is not None and best is not newest["val"]:
        columns[f"val, best epoch {best.epoch}"] = best.values
    terms = metric_names()  # the signs of failure are in the findings
    return {title: {name: values[name] for name in terms if name in values} for title, values in columns.items()}


def _read_kept_epoch(folder: Path) -> int | None:
    """Return the epoch of the run's model; None without a model."""
    path = folder / "model" / "config.json"
    try:
        epoch = read_json(path).get("epoch") if path.exists() else None
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path}: broken ({escape_unprintable(str(error)[:200])})") from None
    return epoch if isinstance(epoch, int) else None


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


def _draw_curves(run: Path) -> list[Markup]:
    """Draw the training's curves as SVG elements; none before its first epoch."""
    settings, rows = _read_settings(run), read_metrics(run / "metrics.csv")
    svgs = curve_svgs(rows, discriminator_epochs=settings.warmup, adversarial=settings.adversarial)
    return [Markup(svg) for svg in svgs]


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts `epoch_9` before `epoch_10`."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]


def _read_sheets(paths: Sequence[Path]) -> tuple[dict[str, Pixels], list[str]]:
    """Return the sample sheets by name, and a sentence for each that cannot be read."""
    sheets, damaged = {}, []
    for path in paths:
        try:
            sheets[path.stem] = _read_image(path)
        except ModelError as error:
            damaged.append(f"{error}.")
    return sheets, damaged


def _read_image(path: Path) -> Pixels:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # a damaged file may raise anything
        raise ModelError(f"{path}: cannot be shown ({str(error)[:200]}); remove it and try again") from None
