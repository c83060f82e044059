"""A network and the optimiser's settings -> its Adam, the paper's optimiser."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from pix2pix.config import Optimizer
from pix2pix.networks.cpu import switch
from pix2pix.networks.cpu.fused_adam import AdamInBackward
from pix2pix.networks.cpu.winograd import forget_transforms

AnyAdam = Adam | AdamInBackward


def make_adam(network: nn.Module, settings: Optimizer, *, in_backward: bool = True, used_once: bool = False) -> AnyAdam:
    """Make Adam as the paper uses it (6.2): learning rate 2e-4, betas 0.5 and 0.999.

    On a CPU it updates `in_backward`, unless the gradients of several processes must be averaged first. `used_once`
    says that each weight is used once in a training step, as G's are, and D's, which sees two images, are not.
    The network must be on its device. The state of either optimiser can be loaded into the other.
    """
    device = next(network.parameters()).device
    if in_backward and device.type == "cpu" and switch.available():
        return AdamInBackward(network, settings, used_once=used_once)
    # Not fused on a CPU: there torch's kernel silently gives wrong numbers where a gradient or a moment has other
    # strides than the weights, and is no faster on weights in channels_last order.
    fused = device.type == "cuda"
    adam = Adam(network.parameters(), lr=settings.learning_rate, betas=settings.betas, fused=fused)
    adam.register_step_post_hook(forget_transforms)
    adam.register_load_state_dict_post_hook(_fit_state_to_weights)
    return adam


def _fit_state_to_weights(adam: Any) -> None:
    """Give a loaded state the device and the strides of the weights, and the kernel that suits the device."""
    for group in adam.param_groups:
        group["fused"] = group["params"][0].is_cuda
        for weights in group["params"]:
            for name, value in adam.state.get(weights, {}).items():
                adam.state[weights][name] = _step(value, weights) if name == "step" else _like(value, weights)


def _step(value: Tensor, weights: Tensor) -> Tensor:
    """Put a count where it is kept: on the device for the fused kernel, else on the CPU."""
    return value.to(weights.device if weights.is_cuda else "cpu", torch.float32)


def _like(value: Tensor, weights: Tensor) -> Tensor:
    return torch.empty_like(weights, requires_grad=False).copy_(value)
