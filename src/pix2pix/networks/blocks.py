"""Blocks of the networks: the paper's layers Ck and CDk, their norms, and the initialisation (6.1, 6.2)."""

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.config.fields import Biases, Norm, Statistics, Upsampling
from pix2pix.networks.convolution import Conv
from pix2pix.networks.upsampling import ResizeConv, ShuffleConv, make_upsampling


class BatchNorm(nn.BatchNorm2d):
    """Batch norm (N, C, H, W) -> (N, C, H, W) that in eval mode can use the statistics of each image.

    The paper translates with the statistics of the test batch, which for a batch of one is instance norm (section 3.4).
    Here they are taken per image, so that an output does not depend on the other images of a batch.
    """

    statistics: Statistics = "running"
    synchronised: bool = False
    """In training, normalise over the images of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and self.synchronised:
            return self._normalise_together(input)
        if self.training or self.statistics == "running":
            output = super().forward(input)
            if output.requires_grad:
                output.register_hook(_contiguous)  # type: ignore[no-untyped-call]
            return output
        if len(input) == 1 or input.device.type == "cpu":  # the same numbers, faster; keeps channels_last
            images = [self._normalise_alone(image) for image in torch.split(input, 1)]
            return images[0] if len(images) == 1 else torch.cat(images)
        return F.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)

    def _normalise_alone(self, image: Tensor) -> Tensor:
        return F.batch_norm(image, None, None, self.weight, self.bias, training=True, eps=self.eps)

    def _normalise_together(self, input: Tensor) -> Tensor:
        """Normalise over the global batch; each process holds a part of it, of any size, also empty."""
        x = input.float()
        sums = _SumOverProcesses.apply(torch.cat([x.sum(dim=(0, 2, 3)), x.new_tensor([x.numel() // x.shape[1]])]))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()  # (C,); values of a channel in the whole batch
        centred = x - mean[:, None, None]
        variance = _SumOverProcesses.apply(centred.square().sum(dim=(0, 2, 3))) / count
        scale = self.weight * (variance + self.eps).rsqrt()
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr, arg-type]
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)  # type: ignore[union-attr, arg-type]
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)


def _contiguous(gradient: Tensor) -> Tensor:
    """Copy a gradient that is a slice of a concatenation, on which torch's batch norm is ten times slower."""
    if gradient.stride(1) != 1:
        return gradient
    return gradient.contiguous(memory_format=torch.channels_last)


class _SumOverProcesses(torch.autograd.Function):
    """Sum a tensor over all processes. Gradients are summed too, since the loss of each process depends on all parts.

    `nn.SyncBatchNorm` supports GPUs only, and torch's own differentiable all_reduce is deprecated.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def synchronise_norm(network: nn.Module) -> None:
    """Let every batch norm use the statistics of the global batch in training; other norms use single images."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.synchronised = True


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm (N, C, H, W) -> (N, C, H, W) that accepts N = 0, the empty part of a process in the last batch."""

    def forward(self, input: Tensor) -> Tensor:
        if len(input):
            return super().forward(input)
        return input * self.weight[:, None, None] + self.bias[:, None, None]  # empty, and part of the graph


def set_norm_statistics(network: nn.Module, statistics: Statistics) -> None:
    """Choose the statistics that batch norm uses in eval mode; other norms always use those of the image."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.statistics = statistics


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """Make the norm layer of a kind: (N, channels, H, W) -> (N, channels, H, W)."""
    match kind:
        case "batch":
            return BatchNorm(channels)
        case "instance":
            return InstanceNorm(channels, affine=True)
        case "group":
            return nn.GroupNorm(math.gcd(32, channels), channels)
        case "none":
            return nn.Identity()


def has_bias(norm: Norm, bias: Biases) -> bool:
    """Return whether the convolutions of a network with this norm have a bias; `auto`: not if it subtracts the mean."""
    return bias == "all" or (bias == "auto" and norm not in ("batch", "instance"))


def down_layer(in_channels: int, out_channels: int, norm: Norm, *, bias: bool) -> nn.Sequential:
    """Make Ck of the encoder, (N, in, H, W) -> (N, out, H/2, W/2): convolution, norm, leaky ReLU of slope 0.2."""
    return nn.Sequential(
        Conv(in_channels, out_channels, stride=2, bias=bias),
        make_norm(norm, out_channels),
        nn.LeakyReLU(0.2, inplace=True),
    )


def up_layer(
    in_channels: int,
    out_channels: int,
    norm: Norm,
    dropout: float = 0.0,
    *,
    bias: bool,
    upsampling: Upsampling = "transposed",
    overwrite_input: bool = True,
) -> nn.Sequential:
    """Make Ck or CDk of the decoder, (N, in, H, W) -> (N, out, 2H, 2W): ReLU, transposed convolution, norm, dropout.

    `upsampling` replaces the transposed convolution.

    The ReLU comes first because it must also act on the skip, the encoder's half of a concatenated input. Without skips
    it is the ReLU of the previous layer. `overwrite_input` lets it work in place, if nothing else needs the input.
    """
    return nn.Sequential(
        nn.ReLU(inplace=overwrite_input),
        make_upsampling(upsampling, in_channels, out_channels, bias=bias),
        make_norm(norm, out_channels),
        nn.Dropout(dropout) if dropout else nn.Identity(),
    )


def initialise(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02) and norm gains from N(1, 0.02); set biases to 0 (paper, 6.2).

    Upsampling other than the paper's adapts them.
    A network on the meta device has no values to draw.
    """
    if any(weights.is_meta for weights in network.parameters()):
        return  # the first draw there takes half a second of imports
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, ResizeConv | ShuffleConv):
            module.adapt_initial_weights()
