"""4x4 convolutions with stride 1 and padding 1, the last two layers of a PatchGAN; the output is one pixel smaller."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pix2pix.networks.cpu.gradients import needs_weight_grad
from pix2pix.networks.cpu.im2col import empty_nhwc, nhwc, save_for_gradients


def conv_few_outputs(x: Tensor, weight: Tensor) -> Tensor:
    """Compute `conv2d` with padding 1, for very few outputs O: (N, C, H, W) and (O, C, 4, 4) -> (N, O, H-1, W-1).

    Computes in the type of x; the gradient of the weights has the type of the weights.
    """
    y: Tensor = _ConvFewOutputs.apply(x, weight)
    return y


def conv_many_outputs(x: Tensor, weight: Tensor) -> Tensor:
    """Compute the same for many outputs, by torch's kernel except for the gradient of the weights."""
    y: Tensor = _ConvManyOutputs.apply(x, weight)
    return y


class _ConvFewOutputs(torch.autograd.Function):
    """Multiply each pixel by the 16 taps of every output in one matrix product; then add the products up.

    Products: (N, O·4·4, H·W).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        taps = _mirror_taps(save_for_gradients(ctx, x, weight))
        h, w = x.shape[-2:]
        products = (_pixels(x) @ taps.t()).transpose(1, 2).to(torch.promote_types(x.dtype, torch.float32))
        return F.fold(products, (h - 1, w - 1), 4, padding=2).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (n, c, h, w), o = x.shape, len(weight)
        product_grads = F.unfold(gradient, 4, padding=2)  # (N, O·4·4, H·W)
        x_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = empty_nhwc(x, x.shape)
            nhwc(x_grad).view(n, h * w, c).copy_(product_grads.transpose(1, 2) @ _mirror_taps(weight))
        if needs_weight_grad(ctx):
            tap_grads = product_grads.transpose(0, 1).reshape(o * 16, -1) @ _pixels(x).flatten(0, 1)
            weight_grad = tap_grads.view(o, 4, 4, c).flip(1, 2).permute(0, 3, 1, 2).to(ctx.weight.dtype)
        return x_grad, weight_grad


class _ConvManyOutputs(torch.autograd.Function):
    """Compute the gradient of each row of taps as a matrix product, from four shifted copies of the map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, save_for_gradients(ctx, x, weight), padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        x_grad = F.conv_transpose2d(gradient, weight, padding=1) if ctx.needs_input_grad[0] else None
        weight_grad = _weight_gradient(gradient, x).to(ctx.weight.dtype) if needs_weight_grad(ctx) else None
        return x_grad, weight_grad


def _weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """Compute the gradient (O, C, 4, 4), in float32 or a longer type, from (N, O, H-1, W-1) and (N, C, H, W)."""
    padded = F.pad(nhwc(x), (0, 0, 1, 1, 1, 1))
    n, height, width, c = padded.shape
    image, row, pixel, _ = padded.stride()
    columns = padded.as_strided((n, height, width - 3, 4 * c), (image, row, pixel, 1)).contiguous()
    values = nhwc(gradient).flatten(0, 2).t()
    exact = torch.promote_types(x.dtype, torch.float32)
    weight_grad = torch.empty((len(values), c, 4, 4), dtype=exact, device=x.device, memory_format=torch.channels_last)
    rows_of_taps = nhwc(weight_grad).flatten(2)
    for a in range(4):
        rows_of_taps[:, a] = values @ columns[:, a : a + height - 3].reshape(-1, 4 * c)
    return weight_grad


def _mirror_taps(weight: Tensor) -> Tensor:
    """Rotate each kernel by 180 degrees: (O, C, 4, 4) -> (O·4·4, C)."""
    return nhwc(weight).flip(1, 2).flatten(0, 2)


def _pixels(x: Tensor) -> Tensor:
    """Return the pixels of maps as rows: (N, C, H, W) -> (N, H·W, C)."""
    return nhwc(x).flatten(1, 2)
