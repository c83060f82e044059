"""Convolutions as one matrix product: of patches, (N·H/2·W/2, 4·4·C), or of pixels, and of weights."""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pix2pix.networks.gradients import ALL_TAPS, CENTRE, taker_of, weight_learns, whole

_PART = 2**20  # numbers of a gradient that exist at once where it is given in parts: 4 MB, which a cache holds


def down(x: Tensor, weight: Tensor) -> Tensor:
    """(N, C, H, W) and (O, C, 4, 4) -> (N, O, H/2, W/2): `conv2d` with stride 2 and padding 1, for even sides.

    Computed in the type of x, whatever the weights are kept in; they get their gradient in their own.
    """
    y: Tensor = _Down.apply(x, weight)
    return y


def up(x: Tensor, weight: Tensor) -> Tensor:
    """(N, C, H, W) and (C, O, 4, 4) -> (N, O, 2H, 2W): `conv_transpose2d` with stride 2 and padding 1."""
    y: Tensor = _Up.apply(x, weight)
    return y


def few(x: Tensor, weight: Tensor) -> Tensor:
    """(N, C, H, W) and (O, C, 4, 4) -> (N, O, H-1, W-1): `conv2d` with padding 1, for very few outputs O."""
    y: Tensor = _Few.apply(x, weight)
    return y


