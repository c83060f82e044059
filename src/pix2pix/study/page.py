"""Write the page of a study, like the paper's figures and tables; also the figure as PNG and the table as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.checks.contact_sheet import draw_sheet
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.evaluation.pairs import present_pairs
from pix2pix.evaluation.run_records import COLUMNS, SET_METRICS, EvaluationRecord, read_evaluation
from pix2pix.evaluation.write import draw_output, read_output
from pix2pix.metrics.bootstrap import FEWEST_JUDGED, describe_too_few, excludes_zero, mean_interval
from pix2pix.metrics.diagnostics import choose_evenly
from pix2pix.model import load_model
from pix2pix.reports.render import render
from pix2pix.study.jobs import Job
from pix2pix.study.variants import QUESTIONS, Scores, Variant
from pix2pix.system.files import write_text

ROWS = 6  # of the figure
Array = NDArray[np.float64]
Evaluations = dict[Variant, list[EvaluationRecord]]
"""Variant -> the evaluations of its seeds."""


def write_page(folder: Path, kind: str, jobs: Sequence[Job], notes: Sequence[str]) -> dict[str, Any]:
    """Write KIND.html, KIND.png and KIND.json into the folder of a study; return the content of KIND.json."""
    evaluations: Evaluations = {}
    for job in jobs:
        record = read_evaluation(job.run / "evaluation" / job.choices["split"])
        evaluations.setdefault(job.variant, []).append(record)
    results = _collect(kind, jobs, evaluations) | {"notes": list(notes)}
    write_text(folder / f"{kind}.json", json.dumps(results, indent=2) + "\n")
    names, titles, rows = _draw_figure(jobs, list(evaluations))
    images.write(folder / f"{kind}.png", draw_sheet(rows, titles))
    table = results["table"]
    columns = [name for name in COLUMNS if any(row["values"].get(name) is not None for row in table.values())]
    page = render(
        "study",
        title=f"{kind}: {QUESTIONS[kind]}",
        results=results,
        columns={name: COLUMNS[name] for name in columns},
        best={name: _find_best(table, name) for name in columns},
        paper={variant.title: variant.paper for variant in evaluations},
        rows=list(zip(names, rows, strict=True)),
        titles=titles,
        conclusions={variant.title: _conclude(records[0]) for variant, records in evaluations.items()},
        settings=jobs[0].config.model_dump_json(indent=2),
        too_few=describe_too_few(results["images"]) if results["images"] < FEWEST_JUDGED else "",
        above_ceiling=find_above_ceiling(results),
    )
    write_text(folder / f"{kind}.html", page)
    return results


def _collect(kind: str, jobs: Sequence[Job], evaluations: Evaluations) -> dict[str, Any]:
    first, metrics = jobs[0], evaluations[jobs[0].variant][0].metrics
    runs = {variant: [str(job.run) for job in jobs if job.variant == variant] for variant in evaluations}
    return {
        "study": kind,
        "split": first.choices["split"],
        "images": metrics["images"],
        "seeds": sorted({job.seed for job in jobs}),
        "epochs": first.config.training.epochs,
        "image_size": list(first.config.data.image_size),
        "table": {
            variant.title: {"run": runs[variant], **_average(records)} for variant, records in evaluations.items()
        },
        "order": _compare_order(evaluations, "label_accuracy") or _compare_order(evaluations, "ssim"),
        "data": metrics["data"],
        "missing": metrics.get("missing", {}),
        "ceiling": (metrics.get("labels") or {}).get("ceiling"),
    }


# ---- numbers ---------------------------------------------------------------------------------------------------


def _average(records: Sequence[EvaluationRecord]) -> dict[str, Any]:
    """Average the numbers of one variant over its seeds.

    `values` are means over seeds and images. `intervals` are bootstrap intervals over images, each image averaged over
    the seeds. `seeds` has one number for each seed.
    """
    values: dict[str, float | None] = {}
    intervals: dict[str, list[float] | None] = {}
    seeds: dict[str, list[float]] = {}
    for name in COLUMNS:
        numbers = [record.numbers.get(name) for record in records]
        if any(number is None for number in numbers):
            continue
        seeds[name] = [float(number) for number in numbers if number is not None]
        values[name] = float(np.mean(seeds[name]))
        mean = None if name in SET_METRICS else _average_images(records, name)
        if mean is not None and len(mean) > 1:
            ends = mean_interval(mean)
            intervals[name] = None if ends is None else list(ends)
        elif len(records) == 1 and (one := records[0].intervals.get(name)):
            intervals[name] = list(one)
    return {"values": values, "intervals": intervals, "seeds": seeds}


def _average_images(records: Sequence[EvaluationRecord], name: str) -> Array | None:
    """Return a metric of each image, averaged over the seeds; None if it is not a metric of single images."""
    values = [record.values[name] for record in records if name in record.values]
    return np.mean(values, axis=0) if len(values) == len(records) else None


def _find_best(table: Mapping[str, Any], name: str) -> str | None:
    """Return the title of the best variant by a metric; None if variants cannot be ranked."""
    better = COLUMNS[name][1]
    known = {title: row["values"][name] for title, row in table.items() if row["values"].get(name) is not None}
    if better is None or len(known) < 2:
        return None
    return (max if better else min)(known, key=lambda title: known[title])


def _compare_order(evaluations: Evaluations, name: str) -> dict[str, Any] | None:
    """Compare the order of the variants by a metric with the paper's, pair by pair; None if it was not measured."""
    known: dict[Variant, tuple[Array, Scores]] = {}
    for variant, records in evaluations.items():
        mean = _average_images(records, name)
        if variant.paper is not None and mean is not None:
            known[variant] = mean, variant.paper
    if len(known) < 2:
        return None
    pairs = [_compare_pair(first, second, known) for second, first in combinations(known, 2)]
    return {
        "by": name,
        "here": [one.title for one in sorted(known, key=lambda one: -float(known[one][0].mean()))],
        "paper": [one.title for one in sorted(known, key=lambda one: -known[one][1].pixel_accuracy)],
        "pairs": pairs,
        "agree": sum(pair["as_in_the_paper"] for pair in pairs),
        "of": len(pairs),
        "clear_disagreements": [
            f"{pair['better']} above {pair['worse']}" for pair in pairs if pair["clear"] and not pair["as_in_the_paper"]
        ],
    }


