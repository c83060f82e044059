"""Every algorithm of a convolution against torch's own: values, gradients, and gradients in parts."""

import functools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pix2pix.networks.cpu import winograd
from pix2pix.networks.cpu.choice import Limits
from pix2pix.networks.cpu.gradients import (
    ALL_TAPS,
    CENTRE,
    Taps,
    input_gradient,
    no_weight_grad,
    on_partial_grad,
    pad_taps,
)
from pix2pix.networks.cpu.im2col import conv_stride2, conv_transpose_stride2, spread_by_channel
from pix2pix.networks.cpu.stride1 import conv_few_outputs, conv_many_outputs
from pix2pix.networks.cpu.winograd import Kind, convolve, forget_transforms, reuse_transforms

Layer = Literal["stride1", "stride2", "transposed"]
Kernel = Callable[[Tensor, Tensor], Tensor]

NATIVE: dict[Layer, Kernel] = {
    "stride1": functools.partial(F.conv2d, padding=1),
    "stride2": functools.partial(F.conv2d, stride=2, padding=1),
    "transposed": functools.partial(F.conv_transpose2d, stride=2, padding=1),
}
BY_TORCH, BY_PRODUCTS = Limits(0, 0, 0), Limits(10**6, 10**6, 10**6)
"""All three sums of a layer of stride 2 by torch's kernel, or all as matrix products."""

KERNELS: dict[str, tuple[Layer, Kernel]] = {
    "stride2 by torch": ("stride2", functools.partial(conv_stride2, limits=BY_TORCH)),
    "stride2 by products": ("stride2", functools.partial(conv_stride2, limits=BY_PRODUCTS)),
    "transposed by torch": ("transposed", functools.partial(conv_transpose_stride2, limits=BY_TORCH)),
    "transposed by products": ("transposed", functools.partial(conv_transpose_stride2, limits=BY_PRODUCTS)),
    "stride1 few": ("stride1", conv_few_outputs),
    "stride1 many": ("stride1", conv_many_outputs),
    "winograd stride1 1": ("stride1", functools.partial(convolve, kind="stride1", tile=1)),
    "winograd stride1 2": ("stride1", functools.partial(convolve, kind="stride1", tile=2)),
    "winograd stride1 3": ("stride1", functools.partial(convolve, kind="stride1", tile=3)),
    "winograd transposed 1": ("transposed", functools.partial(convolve, kind="transposed", tile=1)),
    "winograd transposed 2": ("transposed", functools.partial(convolve, kind="transposed", tile=2)),
    "winograd transposed 3": ("transposed", functools.partial(convolve, kind="transposed", tile=3)),
}
USED = [name for name in KERNELS if not name.startswith("winograd")] + ["winograd stride1 2", "winograd transposed 3"]


def case(layer: Layer, size: tuple[int, int], dtype: torch.dtype, channels: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, channels, *size, dtype=dtype, requires_grad=True)
    shape = (channels, 3, 4, 4) if layer == "transposed" else (3, channels, 4, 4)
    return x, (torch.randn(shape, dtype=dtype) * 0.1).requires_grad_()


@pytest.mark.parametrize("size", [(12, 8), (2, 2), (6, 14)])
@pytest.mark.parametrize("name", KERNELS)
def test_values_and_gradients_are_those_of_torch(name: str, size: tuple[int, int]) -> None:
    """In float64, where another order of summation costs nothing, to ten digits."""
    layer, kernel = KERNELS[name]
    x, weight = case(layer, size, torch.float64)
    ours, theirs = kernel(x, weight), NATIVE[layer](x, weight)
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)
    upstream = torch.randn_like(theirs)
    for mine, other in zip(
        torch.autograd.grad(ours, (x, weight), upstream),
        torch.autograd.grad(theirs, (x, weight), upstream),
        strict=True,
    ):
        assert mine.shape == other.shape
        torch.testing.assert_close(mine, other, atol=1e-10, rtol=0)


