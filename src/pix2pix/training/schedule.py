"""The learning rates and the random seed of a step, and the objective of an epoch.

They are functions of the progress, so that a resumed run equals an uninterrupted one.
"""

from typing import NamedTuple

import numpy as np
import torch

from pix2pix.config import Config, Loss, Optimizer
from pix2pix.losses import without_discriminator
from pix2pix.training.step import TrainState


class Rates(NamedTuple):
    """Learning rates of the two networks."""

    generator: float
    discriminator: float


def learning_rates(settings: Optimizer, epoch: int, epochs: int, images_seen: int) -> Rates:
    """Return the learning rates of a step in an epoch, counted from 0; `images_seen` includes the pairs of the step.

    They are constant, or linear to 0 over the second half of the epochs, and rise from 0 over `warmup_images`.
    """
    share = 1.0
    if settings.schedule == "linear":
        constant = epochs - epochs // 2
        share = 1 - max(0, epoch + 1 - constant) / (epochs // 2 + 1)
    if images_seen < settings.warmup_images:
        share *= images_seen / settings.warmup_images
    generator, discriminator = settings.learning_rate, settings.discriminator_learning_rate
    return Rates(share * generator, share * (generator if discriminator is None else discriminator))


def set_learning_rates(state: TrainState, rates: Rates) -> None:
    """Set the learning rates of both optimisers."""
    optimizers = (state.generator_optimizer, state.discriminator_optimizer)
    for optimizer, rate in zip(optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate


def loss_of_epoch(config: Config, epoch: int) -> Loss:
    """Return the objective in an epoch, counted from 0: at first without D, with `reconstruction_first`."""
    training = config.training
    if training.reconstruction_first and epoch < training.first_phase.epochs:
        return without_discriminator(config.loss)
    return config.loss


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Derive the seed of one step in one process; different steps and ranks get unrelated seeds."""
    words = [seed, step, rank] if rank else [seed, step]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


def seed_step(seed: int, device: torch.device) -> None:
    """Seed dropout, which a step draws. GPUs are seeded only if used, since that takes half a millisecond."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
