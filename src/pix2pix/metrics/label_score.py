"""Score how well a segmenter reads the labels from outputs and from real targets: the paper's FCN-score (4.1)."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pix2pix.data.pairing.pair import Pair
from pix2pix.metrics.classes import bootstrap_scores, class_ious, confusion_matrix, score_labels
from pix2pix.metrics.palette import format_palette, label_pixels
from pix2pix.metrics.segmentation import Segmenter


class LabelReading(NamedTuple):
    """Classes of the pixels of an image, (H, W) each; `known` is false where they are not counted."""

    true: Tensor
    output: Tensor
    target: Tensor
    known: Tensor


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
        reading = self.read(pair, output, target, mask)
        true, known, classes = reading.true, reading.known, len(self.segmenter.palette)
        for read, counts in ((reading.output, self.outputs), (reading.target, self.targets)):
            counts.append(confusion_matrix(true[known], read[known], classes))
        return float(self.outputs[-1].diagonal().sum() / self.outputs[-1].sum())

    def read(self, pair: Pair, output: Tensor, target: Tensor, mask: Tensor | None = None) -> LabelReading:
        """Read the labels of one image, as `add` does, without counting them."""
        true = label_pixels(pair, self.segmenter.palette, (output.shape[-2], output.shape[-1]))
        known = torch.ones_like(true, dtype=torch.bool)
        if mask is not None:
            output, known = torch.where(mask, output.cpu(), target), mask.all(dim=0)
        return LabelReading(true, self.segmenter.read_labels(output), self.segmenter.read_labels(target), known)

    def to_json(self) -> dict[str, Any]:
        """Return the part `labels` of metrics.json."""
        own, ceiling = torch.stack(self.outputs).double(), torch.stack(self.targets).double()
        classes = zip(
            self.segmenter.palette, class_ious(own.sum(0)), class_ious(ceiling.sum(0)), own.sum((0, 2)), strict=True
        )
        return {
            **score_labels(own.sum(0)),
            "intervals": bootstrap_scores(own),
            "ceiling": {**score_labels(ceiling.sum(0)), "intervals": bootstrap_scores(ceiling)},
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
