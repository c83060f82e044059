"""The evaluations of a study's jobs in; one page like the paper's figures, the figure as PNG, and the table out."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.checks.contact_sheet import draw_sheet
from pix2pix.data.encoding import tensors
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.evaluation.evaluate import presented
from pix2pix.evaluation.run_records import COLUMNS, OF_THE_SET, Measured, read_evaluation
from pix2pix.metrics.bootstrap import mean_interval
from pix2pix.metrics.diagnostics import chosen
from pix2pix.model import load_model
from pix2pix.reports.pages import render
from pix2pix.study.jobs import Job
from pix2pix.study.variants import QUESTIONS, Variant
from pix2pix.system.files import write_text

ROWS = 6  # of the figure
Array = NDArray[np.float64]


def write_page(folder: Path, kind: str, jobs: Sequence[Job], notes: Sequence[str], split: str) -> dict[str, Any]:
    """Write KIND.html, KIND.png and KIND.json into a study's folder; returns what KIND.json holds."""
    variants = list(dict.fromkeys(job.variant for job in jobs))
    table = {variant.title: _row([job for job in jobs if job.variant == variant], split) for variant in variants}
    names = [name for name in COLUMNS if any(row["values"].get(name) is not None for row in table.values())]
    rows, titles, captions = _figure(jobs, variants, split)
    images.write(folder / f"{kind}.png", draw_sheet(rows, titles))
    first = jobs[0].config
    results: dict[str, Any] = {
        "study": kind,
        "split": split,
        "images": len(captions[1]),
        "seeds": sorted({job.seed for job in jobs}),
        "epochs": first.training.epochs,
        "image_size": list(first.data.image_size),
        "table": table,
        "order": _order(variants, jobs, split, "label_accuracy") or _order(variants, jobs, split, "ssim"),
        "notes": list(notes),
        "data": _evaluation(jobs[0], split).metrics["data"],
        "missing": _evaluation(jobs[0], split).metrics.get("missing", {}),
        "ceiling": (_evaluation(jobs[0], split).metrics.get("labels") or {}).get("ceiling"),
    }
    write_text(folder / f"{kind}.json", json.dumps(results, indent=2) + "\n")
    page = render(
        "study",
        title=f"{kind}: {QUESTIONS[kind]}",
        results=results,
        columns={name: COLUMNS[name] for name in names},
        best={name: _best(table, name) for name in names},
        paper={variant.title: variant.paper for variant in variants},
        rows=list(zip(captions[0], rows, strict=True)),
        titles=titles,
        said={variant.title: _said(jobs, variant, split) for variant in variants},
        settings=first.model_dump_json(indent=2),
    )
    write_text(folder / f"{kind}.html", page)
    return results


# ---- numbers ---------------------------------------------------------------------------------------------------


def _evaluation(job: Job, split: str) -> Measured:
    return read_evaluation(job.run / "evaluation" / split)


def _mean_values(jobs: Sequence[Job], split: str, name: str) -> Array | None:
    """One metric of all images of the split, in their order, means over the jobs; None where no single image has it."""
    own = [values for job in jobs if (values := _evaluation(job, split).values.get(name)) is not None]
    return np.mean(own, axis=0) if len(own) == len(jobs) else None


def _row(jobs: Sequence[Job], split: str) -> dict[str, Any]:
    """The numbers of one variant: `values` are means over seeds and images, `intervals` of the images' mean over seeds
    (bootstrap), `seeds` one number for each seed."""
    values: dict[str, float | None] = {}
    intervals: dict[str, list[float] | None] = {}
    seeds: dict[str, list[float]] = {}
    evaluations = [_evaluation(job, split) for job in jobs]
    for name in COLUMNS:
        own = [one.numbers.get(name) for one in evaluations]
        if any(value is None for value in own):
            continue
        seeds[name] = [float(value) for value in own if value is not None]
        values[name] = float(np.mean(seeds[name]))
        mean = None if name in OF_THE_SET else _mean_values(jobs, split, name)
        if mean is not None and len(mean) > 1:
            ends = mean_interval(mean)
            intervals[name] = None if ends is None else list(ends)
        elif len(jobs) == 1 and (one := evaluations[0].intervals.get(name)):
            intervals[name] = list(one)
    return {"run": [str(job.run) for job in jobs], "values": values, "intervals": intervals, "seeds": seeds}


