"""A generator, its discriminator and a split of pairs in; every metric for every image out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from pix2pix.config import Loss
from pix2pix.data.loading import Batch
from pix2pix.losses import adversarial_term, discriminator_terms

METRICS = ("g_adversarial", "g_l1", "g_l2", "d_real", "d_fake", "l1", "psnr", "ssim")
"""The slides' four numbers, then what a picture is measured by."""


@dataclass(frozen=True)
class ImageScore:
    """The metrics of one image: its place in the split, and name -> value."""

    index: int
    values: dict[str, float]


def image_metrics(output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """(N, C, H, W) in [-1, 1], twice -> `g_l1`, `g_l2`, `l1`, `psnr` in dB and `ssim`, each (N,).

    `g_l1` is mean |y - G(x)|, the training's term, and `g_l2` its square's; the others are of pictures in [0, 1], as
    is usual (SSIM depends on where black is).
    """
    difference = output - target
    picture, truth = (output + 1) / 2, (target + 1) / 2
    psnr = peak_signal_noise_ratio(picture, truth, data_range=1.0, dim=(1, 2, 3), reduction="none")
    ssim = structural_similarity_index_measure(picture, truth, data_range=1.0, reduction="none")
    return {
        "g_l1": difference.abs().mean(dim=(1, 2, 3)),
        "g_l2": difference.square().mean(dim=(1, 2, 3)),
        "l1": (picture - truth).abs().mean(dim=(1, 2, 3)),
        "psnr": torch.as_tensor(psnr),
        "ssim": torch.as_tensor(ssim),
    }


def score(
    generator: nn.Module,
    discriminator: nn.Module | None,
    batches: Iterable[Batch],
    loss: Loss,
    device: torch.device,
) -> Iterator[tuple[ImageScore, Tensor]]:
    """Batches of pairs -> one (ImageScore, output (C, H, W)) for each image, in order.

    The networks must be in eval mode, so that an image's numbers do not depend on its neighbours. Without a
    discriminator the adversarial terms are left out.
    """
    for batch in batches:
        source, target = batch.source.to(device), batch.target.to(device)
        with torch.inference_mode():
            output = generator(source)
            terms = image_metrics(output, target)
            logits = None if discriminator is None else (discriminator(source, target), discriminator(source, output))
        for n, index in enumerate(batch.index.tolist()):
            one: dict[str, Tensor] = {name: term[n] for name, term in terms.items()}
            if logits is not None:
                one |= adversarial_term(logits[1][n], loss.adversarial)
                one |= discriminator_terms(logits[0][n], logits[1][n], loss.adversarial)
            yield ImageScore(index, {name: one[name].item() for name in METRICS if name in one}), output[n]


def mean_scores(scores: Iterable[ImageScore]) -> dict[str, float]:
    """The mean of every metric over the images; empty for no images."""
    rows = [score.values for score in scores]
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} if rows else {}
