"""Logits and images in, named and unweighted terms out; pure functions, the weights are configuration."""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pix2pix.config import Loss

Adversarial = Literal["vanilla", "lsgan", "hinge"]


def discriminator_terms(real_logits: Tensor, fake_logits: Tensor, kind: Adversarial) -> dict[str, Tensor]:
    """How D errs on (source, target) and on (source, output): `d_real`, `d_fake`, scalars.

    vanilla: -log D(x, y) and -log(1 - D(x, G(x))), means over the map (paper, equation 1); log 2 = 0.693 is chance.
    """
    match kind:
        case "vanilla":
            real, fake = F.softplus(-real_logits), F.softplus(fake_logits)
        case "lsgan":
            real, fake = (real_logits - 1).square(), fake_logits.square()
        case "hinge":
            real, fake = F.relu(1 - real_logits), F.relu(1 + fake_logits)
    return {"d_real": real.mean(), "d_fake": fake.mean()}


def discriminator_accuracy(real_logits: Tensor, fake_logits: Tensor, kind: Adversarial) -> dict[str, Tensor]:
    """Share of patches that D takes for what they are: `d_real_accuracy`, `d_fake_accuracy`, scalars; 1/2 is chance."""
    undecided = 0.5 if kind == "lsgan" else 0.0
    accuracy = {"d_real_accuracy": real_logits > undecided, "d_fake_accuracy": fake_logits < undecided}
    return {name: right.float().mean() for name, right in accuracy.items()}


def adversarial_term(fake_logits: Tensor, kind: Adversarial) -> dict[str, Tensor]:
    """What G pays for being recognised: `g_adversarial`, a scalar.

    vanilla is the non-saturating -log D(x, G(x)) (paper, 3.3).
    """
    match kind:
        case "vanilla":
            term = F.softplus(-fake_logits)
        case "lsgan":
            term = (fake_logits - 1).square()
        case "hinge":
            term = -fake_logits
    return {"g_adversarial": term.mean()}


def reconstruction_terms(output: Tensor, target: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    """How far the output is from the target, images in [-1, 1]: `g_l1` (paper, equation 3) and `g_l2`, scalars.

    Where the boolean `mask` is false, nothing is counted.
    """
    if mask is not None:
        difference, count = torch.where(mask, output - target, 0), mask.sum().clamp(min=1)
        return {"g_l1": difference.abs().sum() / count, "g_l2": difference.square().sum() / count}
    return {"g_l1": F.l1_loss(output, target), "g_l2": F.mse_loss(output, target)}


def generator_objective(terms: Mapping[str, Tensor], loss: Loss) -> Tensor:
    """The weighted sum that G minimises (paper, equation 4), without the terms of weight 0."""
    weights = {"g_adversarial": loss.adversarial_weight, "g_l1": loss.l1_weight, "g_l2": loss.l2_weight}
    return torch.stack([weight * terms[name] for name, weight in weights.items() if weight]).sum()


def discriminator_objective(terms: Mapping[str, Tensor], loss: Loss) -> Tensor:
    """What D minimises: half of the sum, so that it learns more slowly than G (paper, 3.3)."""
    return loss.discriminator_weight * (terms["d_real"] + terms["d_fake"])
