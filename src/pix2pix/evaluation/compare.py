"""Compare runs side by side on one page: settings, numbers, findings, curves and images."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pix2pix.errors import ConfigError
from pix2pix.evaluation.compare_images import draw_differences, draw_figure, have_same_data
from pix2pix.evaluation.run_records import COLUMNS, SET_METRICS, EvaluationRecord, RunRecord, read_run
from pix2pix.evaluation.write import to_json
from pix2pix.metrics.bootstrap import excludes_zero, mean_interval
from pix2pix.metrics.pixel import HIGHER_IS_BETTER
from pix2pix.reports.advice import advise, describe_comparison, describe_outdated
from pix2pix.reports.curves import Across, overlaid_svgs
from pix2pix.reports.epochs import find_best_epoch
from pix2pix.reports.render import render
from pix2pix.system.files import write_text
from pix2pix.system.progress import OnNamedProgress
from pix2pix.system.reading import LARGE, read_json
from pix2pix.system.written import claim, refuse_others

TARGET = ("target_kind", "target_channels", "target_type", "target_range", "target_labels", "mask_value")
"""Settings of the target on which the metrics depend."""
FILES = ("compare.json", "compare.html")


@dataclass(frozen=True)
class Comparison:
    """The path of the page, if one was written, and its content for programs."""

    page: Path | None
    results: dict[str, Any]


def compare(
    *runs: str | Path, output: str | Path | None = None, device: str = "auto", progress: OnNamedProgress | None = None
) -> Comparison:
    """Compare two or more runs, finished or not; with a folder `output`, write compare.html and compare.json.

    The page also shows outputs of the kept models for the same validation pairs, if these still exist. Raises
    ConfigError, ModelError, DataError or OSError.
    """
    records = _read_runs(runs)
    results = _compare_numbers(records)
    if output is None:
        return Comparison(None, results)
    folder = Path(output)
    refuse_others(folder, FILES, is_ours=_is_comparison)
    figure = draw_figure(records, device, progress)
    split = _choose_split(results)
    adversarial = {record.config.adversarial for record in records}
    across: Across = "epoch" if len({_pairs_per_epoch(record) for record in records}) == 1 else "images_seen"
    rows = {record.name: record.rows for record in records}
    curves = overlaid_svgs(rows, across, adversarial.pop() if len(adversarial) == 1 else None)
    page = render(
        "compare",
        title=" · ".join(results["runs"]),
        results=results,
        columns=COLUMNS,
        curves=[Markup(svg) for svg in curves],
        gallery=None if split is None else draw_differences(records, split),
        titles=figure.titles,
        rows=figure.rows,
        note=figure.note,
    )
    claim(folder, FILES, is_ours=_is_comparison)
    write_text(folder / "compare.json", to_json(results))
    write_text(folder / "compare.html", page)
    return Comparison(folder / "compare.html", results)


def _choose_split(results: Mapping[str, Any]) -> str | None:
    """Return the evaluation whose images are shown: of the test split if there is one; None if none can be compared."""
    paired = [name for name, one in results["evaluations"].items() if one["not_paired"] is None]
    if results["notes"] or not paired:
        return None
    return "test" if "test" in paired else paired[0]


def _is_comparison(folder: Path) -> bool:
    """Return whether an older version, which kept no record, has compared into a folder."""
    try:
        results = read_json(folder / "compare.json", limit=LARGE)
    except (OSError, ValueError):
        return False
    return isinstance(results, dict) and {"runs", "same_data", "differences"} <= results.keys()


def _read_runs(runs: Sequence[str | Path]) -> list[RunRecord]:
    """Read every run. Its name is the shortest end of its path that is unique."""
    paths = [Path(run) for run in runs]
    if len(paths) < 2:
        raise ConfigError("give two runs or more: pix2pix compare RUN RUN ...")
    resolved = [path.resolve() for path in paths]
    for n, path in enumerate(resolved):
        if path in resolved[:n]:
            raise ConfigError(f"{paths[n]}: given twice; give different runs")
    depth = 1
    while len({path.parts[-depth:] for path in resolved}) < len(resolved):
        depth += 1
    return [read_run(path, "/".join(full.parts[-depth:])) for path, full in zip(paths, resolved, strict=True)]


def _compare_numbers(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Compare everything except images and curves."""
    notes = list(_find_task_differences(records))
    results: dict[str, Any] = {
        "runs": {record.name: _describe_run(record) for record in records},
        "same_data": have_same_data(records),
        "differences": find_differences(records),
        "notes": notes,
        "validation": dict(_compare_validations(records, comparable=not notes)),
        "evaluations": dict(_compare_evaluations(records)),
    }
    return results | {"findings": list(describe_comparison(results))}


