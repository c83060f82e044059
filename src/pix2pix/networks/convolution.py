"""The two convolutions of the networks, 4x4 with padding 1: those of `torch.nn`, or faster algorithms on a CPU.

After `set_fast_convolutions` each layer chooses an algorithm for each input (`cpu/choice.py`). All of them use the
memory order channels_last, (N, H, W, C), in which the channels of a pixel are neighbours.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.networks.cpu import choice, im2col, stride1, switch, winograd
from pix2pix.networks.cpu.choice import Algorithm


class Conv(nn.Conv2d):
    """4x4 convolution with padding 1: (N, in, H, W) -> (N, out, H/2, W/2), or (N, out, H-1, W-1) for stride 1."""

    fast = False

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 4, stride=stride, padding=1, bias=bias)

    def algorithm(self, x: Tensor) -> Algorithm:
        """Return the algorithm of `forward` for a map of this size, type and device."""
        if not self.fast or not len(x):
            return "native"  # a rank may have no pairs of a batch
        if self.stride == (1, 1):
            return choice.for_stride1(x, self.out_channels)
        return choice.for_stride2(x, self.in_channels)

    def forward(self, input: Tensor) -> Tensor:
        algorithm = self.algorithm(input)
        if algorithm == "native":
            return super().forward(input)
        x = input.to(choice.compute_dtype(input))
        if algorithm == "winograd":
            y = winograd.convolve(x, self.weight, "stride1", choice.STRIDE1_TILE)
        elif self.stride == (2, 2):
            y = im2col.conv_stride2(x, self.weight)
        elif self.out_channels < choice.FEW_OUTPUTS:
            y = stride1.conv_few_outputs(x, self.weight)
        else:
            y = stride1.conv_many_outputs(x, self.weight)
        return _add_bias(y, self.bias)


class ConvTranspose(nn.ConvTranspose2d):
    """Transposed 4x4 convolution with stride 2 and padding 1: (N, in, H, W) -> (N, out, 2H, 2W)."""

    fast = False

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 4, stride=2, padding=1, bias=bias)

    def algorithm(self, x: Tensor) -> Algorithm:
        """Return the algorithm of `forward` for a map of this size, type and device."""
        return choice.for_transposed(x, self.out_channels) if self.fast and len(x) else "native"

    def kernel(self) -> Tensor:
        """Return the weights of the convolution, (in, out, 4, 4)."""
        return self.weight

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        algorithm, kernel = self.algorithm(input), self.kernel()
        if algorithm == "native":
            return F.conv_transpose2d(input, kernel, self.bias, stride=2, padding=1)
        x = input.to(choice.compute_dtype(input))
        if algorithm == "winograd":
            y = winograd.convolve(x, kernel, "transposed", choice.TRANSPOSED_TILE)
        else:
            y = im2col.conv_transpose_stride2(x, kernel)
        return _add_bias(y, self.bias)


def set_fast_convolutions(network: nn.Module, fast: bool) -> None:
    """Let every convolution choose its algorithm if `fast`, else use torch's; the results are equal up to rounding.

    Without the CPU kernels (`cpu/switch.py`) all convolutions use torch's.
    """
    fast = fast and switch.available()
    network.to(memory_format=torch.channels_last if fast else torch.contiguous_format)
    for module in network.modules():
        if isinstance(module, Conv | ConvTranspose):
            module.fast = fast


def _add_bias(y: Tensor, bias: Tensor | None) -> Tensor:
    return y if bias is None else y + bias.to(y.dtype).view(-1, 1, 1)
