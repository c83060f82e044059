"""The unweighted loss terms, by name, in two tables.

To add a term on images: write a function, enter it in RECONSTRUCTION as `g_NAME`, and add the weight `NAME_weight` to
the settings (`config.Loss`). Training, validation and evaluation then compute it. Terms of D's logits are in
`losses/adversarial.py`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def l1(output: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of |y - G(x)| (paper, equation 3)."""
    if mask is None:
        return F.l1_loss(output, target)
    return torch.where(mask, output - target, 0).abs().sum() / mask.sum().clamp(min=1)


def l2(output: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of (y - G(x))^2."""
    if mask is None:
        return F.mse_loss(output, target)
    return torch.where(mask, output - target, 0).square().sum() / mask.sum().clamp(min=1)


def cross_entropy(logits: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of -log p over pixels, where p is the probability of the target's class, in nats.

    `target` is 1 in the channel of its class and -1 in the others.
    """
    classes = target.argmax(dim=1)  # (N, H, W)
    if mask is None:
        return F.cross_entropy(logits, classes)
    known = mask[:, 0]
    losses = torch.where(known, F.cross_entropy(logits, classes, reduction="none"), 0)
    return losses.sum() / known.sum().clamp(min=1)


Term = Callable[[Tensor, Tensor, Tensor | None], Tensor]
RECONSTRUCTION: dict[str, Term] = {"g_l1": l1, "g_l2": l2}
"""Term -> function of output, target and mask, all (N, C, H, W), images in [-1, 1]. Pixels with a false mask do not
count."""
CLASSIFICATION: dict[str, Term] = {"g_cross_entropy": cross_entropy}
"""The same for targets that are label maps: functions of logits, one-hot target and mask."""
LEAST_PROBABILITY = 1e-7


def generator_terms() -> tuple[str, ...]:
    """Return the names of the terms of G: each has a weight in the settings."""
    return "g_adversarial", *RECONSTRUCTION, *CLASSIFICATION, "g_feature_matching", "g_perceptual"


def all_terms() -> tuple[str, ...]:
    """Return the names of all terms of a training step, in the order of the log."""
    return *generator_terms(), "d_real", "d_fake", "d_real_accuracy", "d_fake_accuracy"


def class_terms(logits: Tensor, target: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    """Return every term of CLASSIFICATION, scalars."""
    return {name: term(logits, target, mask) for name, term in CLASSIFICATION.items()}


def class_logits(output: Tensor) -> Tensor:
    """Return logits of the probabilities (N, K, H, W) in [-1, 1]; none is taken for less than LEAST_PROBABILITY."""
    return output.add(1).div(2).clamp(min=LEAST_PROBABILITY).log()


def reconstruction_terms(output: Tensor, target: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    """Return every term of RECONSTRUCTION, scalars."""
    return {name: term(output, target, mask) for name, term in RECONSTRUCTION.items()}


def perceptual_term(
    network: nn.Module, output: Tensor, target: Tensor, mask: Tensor | None = None
) -> dict[str, Tensor]:
    """Return `g_perceptual`, the mean distance by `network`, (output, target) -> (N,); masked pixels do not differ."""
    if mask is not None:
        output = torch.where(mask, output, target)
    return {"g_perceptual": network(output, target).mean()}
