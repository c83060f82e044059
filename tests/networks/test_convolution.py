"""Every way to compute a convolution, and the optimiser that works during backward, against the library's own."""

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.config import Config, Optimizer
from pix2pix.model import build_networks
from pix2pix.networks import no_weight_grad, set_fast
from pix2pix.networks.convolution import Conv, ConvTranspose
from pix2pix.networks.cpu import im2col as patches
from pix2pix.networks.cpu import winograd as toom
from pix2pix.networks.cpu.fused_adam import AdamInBackward, LateAdam, make_adam
from pix2pix.networks.cpu.gradients import ALL_TAPS, CENTRE, Taps, on_partial_grad, whole
from pix2pix.networks.cpu.im2col import down, up
from pix2pix.networks.cpu.stride1 import few, many
from pix2pix.networks.cpu.winograd import Kind, convolved, forget_transform, keep_transform

Way = Callable[[Tensor, Tensor], Tensor]


def native(x: Tensor, weight: Tensor, kind: Kind) -> Tensor:
    if kind == "up":
        return F.conv_transpose2d(x, weight, stride=2, padding=1)
    return F.conv2d(x, weight, stride=2 if kind == "down" else 1, padding=1)


WAYS: dict[str, tuple[Kind, Way]] = {
    "matmul down": ("down", down),
    "matmul up": ("up", up),
    "matmul same few": ("same", few),
    "matmul same many": ("same", many),
    **{
        f"toom {kind} {m}": (kind, lambda x, weight, kind=kind, m=m: convolved(x, weight, kind, m))
        for kind in ("same", "down", "up")
        for m in (1, 2, 3)
    },
}


def case(kind: Kind, size: tuple[int, int], dtype: torch.dtype, channels: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, channels, *size, dtype=dtype, requires_grad=True)
    shape = (channels, 3, 4, 4) if kind == "up" else (3, channels, 4, 4)
    return x, (torch.randn(shape, dtype=dtype) * 0.1).requires_grad_()


@pytest.fixture(params=[0, 10**6], ids=["by the library", "by products"])
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> patches.Limits:
    """All three sums of a strided layer by the library, or all as matrix products."""
    same = patches.Limits(request.param, request.param, request.param)
    monkeypatch.setattr(patches, "limits", lambda dtype: same)
    return same


@pytest.mark.parametrize("size", [(12, 8), (2, 2), (6, 14)])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("limits")
def test_values_and_gradients_are_the_librarys(way: str, size: tuple[int, int]) -> None:
    """In float64, where another order of summation costs nothing, to ten digits."""
    kind, function = WAYS[way]
    x, weight = case(kind, size, torch.float64)
    ours, theirs = function(x, weight), native(x, weight, kind)
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)
    upstream = torch.randn_like(theirs)
    for mine, other in zip(
        torch.autograd.grad(ours, (x, weight), upstream),
        torch.autograd.grad(theirs, (x, weight), upstream),
        strict=True,
    ):
        assert mine.shape == other.shape
        torch.testing.assert_close(mine, other, atol=1e-10, rtol=0)


def test_few_channels_are_added_plane_by_plane() -> None:
    x, weight = case("up", (6, 10), torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(patches._spread_planes(x, weight), native(x, weight, "up"), atol=1e-10, rtol=0)
        rounded = up(x.bfloat16(), weight)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.double(), native(x, weight, "up"), atol=0.05, rtol=0.02)


@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("matmul")] + ["toom same 2", "toom up 3"])
@pytest.mark.usefixtures("limits")
def test_rounding_stays_small_in_float32(way: str) -> None:
    """With as many channels as count: within 1e-5 of the exact values, which are of size 1."""
    kind, function = WAYS[way]
    x, weight = case(kind, (16, 16), torch.float32, channels=256)
    with torch.no_grad():
        weight *= 0.2
        exact = native(x.double(), weight.double(), kind)
        assert 0.2 < exact.std() < 5
        torch.testing.assert_close(function(x, weight).double(), exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize("base_channels", [4, 32])
@pytest.mark.parametrize("size", [64, (32, 96)])
def test_networks_give_the_same_pictures_and_gradients(base_channels: int, size: int) -> None:
    """Both networks, in both modes, fast against native."""
    section = {"base_channels": base_channels}
    config = Config(
        data={"image_size": size, "source_channels": 3, "target_channels": 1},
        generator={**section, "dropout": 0.0},
        discriminator=section,
    )
    torch.manual_seed(0)
    networks = [network.double() for network in build_networks(config)]
    others = copy.deepcopy(networks)
    for network in networks:
        set_fast(network, True)
    assert any(module.fast for module in networks[0].modules() if isinstance(module, Conv | ConvTranspose))
    source = torch.rand(2, 3, *config.data.image_size, dtype=torch.float64) * 2 - 1
    results = []
    for generator, discriminator in (networks, others):
        output = generator(source)
        (output.abs().mean() + discriminator(source, output).square().mean()).backward()
        gradients = [weights.grad for network in (generator, discriminator) for weights in network.parameters()]
        results.append([output, generator.eval()(source), *gradients])
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-7)


