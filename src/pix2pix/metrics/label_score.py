"""Score how well a segmenter reads the labels from outputs and from real targets: the paper's FCN-score (4.1)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pix2pix.data.pairing.pair import Pair
from pix2pix.metrics.bootstrap import Interval, percentile_interval, resample_weights
from pix2pix.metrics.palette import format_palette, label_pixels
from pix2pix.metrics.segmentation import Segmenter


@dataclass
class LabelScore:
    """Confusion matrices (K, K), true class by read class, of all images: for outputs and for real targets.

    The score of real targets is the ceiling for outputs.
    """

    segmenter: Segmenter
    outputs: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)

    def add(self, pair: Pair, output: Tensor, target: Tensor, mask: Tensor | None = None) -> float:
        """Count one image; output and target are (C, H, W) in [-1, 1]. Return its share of pixels read correctly.

        Where `mask` (C, H, W) is false, the output is replaced by the target and nothing is counted.
        """
        labels = label_pixels(pair, self.segmenter.palette, (output.shape[-2], output.shape[-1]))
        known = torch.ones_like(labels, dtype=torch.bool)
        if mask is not None:
            output, known = torch.where(mask, output.cpu(), target), mask.all(dim=0)
        for image, counts in ((output, self.outputs), (target, self.targets)):
            read = self.segmenter.read_labels(image)
            counts.append(_confusion_matrix(labels[known], read[known], len(self.segmenter.palette)))
        return float(self.outputs[-1].diagonal().sum() / self.outputs[-1].sum())

    def to_json(self) -> dict[str, Any]:
        """Return the part `labels` of metrics.json."""
        own, ceiling = torch.stack(self.outputs).double(), torch.stack(self.targets).double()
        classes = zip(self.segmenter.palette, _ious(own.sum(0)), _ious(ceiling.sum(0)), own.sum((0, 2)), strict=True)
        return {
            **score_labels(own.sum(0)),
            "intervals": _bootstrap_scores(own),
            "ceiling": {**score_labels(ceiling.sum(0)), "intervals": _bootstrap_scores(ceiling)},
            "classes": [
                {
                    "colour": format_palette([colour]),
                    "share": float(count / own.sum()),
                    "iou": float(iou) if count else None,
                    "ceiling": float(best) if count else None,
                }
                for colour, iou, best, count in classes
            ],
        }


def score_labels(confusion: Tensor) -> dict[str, float]:
    """Return the paper's three scores of a confusion matrix (K, K): `pixel_accuracy`, `class_accuracy` and `iou`.

    The last two are means over the classes that occur.
    """
    true, correct = confusion.sum(dim=1), confusion.diagonal()
    occurs = true > 0
    return {
        "pixel_accuracy": float(correct.sum() / true.sum()),
        "class_accuracy": float((correct / true)[occurs].mean()),
        "iou": float(_ious(confusion)[occurs].mean()),
    }


def _confusion_matrix(labels: Tensor, read: Tensor, classes: int) -> Tensor:
    return torch.bincount((labels * classes + read).flatten(), minlength=classes**2).view(classes, classes)


def _ious(confusion: Tensor) -> Tensor:
    """Return the intersection over union of each class: (K, K) -> (K,)."""
    return confusion.diagonal() / (confusion.sum(0) + confusion.sum(1) - confusion.diagonal())


def _bootstrap_scores(confusions: Tensor) -> dict[str, Interval | None]:
    """Return 95 % intervals over the images of the three scores, from (N, K, K)."""
    names = ("pixel_accuracy", "class_accuracy", "iou")
    if len(confusions) < 2:
        return dict.fromkeys(names)
    resampled = list(_resample_scores(confusions))
    ends = {name: percentile_interval(np.array([scores[name] for scores in resampled])) for name in names}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _resample_scores(confusions: Tensor) -> Iterator[dict[str, float]]:
    for weights in resample_weights(len(confusions)):
        for total in torch.tensordot(torch.from_numpy(weights), confusions, dims=1):
            yield score_labels(total)
