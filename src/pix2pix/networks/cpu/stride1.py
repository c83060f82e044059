"""Convolutions of stride 1, which keep a map's size but for one pixel: the last two of a PatchGAN."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pix2pix.networks.cpu.gradients import weight_learns
from pix2pix.networks.cpu.im2col import new_map, nhwc, remembered


def few(x: Tensor, weight: Tensor) -> Tensor:
    """(N, C, H, W) and (O, C, 4, 4) -> (N, O, H-1, W-1): `conv2d` with padding 1, for very few outputs O.

    Computed in the type of x, whatever the weights are kept in; they get their gradient in their own.
    """
    y: Tensor = _Few.apply(x, weight)
    return y


def many(x: Tensor, weight: Tensor) -> Tensor:
    """The same for many outputs: by the library, but for the gradient of the weights."""
    y: Tensor = _Many.apply(x, weight)
    return y


class _Few(torch.autograd.Function):
    """Each pixel times the 16 taps of every output, all in one matrix product; then each goes where its tap puts it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        taps = _mirrored(remembered(ctx, x, weight))
        h, w = x.shape[-2:]
        products = (_pixels(x) @ taps.t()).transpose(1, 2).to(torch.promote_types(x.dtype, torch.float32))
        return F.fold(products, (h - 1, w - 1), 4, padding=2).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (n, c, h, w), o = x.shape, len(weight)
        of_products = F.unfold(gradient, 4, padding=2)  # (N, O·4·4, H·W)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = new_map(x, x.shape)
            nhwc(of_x).view(n, h * w, c).copy_(of_products.transpose(1, 2) @ _mirrored(weight))
        if weight_learns(ctx):
            of_taps = of_products.transpose(0, 1).reshape(o * 16, -1) @ _pixels(x).flatten(0, 1)
            of_weight = of_taps.view(o, 4, 4, c).flip(1, 2).permute(0, 3, 1, 2).to(ctx.learner.dtype)
        return of_x, of_weight


class _Many(torch.autograd.Function):
    """The gradient of each row of taps is a matrix product: four copies of the map, one for each column, are enough."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, remembered(ctx, x, weight), padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = F.conv_transpose2d(gradient, weight, padding=1) if ctx.needs_input_grad[0] else None
        return of_x, _of_weight(gradient, x).to(ctx.learner.dtype) if weight_learns(ctx) else None


def _of_weight(gradient: Tensor, x: Tensor) -> Tensor:
    """(N, O, H-1, W-1) and (N, C, H, W) -> (O, C, 4, 4), in float32 at least."""
    padded = F.pad(nhwc(x), (0, 0, 1, 1, 1, 1))
    n, height, width, c = padded.shape
    image, row, pixel, _ = padded.stride()
    columns = padded.as_strided((n, height, width - 3, 4 * c), (image, row, pixel, 1)).contiguous()
    values = nhwc(gradient).flatten(0, 2).t()
    exact = torch.promote_types(x.dtype, torch.float32)  # and a tensor of its own, for autograd to add a second one to
    of_weight = torch.empty((len(values), c, 4, 4), dtype=exact, device=x.device, memory_format=torch.channels_last)
    rows_of_taps = nhwc(of_weight).flatten(2)
    for a in range(4):
        rows_of_taps[:, a] = values @ columns[:, a : a + height - 3].reshape(-1, 4 * c)
    return of_weight


def _mirrored(weight: Tensor) -> Tensor:
    """(O, C, 4, 4) -> (O·4·4, C): the tap that a pixel is seen through, by where it puts what it sees."""
    return nhwc(weight).flip(1, 2).flatten(0, 2)


def _pixels(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H·W, C)."""
    return nhwc(x).flatten(1, 2)
