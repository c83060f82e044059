"""Measure baselines, outputs that need no model: the mean training target, and the source itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.loading.dataset import Batch, PairDataset
from pix2pix.data.loading.loader import make_loader
from pix2pix.data.pairing.pair import Pair
from pix2pix.evaluation.pairs import present_pairs
from pix2pix.metrics.bootstrap import Interval, mean_intervals
from pix2pix.metrics.classes import class_metrics
from pix2pix.metrics.diagnostics import make_thumbnails
from pix2pix.metrics.pixel import ImageScore, image_metrics
from pix2pix.model import Model

BATCH = 4


@dataclass(frozen=True)
class TrainingMean:
    """Averages of the training targets, and thumbnails of all of them."""

    mean: Tensor  # (C, H, W)
    colour: Tensor  # (C, 1, 1)
    thumbnails: Tensor


def average_targets(train: Sequence[Pair], model: Model) -> TrainingMean | None:
    """Average all training targets, without masked pixels; None if there are no training pairs."""
    if not train:
        return None
    total, count = torch.zeros(()), torch.zeros((), dtype=torch.long)
    thumbnails = []
    for batch in read_batches(present_pairs(train, model)):
        known = torch.ones_like(batch.target, dtype=torch.bool) if batch.mask is None else batch.mask
        total, count = total + batch.target.sum(dim=0), count + known.sum(dim=0)
        thumbnails.append(make_thumbnails(batch.target))
    colour = total.sum(dim=(1, 2), keepdim=True) / count.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    return TrainingMean(total / count.clamp(min=1), colour, torch.cat(thumbnails))


def measure_baselines(training: TrainingMean | None, dataset: PairDataset, model: Model) -> dict[str, list[ImageScore]]:
    """Measure each image: the mean training target as output, and the source if it has as many channels as the target.

    At full size images may differ in size, so the mean colour of the training targets replaces their mean image.
    """
    found: dict[str, list[ImageScore]] = {}
    if training is not None:
        name, mean = ("mean_colour", training.colour) if dataset.full_size else ("mean_target", training.mean)
        found[name] = _measure_baseline(dataset, lambda batch: mean.expand_as(batch.target), model)
    if dataset.source_widths == (dataset.target_channels,) and _is_comparable(model):
        found["source"] = _measure_baseline(dataset, lambda batch: batch.source, model)
    return found


def _is_comparable(model: Model) -> bool:
    """Return whether the only source could be an output: both are images, or label maps of the same classes."""
    source, target = model.source_values, model.target_values
    labels = [values.classes if isinstance(values, LabelEncoding) else None for values in (source, target)]
    return labels[0] == labels[1]


def compare_with_baselines(
    scores: Sequence[ImageScore], baselines: Mapping[str, Sequence[ImageScore]]
) -> dict[str, dict[str, Interval | None]]:
    """Return baseline -> metric -> interval of the mean of model minus baseline, image by image (paired bootstrap)."""
    differences: dict[str, dict[str, Interval | None]] = {}
    for name, others in baselines.items():
        by_index = {other.index: other.values for other in others}
        with np.errstate(invalid="ignore"):  # the PSNR of perfect copies is infinite
            rows = [
                {metric: float(np.subtract(one.values[metric], value)) for metric, value in by_index[one.index].items()}
                for one in scores
            ]
        differences[name] = mean_intervals(rows)
    return differences


def _measure_baseline(dataset: PairDataset, output: Callable[[Batch], Tensor], model: Model) -> list[ImageScore]:
    scores = []
    for batch in read_batches(dataset):
        confusions: Sequence[Tensor | None] = [None] * len(batch.index)
        if model.predicts_classes:
            terms, confusions = class_metrics(output(batch), batch.target, batch.mask)
        else:
            terms = image_metrics(output(batch), batch.target, batch.mask, target_span(model))
        scores += [
            ImageScore(int(index), {name: term[n].item() for name, term in terms.items()}, confusions[n])
            for n, index in enumerate(batch.index)
        ]
    return scores


def read_batches(dataset: PairDataset) -> Iterator[Batch]:
    """Read all pairs in order, in batches."""
    return make_loader(dataset, batch_size=BATCH, workers=0, shuffle=False).epoch(0)


def target_span(model: Model) -> Tensor | None:
    """Return the width of the range [-1, 1] in the target's own units, (1,) or (C,); None for label maps."""
    values = model.target_values
    return None if isinstance(values, LabelEncoding) else torch.tensor([high - low for low, high in values.bounds])
