"""Make Adam, the optimiser of the paper, for a network."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from pix2pix.config import Optimizer
from pix2pix.networks.cpu import switch
from pix2pix.networks.cpu.fused_adam import MOMENTS, AdamInBackward
from pix2pix.networks.cpu.winograd import forget_transforms

AnyAdam = Adam | AdamInBackward


def make_adam(network: nn.Module, settings: Optimizer, *, in_backward: bool = True, used_once: bool = False) -> AnyAdam:
    """Make Adam as the paper uses it (6.2): learning rate 2e-4, betas 0.5 and 0.999.

    `in_backward` lets it update during the backward pass on a CPU; not possible if gradients of several processes are
    averaged first. `used_once` states that each weight is used once in a training step: true for G, but not for D,
    which sees two images. The network must be on its device. The two kinds of optimiser can load each other's state.
    """
    device = next(network.parameters()).device
    if in_backward and device.type == "cpu" and switch.available():
        return AdamInBackward(network, settings, used_once=used_once)
    # Not fused on a CPU: torch's kernel there silently gives wrong numbers if a gradient or a moment has other strides
    # than the weights, and it is not faster on weights in channels_last order.
    fused = device.type == "cuda"
    adam = Adam(network.parameters(), lr=settings.learning_rate, betas=settings.betas, fused=fused)
    _make_moments(adam)
    adam.register_step_post_hook(forget_transforms)
    adam.register_load_state_dict_post_hook(_fit_state_to_weights)
    return adam


def gradient_square(adam: AnyAdam) -> Tensor:
    """Return the sum of squares of the gradients, a scalar in float32: not finite if one is not, or overflows.

    It overflows before the second moment of Adam would, which then would stay infinite. An optimiser that updates
    during the backward pass has checked most gradients there; see `AdamInBackward.gradient_square`.
    """
    if isinstance(adam, AdamInBackward):
        return adam.gradient_square()
    gradients = [weights.grad for weights in weights_of(adam) if weights.grad is not None]
    return torch.nn.utils.get_total_norm(gradients).float().square()


def weights_of(adam: AnyAdam) -> list[Tensor]:
    """Return the tensors that an optimiser updates."""
    return [weights for group in adam.param_groups for weights in group["params"]]


def moments_of(adam: AnyAdam) -> list[Tensor]:
    """Return both moments and the counts of steps."""
    return [value for state in adam.state.values() for value in state.values()]


def _make_moments(adam: Adam) -> None:
    """Make the moments as Adam would in its first step, so that every checkpoint has its full size."""
    for weights in adam.param_groups[0]["params"]:
        step = torch.zeros((), dtype=torch.float32, device=weights.device if weights.is_cuda else "cpu")
        moments = {name: torch.zeros_like(weights, memory_format=torch.preserve_format) for name in MOMENTS}
        adam.state[weights] = {"step": step} | moments


def _fit_state_to_weights(adam: Any) -> None:
    """Give a loaded state the device and the strides of the weights, and the kernel that suits the device."""
    for group in adam.param_groups:
        group["fused"] = group["params"][0].is_cuda
        for weights in group["params"]:
            for name, value in adam.state.get(weights, {}).items():
                adam.state[weights][name] = _step(value, weights) if name == "step" else _like(value, weights)


def _step(value: Tensor, weights: Tensor) -> Tensor:
    """Move a count of steps to the device for the fused kernel, else to the CPU."""
    return value.to(weights.device if weights.is_cuda else "cpu", torch.float32, copy=True)


def _like(value: Tensor, weights: Tensor) -> Tensor:
    return torch.empty_like(weights, requires_grad=False).copy_(value)
