"""`compare`: run folders in; the runs side by side, in numbers, words, curves and pictures, on one page, out."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup

from pix2pix.data.checks.check import check
from pix2pix.data.encoding import tensors
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.pairing.pairs import PairSet, find_pairs
from pix2pix.errors import ConfigError, DataError
from pix2pix.evaluation.evaluate import presented, to_json
from pix2pix.evaluation.run_records import COLUMNS, OF_THE_SET, Measured, Record, read_run
from pix2pix.inference.translator import Translator
from pix2pix.metrics.bootstrap import mean_interval
from pix2pix.metrics.diagnostics import chosen
from pix2pix.metrics.pixel import HIGHER_IS_BETTER
from pix2pix.model import load_model
from pix2pix.reports.advice import advice, compared_in_words
from pix2pix.reports.curves import Across, overlaid_svgs
from pix2pix.reports.pages import best_epoch, render
from pix2pix.system.files import write_text
from pix2pix.system.hardware import choose_device

ROWS = 6  # of pictures
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Comparison:
    """The page, if one was asked for, and everything on it for programs."""

    page: Path | None
    results: dict[str, Any]


def compare(
    *runs: str | Path, output: str | Path | None = None, device: str = "auto", progress: Progress | None = None
) -> Comparison:
    """Put two or more runs side by side, finished or not; with a folder `output`, write compare.html and compare.json.

    The page also shows what the kept models make of the same validation pairs, if these are where they were. Raises
    ConfigError, ModelError, DataError or OSError with one sentence.
    """
    records = _read(runs)
    results = _compared(records)
    if output is None:
        return Comparison(None, results)
    titles, rows, note = _figure(records, device, progress)
    adversarial = {record.config.loss.adversarial for record in records}
    across: Across = "epoch" if len({_pairs_an_epoch(record) for record in records}) == 1 else "images_seen"
    curves = overlaid_svgs(
        {record.name: record.rows for record in records}, across, adversarial.pop() if len(adversarial) == 1 else None
    )
    page = render(
        "compare",
        title=" · ".join(results["runs"]),
        results=results,
        columns=COLUMNS,
        curves=[Markup(svg) for svg in curves],
        titles=titles,
        rows=rows,
        note=note,
    )
    folder = Path(output)
    write_text(folder / "compare.json", to_json(results))
    write_text(folder / "compare.html", page)
    return Comparison(folder / "compare.html", results)


def _read(runs: Sequence[str | Path]) -> list[Record]:
    """Every run, under the shortest end of its path that no other has."""
    paths = [Path(run) for run in runs]
    if len(paths) < 2:
        raise ConfigError("a comparison needs two runs or more: pix2pix compare RUN RUN ...")
    whole = [path.resolve() for path in paths]
    for place, path in enumerate(whole):
        if path in whole[:place]:
            raise ConfigError(f"{paths[place]}: given twice; a comparison needs different runs")
    depth = 1
    while len({path.parts[-depth:] for path in whole}) < len(whole):
        depth += 1
    return [read_run(path, "/".join(full.parts[-depth:])) for path, full in zip(paths, whole, strict=True)]


def _compared(records: Sequence[Record]) -> dict[str, Any]:
    """Everything but pictures and curves."""
    reasons = list(_told_apart(records))
    results: dict[str, Any] = {
        "runs": {record.name: _facts(record) for record in records},
        "same_data": len({record.fingerprint for record in records}) == 1,
        "differences": differences(records),
        "notes": reasons,
        "validation": dict(_validations(records, comparable=not reasons)),
        "evaluations": dict(_evaluations(records)),
    }
    return results | {"findings": list(compared_in_words(results))}


# ---- runs and their settings -----------------------------------------------------------------------------------


def _facts(record: Record) -> dict[str, Any]:
    pace = [row.images_per_second for row in record.rows if row.split == "train"]
    generator, discriminator = record.parameters
    training = record.config.training
    return {
        "path": str(record.path),
        "state": record.state,
        "epochs": record.rows[-1].epoch,
        "of": training.epochs,
        "kept_epoch": record.kept,
        "seconds": record.rows[-1].seconds,
        "images_per_second": statistics.median(pace) if pace else None,
        "machine": f"{training.device}, {training.precision}",
        "parameters": {
            "generator": generator,
            "discriminator": discriminator if record.config.loss.adversarial_weight else None,
        },
        "findings": advice(record.rows, training.best_by, record.head_start),
    }


def _pairs_an_epoch(record: Record) -> int:
    return record.rows[-1].images_seen // max(1, record.rows[-1].epoch)


def differences(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Setting -> run -> value, of those settings in which not all runs are alike, in the settings' order."""
    settings = {record.name: dict(_leaves(record.config.model_dump(mode="json"))) for record in records}
    table = {
        field: {name: values.get(field) for name, values in settings.items()}
        for field in dict.fromkeys(field for values in settings.values() for field in values)
    }
    first = records[0].name
    return {field: row for field, row in table.items() if any(value != row[first] for value in row.values())}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _told_apart(records: Sequence[Record]) -> Iterator[str]:
    """Why the validations of these runs are not of the same task; nothing if they are."""
    data = {record.name: record.config.data for record in records}
    so = "their numbers are of different tasks, and no run is called better by its validation"
    if len({record.fingerprint for record in records}) > 1:
        groups: dict[str | None, list[str]] = {}
        for record in records:
            groups.setdefault(record.fingerprint, []).append(record.name)
        sets = "; ".join(" and ".join(names) for names in groups.values())
        yield f"The runs were trained on different data ({sets}): {so}."
    for field, what in (("direction", "in different directions"), ("image_size", "at different sizes")):
        if len({getattr(one, field) for one in data.values()}) > 1:
            values = ", ".join(f"{name} {one.model_dump(mode='json')[field]}" for name, one in data.items())
            yield f"The runs were trained {what} ({values}): {so}."
    if len({record.config.native for record in records}) > 1:
        yield f"Some of the runs kept the pictures' own sizes and others did not: {so}."
    if len({(one.target_channels, one.target_type, one.target_range, one.mask_value) for one in data.values()}) > 1:
        yield f"The runs present their targets differently (channels, type, range or mask): {so}."


