"""A generator, its discriminator and a split of pairs in; every metric for every image out."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pix2pix.config import Loss
from pix2pix.data.loading.dataset import Batch
from pix2pix.losses import adversarial_term, all_terms, discriminator_accuracy, discriminator_terms
from pix2pix.metrics.ssim import ssim_map


class Measure(NamedTuple):
    """How a metric of pictures is shown and read."""

    name: str
    higher_is_better: bool
    unit: str
    meaning: str


MEASURES = (
    Measure("l1", False, "", "mean absolute difference as a share of the full range: 0 is a perfect copy"),
    Measure("l2", False, "", "mean squared difference of pictures in [0, 1]: 0 is a perfect copy"),
    Measure("psnr", True, "dB", "peak signal-to-noise ratio: the squared difference on a logarithmic scale"),
    Measure("ssim", True, "", "structural similarity: of local brightness, contrast and pattern, 1 at most"),
    Measure("ms_ssim", True, "", "structural similarity over five scales, from fine to coarse, 1 at most"),
    Measure("lpips", False, "", "distance of what AlexNet sees in the two pictures: 0 is a perfect copy"),
    Measure("fid", False, "", "Fréchet distance of the features of all outputs from those of all targets"),
    Measure(
        "kid", False, "", "kernel distance of the same features, without FID's bias for few images; 0 is no difference"
    ),
    Measure("label_accuracy", True, "", "share of the pixels whose label a segmenter reads rightly from the output"),
)
"""What a picture, or a set of them, is measured by."""
OWN_UNITS = (
    Measure("mae", False, "own", "mean absolute difference in the target's own units"),
    Measure("rmse", False, "own", "root of the mean squared difference in the target's own units"),
)
"""What an evaluation adds where the range of the target's values is known."""
HIGHER_IS_BETTER = {measure.name: measure.higher_is_better for measure in MEASURES}
ACCURACIES = ("d_real_accuracy", "d_fake_accuracy")
METRICS = (*all_terms(), *HIGHER_IS_BETTER)
"""The slides' four numbers, D's accuracy, then what a picture is measured by."""


@dataclass(frozen=True)
class ImageScore:
    """The metrics of one image: its place in the split, and name -> value."""

    index: int
    values: dict[str, float]


class Judge(Protocol):
    """Whoever measures more of a batch than `image_metrics` does."""

    def __call__(self, output: Tensor, target: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Output and target (N, C, H, W) in [-1, 1] -> name -> (N,)."""


def image_metrics(
    output: Tensor, target: Tensor, mask: Tensor | None = None, span: Tensor | float | None = None
) -> dict[str, Tensor]:
    """(N, C, H, W) in [-1, 1], twice -> `g_l1`, `g_l2`, `l1`, `l2`, `psnr` in dB and `ssim`, each (N,).

    `g_l1` is mean |y - G(x)|, the training's term, and `g_l2` its square's; the others are of pictures in [0, 1], as
    is usual (SSIM depends on where black is). Where the boolean `mask` (N, 1 or C, H, W) is false, nothing is counted:
    an image without a counted pixel has NaN. SSIM then averages over the counted pixels, and sees the target in the
    others. With `span`, what the range [-1, 1] is in the target's own units, a number or one for each channel (C,),
    there are `mae` and `rmse` in those units.
    """
    counted = None if mask is None else mask.expand_as(target)
    if counted is not None:
        output = torch.where(counted, output, target)
    difference = output - target
    picture, truth = (output + 1) / 2, (target + 1) / 2
    g_l1, g_l2 = _mean(difference.abs(), counted), _mean(difference.square(), counted)
    values = {"g_l1": g_l1, "g_l2": g_l2, "l1": g_l1 / 2, "l2": g_l2 / 4, "psnr": -10 * torch.log10(g_l2 / 4)}
    values["ssim"] = _mean(ssim_map(picture, truth), counted)
    if span is not None:
        own = difference * (torch.as_tensor(span, dtype=output.dtype, device=output.device).reshape(-1, 1, 1) / 2)
        values |= {"mae": _mean(own.abs(), counted), "rmse": _mean(own.square(), counted).sqrt()}
    return values


def _mean(values: Tensor, counted: Tensor | None) -> Tensor:
    """(N, C, H, W) -> (N,), over what is counted."""
    if counted is None:
        return values.mean(dim=(1, 2, 3))
    return torch.where(counted, values, 0).sum(dim=(1, 2, 3)) / counted.sum(dim=(1, 2, 3))


def score(
    generator: nn.Module,
    discriminator: nn.Module | None,
    batches: Iterable[Batch],
    loss: Loss,
    device: torch.device,
    judge: Judge | None = None,
    span: Tensor | None = None,
) -> Iterator[tuple[ImageScore, Tensor]]:
    """Batches of pairs -> one (ImageScore, output (C, H, W)) for each image, in order.

    The networks must be in eval mode, so that an image's numbers do not depend on its neighbours. Without a
    discriminator the adversarial terms are left out; `judge` adds what it measures, and `span` own units. In holes of
    the target D is shown the output, in both pictures, as in training: its terms, and they alone, know what is there.
    """
    names = (*METRICS, *(measure.name for measure in OWN_UNITS))
    for batch in batches:
        source, target = batch.source.to(device), batch.target.to(device)
        with torch.inference_mode():
            output = generator(source)
            mask = None if batch.mask is None else batch.mask.to(device)
            terms = image_metrics(output, target, mask, span)
            if judge is not None:
                terms |= judge(output, target, mask)
            if mask is not None:
                target = torch.where(mask, target, output)
            logits = None if discriminator is None else (discriminator(source, target), discriminator(source, output))
        for n, index in enumerate(batch.index.tolist()):
            one: dict[str, Tensor] = {name: term[n] for name, term in terms.items()}
            if logits is not None:
                one |= adversarial_term(logits[1][n], loss.adversarial)
                one |= discriminator_terms(logits[0][n], logits[1][n], loss.adversarial)
                one |= discriminator_accuracy(logits[0][n], logits[1][n], loss.adversarial)
            yield ImageScore(index, {name: one[name].item() for name in names if name in one}), output[n]


def mean_scores(scores: Iterable[ImageScore]) -> dict[str, float]:
    """The mean of every metric over the images; empty for no images.

    An image whose target is one hole has NaN and is left out, unless all are such.
    """
    rows = [score.values for score in scores]
    means: dict[str, float] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        counted = [value for value in values if not math.isnan(value)] or values
        means[name] = sum(counted) / len(counted)
    return means
