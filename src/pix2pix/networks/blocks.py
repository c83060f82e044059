"""The paper's layers Ck and CDk, down and up, their norms, and how weights are initialised (6.1, 6.2)."""

import math
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.config.fields import Norm
from pix2pix.networks.convolution import Conv, ConvTranspose

Statistics = Literal["image", "running"]


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that in eval mode can use the statistics of each image in place of the running averages.

    (N, C, H, W) -> (N, C, H, W). The paper translates with the statistics of the test batch, which for a batch of one
    is instance norm (section 3.4). Per image they do not depend on the other images of a batch.
    """

    statistics: Statistics = "running"
    synchronised: bool = False
    """In training, normalise over the pictures of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and self.synchronised:
            return self._over_all_processes(input)
        if self.training or self.statistics == "running":
            output = super().forward(input)
            if output.requires_grad:
                output.register_hook(_contiguous)  # type: ignore[no-untyped-call]
            return output
        if len(input) == 1 or input.device.type == "cpu":  # the same numbers, faster, and the memory keeps its order
            images = [self._normalise_alone(image) for image in torch.split(input, 1)]
            return images[0] if len(images) == 1 else torch.cat(images)
        return F.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)

    def _normalise_alone(self, image: Tensor) -> Tensor:
        return F.batch_norm(image, None, None, self.weight, self.bias, training=True, eps=self.eps)

    def _over_all_processes(self, input: Tensor) -> Tensor:
        output, mean, variance, count = _SynchronisedNorm.apply(input, self.weight, self.bias, self.eps)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum or 0.0)
        return output


def _contiguous(gradient: Tensor) -> Tensor:
    """Copy a gradient that is a slice of a concatenation's, for which torch's batch norm takes ten times as long."""
    if gradient.stride(1) != 1:
        return gradient
    return gradient.contiguous(memory_format=torch.channels_last)


class _SynchronisedNorm(torch.autograd.Function):
    """Batch norm over one batch that lies in parts, of any size or none, in all processes (Ioffe and Szegedy 2015).

    input (n, C, H, W), weight and bias (C,) -> output, and mean, biased variance (C,) and count of the whole batch.
    One exchange forward, one backward. The weight's and the bias's gradients are this process's own, as those of
    convolutions are.
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = input.float()
        sums, count = x.sum(dim=(0, 2, 3)), x.new_tensor([x.numel() // x.shape[1]])
        own_mean = sums / count.clamp(min=1)
        squares = (x - own_mean[:, None, None]).square().sum(dim=(0, 2, 3))
        rows = _gathered(torch.cat([sums, squares, count]))
        sums, squares, count = torch.split(rows, [len(sums), len(sums), 1], dim=1)

        whole = count.sum()
        mean = sums.sum(dim=0) / whole
        between = (count * (sums / count.clamp(min=1) - mean).square()).sum(dim=0)
        variance = (squares.sum(dim=0) + between) / whole
        output = F.batch_norm(x, mean, variance, weight.float(), bias.float(), training=False, eps=eps)
        ctx.save_for_backward(input, weight, mean, (variance + eps).rsqrt(), whole)
        ctx.mark_non_differentiable(mean, variance, whole)
        return output.to(input.dtype), mean, variance, whole

    @staticmethod
    def backward(ctx: Any, d_output: Tensor, *_: Any) -> tuple[Tensor | None, Tensor, Tensor, None]:
        input, weight, mean, scale, whole = ctx.saved_tensors
        dy, normalised = d_output.float(), (input.float() - mean[:, None, None]) * scale[:, None, None]
        d_bias, d_weight = dy.sum(dim=(0, 2, 3)), (dy * normalised).sum(dim=(0, 2, 3))
        # Every input moves the mean and the variance that all outputs of all processes share.
        by_mean, by_variance = (_gathered(torch.cat([d_bias, d_weight])).sum(dim=0) / whole).chunk(2)
        moved = by_mean[:, None, None] + normalised * by_variance[:, None, None]
        d_input = (weight.float() * scale)[:, None, None] * (dy - moved)
        return d_input.to(input.dtype), d_weight.to(weight.dtype), d_bias.to(weight.dtype), None


def _gathered(row: Tensor) -> Tensor:
    """(n,) of each process -> (processes, n) in all of them, by the one collective that every backend has."""
    rows = row.new_zeros(dist.get_world_size(), len(row))
    rows[dist.get_rank()] = row
    dist.all_reduce(rows)
    return rows


def synchronise_norm(network: nn.Module) -> None:
    """In training, let every batch norm of the network see the pictures of all processes; other norms need none."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.synchronised = True


class InstanceNorm(nn.InstanceNorm2d):
    """(N, C, H, W) -> (N, C, H, W); also for N = 0, of a process without a part in the last batch."""

    def forward(self, input: Tensor) -> Tensor:
        if len(input):
            return super().forward(input)
        return input * self.weight[:, None, None] + self.bias[:, None, None]  # empty, and part of the graph


def set_norm_statistics(network: nn.Module, statistics: Statistics) -> None:
    """Choose what every batch norm uses in eval mode; the other norms always use the statistics of the image."""
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


def has_bias(norm: Norm) -> bool:
    """Return whether a convolution needs a bias: not where the norm after it subtracts each channel's mean."""
    return norm not in ("batch", "instance")


def down_layer(in_channels: int, out_channels: int, norm: Norm, *, bias: bool) -> nn.Sequential:
    """Ck of the encoder: (N, in, H, W) -> (N, out, H/2, W/2). Convolution, norm, leaky ReLU of slope 0.2."""
    return nn.Sequential(
        Conv(in_channels, out_channels, stride=2, bias=bias),
        make_norm(norm, out_channels),
        nn.LeakyReLU(0.2, inplace=True),
    )


def up_layer(
    in_channels: int, out_channels: int, norm: Norm, dropout: float = 0.0, *, overwrite_input: bool = True
) -> nn.Sequential:
    """Ck or CDk of the decoder: (N, in, H, W) -> (N, out, 2H, 2W).

    ReLU, transposed convolution, norm, dropout. The ReLU comes first since it must also act on the encoder's half of a
    concatenated input; without a concatenation it is the ReLU after the norm of the layer before. With
    `overwrite_input` it works in place, for an input that nothing else needs, such as a concatenation.
    """
    return nn.Sequential(
        nn.ReLU(inplace=overwrite_input),
        ConvTranspose(in_channels, out_channels, bias=has_bias(norm)),
        make_norm(norm, out_channels),
        nn.Dropout(dropout) if dropout else nn.Identity(),
    )


def initialise(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02) and norm gains from N(1, 0.02); set biases to 0 (paper, 6.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
