"""Convolutions of stride 2 as matrix products: of patches, (N·H/2·W/2, 4·4·C), and of weights.

A layer has three sums: its output, the gradient of its input, the gradient of its weights. On small maps each is a
matrix product, since torch's kernel would spend its time on reordering 8 to 33 MB of weights. On large maps torch's
kernel is used.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from pix2pix.networks.cpu.choice import FEW_OUTPUTS, Limits, limits_for
from pix2pix.networks.cpu.gradients import ALL_TAPS, CENTRE, Taps, needs_weight_grad, pad_taps, partial_grad_of


def conv_stride2(x: Tensor, weight: Tensor, limits: Limits | None = None) -> Tensor:
    """Compute `conv2d` with stride 2 and padding 1: (N, C, H, W), even H and W, and (O, C, 4, 4) -> (N, O, H/2, W/2).

    Computes in the type of x; the gradient of the weights has the type of the weights. `limits` are the largest sizes
    for which each sum is a matrix product.
    """
    y: Tensor = _ConvStride2.apply(x, weight, limits or limits_for(x.dtype))
    return y


def conv_transpose_stride2(x: Tensor, weight: Tensor, limits: Limits | None = None) -> Tensor:
    """Compute `conv_transpose2d` with stride 2 and padding 1: (N, C, H, W) and (C, O, 4, 4) -> (N, O, 2H, 2W)."""
    y: Tensor = _ConvTransposeStride2.apply(x, weight, limits or limits_for(x.dtype))
    return y


class _ConvStride2(torch.autograd.Function):
    """The convolution: each output is a patch of the input times the weights, (O, C, 4, 4)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, limits: Limits) -> Tensor:
        ctx.limits = limits
        return _sum_patches(x, save_for_gradients(ctx, x, weight, _taps_that_see(x.shape[-2:])), limits)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        x_grad = _spread_patches(gradient, weight, ctx.limits) if ctx.needs_input_grad[0] else None
        weight_grad = _weight_gradient(ctx.weight, gradient, x, ctx.limits) if needs_weight_grad(ctx) else None
        return x_grad, weight_grad, None