def test_large_and_small_maps_go_different_ways() -> None:
    same, transposed = Conv(64, 64, stride=1, bias=False), ConvTranspose(64, 32, bias=False)
    for layer in (same, transposed):
        assert layer.way(torch.zeros(1, 64, 64, 64)) == "native"
        set_fast(layer, True)
    assert same.way(torch.zeros(1, 64, 64, 64)) == "toom"
    assert transposed.way(torch.zeros(1, 64, 64, 64)) == "toom"
    assert transposed.way(torch.zeros(1, 64, 4, 4)) == "matmul"
    last = Conv(64, 1, stride=1, bias=True)
    set_fast(last, True)
    assert last.way(torch.zeros(1, 64, 64, 64)) == "matmul"
    with torch.autocast("cpu", torch.bfloat16):  # short products are for float32
        assert same.way(torch.zeros(1, 64, 64, 64)) == "matmul"
        assert transposed.way(torch.zeros(1, 64, 64, 64)) == "native"


def test_autocast_reaches_the_fast_ways() -> None:
    layer = ConvTranspose(64, 8, bias=False)
    set_fast(layer, True)
    x = torch.randn(1, 64, 4, 4)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(x)
    rounded.float().sum().backward()
    assert rounded.dtype == torch.bfloat16
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(rounded.float(), exact, atol=0.02, rtol=0.02)

    whole, parts = layer.weight.grad, list[Tensor]()
    on_partial_grad(layer.weight, lambda taken, *_: parts.extend(taken))
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).float().sum().backward()
    torch.testing.assert_close(torch.cat(parts), whole, atol=0, rtol=0)


@pytest.mark.parametrize("way", ["matmul down", "toom same 2"])
def test_weights_at_rest_get_no_gradient(way: str) -> None:
    kind, function = WAYS[way]
    x, weight = case(kind, (8, 8), torch.float32)
    with no_weight_grad():
        function(x, weight).sum().backward()
    assert weight.grad is None
    assert x.grad is not None
    function(x, weight).sum().backward()
    assert weight.grad is not None


