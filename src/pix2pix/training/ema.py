"""A network in, the exponential moving average of its weights updated."""

import torch
from torch import nn


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average by 1 - decay towards the network: weights and running statistics of its norm layers."""
    current = network.state_dict()
    for name, slow in average.state_dict().items():
        if slow.is_floating_point():
            slow.lerp_(current[name], 1 - decay)
        else:
            slow.copy_(current[name])  # a count of batches
