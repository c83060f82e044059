"""Choose the algorithm of a convolution by the size, type and channels of its input; measured on two Zen 4 cores.

native    torch's kernel (oneDNN): for large maps with many channels
im2col    matrix products of patches and weights (`im2col.py`, `stride1.py`), for all or some of a layer's three sums
          (output, gradient of the input, gradient of the weights): for small maps, and for few output channels
winograd  Winograd's algorithm with fewer products (`winograd.py`): for large maps in float32

`docs/log.md` has the measurements.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Algorithm = Literal["native", "im2col", "winograd"]

FEW_OUTPUTS = 8
"""With fewer output channels than this, the native kernel is slow on maps of every size."""
STRIDE1_TILE, TRANSPOSED_TILE = 2, 3
"""Outputs of a Winograd tile along an axis; for a transposed convolution, in each of its four phases."""


class Limits(NamedTuple):
    """Largest size of the smaller map, in pixels of the batch, for which a matrix product beats the native kernel."""

    patches: int
    """For a sum over patches: the convolution, or the input gradient of the transposed one."""
    adjoint: int
    """For its adjoint: the transposed convolution, or the input gradient of the convolution."""
    weights: int
    """For the gradient of the weights."""


def limits_for(dtype: torch.dtype) -> Limits:
    """Return the limits for the type of the computation."""
    return Limits(256, 128, 512) if dtype == torch.bfloat16 else Limits(64, 16, 64)


def for_stride1(x: Tensor, out_channels: int) -> Algorithm:
    """Choose for a 4x4 convolution of stride 1."""
    if FEW_OUTPUTS <= out_channels < 32:
        return "native"
    return "winograd" if out_channels >= 32 and compute_dtype(x) == torch.float32 else "im2col"


def for_stride2(x: Tensor, in_channels: int) -> Algorithm:
    """Choose for a 4x4 convolution of stride 2."""
    even = x.shape[-2] % 2 == 0 and x.shape[-1] % 2 == 0
    small = _pixels(x) // 4 <= max(limits_for(compute_dtype(x)))
    return "im2col" if even and in_channels >= 32 and small else "native"


def for_transposed(x: Tensor, out_channels: int) -> Algorithm:
    """Choose for a transposed 4x4 convolution of stride 2."""
    if out_channels < FEW_OUTPUTS or _pixels(x) <= max(limits_for(compute_dtype(x))):
        return "im2col"
    large = x.shape[-2] * x.shape[-1] > 16 * 16
    return "winograd" if large and compute_dtype(x) == torch.float32 else "native"


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the type in which a convolution of `x` computes: that of an active autocast, else the type of `x`."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _pixels(x: Tensor) -> int:
    return len(x) * x.shape[-2] * x.shape[-1]