class _ConvTransposeStride2(torch.autograd.Function):
    """The transposed convolution, the adjoint of the other: each input adds a patch to the output; weight (C, O, 4, 4).

    Here the output is the larger map.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, limits: Limits) -> Tensor:
        ctx.limits = limits
        height, width = x.shape[-2:]
        used = save_for_gradients(ctx, x, weight, _taps_that_see((2 * height, 2 * width)))
        return _spread_patches(x, used, limits)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        x_grad = _sum_patches(gradient, weight, ctx.limits) if ctx.needs_input_grad[0] else None
        weight_grad = _weight_gradient(ctx.weight, x, gradient, ctx.limits) if needs_weight_grad(ctx) else None
        return x_grad, weight_grad, None


def save_for_gradients(ctx: Any, x: Tensor, weight: Tensor, taps: Taps = ALL_TAPS) -> Tensor:
    """Save what the backward pass needs; return the weights, or some of their taps, in the type of x."""
    used = nhwc(weight)[:, taps[0], taps[1]].to(x.dtype).permute(0, 3, 1, 2)
    ctx.weight = weight  # the parameter: its gradient needs its type and `partial_grad`
    ctx.save_for_backward(x, used)
    return used


def _sum_patches(x: Tensor, weight: Tensor, limits: Limits) -> Tensor:
    """Multiply patches by weights: (N, C, H, W) and (O, C, taps) -> (N, O, H/2, W/2)."""
    n, _, height, width = x.shape
    if (height, width) != (2, 2) and n * height * width // 4 > limits.patches:
        return F.conv2d(x, weight, stride=2, padding=1)
    y = empty_nhwc(x, (n, weight.shape[0], height // 2, width // 2))
    rows, patches, pixels = nhwc(weight).flatten(1), _patches(x), nhwc(y).flatten(0, 2)
    if x.dtype == torch.bfloat16 or len(rows) < len(patches):
        torch.mm(patches, rows.t(), out=pixels)
    else:  # in float32 the second factor is reordered, so it is the smaller one
        pixels.copy_((rows @ patches.t()).t())
    return y


def _spread_patches(x: Tensor, weight: Tensor, limits: Limits) -> Tensor:
    """Add a patch for each input: (N, O, h, w) and (O, C, taps) -> (N, C, 2h, 2w).

    Few channels are returned in the plain order (N, C, H, W), in which bias and tanh are faster.
    """
    n, _, h, w = x.shape
    c = weight.shape[1]
    if (h, w) != (1, 1):
        if c < FEW_OUTPUTS and x.dtype == torch.bfloat16:
            return spread_by_channel(x, weight)
        if c >= FEW_OUTPUTS and n * h * w > limits.adjoint:
            return F.conv_transpose2d(x, weight, stride=2, padding=1)
    y = empty_nhwc(x, (n, c, 2 * h, 2 * w)) if c >= FEW_OUTPUTS else x.new_empty(n, c, 2 * h, 2 * w)
    pixels = y.permute(0, 2, 3, 1)
    patches = nhwc(x).flatten(0, 2) @ nhwc(weight).flatten(1)
    if (h, w) == (1, 1):
        pixels.copy_(patches.view(n, 2, 2, c))
        return y
    patches = patches.view(n, h, w, 4, 4, c).transpose(2, 3)
    padded = x.new_zeros(n, h + 1, 2, w + 1, 2, c)
    for a in (0, 1):
        for b in (0, 1):  # patches are two pixels apart, so their quarters do not overlap
            padded[:, a : a + h, :, b : b + w] += patches[:, :, 2 * a : 2 * a + 2, :, 2 * b : 2 * b + 2]
    pixels.copy_(padded.view(n, 2 * h + 2, 2 * w + 2, c)[:, 1:-1, 1:-1])
    return y


def spread_by_channel(x: Tensor, weight: Tensor) -> Tensor:
    """Compute the same as `_spread_patches`, faster for few channels in bfloat16.

    Sums in bfloat16 are fast only over long rows; here a row is a whole channel.
    """
    (n, _, h, w), c = x.shape, weight.shape[1]
    rows = weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4·4·C, O)
    patches = (rows @ nhwc(x).flatten(0, 2).t()).view(2, 2, 2, 2, c, n, h, w)
    padded = x.new_zeros(2, 2, c, n, h + 1, w + 1)
    for a in (0, 1):
        for b in (0, 1):
            padded[..., a : a + h, b : b + w] += patches[a, :, b]
    planes = padded.permute(3, 2, 4, 0, 5, 1).reshape(n, c, 2 * h + 2, 2 * w + 2)
    return planes[:, :, 1:-1, 1:-1].contiguous()


def _weight_gradient(weight: Tensor, small: Tensor, large: Tensor, limits: Limits) -> Tensor | None:
    """Compute the gradient (O, C, 4, 4) from (N, O, h, w) and (N, C, 2h, 2w); None if it was passed on in parts."""
    n, _, h, w = small.shape
    taps = _taps_that_see(large.shape[-2:])
    if taps == ALL_TAPS and n * h * w > limits.weights:
        gradient: Tensor = conv2d_weight(large, weight.shape, small, stride=2, padding=1)  # type: ignore[no-untyped-call]
        return gradient.to(weight.dtype)
    if (partial := partial_grad_of(weight)) is not None:
        rows = max(1, partial.part_size // (16 * large.shape[1]))
        partial.callback((part.to(weight.dtype) for part in _gradient_parts(small, large, rows)), rows, taps)
        return None
    (gradient,) = _gradient_parts(small, large, len(weight))
    return pad_taps(gradient, taps)


def _gradient_parts(small: Tensor, large: Tensor, rows: int) -> Iterator[Tensor]:
    """Yield the gradient in parts (rows, C, taps) of O, from (N, O, h, w) and (N, C, 2h, 2w)."""
    values, patches = nhwc(small).flatten(0, 2).t(), _patches(large)
    c = large.shape[1]
    side = math.isqrt(patches.shape[1] // c)
    outer = len(patches) == 1  # one pixel: an outer product without sums, kept exact
    if outer:
        exact = torch.promote_types(patches.dtype, torch.float32)
        values, patches = values.to(exact), patches.to(exact)
    for first in range(0, len(values), rows):
        some = values[first : first + rows]
        yield (some * patches if outer else some @ patches).view(-1, side, side, c).permute(0, 3, 1, 2)


def _patches(x: Tensor) -> Tensor:
    """Return the patch around every second pixel, zero outside the map: (N, C, H, W) -> (N·H/2·W/2, taps·C)."""
    if x.shape[-2:] == (2, 2):
        return nhwc(x).flatten(1)
    padded = F.pad(nhwc(x), (0, 0, 1, 1, 1, 1))
    n, height, width, c = padded.shape
    h, w = height // 2 - 1, width // 2 - 1
    image, row, pixel, _ = padded.stride()
    patches = padded.as_strided((n, h, w, 4, 4, c), (image, 2 * row, 2 * pixel, row, pixel, 1))
    return patches.reshape(n * h * w, 16 * c)


def _taps_that_see(large: Sequence[int]) -> Taps:
    """Return the taps that reach a map of size (H, W): the centre for a 2x2 map, whose only patch is mostly padding."""
    return CENTRE if tuple(large) == (2, 2) else ALL_TAPS


def nhwc(x: Tensor) -> Tensor:
    """Return (N, C, H, W) as contiguous (N, H, W, C); a view if the memory is in channels_last order."""
    return x.permute(0, 2, 3, 1).contiguous()


def empty_nhwc(like: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Allocate (N, C, H, W) in channels_last order. An autograd function must return such a tensor, not a view."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
