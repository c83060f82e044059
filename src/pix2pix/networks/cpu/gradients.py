"""Gradients of convolution weights: which ones a backward pass needs, and in how many parts they are given.

Functions written in Python cannot find out what `torch.autograd.grad` was asked for, nor give a gradient in parts.
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
"""The taps that reach a 2x2 map; the others see only padding, and their gradient is 0."""

PartialGradCallback = Callable[[Iterator[Tensor], int, Taps], None]
"""Receives a gradient in parts, the rows of each part (its first dimension; the last may have fewer), and the taps
that the parts hold."""


class PartialGrad(NamedTuple):
    """Who receives the gradient of a weight in parts, and how many numbers a part should have."""

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
    """Return whether the backward pass in progress needs the gradient of a function's second input, the weight."""
    return bool(ctx.needs_input_grad[1]) and _weights_need_gradients


def on_partial_grad(weight: Tensor, callback: PartialGradCallback, part_size: int = 2**20) -> None:
    """Pass the gradient of a weight to `callback` in parts; functions that can do so give autograd none.

    A part has about `part_size` numbers; 2^20, 4 MB, fit into a processor's cache. Only for weights that are used once
    between two updates, since parts are not summed.
    """
    weight.partial_grad = PartialGrad(callback, part_size)  # type: ignore[attr-defined]


def partial_grad_of(weight: Tensor) -> PartialGrad | None:
    """Return what `on_partial_grad` registered for a weight."""
    return getattr(weight, "partial_grad", None)


def pad_taps(gradient: Tensor, taps: Taps) -> Tensor:
    """(O, C, rows, columns) of some taps -> (O, C, 4, 4), zero at the others."""
    if taps == ALL_TAPS:
        return gradient
    rows, columns = taps
    return F.pad(gradient, (columns.start, 4 - columns.stop, rows.start, 4 - rows.stop))
