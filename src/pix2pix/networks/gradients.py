"""Which gradients a backward pass wants, and in what form: what functions written in Python cannot find out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

Parts = Iterator[tuple[slice, Tensor]]
"""Some first indices of a weight, and the gradient there."""

_weights_rest = False


@contextmanager
def weights_at_rest() -> Iterator[None]:
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


def take_in_parts(weight: Tensor, take: Callable[[Parts], None]) -> None:
    """From now on a function that can give a weight's gradient part by part calls `take`, and gives autograd none.

    For a weight that is used once between two updates, since parts are not added up.
    """
    weight.take_parts = take  # type: ignore[attr-defined]


def taker_of(weight: Tensor) -> Callable[[Parts], None] | None:
    """Who takes the gradient of this weight part by part, if anyone does."""
    return getattr(weight, "take_parts", None)