def _compare_pair(first: Variant, second: Variant, known: Mapping[Variant, tuple[Array, Scores]]) -> dict[str, Any]:
    """Compare two variants; `clear` if the interval of the difference, image by image, excludes 0."""
    (values, paper), (other_values, other_paper) = known[first], known[second]
    difference = values - other_values
    ends = mean_interval(difference)
    better, worse = (first, second) if difference.mean() > 0 else (second, first)
    in_paper = paper.pixel_accuracy - other_paper.pixel_accuracy > 0
    return {
        "better": better.title,
        "worse": worse.title,
        "clear": bool(excludes_zero(ends, len(difference))),
        "as_in_the_paper": bool((difference.mean() > 0) == in_paper),
    }


def _conclude(record: EvaluationRecord) -> str:
    """Return the sentences of the diagnostics on sharpness and on the source."""
    sentences = record.diagnostics.get("sentences") or {}
    return " ".join(sentences[name] for name in ("sharpness", "source") if name in sentences)


def find_above_ceiling(results: Mapping[str, Any]) -> list[str]:
    """Return the variants whose labels are read better than those of real targets."""
    ceiling = (results["ceiling"] or {}).get("pixel_accuracy")
    scores = {title: row["values"].get("label_accuracy") for title, row in results["table"].items()}
    return [title for title, score in scores.items() if ceiling is not None and score is not None and score > ceiling]


# ---- the figure ------------------------------------------------------------------------------------------------


def _draw_figure(jobs: Sequence[Job], variants: Sequence[Variant]) -> tuple[list[str], list[str], list[list[Pixels]]]:
    """Return names of rows, titles of columns, and rows of images: source, target, the first seed of each variant."""
    first = {variant: next(job for job in jobs if job.variant == variant) for variant in variants}
    split = jobs[0].choices["split"]
    pairs = find_pairs(jobs[0].config.data).splits[split]
    model = load_model(jobs[0].run)
    dataset = present_pairs(pairs, model)
    shown = choose_evenly(len(pairs), ROWS)
    rows = []
    for index in shown:
        source, target, _ = dataset[0, index]
        folders = (first[variant].run / "evaluation" / split for variant in variants)
        outputs = (draw_output(read_output(folder, pairs[index], model), model) for folder in folders)
        rows.append([dataset.draw_source(source), dataset.draw_target(target), *outputs])
    titles = ["source", "target", *(variant.title for variant in variants)]
    return [pairs[index].name for index in shown], titles, rows


def format_table(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table for a terminal."""
    table = results["table"]
    names = [name for name in COLUMNS if any(name in row["values"] for row in table.values())]
    width = max(map(len, table)) + 2
    yield " " * width + "".join(f"{name[:18]:>20}" for name in names)
    for title, row in table.items():
        cells = (row["values"].get(name) for name in names)
        yield f"{title:{width}}" + "".join(f"{'-' if cell is None else f'{cell:.4f}':>20}" for cell in cells)
