"""Show the outputs of several runs: of the same inputs, and of the images for which the runs differ most."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from pix2pix.data.checks.check import check
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import PairSet, find_pairs, same_data
from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.evaluation.examples import draw_source, single_span
from pix2pix.evaluation.pairs import present_pairs
from pix2pix.evaluation.run_records import RunRecord
from pix2pix.evaluation.write import draw_output, output_path, read_output
from pix2pix.inference.translator import Translator
from pix2pix.metrics.diagnostics import choose_evenly
from pix2pix.metrics.error_map import Errors, error_map, find_window, mean_error
from pix2pix.model import load_model
from pix2pix.reports.differing import Difference, DifferenceGallery, choose_differing, count_best
from pix2pix.reports.pictures import error_view, view
from pix2pix.system.hardware import choose_device
from pix2pix.system.progress import OnNamedProgress

ROWS = 6  # of the same inputs
ROUNDED = 0.004  # by which l1 may change where an output is rounded to 8 bits


# ---- the same inputs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """Titles of columns, rows of (name, images: source, target, an output of each run), and a caption."""

    titles: list[str]
    rows: list[tuple[str, list[Pixels]]]
    note: str


def draw_figure(records: Sequence[RunRecord], device: str, progress: OnNamedProgress | None) -> Figure:
    """Translate some pairs by the model of each run. If this is not possible, the note says why."""
    ready = [record for record in records if record.kept_epoch is not None]
    found = _find_shared_pairs(records, ready)
    if isinstance(found, str):
        return Figure([], [], f"None are shown, as {found}.")
    split = "val" if "val" in found.splits else "train"
    pairs = found.splits[split]
    indices = choose_evenly(len(pairs), ROWS)
    columns: dict[str, list[Pixels]] = {}
    for done, record in enumerate(ready):
        if progress is not None:
            progress(done, len(ready), f"translating with {record.name}")
        model = load_model(record.path)
        translator = Translator(model, device=choose_device(device))
        dataset = present_pairs(pairs, model)
        examples = [dataset[0, index] for index in indices]
        if not columns:
            columns["source"] = [dataset.draw_source(source) for source, _, _ in examples]
            columns["target"] = [dataset.draw_target(target) for _, target, _ in examples]
        with torch.inference_mode():
            outputs = [translator.generator(source[None].to(translator.device))[0] for source, _, _ in examples]
        columns[f"run {record.name}"] = [dataset.draw_target(output.float().cpu()) for output in outputs]
    names = [pairs[index].name for index in indices]
    which = "validation" if split == "val" else "training"
    note = f"The same {which} pairs ({', '.join(names)}), translated by the model that each run kept."
    if absent := [record.name for record in records if record.kept_epoch is None]:
        note += f" No model yet: {', '.join(absent)}."
    titles = ["source", "target", *(record.name for record in ready)]
    return Figure(titles, [(name, list(row)) for name, *row in zip(names, *columns.values(), strict=True)], note)


def have_same_data(records: Sequence[RunRecord]) -> bool:
    """Return whether all runs were trained on the same pairs."""
    return all(same_data(record.fingerprint, records[0].fingerprint) for record in records)


def _find_shared_pairs(records: Sequence[RunRecord], ready: Sequence[RunRecord]) -> PairSet | str:
    """Return the pairs of the training, or why they cannot be shown."""
    if not have_same_data(records):
        return "the runs have no pairs in common"
    if not ready:
        return "no run has kept a model yet"
    data, known = ready[0].config.data, [ready[0].fingerprint or ""]
    try:
        pairs = check(data, known=known).without_bad(known).pairs if data.skip_bad else find_pairs(data)
    except (ConfigError, DataError, OSError) as error:
        return f"the pairs cannot be found: {error}"
    return pairs if same_data(pairs.fingerprint(), ready[0].fingerprint) else "the data have changed since the training"


# ---- where the runs differ most ----------------------------------------------------------------------------------


class _NotShownError(Exception):
    """Why the images of an evaluation cannot be shown."""


def draw_differences(records: Sequence[RunRecord], evaluation: str) -> DifferenceGallery:
    """Show the images of an evaluation for which the runs differ most, by each metric.

    The outputs are those that the evaluations wrote. If this is not possible, the note says why.
    """
    shown = [record for record in records if evaluation in record.evaluations]
    try:
        return _draw_differences(shown, evaluation)
    except (_NotShownError, DataError, ConfigError, ModelError, OSError) as error:
        return DifferenceGallery(evaluation, note=f"None are shown, as {str(error).rstrip('.')}.")


def _draw_differences(records: Sequence[RunRecord], evaluation: str) -> DifferenceGallery:
    if absent := [record.name for record in records if record.kept_epoch is None]:
        raise _NotShownError(f"{absent[0]} has no model yet")
    found = _find_shared_pairs(records, records)
    if isinstance(found, str):
        raise _NotShownError(found)
    first = records[0].evaluations[evaluation]
    values = {record.name: record.evaluations[evaluation].values for record in records}
    chosen = choose_differing(values)
    if not chosen:
        raise _NotShownError("the runs have the same numbers for every image")
    by_name = {pair.name: pair for pair in found.splits.get(str(first.metrics.get("split")), ())}
    if missing := [first.names[index] for index in chosen if first.names[index] not in by_name]:
        raise _NotShownError(f"the data of the training have no pair {missing[0]} in this split")
    pairs = [by_name[first.names[index]] for index in chosen]
    columns = [_Column(record, evaluation, pairs) for record in records]
    differences = [_draw_difference(columns, place, *one) for place, one in enumerate(chosen.items())]
    model = columns[0].model
    return DifferenceGallery(
        evaluation, len(first.names), differences, count_best(values), model.predicts_classes, single_span(model)
    )


class _Column:
    """The outputs of a run for some pairs, as its evaluation wrote them."""

    def __init__(self, record: RunRecord, evaluation: str, pairs: Sequence[Pair]) -> None:
        self.name = record.name
        self.model = replace(load_model(record.path), generator=nn.Identity(), discriminator=None)  # nothing is run
        self.evaluation = record.evaluations[evaluation]
        full_size = bool(self.evaluation.metrics.get("full_size"))
        self.dataset = present_pairs(pairs, self.model, full_size=full_size)

    def read(self, place: int, index: int) -> tuple[Tensor, Errors]:
        """Read the output of a pair, image `index` of the evaluation, and its difference from the target."""
        pair, batch, folder = self.dataset.pairs[place], self.dataset.load_one(place), self.evaluation.folder
        path = output_path(folder, pair, self.model)
        if not path.exists():
            raise _NotShownError(f"{path} is missing: run `pix2pix evaluate` again")
        output = read_output(folder, pair, self.model)
        if output.shape != batch.target[0].shape:
            raise _NotShownError(f"{path} and its target differ in size: run `pix2pix evaluate` again")
        mask = None if batch.mask is None else batch.mask[0]
        errors = error_map(output, batch.target[0], mask, classes=self.model.predicts_classes)
        name = "pixel_accuracy" if self.model.predicts_classes else "l1"
        measured = self.evaluation.values[name][index]
        found = mean_error(output, batch.target[0], mask, classes=self.model.predicts_classes)
        if abs((1 - found if self.model.predicts_classes else found) - measured) > ROUNDED:
            raise _NotShownError(
                f"{path} and its target do not give the measured {name}, so one of them has changed, or the "
                "evaluation used other data than the training: run `pix2pix evaluate` again"
            )
        return output, errors


def _draw_difference(columns: Sequence[_Column], place: int, index: int, most_by: Sequence[str]) -> Difference:
    read = {column.name: column.read(place, index) for column in columns}
    maps = np.stack([errors for _, errors in read.values()])
    window = find_window(np.ptp(maps, axis=0))
    dataset, model = columns[0].dataset, columns[0].model
    batch = dataset.load_one(place)
    labels = model.predicts_classes
    return Difference(
        dataset.pairs[place].name,
        (maps.shape[1], maps.shape[2]),
        {name: {one.name: float(one.evaluation.values[name][index]) for one in columns} for name in most_by},
        window,
        draw_source(dataset, batch.source[0], window),
        view(draw_output(batch.target[0], model), window, labels=labels),
        {run: view(draw_output(output, model), window, labels=labels) for run, (output, _) in read.items()},
        {run: error_view(errors, window) for run, (_, errors) in read.items()},
    )
