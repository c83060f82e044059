"""Metrics of label maps: confusion matrices, pixel accuracy, intersection over union (IoU), and their intervals."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pix2pix.losses import class_logits, class_terms
from pix2pix.metrics.bootstrap import Interval, percentile_interval, resample_weights

NAMES = ("pixel_accuracy", "class_accuracy", "iou")
"""The paper's three scores (4.1)."""


def confusion_matrix(true: Tensor, read: Tensor, classes: int) -> Tensor:
    """Count pixels by (true class, read class): two tensors of indices of any shape -> (K, K)."""
    return torch.bincount((true * classes + read).flatten(), minlength=classes**2).view(classes, classes)


def class_ious(confusion: Tensor) -> Tensor:
    """Return the intersection over union of each class: (K, K) -> (K,)."""
    return confusion.diagonal() / (confusion.sum(0) + confusion.sum(1) - confusion.diagonal())


def score_labels(confusion: Tensor) -> dict[str, float]:
    """Return the paper's three scores of a confusion matrix (K, K): `pixel_accuracy`, `class_accuracy` and `iou`.

    The last two are means over the classes that occur.
    """
    true, correct = confusion.sum(dim=1), confusion.diagonal()
    occurs = true > 0
    return {
        "pixel_accuracy": float(correct.sum() / true.sum()),
        "class_accuracy": float((correct / true)[occurs].mean()),
        "iou": float(class_ious(confusion)[occurs].mean()),
    }


def bootstrap_scores(confusions: Tensor) -> dict[str, Interval | None]:
    """Return 95 % intervals over the images of the three scores, from (N, K, K)."""
    if len(confusions) < 2:
        return dict.fromkeys(NAMES)
    resampled = list(_resample_scores(confusions))
    ends = {name: percentile_interval(np.array([scores[name] for scores in resampled])) for name in NAMES}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _resample_scores(confusions: Tensor) -> Iterator[dict[str, float]]:
    for weights in resample_weights(len(confusions)):
        for total in torch.tensordot(torch.from_numpy(weights), confusions, dims=1):
            yield score_labels(total)


def class_metrics(output: Tensor, target: Tensor, mask: Tensor | None = None) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Compare a batch of class probabilities with label maps, both (N, K, H, W) in [-1, 1].

    Return metric -> (N,), and the confusion matrix (K, K) of each image on the CPU. The metrics are the terms of
    `losses.CLASSIFICATION`, `pixel_accuracy`, and `mean_iou` over the classes of the image. Where the boolean `mask`
    (N, K, H, W) is false, nothing is counted; an image without a counted pixel has NaN.
    """
    true, read = target.argmax(dim=1), output.argmax(dim=1)
    confusions = []
    rows: list[dict[str, Tensor]] = []
    for n in range(len(output)):
        known = torch.ones_like(true[n], dtype=torch.bool) if mask is None else mask[n, 0]
        confusions.append(confusion_matrix(true[n][known], read[n][known], output.shape[1]).cpu())
        scores = score_labels(confusions[-1])
        one = slice(n, n + 1)
        terms = class_terms(class_logits(output[one]), target[one], None if mask is None else mask[one])
        terms |= {"pixel_accuracy": output.new_tensor(scores["pixel_accuracy"])}
        terms |= {"mean_iou": output.new_tensor(scores["iou"])}
        rows.append({name: term if known.any() else torch.full_like(term, torch.nan) for name, term in terms.items()})
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}, confusions


def describe_classes(confusions: Sequence[Tensor], classes: Sequence[str]) -> dict[str, Any]:
    """Return the part `classes` of metrics.json: the three scores, their intervals, and the IoU of each class."""
    each = torch.stack(list(confusions)).double()
    total = each.sum(0)
    count = total.sum(1)
    return {
        **score_labels(total),
        "intervals": bootstrap_scores(each),
        "each": [
            {"class": name, "share": float(of / count.sum()), "iou": float(iou) if of else None}
            for name, of, iou in zip(classes, count, class_ious(total), strict=True)
        ],
    }
