"""The terms of the objective and their weighted sums."""

from pix2pix.losses.terms import (
    Adversarial,
    adversarial_term,
    discriminator_accuracy,
    discriminator_objective,
    discriminator_terms,
    generator_objective,
    reconstruction_terms,
)

__all__ = [
    "Adversarial",
    "adversarial_term",
    "discriminator_accuracy",
    "discriminator_objective",
    "discriminator_terms",
    "generator_objective",
    "reconstruction_terms",
]