# ---- runs and their settings -----------------------------------------------------------------------------------


def _describe_run(record: RunRecord) -> dict[str, Any]:
    speed = [row.images_per_second for row in record.rows if row.split == "train"]
    generator, discriminator = record.parameters
    training = record.config.training
    return {
        "path": str(record.path),
        "state": record.state,
        "epochs": record.rows[-1].epoch,
        "of": training.epochs,
        "kept_epoch": record.kept_epoch,
        "seconds": record.rows[-1].seconds,
        "images_per_second": statistics.median(speed) if speed else None,
        "machine": f"{training.device}, {training.precision}",
        "parameters": {
            "generator": generator,
            "discriminator": discriminator if record.config.loss.adversarial_weight else None,
        },
        "findings": advise(record.rows, training.best_by, record.warmup),
    }


def _pairs_per_epoch(record: RunRecord) -> int:
    return record.rows[-1].images_seen // max(1, record.rows[-1].epoch)


def find_differences(records: Sequence[RunRecord]) -> dict[str, dict[str, Any]]:
    """Return setting -> run -> value for the settings that differ, in the order of the settings."""
    settings = {record.name: dict(_flatten(record.config.model_dump(mode="json"))) for record in records}
    names = dict.fromkeys(setting for values in settings.values() for setting in values)
    table = {setting: {run: values.get(setting) for run, values in settings.items()} for setting in names}
    first = records[0].name
    return {setting: row for setting, row in table.items() if any(value != row[first] for value in row.values())}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _find_task_differences(records: Sequence[RunRecord]) -> Iterator[str]:
    """Yield the reasons why these runs were trained for different tasks; none if the task is the same."""
    data = {record.name: record.config.data for record in records}
    so = "their numbers belong to different tasks, so no run is called better by its validation"
    if not have_same_data(records):
        groups: dict[str | None, list[str]] = {}
        for record in records:
            groups.setdefault(record.fingerprint, []).append(record.name)
        sets = "; ".join(" and ".join(names) for names in groups.values())
        yield f"The runs were trained on different data ({sets}): {so}."
    for setting, what in (("direction", "in different directions"), ("image_size", "at different sizes")):
        if len({getattr(one, setting) for one in data.values()}) > 1:
            values = ", ".join(f"{name} {one.model_dump(mode='json')[setting]}" for name, one in data.items())
            yield f"The runs were trained {what} ({values}): {so}."
    if len({record.config.native for record in records}) > 1:
        yield f"Some of the runs kept the images' own sizes and others did not: {so}."
    if len({tuple(getattr(one, name) for name in TARGET) for one in data.values()}) > 1:
        yield f"The runs encode their targets differently (kind, channels, type, range, classes or mask): {so}."


# ---- numbers ---------------------------------------------------------------------------------------------------


