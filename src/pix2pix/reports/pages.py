"""An evaluation's numbers and pictures, or a run folder, in; one HTML page that needs nothing else out."""

import base64
import io
import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from pix2pix.config.io import read_yaml
from pix2pix.data.io.arrays import Pixels
from pix2pix.errors import ModelError
from pix2pix.metrics.diagnostics import Health
from pix2pix.metrics.pixel import HIGHER_IS_BETTER, MEASURES, OWN_UNITS
from pix2pix.reports.advice import advice
from pix2pix.reports.curves import Row, curve_svgs, read_metrics, spectrum_svg, spread_svg
from pix2pix.system.files import write_text
from pix2pix.text import format_duration, format_list

LARGE = 100_000  # bytes; a larger PNG goes into the page as JPEG
FEW = 5  # images; of fewer no spread is drawn
GROUPS = ("best", "median", "worst")


HEADLINE = ("l1", "psnr", "ssim")  # what the verdict is about
BASELINES = {
    "mean_target": "the mean training target, for every image",
    "mean_colour": "the mean colour of the training targets, everywhere",
    "source": "the source itself, untranslated",
}
QUESTIONS = {  # of the model's health -> its numbers
    "dropout": ("Does it move under dropout?", ("dropout_movement",)),
    "source": ("Does it depend on the source?", ("source_dependence", "matched_l1", "shuffled_l1")),
    "sharpness": ("Is it sharp?", ("gradient_ratio", "fine_detail_ratio")),
    "memory": ("Is it a training image?", ("nearest_ratio", "remembered")),
}
G_L1 = "Mean |y − G(x)| with images in [−1, 1]: 0 is a perfect copy, 2 is black in place of white."
FOUR_NUMBERS = {  # the slides' "Test": adversarial loss -> metric -> what it says
    "vanilla": {
        "g_adversarial": "What the generator pays for being recognised, −log D(x, G(x)): log 2 = 0.693 is chance; "
        "above it the discriminator tells outputs from targets.",
        "g_l1": G_L1,
        "d_real": "The discriminator's error on targets, −log D(x, y): log 2 = 0.693 is chance; "
        "below it targets are taken for real.",
        "d_fake": "The discriminator's error on outputs, −log(1 − D(x, G(x))): log 2 = 0.693 is chance; "
        "above it outputs pass for real.",
    },
    "lsgan": {
        "g_adversarial": "Squared distance of D's answer to outputs from 1, which stands for real: 0 means they pass.",
        "g_l1": G_L1,
        "d_real": "Squared distance of D's answer to targets from 1: 0 is no error, 0.25 undecided.",
        "d_fake": "Squared distance of D's answer to outputs from 0: 0 is no error, 0.25 undecided.",
    },
    "hinge": {
        "g_adversarial": "Minus D's answer to outputs: below 0 they pass for real.",
        "g_l1": G_L1,
        "d_real": "Hinge loss of D on targets: 0 is a safe decision, 1 undecided.",
        "d_fake": "Hinge loss of D on outputs: 0 is a safe decision, 1 undecided.",
    },
}


@dataclass(frozen=True)
class Example:
    """One image of an evaluation for the page."""

    name: str
    group: Literal["best", "median", "worst"]
    source: Pixels  # (H, W, 1 or 3)
    output: Pixels
    target: Pixels
    values: Mapping[str, float]


def write_evaluation_report(
    path: Path,
    metrics: Mapping[str, Any],
    pictures: Sequence[Example],
    *,
    scores: Sequence[Mapping[str, float]] = (),
    adversarial: str = "vanilla",
    health: Health | None = None,
    run: Path | None = None,
) -> None:
    """Write the page of one evaluation.

    `metrics` is the content of `metrics.json`, `scores` are the values of all images, `adversarial` is the loss that
    the discriminator's numbers are in, `health` is what the outputs were examined for, and `run` is the folder of the
    training, for its curves.
    """
    page = render(
        "evaluation",
        title=f"{metrics['model']}: {metrics['split']}",
        metrics=metrics,
        headline=headline(metrics),
        meanings=FOUR_NUMBERS.get(adversarial, {}),
        groups={group: [picture for picture in pictures if picture.group == group] for group in GROUPS},
        spreads=list(_spreads(scores)),
        health=health,
        questions=QUESTIONS,
        spectrum=None if health is None or health.spectrum is None else Markup(spectrum_svg(*health.spectrum)),
        curves=[] if run is None else _curves(run),
        all_numbers=json.dumps(metrics, indent=2, ensure_ascii=False),
    )
    write_text(path, page)


