"""Wrappers of a network for training: precision, and gradients averaged over processes."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from pix2pix.distributed.process_group import ProcessGroup


class Autocast(nn.Module):
    """Run a network under `torch.autocast` in bfloat16; what it returns, a tensor or a named tuple, is float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Any:
        with torch.autocast(inputs[0].device.type, torch.bfloat16):
            output = self.network(*inputs)
        return _in_float32(output)


def _in_float32(value: Any) -> Any:
    """Convert the floating tensors of nested named tuples to float32."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, tuple):
        parts = [_in_float32(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def with_precision(network: nn.Module, precision: Literal["auto", "32", "bf16"]) -> nn.Module:
    """Return the network itself for fp32; wrap it in autocast for bf16."""
    return Autocast(network) if precision == "bf16" else network


def data_parallel(network: nn.Module, group: ProcessGroup) -> nn.Module:
    """Wrap a network so that the backward pass averages gradients over all processes."""
    if group.size == 1:
        return network
    # An update calls D several times, so a forward pass must not overwrite buffers that a backward pass still needs.
    # The trainer averages the running statistics after each update.
    return nn.parallel.DistributedDataParallel(network, forward_sync_buffers=False, gradient_as_bucket_view=True)


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside the wrappers of this module."""
    while isinstance(network, Autocast | nn.parallel.DistributedDataParallel):
        network = network.network if isinstance(network, Autocast) else network.module
    return network
