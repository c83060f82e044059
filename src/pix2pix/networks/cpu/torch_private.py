"""All calls of private interfaces of torch.

They are undocumented and may change in any version of torch. `switch.py` tests each on a few numbers before use.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_PADDING, _DILATION, _GROUPS, _OUTPUT_PADDING = [1, 1], [1, 1], 1, [0, 0]
_NO_FUSED_OPERATION: Any = ("none", [], "")


@torch.no_grad()
def fused_adam_(
    values: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    *,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Update tensors in place with the kernel of `torch.optim.Adam(fused=True)`; `steps` already include this update.

    The four tensors of an update must be contiguous: the kernel checks neither shapes nor strides.
    """
    torch._fused_adam_(
        values,
        gradients,
        means,
        squares,
        [],
        steps,
        amsgrad=False,
        beta1=betas[0],
        beta2=betas[1],
        lr=learning_rate,
        weight_decay=0.0,
        eps=eps,
        maximize=False,
    )


def pack_weight(weight: Tensor, stride: Sequence[int], size: Sequence[int], *, transposed: bool) -> Tensor:
    """Reorder the weights of a 4x4 convolution with padding 1 as oneDNN needs them for an input of `size`."""
    packed: Tensor
    if transposed:
        packed = torch.ops.mkldnn._reorder_convolution_transpose_weight(
            weight.contiguous(), _PADDING, _OUTPUT_PADDING, stride, _DILATION, _GROUPS, size
        )
    else:
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        packed = reorder(weight.contiguous().to_mkldnn(), _PADDING, stride, _DILATION, _GROUPS, size)
    return packed


def convolve_packed(
    x: Tensor, packed: Tensor, bias: Tensor | None, stride: Sequence[int], *, transposed: bool
) -> Tensor:
    """Compute a convolution, or a transposed one, with the result of `pack_weight`; without gradients."""
    ops: Any = torch.ops.mkldnn
    y: Tensor
    if transposed:
        y = ops._convolution_transpose_pointwise(
            x, packed, bias, _PADDING, _OUTPUT_PADDING, stride, _DILATION, _GROUPS, *_NO_FUSED_OPERATION
        )
    else:
        y = ops._convolution_pointwise(x, packed, bias, _PADDING, stride, _DILATION, _GROUPS, *_NO_FUSED_OPERATION)
    return y
