"""Adam during the backward pass, and torch's own as we use it: the same numbers, and states that can be exchanged."""

import copy

import pytest
import torch
from torch import Tensor, nn

from pix2pix.config import Optimizer
from pix2pix.config.fields import Upsampling
from pix2pix.networks import set_fast_convolutions
from pix2pix.networks.convolution import Conv
from pix2pix.networks.cpu.fused_adam import AdamInBackward
from pix2pix.networks.upsampling import make_upsampling
from pix2pix.training.optimizers import make_adam


def two_layers() -> nn.Sequential:
    """One tensor that is large enough to be updated during backward, and small ones."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 2**14), nn.Tanh(), nn.Linear(2**14, 2))


def torch_adam(network: nn.Module, settings: Optimizer, *, fused: bool) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=settings.betas, fused=fused)


def test_adam_in_backward_is_fused_adam() -> None:
    """The same bits as the fused optimiser after several steps, and it can go on from that one's state."""
    network, settings = two_layers(), Optimizer(learning_rate=0.01)
    other = copy.deepcopy(network)
    ours, fused = make_adam(network, settings), torch_adam(other, settings, fused=True)
    for step in range(6):
        x = torch.randn(3, 6)
        for model, optimizer in ((network, ours), (other, fused)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            assert (model[0].weight.grad is None) == (optimizer is ours)
            assert model[2].weight.grad is not None  # small tensors are updated together in the end
            optimizer.step()
        assert network[2].weight.grad is None
        if step == 2:
            ours.load_state_dict(copy.deepcopy(fused.state_dict()))
            for optimizer in (ours, fused):
                optimizer.param_groups[0]["lr"] /= 2
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("in_backward_first", [True, False])
def test_a_training_can_go_on_with_the_other_optimiser(in_backward_first: bool) -> None:
    """Six steps, of which one optimiser makes three and the other the rest, against six of torch's plain Adam."""
    network, settings = two_layers(), Optimizer(learning_rate=0.01)
    expected = copy.deepcopy(network)
    plain = torch_adam(expected, settings, fused=False)
    state = None
    for half in (0, 1):
        part = copy.deepcopy(network)  # without the hooks of the first half's optimiser
        part.load_state_dict(network.state_dict())
        network = part
        adam = make_adam(network, settings, in_backward=in_backward_first == (half == 0))
        if state is not None:
            adam.load_state_dict(state)
        for _ in range(3):
            x = torch.randn(3, 6)
            for model, optimizer in ((network, adam), (expected, plain)):
                optimizer.zero_grad()
                model(x).square().sum().backward()
                optimizer.step()
        state = copy.deepcopy(adam.state_dict())
    assert isinstance(adam, torch.optim.Adam) == in_backward_first
    for mine, theirs in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


class Deep(nn.Module):
    """A U-Net's innermost layers."""

    def __init__(self, upsampling: Upsampling = "transposed") -> None:
        super().__init__()
        self.down, self.up = Conv(64, 128, stride=2, bias=False), make_upsampling(upsampling, 128, 64, bias=False)
        set_fast_convolutions(self, True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.up(self.down(x))
        return y


@pytest.mark.parametrize("sizes", [(2, 2, 2, 2), (4, 4, 2, 2), (2, 4, 2, 4)])
@pytest.mark.parametrize(
    ("precision", "upsampling"),
    [(torch.bfloat16, "transposed"), (torch.float32, "transposed"), (torch.bfloat16, "resize")],
)
def test_taking_gradients_in_parts_changes_no_number(
    sizes: tuple[int, ...], precision: torch.dtype, upsampling: Upsampling
) -> None:
    """Parts, and taps that see only padding, against whole gradients.

    Over maps of changing size, so that taps without a gradient have moments that move them on; and the weights are
    replaced half way.
    """
    torch.manual_seed(0)
    in_parts = Deep(upsampling)
    as_whole = copy.deepcopy(in_parts)
    adams = [
        make_adam(in_parts, Optimizer(learning_rate=0.01), used_once=True),
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


@pytest.mark.parametrize("in_backward", [True, False])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_adam_in_any_order_of_memory(order: torch.memory_format, in_backward: bool) -> None:
    """Gradients in another order than the weights too; and going on from a state in the other order."""
    torch.manual_seed(0)
    theirs = nn.Conv2d(3, 5, 4, bias=False).double()
    other = torch.optim.Adam(theirs.parameters(), lr=2e-4, betas=(0.5, 0.999))
    state = None
    for step in range(4):
        if step % 2 == 0:
            ours = copy.deepcopy(theirs).to(memory_format=order if step else torch.contiguous_format)
            adam = make_adam(ours, Optimizer(), in_backward=in_backward)
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
    assert isinstance(adam, AdamInBackward if in_backward else torch.optim.Adam)


def test_weights_that_move_in_memory_are_followed() -> None:
    """Adam keeps views of the weights' memory, whose order and place may change between updates."""
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


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_a_deferred_update_has_the_same_bits(precision: torch.dtype) -> None:
    """Of gradients in parts, of a few taps, and whole ones."""
    torch.manual_seed(0)
    network = Deep()
    other = copy.deepcopy(network)
    adams = [make_adam(one, Optimizer(learning_rate=0.01), used_once=True) for one in (network, other)]
    assert isinstance(adams[1], AdamInBackward)
    adams[1].deferred = True
    for size in (2, 4, 2):
        x = torch.randn(1, 64, size, size)
        for model, adam in zip((network, other), adams, strict=True):
            adam.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
                output = model(x)
            before = model.down.weight.detach().clone()
            output.float().square().sum().backward()
            assert torch.equal(before, model.down.weight) == (adam is adams[1])
            adam.step()
        for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("value", [1e25, float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_refused(value: float) -> None:
    """With all that follow it; what came before has been applied, which `has_begun` tells."""
    network = Deep()
    adam = make_adam(network, Optimizer(), used_once=True)
    assert isinstance(adam, AdamInBackward)
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for layer, begun in ((network.down, True), (network.up, False)):
        handle = layer.register_forward_hook(
            lambda module, x, y: y.register_hook(lambda gradient: torch.full_like(gradient, value)) and None
        )
        adam.zero_grad()
        network(torch.randn(1, 64, 4, 4)).sum().backward()
        assert adam.has_begun == begun
        assert not adam.gradient_square().isfinite()
        handle.remove()
    assert torch.equal(kept["down.weight"], network.down.weight)
    assert not torch.equal(kept["up.weight"], network.up.weight)
    assert all(state["exp_avg_sq"].isfinite().all() for state in adam.state.values())
    adam.zero_grad()
    assert adam.gradient_square() == 0