def headline(metrics: Mapping[str, Any]) -> str:
    """The evaluation in one or two sentences."""
    images = metrics["images"]
    sentence = (
        f"On {images} {metrics['split']} {'image' if images == 1 else 'images'} the output differs from the target by "
        f"{100 * metrics['l1']:.1f} % of the full range on average "
        f"(PSNR {shown(metrics['psnr'], 'dB')}, SSIM {shown(metrics['ssim'])})."
    )
    verdict = _verdict(metrics, metrics.get("baselines") or {})
    return f"{sentence} It is {verdict}." if verdict else sentence


def _verdict(metrics: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]) -> str:
    """`better than both baselines on l1, but not on psnr and ssim`; empty where nothing can be compared."""
    better: list[str] = []
    worse: list[str] = []
    for name in HEADLINE:
        value, others = metrics[name], [baseline[name] for baseline in baselines.values()]
        higher_is_better = HIGHER_IS_BETTER[name]
        if others and None not in (value, *others):
            beats = value > max(others) if higher_is_better else value < min(others)
            (better if beats else worse).append(name)
    those = "both baselines" if len(baselines) == 2 else "the baseline"
    if better and worse:
        return f"better than {those} on {format_list(better)}, but not on {format_list(worse)}"
    return f"{'' if better else 'not '}better than {those} on {format_list(better or worse)}" if better or worse else ""


def _spreads(scores: Sequence[Mapping[str, float]]) -> Iterator[Markup]:
    for name, _, unit, _ in MEASURES:
        values = [score[name] for score in scores if name in score]
        if len(values) >= FEW:
            yield Markup(spread_svg(values, name, unit))


# ---- a run -------------------------------------------------------------------------------------------------


def write_run_report(folder: Path) -> Path:
    """Write `report.html` into a run folder from what is there, and return its path.

    That is `config.yaml`, `metrics.csv`, `samples/` and `evaluation/*/metrics.json`; the page says what is absent.
    Raises ConfigError or ModelError naming a file that is there and broken.
    """
    config = read_yaml(folder / "config.yaml") if (folder / "config.yaml").exists() else {}
    provenance = config.pop("provenance", None) or {}
    rows = read_metrics(folder / "metrics.csv")
    training = _section(config, "training")
    adversarial = _section(config, "loss").get("adversarial", "vanilla")
    samples = sorted((folder / "samples").glob("*.png"), key=_natural)
    page = render(
        "run",
        title=folder.resolve().name,
        config=config,
        state=state_of(rows, training),
        findings=advice(rows, training.get("best_by", "l1"), training.get("discriminator_epochs", 0)),
        terms=_final_terms(rows, best_epoch(rows, training)),
        curves=_curves(folder),
        sheets={path.stem: _read(path) for path in [*samples[:1], *samples[1:][-1:]]},
        evaluations=list(_evaluations(folder)),
        meanings=FOUR_NUMBERS.get(adversarial, {}),
        settings=yaml.safe_dump(config, sort_keys=False, allow_unicode=True) if config else "",
        provenance=provenance,
        has_model=(folder / "model").is_dir(),
        run=shlex.quote(str(folder)),
        run_literal=json.dumps(str(folder), ensure_ascii=False),
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


@dataclass(frozen=True)
class RunState:
    """How far a run is."""

    epochs: int
    of: int | None  # epochs, if the settings are there
    images_seen: int
    seconds: float
    images_per_second: float
    best: str  # a sentence about the epoch that validation picks


def state_of(rows: Sequence[Row], training: Mapping[str, Any]) -> RunState | None:
    """The newest row and the best epoch; None if no epoch has been finished."""
    if not rows:
        return None
    newest, chosen, best = rows[-1], training.get("best_by", "l1"), best_epoch(rows, training)
    if chosen == "last":
        sentence = "The newest epoch is the one to keep."
    elif best is None:
        sentence = "No validation has picked a best epoch yet."
    else:
        sentence = f"Best by validation {chosen}: epoch {best.epoch}, with {shown(best.values[chosen], chosen)}."
        others = {name: best_epoch(rows, {**training, "best_by": name}) for name in HIGHER_IS_BETTER}
        apart = [f"{name} {row.epoch}" for name, row in others.items() if row is not None and row.epoch != best.epoch]
        sentence += f" Other metrics are best in other epochs: {format_list(apart)}." if apart else ""
    return RunState(
        epochs=newest.epoch,
        of=training.get("epochs"),
        images_seen=newest.images_seen,
        seconds=newest.seconds,
        images_per_second=newest.images_per_second,
        best=sentence,
    )


def best_epoch(rows: Sequence[Row], training: Mapping[str, Any]) -> Row | None:
    """The validation that picks the model, after the discriminator's head start; the first of equals."""
    chosen, head_start = training.get("best_by", "l1"), training.get("discriminator_epochs", 0)
    able = [row for row in rows if row.split == "val" and row.epoch > head_start and chosen in row.values]
    sign = 1 if HIGHER_IS_BETTER.get(chosen) else -1
    return max(able, key=lambda row: sign * row.values[chosen], default=None)


def _final_terms(rows: Sequence[Row], best: Row | None) -> dict[str, dict[str, float]]:
    """Column title -> term -> value: the newest row of each split, and the best validation if that is another."""
    newest = {row.split: row for row in rows}
    columns = {f"{split}, epoch {row.epoch}": row.values for split, row in newest.items()}
    if best is not None and best is not newest["val"]:
        columns[f"val, best epoch {best.epoch}"] = best.values
    return columns


def _evaluations(folder: Path) -> Iterator[dict[str, Any]]:
    """Every `evaluation/*/metrics.json`, its headline, and the way to its page."""
    for path in sorted(folder.glob("evaluation/*/metrics.json"), key=_natural):
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
            sentence = headline(metrics)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path}: not the metrics of an evaluation ({error!r})") from None
        page = path.with_name("report.html")
        link = quote(page.relative_to(folder).as_posix()) if page.exists() else None
        yield {"name": path.parent.name, "metrics": metrics, "headline": sentence, "link": link}