def test_eager_adam_is_adam() -> None:
    """The same bits as the fused optimiser after several steps, and a state that either can go on from."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 2**14), nn.Tanh(), nn.Linear(2**14, 2))
    other = copy.deepcopy(network)
    settings = Optimizer(learning_rate=0.01)
    eager, plain = make_adam(network, settings), make_adam(other, settings, eager=False)
    for step in range(6):
        x = torch.randn(3, 6)
        for model, optimizer in ((network, eager), (other, plain)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            assert (model[0].weight.grad is None) == (optimizer is eager)
            assert model[2].weight.grad is not None  # few numbers are changed together in the end
            optimizer.step()
        assert network[2].weight.grad is None
        if step == 2:
            eager.load_state_dict(copy.deepcopy(plain.state_dict()))
            for optimizer in (eager, plain):
                optimizer.param_groups[0]["lr"] /= 2
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("smallest", [False, True])
@pytest.mark.parametrize("way", ["matmul down", "matmul up"])
def test_a_gradient_may_be_taken_in_parts(way: str, smallest: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts are the whole, one after the other; autograd gets none. Between maps of 2x2 and 1x1, of four taps."""
    kind, function = WAYS[way]
    size = (1 if smallest else 4) * (2 if kind == "down" else 1)
    x, weight = case(kind, (size, size), torch.float64)
    (gradient,) = torch.autograd.grad(function(x, weight).square().sum(), weight)
    monkeypatch.setattr(patches, "_PART", 2 * weight[0].numel())
    taken: list[Tensor] = []
    reached: list[Taps] = []

    def take(parts: Iterator[Tensor], rows: int, taps: Taps) -> None:
        assert rows == 2
        taken.extend(parts)
        reached.append(taps)

    on_partial_grad(weight, take)
    function(x, weight).square().sum().backward()
    assert weight.grad is None
    assert len(taken) == -(-len(weight) // 2)
    assert reached == [CENTRE if smallest else ALL_TAPS]
    torch.testing.assert_close(whole(torch.cat(taken), reached[0]), gradient)


class Deep(nn.Module):
    """A U-Net's innermost layers."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = Conv(64, 128, stride=2, bias=False), ConvTranspose(128, 64, bias=False)
        set_fast(self, True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.up(self.down(x))
        return y


@pytest.mark.parametrize("sizes", [(2, 2, 2, 2), (4, 4, 2, 2), (2, 4, 2, 4)])
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_taking_gradients_in_parts_changes_no_number(sizes: tuple[int, ...], precision: torch.dtype) -> None:
    """Parts, and taps that see only padding, against whole gradients.

    Over maps of changing size, so that taps without a gradient have moments that move them on; and the weights are
    replaced half way.
    """
    torch.manual_seed(0)
    in_parts = Deep()
    as_whole = copy.deepcopy(in_parts)
    adams = [
        make_adam(in_parts, Optimizer(learning_rate=0.01), once=True),
        make_adam(as_whole, Optimizer(learning_rate=0.01)),
    ]
    for step, size in enumerate(sizes):
        if step == 2:
            drawn = {name: torch.randn_like(value) * 0.02 for name, value in as_whole.state_dict().items()}
            for network in (in_parts, as_whole):
                network.load_state_dict(drawn)
        x = torch.randn(1, 64, size, size)
        outputs = []
        for network, adam in zip((in_parts, as_whole), adams, strict=True):
            adam.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
                output = network(x)
            output.float().square().sum().backward()
            adam.step()
            outputs.append(output)
        assert torch.equal(*outputs)
        for mine, other in zip(in_parts.parameters(), as_whole.parameters(), strict=True):
            torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["same", "up"])
def test_changed_weights_are_transformed_anew(kind: Kind) -> None:
    """What was computed of weights is used again only where someone vouches for them."""
    x, weight = case(kind, (8, 8), torch.float64)

    def check() -> None:
        ours, theirs = convolved(x, weight, kind, 2), native(x, weight, kind)
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
    with keep_transform():
        check()
        change()
        forget_transform()
        check()
        change()
    check()


def test_a_kept_transform_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pictures, and both backward passes: one transform."""
    x, weight = case("same", (8, 8), torch.float64)
    made: list[Kind] = []
    transform = toom._points_of
    monkeypatch.setattr(toom, "_points_of", lambda *given: made.append(given[1]) or transform(*given))
    for block, transforms in ((keep_transform, 1), (nullcontext, 4)):
        made.clear()
        with block():
            (convolved(x, weight, "same", 2) + convolved(2 * x, weight, "same", 2)).sum().backward()
        assert len(made) == transforms


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_adam_in_any_order_of_memory(order: torch.memory_format, eager: bool) -> None:
    """Gradients in another order than the weights too; and going on from a state in the other order."""
    torch.manual_seed(0)
    theirs = nn.Conv2d(3, 5, 4, bias=False).double()
    other = torch.optim.Adam(theirs.parameters(), lr=2e-4, betas=(0.5, 0.999))
    state = None
    for step in range(4):
        if step % 2 == 0:
            ours = copy.deepcopy(theirs).to(memory_format=order if step else torch.contiguous_format)
            adam = make_adam(ours, Optimizer(), eager=eager)
            if state is not None:
                adam.load_state_dict(state)
        gradient = torch.randn(5, 3, 4, 4, dtype=torch.float64)
        gradient = gradient.to(memory_format=torch.channels_last if step % 2 else torch.contiguous_format)
        ours.weight.backward(gradient)
        adam.step()
        adam.zero_grad()
        theirs.weight.grad = gradient.contiguous()
        other.step()
        torch.testing.assert_close(ours.weight, theirs.weight, atol=1e-12, rtol=0)
        state = copy.deepcopy(adam.state_dict())
    assert isinstance(adam, AdamInBackward if eager else LateAdam)


def test_weights_that_move_in_memory_are_followed() -> None:
    """Adam sees them as plain memory, which it looks at once; their order and their place may change all the same."""
    torch.manual_seed(0)
    ours = nn.Conv2d(16, 300, 4, bias=False)
    theirs = copy.deepcopy(ours)
    adam, other = make_adam(ours, Optimizer()), torch.optim.Adam(theirs.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for order in (torch.contiguous_format, torch.channels_last, torch.channels_last, torch.contiguous_format):
        ours.to(memory_format=order)
        ours.weight.data = ours.weight.data.clone()
        gradient = torch.randn_like(theirs.weight)
        ours.weight.backward(gradient)
        theirs.weight.grad = gradient
        adam.step()
        other.step()
        torch.testing.assert_close(ours.weight, theirs.weight, atol=1e-7, rtol=0)
