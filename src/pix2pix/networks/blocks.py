"""The layers that the networks are written in: `Ck` and `CDk` of the paper, downwards and upwards."""

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.config import Norm

Statistics = Literal["image", "running"]


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that outside training can use each image's own statistics, as a test batch of one does.

    (N, C, H, W) -> (N, C, H, W). The paper translates with the statistics of the test batch (section 3.4, batch 1:
    "instance normalization"); computing them per image keeps the result independent of the other images in a batch.
    """

    statistics: Statistics = "running"

    def forward(self, input: Tensor) -> Tensor:
        if self.training or self.statistics == "running":
            return super().forward(input)
        return F.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)


def set_norm_statistics(network: nn.Module, statistics: Statistics) -> None:
    """Choose what every batch norm of the network uses in eval mode; other norms know only the image's."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.statistics = statistics


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """(N, channels, H, W) -> the same, normalised."""
    match kind:
        case "batch":
            return BatchNorm(channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "group":
            return nn.GroupNorm(math.gcd(32, channels), channels)
        case "none":
            return nn.Identity()


def has_bias(norm: Norm) -> bool:
    """A convolution needs no bias where the norm that follows subtracts each channel's mean."""
    return norm not in ("batch", "instance")


def down(in_channels: int, out_channels: int, norm: Norm, *, bias: bool) -> nn.Sequential:
    """Ck of the encoder: (N, in, H, W) -> (N, out, H/2, W/2). Convolution, norm, leaky ReLU of slope 0.2."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=bias),
        make_norm(norm, out_channels),
        nn.LeakyReLU(0.2),
    )


def up(in_channels: int, out_channels: int, norm: Norm, dropout: float = 0.0) -> nn.Sequential:
    """Ck or CDk of the decoder: (N, in, H, W) -> (N, out, 2H, 2W).

    The ReLU stands before the convolution, not after the norm, since it must also act on the encoder's half of a
    concatenated input; where nothing is concatenated both orders are the same function.
    """
    return nn.Sequential(
        nn.ReLU(),
        nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=has_bias(norm)),
        make_norm(norm, out_channels),
        nn.Dropout(dropout) if dropout else nn.Identity(),
    )


def initialise(network: nn.Module) -> None:
    """Weights from N(0, 0.02), norm gains from N(1, 0.02), biases 0 (paper, 6.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