# ---- numbers ---------------------------------------------------------------------------------------------------


def _validations(records: Sequence[Record], *, comparable: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Metric -> the best epoch of each run and, if they can be compared, which run is ahead, of whom, by how much."""
    for name, higher in HIGHER_IS_BETTER.items():
        best = {
            record.name: best_epoch(record.rows, {"best_by": name, "discriminator_epochs": record.head_start})
            for record in records
        }
        known = {run: row for run, row in best.items() if row is not None}
        if not known:
            continue
        values = {run: row.values[name] for run, row in known.items()}
        yield (
            name,
            {
                "values": {run: {"epoch": row.epoch, "value": row.values[name]} for run, row in known.items()},
                **(_ranked(values, higher) if comparable else _ranked({}, higher)),
            },
        )


def _ranked(values: Mapping[str, float], higher: bool | None) -> dict[str, Any]:
    """Who is best, who comes next, and how far behind; None where nobody can be called so."""
    if higher is None or len(values) < 2:
        return {"best": None, "next": None, "ahead": None}
    first, second, *_ = sorted(values, key=lambda run: values[run], reverse=higher)
    return {"best": first, "next": second, "ahead": abs(values[first] - values[second])}


def _evaluations(records: Sequence[Record]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Split -> the evaluations of it that there are, image by image where they are of the same images."""
    for split in dict.fromkeys(name for record in records for name in record.evaluations):
        measured = {record.name: record.evaluations[split] for record in records if split in record.evaluations}
        absent = [record.name for record in records if split not in record.evaluations]
        if len(measured) > 1:
            yield split, _beside(measured) | {"absent": absent}


def _beside(measured: Mapping[str, Measured]) -> dict[str, Any]:
    reason = _why_not_paired(measured)
    table: dict[str, Any] = {}
    for name, (_, higher) in COLUMNS.items():
        numbers = {run: one.numbers.get(name) for run, one in measured.items()}
        values = {run: float(value) for run, value in numbers.items() if value is not None}
        if not values:
            continue
        ranked = _ranked(values if reason is None else {}, higher)
        best = ranked["best"]
        table[name] = {
            "values": values,
            "intervals": {run: measured[run].intervals.get(name) for run in values},
            **ranked,
            "against": {
                run: _difference(measured[best], measured[run], name, values[best] - values[run])
                for run in values
                if best is not None and run != best
            },
        }
    images = {run: len(one.names) for run, one in measured.items()}
    return {"images": images, "not_paired": reason, "metrics": table}


def _difference(best: Measured, other: Measured, name: str, difference: float) -> dict[str, Any]:
    """Best minus other with its paired interval; `clear` if that leaves out 0, None where there is none."""
    interval = None
    if name not in OF_THE_SET and name in best.values and name in other.values:
        first, second = best.values[name], other.values[name]
        known = ~(np.isnan(first) | np.isnan(second))  # of targets that are not one hole
        with np.errstate(invalid="ignore"):  # of two perfect copies, whose PSNR is infinite
            interval = mean_interval(first[known] - second[known])
    clear = None if interval is None else interval[0] > 0 or interval[1] < 0
    return {"difference": difference, "interval": interval, "clear": clear}


def _why_not_paired(measured: Mapping[str, Measured]) -> str | None:
    """Why evaluations are not of the same pictures; None if they are."""
    several = list(measured.values())
    if len({one.names for one in several}) > 1:
        return "these evaluations are of different images, so no run is called better by them"
    sizes = {"whole" if one.metrics.get("full_size") else str(one.metrics.get("image_size")) for one in several}
    others = ({str(one.metrics.get(field)) for one in several} for field in ("direction", "dropout"))
    for values, what in zip((sizes, *others), ("sizes", "directions", "settings of dropout"), strict=True):
        if len(values) > 1:
            return f"these evaluations are of different {what}, so no run is called better by them"
    return None


# ---- pictures --------------------------------------------------------------------------------------------------


def _figure(
    records: Sequence[Record], device: str, progress: Progress | None
) -> tuple[list[str], list[tuple[str, list[Pixels]]], str]:
    """Titles of columns, rows of (name, source, target, an output of each run), and a line on what they are.

    Where there is nothing to show, the line says why.
    """
    able = [record for record in records if record.kept is not None]
    if len({record.fingerprint for record in records}) > 1:
        return [], [], "None are shown, as the runs have no pairs in common."
    if not able:
        return [], [], "None are shown, as no run has kept a model yet."
    try:
        pairs = _pairs(able[0])
    except (ConfigError, DataError, OSError) as error:
        return [], [], f"None are shown, as the pairs are not where they were: {error}."
    if pairs.fingerprint() != able[0].fingerprint:
        return [], [], "None are shown, as the data have changed since."
    split = "val" if "val" in pairs.splits else "train"
    shown = chosen(len(pairs.splits[split]), ROWS)
    given: dict[str, list[Pixels]] = {"source": [], "target": []}
    made: dict[str, list[Pixels]] = {record.name: [] for record in able}
    for done, record in enumerate(able):
        if progress is not None:
            progress(done, len(able), f"translating with {record.name}")
        model = load_model(record.path)
        translator = Translator(model, device=choose_device(device))
        dataset = presented(pairs.splits[split], model)
        for index in shown:
            source, target, _ = dataset[0, index]
            with torch.inference_mode():
                output = translator.generator(source[None].to(translator.device))[0].float().cpu()
            made[record.name].append(tensors.to_viewable(output))
            if not done:
                given["source"].append(dataset.picture(source))
                given["target"].append(tensors.to_viewable(target))
    names = [pairs.splits[split][index].name for index in shown]
    which = "validation" if split == "val" else "training"
    absent = [record.name for record in records if record.kept is None]
    line = f"The same {which} pairs ({', '.join(names)}), by the model that each run has kept."
    line += f" No model yet: {', '.join(absent)}." if absent else ""
    rows = zip(names, *given.values(), *made.values(), strict=True)
    return [*given, *made], [(name, list(row)) for name, *row in rows], line


def _pairs(record: Record) -> PairSet:
    """As for its training, the unusable ones left out if they were then."""
    data = record.config.data
    return check(data).without_bad().pairs if data.skip_bad else find_pairs(data)
