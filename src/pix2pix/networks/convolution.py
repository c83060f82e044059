"""The networks' two convolutions, 4x4 with padding 1, and faster ways to compute the same sums on a CPU.

`Conv` and `ConvTranspose` have the weights and the numbers of `torch.nn`'s, up to rounding. Once `set_fast` has been
called, each picks by the size of its map among three ways:

native   the library's own kernel: good where maps are large and channels many
matmul   matrix products of patches or pixels and weights (`patches.py`, `same.py`), for all or some of a layer's sums:
         for small maps and for very few channels
toom     Toom-Cook's algorithm, which needs fewer products (`toom.py`): for large maps in float32

All three ways work on memory in channels_last order, (N, H, W, C): the channels of a pixel are neighbours.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from pix2pix.networks.cpu import im2col as patches
from pix2pix.networks.cpu import stride1 as same
from pix2pix.networks.cpu import winograd as toom

Way = Literal["native", "matmul", "toom"]
UP_TILE = 3
"""Outputs of a tile of the transposed convolution, each way and in each of its four phases."""


class Conv(nn.Conv2d):
    """(N, in, H, W) -> (N, out, H/2, W/2) with stride 2, or (N, out, H-1, W-1) with stride 1; 4x4, padding 1."""

    fast = False

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 4, stride=stride, padding=1, bias=bias)

    def way(self, x: Tensor) -> Way:
        """How `forward` computes a map of this size, type and device."""
        if not self.fast:
            return "native"
        if self.stride == (1, 1):
            if patches.FEW <= self.out_channels < 32:
                return "native"
            return "toom" if self.out_channels >= 32 and _computes_float32(x) else "matmul"
        even = x.shape[-2] % 2 == 0 and x.shape[-1] % 2 == 0
        small = len(x) * _area(x) // 4 <= max(patches.limits(_type(x)))
        return "matmul" if even and self.in_channels >= 32 and small else "native"

    def forward(self, input: Tensor) -> Tensor:
        way = self.way(input)
        if way == "native":
            return super().forward(input)
        x = input.to(_type(input))
        if way == "toom":
            y = toom.convolved(x, self.weight, "same", 2)
        elif self.stride == (1, 1):
            y = (same.few if self.out_channels < patches.FEW else same.many)(x, self.weight)
        else:
            y = patches.down(x, self.weight)
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, 1, 1)


class ConvTranspose(nn.ConvTranspose2d):
    """(N, in, H, W) -> (N, out, 2H, 2W); 4x4, stride 2, padding 1."""

    fast = False

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 4, stride=2, padding=1, bias=bias)

    def way(self, x: Tensor) -> Way:
        """How `forward` computes a map of this size, type and device."""
        if not self.fast:
            return "native"
        if self.out_channels < patches.FEW or len(x) * _area(x) <= max(patches.limits(_type(x))):
            return "matmul"
        return "toom" if _area(x) > 16 * 16 and _computes_float32(x) else "native"

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        way = self.way(input)
        if way == "native":
            return super().forward(input, output_size)
        x = input.to(_type(input))
        y = patches.up(x, self.weight) if way == "matmul" else toom.convolved(x, self.weight, "up", UP_TILE)
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, 1, 1)


def set_fast(network: nn.Module, fast: bool) -> None:
    """Let every convolution of a network pick its way, or take the library's own; the same numbers up to rounding."""
    network.to(memory_format=torch.channels_last if fast else torch.contiguous_format)
    for module in network.modules():
        if isinstance(module, Conv | ConvTranspose):
            module.fast = fast


def _area(x: Tensor) -> int:
    return x.shape[-2] * x.shape[-1]


def _computes_float32(x: Tensor) -> bool:
    return _type(x) == torch.float32


def _type(x: Tensor) -> torch.dtype:
    """In which autocast lets the library's own convolutions compute."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