def test_few_channels_are_spread_channel_by_channel() -> None:
    x, weight = case("transposed", (6, 10), torch.float64)
    with torch.no_grad():
        expected = NATIVE["transposed"](x, weight)
        torch.testing.assert_close(spread_by_channel(x, weight), expected, atol=1e-10, rtol=0)
        rounded = conv_transpose_stride2(x.bfloat16(), weight)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.double(), expected, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("name", USED)
def test_rounding_stays_small_in_float32(name: str) -> None:
    """With as many channels as count: within 1e-5 of the exact values, which are of size 1."""
    layer, kernel = KERNELS[name]
    x, weight = case(layer, (16, 16), torch.float32, channels=256)
    with torch.no_grad():
        weight *= 0.2
        exact = NATIVE[layer](x.double(), weight.double())
        assert 0.2 < exact.std() < 5
        torch.testing.assert_close(kernel(x, weight).double(), exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["stride2 by products", "winograd stride1 2"])
def test_weight_gradients_can_be_left_out(name: str) -> None:
    layer, kernel = KERNELS[name]
    x, weight = case(layer, (8, 8), torch.float32)
    with no_weight_grad():
        kernel(x, weight).sum().backward()
    assert weight.grad is None
    assert x.grad is not None
    term = kernel(x, weight).sum()
    assert torch.equal(input_gradient(term, x), x.grad)
    term.backward()
    assert weight.grad is not None


@pytest.mark.parametrize("smallest", [False, True])
@pytest.mark.parametrize("layer", ["stride2", "transposed"])
def test_a_gradient_can_be_received_in_parts(layer: Layer, smallest: bool) -> None:
    """The parts are the whole, one after the other; autograd gets none. Between maps of 2x2 and 1x1, of four taps."""
    kernel = {"stride2": conv_stride2, "transposed": conv_transpose_stride2}[layer]
    size = (1 if smallest else 4) * (2 if layer == "stride2" else 1)
    x, weight = case(layer, (size, size), torch.float64)
    (gradient,) = torch.autograd.grad(kernel(x, weight).square().sum(), weight)
    received: list[Tensor] = []
    reached: list[Taps] = []

    def receive(parts: Iterator[Tensor], rows: int, taps: Taps) -> None:
        assert rows == 2
        received.extend(parts)
        reached.append(taps)

    on_partial_grad(weight, receive, part_size=2 * weight[0].numel())
    kernel(x, weight).square().sum().backward()
    assert weight.grad is None
    assert len(received) == -(-len(weight) // 2)
    assert reached == [CENTRE if smallest else ALL_TAPS]
    torch.testing.assert_close(pad_taps(torch.cat(received), reached[0]), gradient)


@pytest.mark.parametrize("kind", ["stride1", "transposed"])
def test_changed_weights_are_transformed_again(kind: Kind) -> None:
    """A transform is reused only within `reuse_transforms`, until the weights are said to have changed."""
    x, weight = case(kind, (8, 8), torch.float64)

    def check() -> None:
        ours, theirs = convolve(x, weight, kind, 2), NATIVE[kind](x, weight)
        torch.testing.assert_close(ours, theirs)
        for mine, other in zip(
            torch.autograd.grad(ours.sum(), (x, weight)), torch.autograd.grad(theirs.sum(), (x, weight)), strict=True
        ):
            torch.testing.assert_close(mine, other)

    def change() -> None:
        """As Adam(fused=True) does: in place, and no version is counted up."""
        version = weight._version
        weight.data.add_(1)
        assert weight._version == version

    check()
    change()
    check()
    with reuse_transforms():
        check()
        change()
        forget_transforms()
        check()
        change()
    check()


def test_a_kept_transform_is_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images, and both backward passes: one transform."""
    x, weight = case("stride1", (8, 8), torch.float64)
    made: list[Kind] = []
    transform = winograd.transform_weight
    monkeypatch.setattr(winograd, "transform_weight", lambda *given: made.append(given[1]) or transform(*given))
    for block, transforms in ((reuse_transforms, 1), (nullcontext, 4)):
        made.clear()
        with block():
            (convolve(x, weight, "stride1", 2) + convolve(2 * x, weight, "stride1", 2)).sum().backward()
        assert len(made) == transforms
