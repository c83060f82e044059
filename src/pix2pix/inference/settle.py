"""Settle the statistics of norms for a whole image, so that all its tiles are normalised alike.

A norm that uses the statistics of its input would treat each tile as an image of its own. Here the statistics are taken
once, over tiles that are spread over the image, and then fixed.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.inference.optimize import copy_modules
from pix2pix.networks.blocks import BatchNorm

ImageNorm = nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm


def uses_image_statistics(network: nn.Module) -> bool:
    """Return whether a norm of the network uses the statistics of its input."""
    return any(_is_of_image(module) for module in network.modules())


@torch.no_grad()
def settle_statistics(generator: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Return a copy of a generator in eval mode whose norms use the statistics of all tiles of the batches together.

    Each batch (N, in, H, W) is normalised by its own statistics, and the statistics of the batches are averaged.
    """
    network = copy_modules(generator)
    _replace(network, lambda norm: _PooledNorm(norm) if _is_of_image(norm) else None)
    for batch in batches:
        network(batch)
    _replace(network, lambda norm: norm.settled() if isinstance(norm, _PooledNorm) else None)
    return network


def _is_of_image(module: nn.Module) -> bool:
    if isinstance(module, BatchNorm):
        return module.statistics == "image"
    return isinstance(module, nn.InstanceNorm2d | nn.GroupNorm)


def _replace(network: nn.Module, make: Callable[[nn.Module], nn.Module | None]) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if (new := make(child)) is not None:
                setattr(parent, name, new)


class _PooledNorm(nn.Module):
    """A norm that uses the statistics of the whole batch, of each channel or group, and averages them over batches."""

    mean: Tensor
    square: Tensor

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        assert isinstance(norm, ImageNorm)
        self.norm, self.count = norm, 0
        self.groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else len(norm.weight)
        self.register_buffer("mean", torch.zeros(len(norm.weight), dtype=torch.float64, device=norm.weight.device))
        self.register_buffer("square", torch.zeros_like(self.mean))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)  # (C,)
        square = variance + mean.square()
        mean, square = self._pool(mean), self._pool(square)
        self.mean += len(x) * mean
        self.square += len(x) * square
        self.count += len(x)
        return F.batch_norm(
            x, mean, square - mean.square(), self.norm.weight, self.norm.bias, training=False, eps=self.norm.eps
        )

    def _pool(self, values: Tensor) -> Tensor:
        """Replace the value of each channel by the mean over its group."""
        return values.view(self.groups, -1).mean(dim=1, keepdim=True).expand(-1, len(values) // self.groups).reshape(-1)

    def settled(self) -> BatchNorm:
        """Return a norm with these statistics."""
        norm = BatchNorm(len(self.mean), eps=self.norm.eps).to(self.mean.device).eval()
        norm.weight, norm.bias = self.norm.weight, self.norm.bias
        mean = self.mean / self.count
        norm.running_mean = mean.float()
        norm.running_var = (self.square / self.count - mean.square()).float()
        return norm
