"""Metrics of single images: loss terms; L1, L2, PSNR and SSIM, or those of label maps, of outputs against targets."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pix2pix.config import Loss
from pix2pix.data.loading.dataset import Batch
from pix2pix.losses import (
    Adversarial,
    adversarial_terms,
    all_terms,
    discriminator_accuracy,
    discriminator_terms,
    reconstruction_terms,
)
from pix2pix.metrics.classes import class_metrics, score_labels
from pix2pix.metrics.perceptual import PerceptualMetrics
from pix2pix.metrics.ssim import ssim_map
from pix2pix.networks import Logits


class Measure(NamedTuple):
    """A metric of images: how it is shown and what it means."""

    name: str
    higher_is_better: bool
    unit: str
    meaning: str


MEASURES = (
    Measure("l1", False, "", "mean absolute difference as a share of the full range: 0 is a perfect copy"),
    Measure("l2", False, "", "mean squared difference of images in [0, 1]: 0 is a perfect copy"),
    Measure("psnr", True, "dB", "peak signal-to-noise ratio: the mean squared difference on a logarithmic scale"),
    Measure("ssim", True, "", "structural similarity: of local brightness, contrast and structure, 1 at most"),
    Measure("ms_ssim", True, "", "structural similarity over five scales, from fine to coarse, 1 at most"),
    Measure("lpips", False, "", "perceptual distance: of AlexNet's features of the two images; 0 is a perfect copy"),
    Measure(
        "st_lpips", False, "", "perceptual distance that tolerates small shifts: of VGG's features; 0 is a perfect copy"
    ),
    Measure("fid", False, "", "Fréchet distance between the features of all outputs and of all targets"),
    Measure("kid", False, "", "kernel distance between the same features, without FID's bias for few images"),
    Measure("kid_vgg", False, "", "kernel distance between VGG's mean features of all outputs and of all targets"),
    Measure("mean_iou", True, "", "intersection over union of output and target, mean over the classes that occur"),
    Measure("pixel_accuracy", True, "", "share of the pixels whose class is that of the target"),
    Measure("label_accuracy", True, "", "share of the pixels whose label a segmenter reads correctly from the output"),
)
"""Metrics of an image or of a set of images."""
OWN_UNITS = (
    Measure("mae", False, "own", "mean absolute difference in the target's own units"),
    Measure("rmse", False, "own", "root of the mean squared difference in the target's own units"),
)
"""Metrics of an evaluation in the units of the target's files."""
HIGHER_IS_BETTER = {measure.name: measure.higher_is_better for measure in MEASURES}
SAME_ORDER = {"l2": "psnr"}
"""Metric -> the one that ranks single images in the same way, and is shown in its place."""
ACCURACIES = ("d_real_accuracy", "d_fake_accuracy")


def metric_names() -> tuple[str, ...]:
    """Name all metrics in the order of metrics.csv and metrics.json; the lecture's four numbers come first."""
    return *all_terms(), *HIGHER_IS_BETTER


@dataclass(frozen=True)
class ImageScore:
    """The metrics of one image: its index in the split, and name -> value."""

    index: int
    values: dict[str, float]
    confusion: Tensor | None = None
    """Pixels by (true class, read class), (K, K), where targets are label maps."""


def image_metrics(
    output: Tensor, target: Tensor, mask: Tensor | None = None, span: Tensor | float | None = None
) -> dict[str, Tensor]:
    """Compare two batches of images, (N, C, H, W) in [-1, 1]; return metric -> (N,).

    The metrics are every term of `losses.RECONSTRUCTION` (`g_l1`, `g_l2`) on images in [-1, 1]; and `l1`, `l2`, `psnr`
    in dB and `ssim` on images in [0, 1], as usual. Where the boolean `mask` (N, 1 or C, H, W) is false, nothing is
    counted. SSIM sees the target there and is averaged over the counted pixels. An image without a counted pixel has
    NaN. `span` is the width of the range [-1, 1] in the target's own units: a number, or one for each channel (C,). It
    adds `mae` and `rmse` in these units.
    """
    counted = None if mask is None else mask.expand_as(target)
    if counted is not None:
        output = torch.where(counted, output, target)
    difference = output - target
    l1, l2 = _mean(difference.abs(), counted) / 2, _mean(difference.square(), counted) / 4
    values = _reconstruction_of_each(output, target, counted)
    values |= {"l1": l1, "l2": l2, "psnr": -10 * torch.log10(l2)}
    values["ssim"] = _mean(ssim_map((output + 1) / 2, (target + 1) / 2), counted)
    if span is not None:
        spans = torch.as_tensor(span, dtype=output.dtype, device=output.device).reshape(-1, 1, 1)
        unit = spans.max() / 2  # the square of a span may be too large for float32, or too small
        own = difference * (spans / 2 / unit)
        values |= {"mae": _mean(own.abs(), counted) * unit, "rmse": _mean(own.square(), counted).sqrt() * unit}
    return values


