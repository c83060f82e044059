"""Convolutions of stride 2 as matrix products: of patches, (N·H/2·W/2, 4·4·C), and of weights.

A layer has three sums: forward, the gradient of its input, the gradient of its weights. Each is a matrix product on
small maps, where the library spends its time on laying out 8 to 33 MB of weights anew, and the library's on large ones.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from pix2pix.networks.cpu.gradients import ALL_TAPS, CENTRE, Taps, taker_of, weight_learns, whole

_PART = 2**20  # numbers of a gradient that exist at once where it is given in parts: 4 MB, which a cache holds
FEW = 8
"""Fewer outputs than these are no work for the library, whatever the size of the map."""


class Limits(NamedTuple):
    """Pixels of the smaller map, of all pictures, up to which a matrix product is quicker than the library."""

    sums: int  # of patches: forward, or back through a transposed convolution
    spreads: int  # the adjoint
    weights: int  # the gradient of the weights


def limits(dtype: torch.dtype) -> Limits:
    """As measured on two Zen 4 cores; docs/log.md has the figures."""
    return Limits(256, 128, 512) if dtype == torch.bfloat16 else Limits(64, 16, 64)


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


class _Down(torch.autograd.Function):
    """The convolution of stride 2 as patches times weights; weight (O, C, 4, 4)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        return _sum_of_patches(x, remembered(ctx, x, weight, _taps_seen(x.shape[-2:])))

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
        height, width = x.shape[-2:]
        return _spread_patches(x, remembered(ctx, x, weight, _taps_seen((2 * height, 2 * width))))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = _sum_of_patches(gradient, weight) if ctx.needs_input_grad[0] else None
        return of_x, _taught(ctx.learner, x, gradient) if weight_learns(ctx) else None


def remembered(ctx: Any, x: Tensor, weight: Tensor, taps: Taps = ALL_TAPS) -> Tensor:
    """The weights as they are computed with; and, for the backward pass, whose gradient it is."""
    used = nhwc(weight)[:, taps[0], taps[1]].to(x.dtype).permute(0, 3, 1, 2)
    ctx.learner = weight
    ctx.save_for_backward(x, used)
    return used


def _sum_of_patches(x: Tensor, weight: Tensor) -> Tensor:
    """(N, C, H, W) and (O, C, 4, 4), or the taps that are seen, -> (N, O, H/2, W/2): patches times the weights."""
    n, _, height, width = x.shape
    if (height, width) != (2, 2) and n * height * width // 4 > limits(x.dtype).sums:
        return F.conv2d(x, weight, stride=2, padding=1)
    y = new_map(x, (n, weight.shape[0], height // 2, width // 2))
    rows, patches, pixels = nhwc(weight).flatten(1), _patches(x), nhwc(y).flatten(0, 2)
    if x.dtype == torch.bfloat16 or len(rows) < len(patches):
        torch.mm(patches, rows.t(), out=pixels)
    else:  # in fp32 a matrix multiply lays the second factor out anew, so that is the smaller one
        pixels.copy_((rows @ patches.t()).t())
    return y


def _spread_patches(x: Tensor, weight: Tensor) -> Tensor:
    """(N, O, h, w) and (O, C, 4, 4), or the taps that are seen, -> (N, C, 2h, 2w): each input adds a patch.

    Few channels come plane by plane, since what follows, a bias or a tanh, goes through long rows faster.
    """
    n, _, h, w = x.shape
    c = weight.shape[1]
    if (h, w) != (1, 1):
        if c < FEW and x.dtype == torch.bfloat16:
            return _spread_planes(x, weight)
        if c >= FEW and n * h * w > limits(x.dtype).spreads:
            return F.conv_transpose2d(x, weight, stride=2, padding=1)
    y = new_map(x, (n, c, 2 * h, 2 * w)) if c >= FEW else x.new_empty(n, c, 2 * h, 2 * w)
    pixels = y.permute(0, 2, 3, 1)
    patches = nhwc(x).flatten(0, 2) @ nhwc(weight).flatten(1)
    if (h, w) == (1, 1):
        pixels.copy_(patches.view(n, 2, 2, c))
        return y
    patches = patches.view(n, h, w, 4, 4, c).transpose(2, 3)
    padded = x.new_zeros(n, h + 1, 2, w + 1, 2, c)
    for a in (0, 1):
        for b in (0, 1):  # patches lie two pixels apart, so that quarters of them do not overlap
            padded[:, a : a + h, :, b : b + w] += patches[:, :, 2 * a : 2 * a + 2, :, 2 * b : 2 * b + 2]
    pixels.copy_(padded.view(n, 2 * h + 2, 2 * w + 2, c)[:, 1:-1, 1:-1])
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
    planes = padded.permute(3, 2, 4, 0, 5, 1).reshape(n, c, 2 * h + 2, 2 * w + 2)
    return planes[:, :, 1:-1, 1:-1].contiguous()


def _taught(weight: Tensor, small: Tensor, large: Tensor) -> Tensor | None:
    """(N, O, h, w) and (N, C, 2h, 2w) -> the gradient (O, C, 4, 4); None where the weight has taken it in parts."""
    n, _, h, w = small.shape
    taps = _taps_seen(large.shape[-2:])
    if taps == ALL_TAPS and n * h * w > limits(small.dtype).weights:
        of_weight: Tensor = conv2d_weight(large, weight.shape, small, stride=2, padding=1)  # type: ignore[no-untyped-call]
        return of_weight.to(weight.dtype)
    if (take := taker_of(weight)) is not None:
        rows = max(1, _PART // (16 * large.shape[1]))
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


def _patches(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N·H/2·W/2, taps·C), around every second pixel, zeros beyond the edge."""
    if x.shape[-2:] == (2, 2):
        return nhwc(x).flatten(1)
    padded = F.pad(nhwc(x), (0, 0, 1, 1, 1, 1))
    n, height, width, c = padded.shape
    h, w = height // 2 - 1, width // 2 - 1
    image, row, pixel, _ = padded.stride()
    patches = padded.as_strided((n, h, w, 4, 4, c), (image, 2 * row, 2 * pixel, row, pixel, 1))
    return patches.reshape(n * h * w, 16 * c)


def _taps_seen(large: Sequence[int]) -> Taps:
    """Of a larger map that is 2x2 the only patch is the map and a rim of padding, which 12 of the 16 taps see."""
    return CENTRE if tuple(large) == (2, 2) else ALL_TAPS


def nhwc(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W, C), contiguous: a view where the memory is in channels_last order."""
    return x.permute(0, 2, 3, 1).contiguous()


def new_map(like: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Memory for an (N, C, H, W) in channels_last order. A function in Python must return its own tensor, no view."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
