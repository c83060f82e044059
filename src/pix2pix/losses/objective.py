"""The objectives of G and D: weighted sums of the loss terms."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pix2pix.config import Loss
from pix2pix.losses.terms import generator_terms


def generator_weights(loss: Loss) -> dict[str, float]:
    """Return the weight of each term of G; the weight of `g_l1` is the setting `l1_weight`."""
    return {name: getattr(loss, f"{name.removeprefix('g_')}_weight") for name in generator_terms()}


def without_discriminator(loss: Loss) -> Loss:
    """Return the objective without D: then it is not run, and there are none of its terms, whatever their weights."""
    return loss.model_copy(update={"adversarial_weight": 0.0})


def generator_objective(terms: Mapping[str, Tensor], loss: Loss) -> Tensor:
    """Return the weighted sum of the terms, which G minimises (paper, equation 4); 0 if none has a weight."""
    weights = generator_weights(loss)
    weighted = [weight * terms[name] for name, weight in weights.items() if weight and name in terms]
    return torch.stack(weighted).sum() if weighted else torch.zeros(())


def discriminator_objective(terms: Mapping[str, Tensor], loss: Loss) -> Tensor:
    """Return what D minimises: half of the sum, so that it learns more slowly than G (paper, 3.3)."""
    return loss.discriminator_weight * (terms["d_real"] + terms["d_fake"])
