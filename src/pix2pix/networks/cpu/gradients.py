"""Which gradients a backward pass wants, and in what form: what functions written in Python cannot find out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor

Taps = tuple[slice, slice]
"""Rows and columns of a 4x4 kernel."""
ALL_TAPS: Taps = (slice(0, 4), slice(0, 4))
CENTRE: Taps = (slice(1, 3), slice(1, 3))
Taker = Callable[[Iterator[Tensor], int, Taps], None]
"""Is given a gradient in parts, how many first indices each has but the last, and the taps that they are of."""

_weights_rest = False


@contextmanager
def no_weight_grad() -> Iterator[None]:
    """Within the block a backward pass gives no gradient to convolutions' weights, only to what lies before them.

    The library finds out by itself what `torch.autograd.grad` is asked for; functions written in Python cannot.
    """
    global _weights_rest
    _weights_rest = True
    try:
        yield
    finally:
        _weights_rest = False


def weight_learns(ctx: Any) -> bool:
    """Whether the backward pass under way needs the gradient of a function's second input, the weight."""
    return bool(ctx.needs_input_grad[1]) and not _weights_rest


def on_partial_grad(weight: Tensor, take: Taker) -> None:
    """From now on a function that can give a weight's gradient part by part calls `take`, and gives autograd none.

    The gradient of taps that the parts are not of is 0.

    For a weight that is used once between two updates, since parts are not added up.
    """
    weight.take_parts = take  # type: ignore[attr-defined]


def taker_of(weight: Tensor) -> Taker | None:
    """Who takes the gradient of this weight part by part, if anyone does."""
    return getattr(weight, "take_parts", None)


def whole(gradient: Tensor, taps: Taps) -> Tensor:
    """The gradient of some taps -> of all 4x4."""
    if taps == ALL_TAPS:
        return gradient
    rows, columns = taps
    return F.pad(gradient, (columns.start, 4 - columns.stop, rows.start, 4 - rows.stop))
