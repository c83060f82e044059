"""A network in, its Adam out: the paper's optimiser, which need not hold all gradients at once."""

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.adam import adam

from pix2pix.config import Optimizer
from pix2pix.networks.gradients import Parts, take_in_parts


class EagerAdam:
    """Adam that changes each tensor during the backward pass, as soon as its gradient is complete, and drops that.

    The numbers are those of `Adam(fused=True)`, since a tensor's change depends on its own gradient alone, and so is
    `state_dict`. What is saved is one copy of the weights in memory, and the gradient is read while the processor's
    cache still holds it. With `once`, where every tensor is used once in an update, a large gradient need not even
    exist as a whole. It is no `torch.optim.Optimizer`, whose first use imports torch's compiler, 200 MB.
    """

    def __init__(self, network: nn.Module, settings: Optimizer, *, once: bool = False) -> None:
        self.param_groups: list[dict[str, Any]] = [
            {
                "params": list(network.parameters()),
                "lr": settings.learning_rate,
                "betas": settings.betas,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "amsgrad": False,
                "maximize": False,
                "foreach": None,
                "capturable": False,
                "differentiable": False,
                "fused": True,
                "decoupled_weight_decay": False,
            }
        ]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        for weights in network.parameters():
            self.state[weights] = _begun(weights)
            weights.register_post_accumulate_grad_hook(self._change_whole)  # type: ignore[no-untyped-call]
            if once:
                take_in_parts(weights, functools.partial(self._change, weights))

    def zero_grad(self) -> None:
        """Drop gradients that no update has used."""
        for weights in self.param_groups[0]["params"]:
            weights.grad = None

    def step(self) -> None:
        """Nothing: the backward pass has done it."""

    def _change_whole(self, weights: Tensor) -> None:
        """The update of a tensor whose gradient is complete; none if it has been taken in parts."""
        if weights.grad is not None:
            self._change(weights, iter([(slice(None), weights.grad)]))
            weights.grad = None

    def _change(self, weights: Tensor, parts: Parts) -> None:
        """The update of one tensor, part by part."""
        (group,), state = self.param_groups, self.state[weights]
        for some, gradient in parts:
            step = state["step"].clone()  # counted up by each part
            _update([_plainly(weights, some, gradient, state | {"step": step})], group)
        state["step"].copy_(step)

    def state_dict(self) -> dict[str, Any]:
        """As `torch.optim.Adam`'s, which can go on from it."""
        (group,) = self.param_groups
        state = {place: self.state[weights] for place, weights in enumerate(group["params"])}
        return {"state": state, "param_groups": [group | {"params": list(range(len(group["params"])))}]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, this one's or `torch.optim.Adam`'s."""
        (group,), (saved_group,) = self.param_groups, saved["param_groups"]
        group |= {name: saved_group[name] for name in ("lr", "betas", "eps")}
        for place, values in saved["state"].items():
            weights = group["params"][place]
            for name, value in values.items():
                self.state[weights][name].copy_(value)  # into the weights' own memory order, which an update relies on


def _begun(weights: Tensor) -> dict[str, Tensor]:
    """The state before a tensor's first update."""
    moments = {name: torch.zeros_like(weights.detach()) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.zeros((), dtype=torch.float32, device=weights.device)} | moments


def _in_order_of(weights: Tensor, tensor: Tensor) -> Tensor:
    """A view with its axes as they follow each other in the weights' memory.

    The fused kernel goes through plain memory. In channels_last order it would copy tensors first, which takes three
    times as long as the update; a gradient in another order than the weights it would take for one in theirs.
    """
    strides = weights.stride()
    return tensor.permute(sorted(range(weights.ndim), key=lambda axis: strides[axis], reverse=True))


class LateAdam(Adam):
    """torch's Adam, by the same updates: for gradients that are averaged over processes before they change anything."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            changing = [weights for weights in group["params"] if weights.grad is not None]
            for weights in changing:
                self.state[weights] = self.state[weights] or _begun(weights)
            if changing:
                _update([_plainly(each, slice(None), each.grad, self.state[each]) for each in changing], group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict`, this one's or `EagerAdam`'s."""
        super().load_state_dict(state_dict)
        for weights, saved in self.state.items():
            own = _begun(weights)
            for name, value in own.items():
                value.copy_(saved[name])  # into the weights' own memory order
            self.state[weights] = own


def _update(changing: list[tuple[Tensor, ...]], group: dict[str, Any]) -> None:
    """One fused update of what `_plainly` gave."""
    values, gradients, means, squares, steps = map(list, zip(*changing, strict=True))
    beta1, beta2 = group["betas"]
    with torch.no_grad():
        adam(
            values,
            gradients,
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )


def _plainly(weights: Tensor, some: slice, gradient: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Some first indices of the weights, their gradient, moments and step, as plain memory.

    The fused kernel goes through plain memory. In channels_last order it would copy tensors first, which takes three
    times as long as the update; a gradient in another order than the weights it would take for one in theirs. So all
    are seen with their axes as those follow each other in the weights' memory.
    """
    strides = weights.stride()
    order = sorted(range(weights.ndim), key=lambda axis: strides[axis], reverse=True)
    parts = (weights.detach()[some], gradient, state["exp_avg"][some], state["exp_avg_sq"][some])
    values, gradient, mean, square = (part.permute(order) for part in parts)
    return values, gradient.contiguous(), mean, square, state["step"]


AnyAdam = LateAdam | EagerAdam


def make_adam(network: nn.Module, settings: Optimizer, *, eager: bool = True, once: bool = False) -> AnyAdam:
    """Adam as the paper uses it (6.2): 2e-4, betas 0.5 and 0.999; fused.

    Not `eager` where gradients are averaged over processes before they change anything; `once` where every weight is
    used once in an update, as the generator's are, and D's, which sees two pictures, are not.
    """
    if eager:
        return EagerAdam(network, settings, once=once)
    return LateAdam(network.parameters(), lr=settings.learning_rate, betas=settings.betas, fused=True)
