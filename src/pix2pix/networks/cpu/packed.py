"""Convolutions for inference: weights are reordered once, not at every call as in training."""

import torch
from torch import Tensor, nn

from pix2pix.networks.cpu import choice, winograd
from pix2pix.networks.cpu.torch_private import convolve_packed, pack_weight


class PackedConv(nn.Module):
    """A 4x4 convolution with padding 1, or its transpose: (N, in, H, W) -> (N, out, H', W'), without gradients.

    `shape`, that of a usual input, decides how the weights are stored: reordered for oneDNN, or, for a transposed
    convolution of a large map, transformed for Winograd's algorithm. Maps of other sizes work too, perhaps more slowly.
    It is not the first input that decides, because the algorithms round differently: an output must not depend on
    which image came first, or on which thread.
    """

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d, dtype: torch.dtype, shape: torch.Size) -> None:
        super().__init__()
        self.transposed = isinstance(layer, nn.ConvTranspose2d)
        self.stride = list(layer.stride)
        self.out_channels = layer.out_channels
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self.packed: Tensor | None = None
        self.transformed: Tensor | None = None
        weight = layer.weight.detach().to(dtype)
        usual = weight.new_empty(1).expand(shape)
        if self.transposed and choice.for_transposed(usual, self.out_channels) == "winograd":
            self.transformed = winograd.transform_weight(weight, "transposed", choice.TRANSPOSED_TILE)
        else:
            self.packed = pack_weight(weight, self.stride, list(shape), transposed=self.transposed)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        if self.transformed is not None:
            y = winograd.convolve_transformed(x, self.transformed, "transposed", choice.TRANSPOSED_TILE)
            return y if self.bias is None else y.add_(self.bias.view(-1, 1, 1))
        assert self.packed is not None
        return convolve_packed(x, self.packed, self.bias, self.stride, transposed=self.transposed)
