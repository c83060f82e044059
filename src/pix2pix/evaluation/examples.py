"""Read the images that a page shows: source, output, target, their differences, and the labels read from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from pix2pix.data.encoding.labels import LabelEncoding, class_name
from pix2pix.data.io.arrays import side_by_side
from pix2pix.data.loading.dataset import Batch, PairDataset
from pix2pix.data.pairing.pair import Pair
from pix2pix.evaluation.baselines import target_span
from pix2pix.evaluation.write import draw_output, read_output
from pix2pix.metrics.error_map import Window, error_map, find_window
from pix2pix.metrics.label_score import LabelScore
from pix2pix.metrics.pixel import ImageScore
from pix2pix.model import Model
from pix2pix.reports.examples import Example, Gallery, LabelViews, Standing, choose_examples
from pix2pix.reports.pictures import View, error_view, shrink, shrink_errors, view


def read_gallery(
    folder: Path, scores: Sequence[ImageScore], dataset: PairDataset, model: Model, labels: LabelScore | None
) -> Gallery:
    """Read the images that are best, median and worst by a metric; no others are read. Raises DataError."""
    chosen = choose_examples([one.values for one in scores])
    examples = [
        _read_example(folder, scores[number], dataset, model, labels, standings) for number, standings in chosen.items()
    ]
    return Gallery(examples, model.predicts_classes, dataset.target_channels, single_span(model))


def single_span(model: Model) -> float | None:
    """Return the width of the target's range in its own units; None for label maps and for channels that differ."""
    span = target_span(model)
    widths = set() if span is None else set(span.tolist())
    return widths.pop() if len(widths) == 1 else None


def _read_example(
    folder: Path,
    score: ImageScore,
    dataset: PairDataset,
    model: Model,
    labels: LabelScore | None,
    standings: Mapping[str, Standing],
) -> Example:
    pair, batch = dataset.pairs[score.index], dataset.load_one(score.index)
    output, target = read_output(folder, pair, model), batch.target[0]
    mask = None if batch.mask is None else batch.mask[0]
    errors = error_map(output, target, mask, classes=model.predicts_classes)
    window = find_window(errors)
    return Example(
        pair.name,
        (errors.shape[0], errors.shape[1]),
        score.values,
        standings,
        window,
        draw_source(dataset, batch.source[0], window),
        view(draw_output(output, model), window, labels=model.predicts_classes),
        view(draw_output(target, model), window, labels=model.predicts_classes),
        error_view(errors, window),
        None if labels is None else _read_labels(labels, pair, output, batch),
    )


def draw_source(dataset: PairDataset, source: Tensor, window: Window) -> View:
    """Draw the sources (C, H, W) of a pair side by side, and the window of each."""
    drawn = dataset.draw_sources(source)
    is_labels = all(isinstance(one.values, LabelEncoding) for one in dataset.prepared.sources)
    zooms = side_by_side([window.crop(one) for one in drawn])
    return View(shrink(side_by_side(drawn), labels=is_labels), shrink(zooms, labels=is_labels))


def _read_labels(labels: LabelScore, pair: Pair, output: Tensor, batch: Batch) -> LabelViews:
    """Read the labels of a pair's images and draw them in the colours of the label maps."""
    reading = labels.read(pair, output, batch.target[0], None if batch.mask is None else batch.mask[0])
    table = LabelEncoding(tuple(map(class_name, labels.segmenter.palette))).display_table
    true, read, read_of_target = (
        shrink(table[classes.numpy()], labels=True) for classes in (reading.true, reading.output, reading.target)
    )
    wrong = (reading.true != reading.output).numpy().astype(np.float32)
    errors = shrink_errors(np.where(reading.known.numpy(), wrong, np.float32(np.nan)))
    return LabelViews(true, read, read_of_target, errors)