def _best(table: dict[str, Any], name: str) -> str | None:
    better = COLUMNS[name][1]
    known = {title: row["values"][name] for title, row in table.items() if row["values"].get(name) is not None}
    if better is None or len(known) < 2:
        return None
    return (max if better else min)(known, key=lambda title: known[title])


def _order(variants: Sequence[Variant], jobs: Sequence[Job], split: str, name: str) -> dict[str, Any] | None:
    """How the variants stand to each other here and in the paper, pair by pair; None where `name` was not measured.

    A pair is `clear` here if the interval of the difference, image by image, leaves out 0.
    """
    known: dict[Variant, Array] = {}
    for variant in variants:
        mean = _mean_values([job for job in jobs if job.variant == variant], split, name)
        if variant.paper is not None and mean is not None:
            known[variant] = mean
    if len(known) < 2:
        return None
    pairs = []
    for i, first in enumerate(known):
        for second in list(known)[:i]:
            assert first.paper is not None
            assert second.paper is not None
            difference = known[first] - known[second]
            ends = mean_interval(difference)
            better, worse = (first, second) if difference.mean() > 0 else (second, first)
            theirs = first.paper.pixel_accuracy - second.paper.pixel_accuracy
            pairs.append(
                {
                    "better": better.title,
                    "worse": worse.title,
                    "clear": ends is not None and (ends[0] > 0 or ends[1] < 0),
                    "as_in_the_paper": bool((difference.mean() > 0) == (theirs > 0)),
                }
            )
    return {
        "by": name,
        "here": [variant.title for variant in sorted(known, key=lambda one: -float(known[one].mean()))],
        "paper": [
            variant.title
            for variant in sorted(known, key=lambda one: -(one.paper.pixel_accuracy if one.paper else 0.0))
        ],
        "pairs": pairs,
        "agree": sum(pair["as_in_the_paper"] for pair in pairs),
        "of": len(pairs),
        "clear_disagreements": [
            f"{pair['better']} above {pair['worse']}" for pair in pairs if pair["clear"] and not pair["as_in_the_paper"]
        ],
    }


def _said(jobs: Sequence[Job], variant: Variant, split: str) -> str:
    """What the first seed's health says of sharpness and source."""
    job = next(job for job in jobs if job.variant == variant)
    sentences = (_evaluation(job, split).metrics.get("health") or {}).get("sentences") or {}
    return " ".join(sentences[name] for name in ("sharpness", "source") if name in sentences)


# ---- pictures --------------------------------------------------------------------------------------------------


def _figure(
    jobs: Sequence[Job], variants: Sequence[Variant], split: str
) -> tuple[list[list[Pixels]], list[str], tuple[list[str], list[str]]]:
    """Rows of pictures, the titles of their columns, and the names of the rows and of all images.

    Columns are source, target, then the first seed of each variant.
    """
    first = {variant: next(job for job in jobs if job.variant == variant) for variant in variants}
    model = load_model(jobs[0].run)
    pairs = find_pairs(jobs[0].config.data).splits[split]
    dataset = presented(pairs, model)
    shown = chosen(len(pairs), ROWS)
    rows = []
    for index in shown:
        source, target, _ = dataset[0, index]
        outputs = (
            images.read(first[variant].run / "evaluation" / split / "outputs" / f"{pairs[index].name}.png")
            for variant in variants
        )
        rows.append([dataset.picture(source), tensors.to_viewable(target), *outputs])
    titles = ["source", "target", *(variant.title for variant in variants)]
    return rows, titles, ([pairs[index].name for index in shown], [pair.name for pair in pairs])


def lines(results: dict[str, Any]) -> Iterator[str]:
    """The table for a terminal."""
    table = results["table"]
    names = [name for name in COLUMNS if any(name in row["values"] for row in table.values())]
    width = max(map(len, table)) + 2
    yield " " * width + "".join(f"{name[:18]:>20}" for name in names)
    for title, row in table.items():
        cells = (row["values"].get(name) for name in names)
        yield f"{title:{width}}" + "".join(f"{'-' if cell is None else f'{cell:.4f}':>20}" for cell in cells)