def _curves(run: Path) -> list[Markup]:
    """The training's curves as SVG elements; none before its first epoch."""
    config = read_yaml(run / "config.yaml") if (run / "config.yaml").exists() else {}
    head_start = _section(config, "training").get("discriminator_epochs", 0)
    adversarial = _section(config, "loss").get("adversarial", "vanilla")
    rows = read_metrics(run / "metrics.csv")
    return [Markup(svg) for svg in curve_svgs(rows, discriminator_epochs=head_start, adversarial=adversarial)]


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _natural(path: Path) -> list[tuple[int, str]]:
    """`epoch_9` before `epoch_10`."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]


def _read(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


# ---- the page ----------------------------------------------------------------------------------------------


def render(page: str, **content: Any) -> str:
    """One of the pages `evaluation`, `run`, `compare` and `study` with its content -> HTML."""
    environment = Environment(
        loader=PackageLoader("pix2pix.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(shown=shown, interval=interval_shown, duration=format_duration, data_uri=data_uri)
    constants = {"measures": (*MEASURES, *OWN_UNITS), "baseline_names": BASELINES, "measured": _measured}
    return environment.get_template(f"{page}.html.j2").render(page=page, **constants, **content).strip() + "\n"


def shown(value: float | None, unit: str = "") -> str:
    """A number as people read it: `0.1234`, `21.35 dB`, `∞ dB`, and `–` for what was not measured."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        text = "∞" if value > 0 else "−∞"
    else:
        text = f"{value:.2f}" if unit in ("dB", "psnr") else f"{value:.4g}" if unit == "own" else f"{value:.4f}"
        text = text.replace("-", "−")
    return f"{text} dB" if unit in ("dB", "psnr") else text


def interval_shown(ends: Sequence[float] | None, unit: str = "") -> str:
    """`0.1200 to 0.1330`, and `–` for what has no interval."""
    if ends is None:
        return "–"
    low, high = (shown(end, unit).removesuffix(" dB") for end in ends)
    return f"{low} to {high}"


def _measured(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics of pictures that an evaluation has."""
    names = (*HIGHER_IS_BETTER, *(measure.name for measure in OWN_UNITS))
    return [name for name in names if name in HEADLINE or metrics.get(name) is not None]


def data_uri(picture: Pixels, widest: int) -> str:
    """(H, W, 1 or 3) -> a data URI of a PNG, or of a JPEG where that would be large; `widest` is in pixels."""
    image = Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture)
    if image.width > widest:
        image = image.resize((widest, max(1, round(widest * image.height / image.width))), Image.Resampling.LANCZOS)
    kind, data = "png", _encoded(image, format="PNG")
    if len(data) > LARGE:
        kind, data = "jpeg", _encoded(image, format="JPEG", quality=90, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()
