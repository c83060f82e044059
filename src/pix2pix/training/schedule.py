"""The learning rate of an epoch, and the random seed of a step.

Both are functions of the progress, so that a resumed run equals an uninterrupted one.
"""

import numpy as np
import torch

from pix2pix.config import Optimizer
from pix2pix.training.step import TrainState


def learning_rate(settings: Optimizer, epoch: int, epochs: int) -> float:
    """Return the learning rate of an epoch, counted from 0: constant, or linear to 0 over the second half."""
    if settings.schedule == "constant":
        return settings.learning_rate
    constant = epochs - epochs // 2
    return settings.learning_rate * (1 - max(0, epoch + 1 - constant) / (epochs // 2 + 1))


def set_learning_rate(state: TrainState, rate: float) -> None:
    """Set the learning rate of both optimisers."""
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        for group in optimizer.param_groups:
            group["lr"] = rate


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
