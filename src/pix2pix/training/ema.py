"""Exponential moving average of the weights of a network."""

import torch
from torch import nn


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average towards the network by 1 - decay: weights, and running statistics of norm layers."""
    current = network.state_dict()
    for name, slow in average.state_dict().items():
        if slow.is_floating_point():
            slow.lerp_(current[name], 1 - decay)
        else:
            slow.copy_(current[name])  # a count of batches
