"""Loss terms by name, and the weighted sums that the networks minimise."""

from pix2pix.losses.adversarial import (
    Adversarial,
    adversarial_terms,
    discriminator_accuracy,
    discriminator_terms,
)
from pix2pix.losses.objective import (
    discriminator_objective,
    generator_objective,
    generator_weights,
    without_discriminator,
)
from pix2pix.losses.terms import all_terms, class_logits, class_terms, perceptual_term, reconstruction_terms

__all__ = [
    "Adversarial",
    "adversarial_terms",
    "all_terms",
    "class_logits",
    "class_terms",
    "discriminator_accuracy",
    "discriminator_objective",
    "discriminator_terms",
    "generator_objective",
    "generator_weights",
    "perceptual_term",
    "reconstruction_terms",
    "without_discriminator",
]