def _reconstruction_of_each(output: Tensor, target: Tensor, counted: Tensor | None) -> dict[str, Tensor]:
    """Return every reconstruction term of each image of a batch, (N,); NaN for an image without a counted pixel."""
    masks = torch.split(counted, 1) if counted is not None else [None] * len(output)
    rows = [
        reconstruction_terms(image, wanted, mask)
        for image, wanted, mask in zip(torch.split(output, 1), torch.split(target, 1), masks, strict=True)
    ]
    terms = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    if counted is None:
        return terms
    known = counted.flatten(1).any(dim=1)
    return {name: torch.where(known, term, torch.nan) for name, term in terms.items()}


def _mean(values: Tensor, counted: Tensor | None) -> Tensor:
    """Return the mean of each image over the counted pixels: (N, C, H, W) -> (N,)."""
    if counted is None:
        return values.mean(dim=(1, 2, 3))
    return torch.where(counted, values, 0).sum(dim=(1, 2, 3)) / counted.sum(dim=(1, 2, 3))


def score(
    generator: nn.Module,
    discriminator: nn.Module | None,
    batches: Iterable[Batch],
    loss: Loss,
    device: torch.device,
    perceptual: PerceptualMetrics | None = None,
    span: Tensor | None = None,
    classes: bool = False,
    similarity: nn.Module | None = None,
) -> Iterator[tuple[ImageScore, Tensor]]:
    """Translate batches of pairs and yield one (ImageScore, output (C, H, W)) for each image, in order.

    The networks must be in eval mode, so that the numbers of an image do not depend on the rest of its batch. Without a
    discriminator there are no adversarial terms. Where the target is masked, D sees the output in both images, as in
    training. `span` is as in `image_metrics`. With `classes` outputs and targets are label maps (`class_metrics`).
    `similarity` is the network of g_perceptual.
    """
    names = (*metric_names(), *(measure.name for measure in OWN_UNITS))
    for batch in batches:
        source, target = batch.source.to(device), batch.target.to(device)
        with torch.inference_mode():
            output = generator(source)
            mask = None if batch.mask is None else batch.mask.to(device)
            confusions: Sequence[Tensor | None] = [None] * len(output)
            if classes:
                terms, confusions = class_metrics(output, target, mask)
            else:
                terms = image_metrics(output, target, mask, span)
            if perceptual is not None and not classes:
                terms |= perceptual(output, target, mask)
            if similarity is not None:
                terms["g_perceptual"] = _perceptual_of_each(similarity, output, target, mask)
            if mask is not None:
                target = torch.where(mask, target, output)
            logits = None if discriminator is None else (discriminator(source, target), discriminator(source, output))
        for n, index in enumerate(batch.index.tolist()):
            one: dict[str, Tensor] = {name: term[n] for name, term in terms.items()}
            if logits is not None:
                one |= _score_logits(logits[0].of_image(n), logits[1].of_image(n), loss.adversarial)
            values = {name: one[name].item() for name in names if name in one}
            yield ImageScore(index, values, confusions[n]), output[n]


def _perceptual_of_each(similarity: nn.Module, output: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return the perceptual term of each image, (N,); NaN for an image without a counted pixel."""
    if mask is None:
        return torch.as_tensor(similarity(output, target))
    distance = similarity(torch.where(mask, output, target), target)
    return torch.where(mask.flatten(1).any(dim=1), distance, torch.nan)


def _score_logits(real: Logits, fake: Logits, adversarial: Adversarial) -> dict[str, Tensor]:
    """Return the terms that depend on D, of one image."""
    return (
        adversarial_terms(real, fake, adversarial)
        | discriminator_terms(real, fake, adversarial)
        | discriminator_accuracy(real, fake, adversarial)
    )


def mean_scores(scores: Iterable[ImageScore]) -> dict[str, float]:
    """Return the mean of every metric over the images; an empty dict for no images.

    NaN, the metric of an image whose target is masked everywhere, does not count unless all values are NaN. `mean_iou`
    and `pixel_accuracy` are those of all pixels together, as usual: a class may be rare in single images.
    """
    scores = list(scores)
    rows = [score.values for score in scores]
    means: dict[str, float] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        counted = [value for value in values if not math.isnan(value)] or values
        means[name] = sum(counted) / len(counted)
    confusions = [score.confusion for score in scores if score.confusion is not None]
    if confusions:
        together = score_labels(torch.stack(confusions).sum(dim=0))
        means |= {"mean_iou": together["iou"], "pixel_accuracy": together["pixel_accuracy"]}
    return means
