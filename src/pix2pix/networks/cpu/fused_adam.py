"""A network in, its Adam out: the paper's optimiser, which need not hold all gradients at once."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from pix2pix.config import Optimizer
from pix2pix.networks.cpu.gradients import ALL_TAPS, Taps, on_partial_grad, whole

_SMALL = 2**16  # numbers; calling a kernel takes longer than going through so few


class AdamInBackward:
    """Adam that changes a large tensor during the backward pass, as soon as its gradient is complete, and drops that.

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
        self._resting: dict[Tensor, Taps] = {}  # the only taps of a weight that have ever had a gradient
        self._seen: dict[Tensor, _Plain] = {}
        for weights in network.parameters():
            self.state[weights] = _begun(weights)
            if weights.numel() < _SMALL:
                continue
            weights.register_post_accumulate_grad_hook(self._change_whole)  # type: ignore[no-untyped-call]
            if once:
                on_partial_grad(weights, functools.partial(self._change, weights))

    def zero_grad(self) -> None:
        """Drop gradients that no update has used."""
        for weights in self.param_groups[0]["params"]:
            weights.grad = None

    def step(self) -> None:
        """Change the small tensors together; the backward pass has done the others."""
        (group,) = self.param_groups
        _update_all([self._plain(weights) for weights in group["params"] if weights.grad is not None], group)
        self.zero_grad()

    def _change_whole(self, weights: Tensor) -> None:
        """The update of a tensor whose gradient is complete; none if it has been taken in parts."""
        if weights.grad is not None:
            self._change(weights, iter([weights.grad]), len(weights), ALL_TAPS)
            weights.grad = None

    def _change(self, weights: Tensor, gradients: Iterator[Tensor], rows: int, taps: Taps) -> None:
        """The update of one tensor, part by part."""
        (group,), plain = self.param_groups, self._plain(weights)
        changing = taps if taps == ALL_TAPS or self._rests_beside(taps, weights) else ALL_TAPS
        if changing == ALL_TAPS:
            self._resting.pop(weights, None)
        plain.step.add_(1)
        parts = (torch.split(tensor, rows) for tensor in plain.tensors(changing))
        for gradient, *views in zip(gradients, *parts, strict=True):
            whole_gradient = gradient if changing == taps else whole(gradient, taps)
            values, mean, square = changed = [view.contiguous() for view in views]
            # The kernel does not compare shapes.
            plain_gradient = whole_gradient.permute(plain.order).contiguous().view(values.shape)
            _update([values], [plain_gradient], [mean], [square], [plain.step], group)
            for view, new in zip(views, changed, strict=True):
                if view is not new:
                    view.copy_(new)

    def _plain(self, weights: Tensor) -> "_Plain":
        """A tensor and its state as plain memory; looked at anew where it has moved, and its moments go along."""
        plain, state = self._seen.get(weights), self.state[weights]
        if plain is None or plain.place != (weights.data_ptr(), weights.stride()):
            if state["exp_avg"].stride() != weights.stride():
                state |= {name: torch.empty_like(weights).copy_(state[name]) for name in ("exp_avg", "exp_avg_sq")}
            plain = self._seen[weights] = _Plain(weights, state)
        return plain

    def _rests_beside(self, taps: Taps, weights: Tensor) -> bool:
        """Whether a gradient of 0 everywhere but at these taps changes nothing there: all moments are 0 as well."""
        if self._resting.get(weights) != taps:
            rows, columns = taps
            for name in ("exp_avg", "exp_avg_sq"):
                moments = self.state[weights][name]
                if moments.count_nonzero() != moments[:, :, rows, columns].count_nonzero():
                    return False
            self._resting[weights] = taps
        return True

    def state_dict(self) -> dict[str, Any]:
        """As `torch.optim.Adam`'s, which can go on from it."""
        (group,) = self.param_groups
        state = {place: self.state[weights] for place, weights in enumerate(group["params"])}
        return {"state": state, "param_groups": [group | {"params": list(range(len(group["params"])))}]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, this one's or `torch.optim.Adam`'s."""
        (group,), (saved_group,) = self.param_groups, saved["param_groups"]
        group |= {name: saved_group[name] for name in ("lr", "betas", "eps")}
        self._resting.clear()
        for place, values in saved["state"].items():
            weights = group["params"][place]
            for name, value in values.items():
                self.state[weights][name].copy_(value)  # into the weights' own memory order, which an update relies on


def _begun(weights: Tensor) -> dict[str, Tensor]:
    """The state before a tensor's first update."""
    moments = {name: torch.zeros_like(weights.detach()) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.zeros((), dtype=torch.float32, device=weights.device)} | moments


class LateAdam(Adam):
    """torch's Adam, by the same updates: for gradients that are averaged over processes before they change anything."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            changing = [weights for weights in group["params"] if weights.grad is not None]
            for weights in changing:
                self.state[weights] = self.state[weights] or _begun(weights)
            _update_all([_Plain(weights, self.state[weights]) for weights in changing], group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict`, this one's or `AdamInBackward`'s."""
        super().load_state_dict(state_dict)
        for weights, saved in self.state.items():
            own = _begun(weights)
            for name, value in own.items():
                value.copy_(saved[name])  # into the weights' own memory order
            self.state[weights] = own


class _Plain:
    """A tensor with its moments and its count of updates, its axes as they follow each other in its memory.

    The fused kernel goes through plain memory. In channels_last order it would copy tensors first, which takes three
    times as long as the update; a gradient in another order than the weights it would take for one in theirs.
    """

    def __init__(self, weights: Tensor, state: Mapping[str, Tensor]) -> None:
        self.weights, self.place = weights, (weights.data_ptr(), weights.stride())
        self.order = _longest_first(weights.stride())
        self.whole = [one.detach() for one in (weights, state["exp_avg"], state["exp_avg_sq"])]
        self.values, self.mean, self.square = (one.permute(self.order) for one in self.whole)
        self.step = state["step"]

    def tensors(self, taps: Taps) -> list[Tensor]:
        """Values, means and squares, of some taps of a kernel or of all."""
        if taps == ALL_TAPS:
            return [self.values, self.mean, self.square]
        return [one[:, :, taps[0], taps[1]].permute(self.order) for one in self.whole]


def _update_all(changing: Sequence[_Plain], group: dict[str, Any]) -> None:
    """One fused update of whole tensors, which have their gradients."""
    if not changing:
        return
    gradients = [one.weights.grad.permute(one.order).contiguous() for one in changing if one.weights.grad is not None]
    for one in changing:
        one.step.add_(1)
    values, means, squares = zip(*(one.tensors(ALL_TAPS) for one in changing), strict=True)
    _update(list(values), gradients, list(means), list(squares), [one.step for one in changing], group)


def _update(
    values: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    group: dict[str, Any],
) -> None:
    """The fused kernel, which `Adam(fused=True)` calls too, on plain memory; the steps are counted already."""
    beta1, beta2 = group["betas"]
    with torch.no_grad():
        torch._fused_adam_(
            values,
            gradients,
            means,
            squares,
            [],
            steps,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )


@functools.cache
def _longest_first(strides: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(strides)), key=lambda axis: strides[axis], reverse=True))


AnyAdam = LateAdam | AdamInBackward


def make_adam(network: nn.Module, settings: Optimizer, *, eager: bool = True, once: bool = False) -> AnyAdam:
    """Adam as the paper uses it (6.2): 2e-4, betas 0.5 and 0.999; fused.

    Not `eager` where gradients are averaged over processes before they change anything; `once` where every weight is
    used once in an update, as the generator's are, and D's, which sees two pictures, are not.
    """
    if eager:
        return AdamInBackward(network, settings, once=once)
    return LateAdam(network.parameters(), lr=settings.learning_rate, betas=settings.betas, fused=True)
