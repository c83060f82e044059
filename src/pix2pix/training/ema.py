"""Exponential moving average of the weights of a network."""

import torch
from torch import nn

from pix2pix.config import Training

LONGEST_HALF_LIFE = 0.05
"""Share of the pairs seen so far (Karras et al. 2020, StyleGAN2-ADA)."""


def ema_decay(training: Training, pairs: int, images_seen: int) -> float:
    """Return the decay of the average in a step of so many pairs, after `images_seen` others."""
    if training.ema_images is None:
        return training.ema
    half_life = min(training.ema_images, LONGEST_HALF_LIFE * images_seen)
    return 0.5 ** (pairs / half_life) if half_life else 0.0


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average towards the network by 1 - decay: weights, and running statistics of norm layers."""
    current = network.state_dict()
    for name, slow in average.state_dict().items():
        if slow.is_floating_point():
            slow.lerp_(current[name], 1 - decay)
        else:
            slow.copy_(current[name])  # a count of batches
