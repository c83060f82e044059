"""Layers that double the sides, (N, in, H, W) -> (N, out, 2H, 2W).

A transposed 4x4 convolution has other taps for even and for odd outputs, so it can leave a grid on plain areas (Odena
et al. 2016). `ResizeConv` has one kernel for all outputs. `ShuffleConv` has one for each of the four outputs of a
pixel, and these begin equal.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pix2pix.config.fields import Upsampling
from pix2pix.networks.convolution import ConvTranspose
from pix2pix.networks.cpu import choice

NINE_TAPS = 2 / 3
"""Factor on the paper's initial weights: an output sums 9 products for each input channel, and that of a transposed
convolution 4. With it the variance of outputs is the same."""


def make_upsampling(kind: Upsampling, in_channels: int, out_channels: int, *, bias: bool) -> nn.Module:
    """Make the layer of a kind."""
    match kind:
        case "transposed":
            return ConvTranspose(in_channels, out_channels, bias=bias)
        case "resize":
            return ResizeConv(in_channels, out_channels, bias=bias)
        case "shuffle":
            return ShuffleConv(in_channels, out_channels, bias=bias)


class ResizeConv(ConvTranspose):
    """Nearest-neighbour enlargement by 2, then a 3x3 convolution with padding 1; computed as a transposed convolution.

    Its kernel is the 3x3 kernel convolved with a 2x2 square of ones, since an enlarged pixel is such a square. This
    takes 4 products for an output and an input channel in place of 9, and no enlarged map. On the smallest maps making
    the kernel takes longer than the products, so a CPU uses the 3x3 kernel there.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, bias=bias)
        # `conv2d` would take weight.flip(2, 3).transpose(0, 1).
        kernel = torch.empty(in_channels, out_channels, 3, 3)  # `clone` on the meta device imports for half a second
        self.weight = nn.Parameter(kernel.copy_(self.weight.detach()[:, :, :3, :3]))

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        pixels = len(input) * input.shape[-2] * input.shape[-1]
        if self.fast and 0 < pixels <= choice.limits_for(choice.compute_dtype(input)).adjoint:
            return self._multiply_patches(input)
        return super().forward(input, output_size)

    def _multiply_patches(self, x: Tensor) -> Tensor:
        """Compute the output as a product of two matrices: patches (N, 4·H·W, in·9) and weights (in·9, out)."""
        n, c, h, w = x.shape
        patches = F.unfold(F.interpolate(x, scale_factor=2), 3, padding=1).view(n, c, 3, 3, -1).flip(2, 3)
        rows = self.weight.permute(0, 2, 3, 1).reshape(9 * c, -1)
        y = (patches.flatten(1, 3).transpose(1, 2) @ rows).transpose(1, 2).view(n, -1, 2 * h, 2 * w)
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, 1, 1)

    def kernel(self) -> Tensor:
        """Return the weights of the transposed convolution, (in, out, 4, 4)."""
        kernel: Tensor = _ConvolveWithSquare.apply(self.weight)
        return kernel

    @torch.no_grad()
    def adapt_initial_weights(self) -> None:
        """Scale weights that were drawn as for a transposed convolution."""
        self.weight.mul_(NINE_TAPS)

    def settled(self) -> ConvTranspose:
        """Return the transposed convolution that this layer is, without gradients."""
        with torch.device("meta"):
            plain = ConvTranspose(self.in_channels, self.out_channels, bias=False).train(self.training)
        plain.weight, plain.bias = nn.Parameter(self.kernel().detach(), False), self.bias
        return plain


class _ConvolveWithSquare(torch.autograd.Function):
    """Convolve kernels (I, O, 3, 3) with a 2x2 square of ones: (I, O, 4, 4). Keeps the memory order."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return _add_shifted(_add_shifted(weight, 2), 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        for axis in (2, 3):
            gradient = gradient.narrow(axis, 0, 3) + gradient.narrow(axis, 1, 3)
        return gradient


def _add_shifted(kernels: Tensor, axis: int) -> Tensor:
    """Return w[t] + w[t - 1] along an axis, one longer than w."""
    order = torch.channels_last if kernels.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    shape = [side + (dimension == axis) for dimension, side in enumerate(kernels.shape)]
    sums = torch.empty(shape, dtype=kernels.dtype, device=kernels.device, memory_format=order)
    sums.narrow(axis, 0, 3).copy_(kernels)
    sums.narrow(axis, 3, 1).zero_()
    sums.narrow(axis, 1, 3).add_(kernels)
    return sums


class ShuffleConv(nn.Module):
    """3x3 convolution with padding 1 to four times the channels, which become 2x2 pixels (Shi et al. 2016)."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4 * out_channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        n, c, h, w = y.shape
        return F.pixel_shuffle(y, 2) if n else y.reshape(0, c // 4, 2 * h, 2 * w)  # torch gives no gradient of nothing

    @torch.no_grad()
    def adapt_initial_weights(self) -> None:
        """Give the four outputs of a pixel the weights of the first (ICNR, Aitken et al. 2017), scaled."""
        self.conv.weight.copy_(NINE_TAPS * self.conv.weight[::4].repeat_interleave(4, dim=0))