class _Few(torch.autograd.Function):
    """The convolution of stride 1: each pixel times the 16 taps of every output, then sums over shifted maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        taps = nhwc(_remembered(ctx, x, weight)).view(-1, x.shape[1])  # (O·4·4, C)
        (n, _, h, w), o = x.shape, len(weight)
        products = (nhwc(x).flatten(0, 2) @ taps.t()).view(n, h, w, o, 4, 4)
        padded = F.pad(products, (0, 0, 0, 0, 0, 0, 1, 1, 1, 1))
        shifted = (padded[:, a : a + h - 1, b : b + w - 1, :, a, b] for a in range(4) for b in range(4))
        y = new_map(x, (n, o, h - 1, w - 1))
        exact = torch.promote_types(x.dtype, torch.float32)
        nhwc(y).copy_(sum((part.to(exact) for part in shifted), x.new_zeros(())))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (n, c, h, w), o = x.shape, len(weight)
        padded = F.pad(nhwc(gradient), (0, 0, 2, 2, 2, 2))
        shifted = [padded[:, 3 - a : 3 - a + h, 3 - b : 3 - b + w] for a in range(4) for b in range(4)]
        of_products = torch.stack(shifted, dim=-1).view(-1, o * 16)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = new_map(x, x.shape)
            nhwc(of_x).copy_((of_products @ nhwc(weight).view(-1, c)).view(n, h, w, c))
        if weight_learns(ctx):
            of_weight = (of_products.t() @ nhwc(x).flatten(0, 2)).view(o, 4, 4, c).permute(0, 3, 1, 2)
        return of_x, of_weight


class _Down(torch.autograd.Function):
    """The convolution of stride 2 as patches times weights; weight (O, C, 4, 4)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        weight = _remembered(ctx, x, weight)
        return _sum_of_patches(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = _spread_patches(gradient, weight) if ctx.needs_input_grad[0] else None
        return of_x, _taught(ctx.learner, gradient, x) if weight_learns(ctx) else None


class _Up(torch.autograd.Function):
    """The transposed convolution, the adjoint of the other: every pixel adds a patch; weight (C, O, 4, 4)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        weight = _remembered(ctx, x, weight)
        return _spread_patches(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = _sum_of_patches(gradient, weight) if ctx.needs_input_grad[0] else None
        return of_x, _taught(ctx.learner, x, gradient) if weight_learns(ctx) else None


def _remembered(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
    """The weights as they are computed with; and, for the backward pass, whose gradient it is."""
    used = weight.to(x.dtype)
    ctx.learner = weight
    ctx.save_for_backward(x, used)
    return used


def _sum_of_patches(x: Tensor, weight: Tensor) -> Tensor:
    """(N, C, H, W) and (O, C, 4, 4) -> (N, O, H/2, W/2): each output is a patch times the weights."""
    n, _, height, width = x.shape
    y = new_map(x, (n, weight.shape[0], height // 2, width // 2))
    rows, patches, pixels = _rows(weight, x.shape), _patches(x), nhwc(y).flatten(0, 2)
    if x.dtype == torch.bfloat16 or len(rows) < len(patches):
        torch.mm(patches, rows.t(), out=pixels)
    else:  # in fp32 a matrix multiply lays the second factor out anew, so that is the smaller one
        pixels.copy_((rows @ patches.t()).t())
    return y


def _spread_patches(x: Tensor, weight: Tensor) -> Tensor:
    """(N, O, h, w) and (O, C, 4, 4) -> (N, C, 2h, 2w): each input adds a patch, its value times the weights."""
    n, _, h, w = x.shape
    c = weight.shape[1]
    if c < 8 and x.dtype == torch.bfloat16:
        return _spread_planes(x, weight)
    y = new_map(x, (n, c, 2 * h, 2 * w))
    patches = nhwc(x).flatten(0, 2) @ _rows(weight, y.shape)
    if _is_smallest(y.shape):
        nhwc(y).copy_(patches.view(n, 2, 2, c))
        return y
    patches = patches.view(n, h, w, 4, 4, c).transpose(2, 3)
    padded = x.new_zeros(n, h + 1, 2, w + 1, 2, c)
    for a in (0, 1):
        for b in (0, 1):  # patches lie two pixels apart, so that quarters of them do not overlap
            padded[:, a : a + h, :, b : b + w] += patches[:, :, 2 * a : 2 * a + 2, :, 2 * b : 2 * b + 2]
    nhwc(y).copy_(padded.view(n, 2 * h + 2, 2 * w + 2, c)[:, 1:-1, 1:-1])
    return y


def _spread_planes(x: Tensor, weight: Tensor) -> Tensor:
    """The same for few channels in bf16, whose sums are quick over long rows alone: channel by channel."""
    (n, _, h, w), c = x.shape, weight.shape[1]
    rows = weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4·4·C, O)
    patches = (rows @ nhwc(x).flatten(0, 2).t()).view(2, 2, 2, 2, c, n, h, w)
    padded = x.new_zeros(2, 2, c, n, h + 1, w + 1)
    for a in (0, 1):
        for b in (0, 1):
            padded[..., a : a + h, b : b + w] += patches[a, :, b]
    y = new_map(x, (n, c, 2 * h, 2 * w))
    whole = padded.permute(3, 4, 0, 5, 1, 2).reshape(n, 2 * h + 2, 2 * w + 2, c)
    nhwc(y).copy_(whole[:, 1:-1, 1:-1])
    return y


def _taught(weight: Tensor, small: Tensor, large: Tensor) -> Tensor | None:
    """(N, O, h, w) and (N, C, 2h, 2w) -> the gradient (O, C, 4, 4); None where the weight has taken it in parts."""
    taps = CENTRE if _is_smallest(large.shape) else ALL_TAPS
    if (take := taker_of(weight)) is not None:
        rows = max(1, _PART // (large.shape[1] * (4 if taps == CENTRE else 16)))
        take((part.to(weight.dtype) for part in _of_weight(small, large, rows)), rows, taps)
        return None
    (gradient,) = _of_weight(small, large, len(weight))
    return whole(gradient, taps)


def _of_weight(small: Tensor, large: Tensor, rows: int) -> Iterator[Tensor]:
    """The gradient of the taps that there is one of, `rows` of O at a time."""
    values, patches = nhwc(small).flatten(0, 2).t(), _patches(large)
    c = large.shape[1]
    side = math.isqrt(patches.shape[1] // c)
    one = len(patches) == 1  # pixel, of which it is an outer product, which sums nothing: exact, and cast by no one
    if one:
        exact = torch.promote_types(patches.dtype, torch.float32)
        values, patches = values.to(exact), patches.to(exact)
    for first in range(0, len(values), rows):
        some = values[first : first + rows]
        yield (some * patches if one else some @ patches).view(-1, side, side, c).permute(0, 3, 1, 2)


def _rows(weight: Tensor, large: torch.Size) -> Tensor:
    """(O, C, 4, 4) and the shape of the larger map -> (O, taps·C), as in `_patches`."""
    taps = nhwc(weight)
    return (taps[:, 1:3, 1:3] if _is_smallest(large) else taps).flatten(1)


def _patches(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N·H/2·W/2, taps·C), around every second pixel, zeros beyond the edge."""
    if _is_smallest(x.shape):
        return nhwc(x).flatten(1)
    padded = F.pad(nhwc(x), (0, 0, 1, 1, 1, 1))
    n, height, width, c = padded.shape
    h, w = height // 2 - 1, width // 2 - 1
    image, row, pixel, _ = padded.stride()
    patches = padded.as_strided((n, h, w, 4, 4, c), (image, 2 * row, 2 * pixel, row, pixel, 1))
    return patches.reshape(n * h * w, 16 * c)


def _is_smallest(large: torch.Size) -> bool:
    """Whether the larger map is 2x2: the only patch is the map and a rim of padding, which 12 of the 16 taps see."""
    return large[-2:] == (2, 2)


def nhwc(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W, C), contiguous: a view where the memory is in channels_last order."""
    return x.permute(0, 2, 3, 1).contiguous()


def new_map(like: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Memory for an (N, C, H, W) in channels_last order. A function in Python must return its own tensor, no view."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
