"""Which gradients a backward pass wants: what functions written in Python cannot find out by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