def _compare_validations(records: Sequence[RunRecord], *, comparable: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each metric with the best epoch of each run; if comparable, also the best run and its lead."""
    for name, higher in HIGHER_IS_BETTER.items():
        best = {record.name: find_best_epoch(record.rows, name, record.warmup) for record in records}
        known = {run: row for run, row in best.items() if row is not None}
        if known:
            values = {run: row.values[name] for run, row in known.items()}
            epochs = {run: {"epoch": row.epoch, "value": values[run]} for run, row in known.items()}
            yield name, {"values": epochs, **_rank(values if comparable else {}, higher)}


def _rank(values: Mapping[str, float], higher_is_better: bool | None) -> dict[str, Any]:
    """Return the best run, the second best, and the difference; None if runs cannot be ranked."""
    if higher_is_better is None or len(values) < 2:
        return {"best": None, "next": None, "ahead": None}
    first, second, *_ = sorted(values, key=lambda run: values[run], reverse=higher_is_better)
    return {"best": first, "next": second, "ahead": abs(values[first] - values[second])}


def _compare_evaluations(records: Sequence[RunRecord]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the comparison of each split on which two runs or more were evaluated; image by image if possible."""
    for split in dict.fromkeys(name for record in records for name in record.evaluations):
        found = {record.name: record.evaluations[split] for record in records if split in record.evaluations}
        absent = [record.name for record in records if split not in record.evaluations]
        if len(found) > 1:
            outdated = {
                record.name: sentence
                for record in records
                if split in record.evaluations
                and (sentence := describe_outdated(found[record.name].metrics.get("epoch"), record.kept_epoch))
            }
            yield split, _compare_split(found) | {"absent": absent, "outdated": outdated}


def _compare_split(found: Mapping[str, EvaluationRecord]) -> dict[str, Any]:
    reason = _explain_unpaired(found)
    features = {run: one.metrics.get("features") for run, one in found.items()}
    table: dict[str, Any] = {}
    for name, (_, higher) in COLUMNS.items():
        numbers = {run: one.numbers.get(name) for run, one in found.items()}
        values = {run: float(value) for run, value in numbers.items() if value is not None}
        if not values:
            continue
        comparable = reason is None and not (name in ("fid", "kid") and len(set(features.values())) > 1)
        ranked = _rank(values if comparable else {}, higher)
        best = ranked["best"]
        others = [run for run in values if best is not None and run != best]
        table[name] = {
            "values": values,
            "intervals": {run: found[run].intervals.get(name) for run in values},
            **ranked,
            "against": {
                run: {"difference": values[best] - values[run], **_pair_images(found[best], found[run], name)}
                for run in others
            },
        }
    images = {run: len(one.names) for run, one in found.items()}
    return {"images": images, "not_paired": reason, "features": features, "metrics": table}


def _pair_images(best: EvaluationRecord, other: EvaluationRecord, name: str) -> dict[str, Any]:
    """Return the paired interval of best minus other, and whether it excludes 0 (`clear`).

    Both are None without an interval; `clear` also for too few images.
    """
    interval, images = None, 0
    if name not in SET_METRICS and name in best.values and name in other.values:
        first, second = best.values[name], other.values[name]
        known = ~(np.isnan(first) | np.isnan(second))  # without targets that are masked everywhere
        with np.errstate(invalid="ignore"):  # the PSNR of perfect copies is infinite
            interval, images = mean_interval(first[known] - second[known]), int(known.sum())
    return {"interval": interval, "clear": excludes_zero(interval, images)}


def _explain_unpaired(found: Mapping[str, EvaluationRecord]) -> str | None:
    """Return why evaluations cannot be compared image by image; None if they can."""
    several = list(found.values())
    if len({one.names for one in several}) > 1:
        return "these evaluations used different images, so no run is called better by them"
    sizes = {"full" if one.metrics.get("full_size") else str(one.metrics.get("image_size")) for one in several}
    others = ({str(one.metrics.get(name)) for one in several} for name in ("direction", "dropout"))
    for values, what in zip((sizes, *others), ("sizes", "directions", "settings of dropout"), strict=True):
        if len(values) > 1:
            return f"these evaluations used different {what}, so no run is called better by them"
    return None
