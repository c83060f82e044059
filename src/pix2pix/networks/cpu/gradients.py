"""Control of the gradients of convolution weights: skip them, or receive them in parts.

An autograd function in Python does not see which gradients `torch.autograd.grad` asks for, and cannot return a gradient
in parts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Taps = tuple[slice, slice]
"""Rows and columns of a 4x4 kernel."""
ALL_TAPS: Taps = (slice(0, 4), slice(0, 4))
CENTRE: Taps = (slice(1, 3), slice(1, 3))
"""The taps that reach a 2x2 map. The others see only padding, so their gradient is 0."""

PartialGradCallback = Callable[[Iterator[Tensor], int, Taps], None]
"""Called with a gradient in parts, the rows of each part (first dimension; the last part may have fewer), and the taps
in the parts."""


class PartialGrad(NamedTuple):
    """The callback that receives the gradient of a weight in parts, and the numbers in a part."""

    callback: PartialGradCallback
    part_size: int


_weights_need_gradients = True


@contextmanager
def no_weight_grad() -> Iterator[None]:
    """Within the block, backward passes compute no gradients of convolution weights."""
    global _weights_need_gradients
    _weights_need_gradients = False
    try:
        yield
    finally:
        _weights_need_gradients = True


def input_gradient(term: Tensor, image: Tensor) -> Tensor:
    """Return d term / d image, of the image's shape, without the gradient of any weight; the graph is kept."""
    with no_weight_grad():
        (gradient,) = torch.autograd.grad(term, image, retain_graph=True)
    return gradient


def needs_weight_grad(ctx: Any) -> bool:
    """Return whether the backward pass needs the gradient of the weight, the second input of a function."""
    return bool(ctx.needs_input_grad[1]) and _weights_need_gradients


def on_partial_grad(weight: Tensor, callback: PartialGradCallback, part_size: int = 2**20) -> None:
    """Pass the gradient of a weight to `callback` in parts; functions that support this return no gradient to autograd.

    A part has about `part_size` numbers; 2^20 (4 MB) fit into the cache of a processor. A weight must be used only once
    between two updates, since parts are not summed.
    """
    weight.partial_grad = PartialGrad(callback, part_size)  # type: ignore[attr-defined]


def partial_grad_of(weight: Tensor) -> PartialGrad | None:
    """Return the registration of `on_partial_grad` for a weight, or None."""
    return getattr(weight, "partial_grad", None)


def pad_taps(gradient: Tensor, taps: Taps) -> Tensor:
    """Pad a gradient of some taps, (O, C, rows, columns), with zeros to (O, C, 4, 4)."""
    if taps == ALL_TAPS:
        return gradient
    rows, columns = taps
    return F.pad(gradient, (columns.start, 4 - columns.stop, rows.start, 4 - rows.stop))
