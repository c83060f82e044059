"""Adam that updates large tensors during the backward pass, so that not all gradients are in memory at once."""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pix2pix.config import Optimizer
from pix2pix.networks.cpu.gradients import ALL_TAPS, Taps, on_partial_grad, pad_taps
from pix2pix.networks.cpu.torch_private import fused_adam_
from pix2pix.networks.cpu.winograd import forget_transforms

MOMENTS = ("exp_avg", "exp_avg_sq")


class AdamInBackward:
    """Adam (Kingma and Ba 2015) that updates a large tensor once its gradient is complete, and frees the gradient.

    The results and the `state_dict` are those of `torch.optim.Adam(fused=True)`, since the update of a tensor depends
    only on its own gradient. It saves the memory of one copy of the weights, and reads a gradient while it is still in
    the cache of the processor. With `used_once`, if each weight is used once in a training step, large gradients are
    received in parts (`on_partial_grad`). This is not a `torch.optim.Optimizer`: the first use of one imports torch's
    compiler, 200 MB.

    A gradient whose sum of squares is not finite in float32 is refused, together with all that follow it until
    `zero_grad`: it would make the second moment infinite for ever. Gradients before it have been applied (`has_begun`),
    unless `deferred` is set: then all gradients are kept until `step`, which gives the same bits and takes more memory.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: Optimizer,
        *,
        used_once: bool = False,
        large: int = 2**16,
        part_size: int = 2**20,
    ) -> None:
        """Update tensors of `large` numbers or more during backward; for smaller ones the call costs too much."""
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
        self._views: dict[Tensor, _MemoryOrder] = {}
        self._only_taps: dict[Tensor, Taps] = {}  # of weights whose other taps had no gradient so far
        self.deferred = False
        self.has_begun = False
        """Whether a gradient has been applied since `zero_grad`."""
        self._bad: Tensor | None = None  # the sum of squares of a refused gradient
        self._pending: list[tuple[Tensor, list[Tensor], int, Taps]] = []  # of a deferred update
        for weights in network.parameters():
            moments = {name: torch.zeros_like(weights.detach()) for name in MOMENTS}
            self.state[weights] = {"step": torch.zeros((), device=weights.device)} | moments
            if weights.numel() < large:
                continue
            weights.register_post_accumulate_grad_hook(self._update_in_backward)  # type: ignore[no-untyped-call]
            if used_once:
                on_partial_grad(weights, functools.partial(self._update_in_parts, weights), part_size)

    def zero_grad(self) -> None:
        """Drop gradients that were not used."""
        for weights in self.param_groups[0]["params"]:
            weights.grad = None
        self.has_begun, self._bad = False, None
        self._pending.clear()

    def gradient_square(self) -> Tensor:
        """Return a sum of squares of gradients since `zero_grad` that is finite only if all of them are.

        It is that of the refused gradient, or of those that `step` will use.
        """
        if self._bad is not None:
            return self._bad
        gradients = [weights.grad for weights in self.param_groups[0]["params"] if weights.grad is not None]
        return torch.nn.utils.get_total_norm(gradients).float().square()

    def step(self) -> None:
        """Update the small tensors together; the backward pass has updated the others, unless `deferred`."""
        (group,) = self.param_groups
        for weights, parts, rows, taps in self._pending:
            self._apply_parts(weights, iter(parts), rows, taps)
        changing = [weights for weights in group["params"] if weights.grad is not None]
        if changing:
            views = [self._view(weights) for weights in changing]
            for view in views:
                view.step.add_(1)
            values, means, squares = zip(*(view.tensors(ALL_TAPS) for view in views), strict=True)
            gradients = [view.reorder(weights.grad) for view, weights in zip(views, changing, strict=True)]
            self._fused_update(list(values), gradients, list(means), list(squares), [view.step for view in views])
        self.zero_grad()
        forget_transforms()

    def _update_in_backward(self, weights: Tensor) -> None:
        """Update a tensor whose gradient is complete; a tensor updated in parts has none."""
        if weights.grad is not None:
            self._update_in_parts(weights, iter([weights.grad]), len(weights), ALL_TAPS)
            weights.grad = None

    def _update_in_parts(self, weights: Tensor, gradients: Iterator[Tensor], rows: int, taps: Taps) -> None:
        """Check the gradients of a tensor, each for `rows` of it; apply them now, or keep them if `deferred`."""
        healthy = self._until_bad(gradients)
        if self.deferred:
            self._pending.append((weights, list(healthy), rows, taps))
            return
        first = next(healthy, None)
        if first is not None:
            self.has_begun = True
            self._apply_parts(weights, itertools.chain([first], healthy), rows, taps)

    def _until_bad(self, gradients: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yield gradients until one is refused. They are read once more while they are in the cache."""
        for gradient in gradients:
            if self._bad is None:
                flat = gradient.permute(_longest_stride_first(gradient.stride())).contiguous().view(-1)
                square = torch.dot(flat, flat)
                if not math.isfinite(square):
                    self._bad = square
            if self._bad is not None:
                return
            yield gradient

    def _apply_parts(self, weights: Tensor, gradients: Iterator[Tensor], rows: int, taps: Taps) -> None:
        """Update `rows` of a tensor with each gradient. Other taps than `taps` are skipped if their update is 0."""
        view = self._view(weights)
        updated = taps if taps == ALL_TAPS or self._moments_are_zero_outside(taps, weights) else ALL_TAPS
        if updated == ALL_TAPS:
            self._only_taps.pop(weights, None)
        view.step.add_(1)
        parts = (torch.split(tensor, rows) for tensor in view.tensors(updated))
        for gradient, *tensors in zip(gradients, *parts, strict=False):  # fewer if one was refused
            padded = gradient if updated == taps else pad_taps(gradient, taps)
            values, mean, square = contiguous = [tensor.contiguous() for tensor in tensors]
            self._fused_update([values], [view.reorder(padded).view(values.shape)], [mean], [square], [view.step])
            for tensor, new in zip(tensors, contiguous, strict=True):
                if tensor is not new:
                    tensor.copy_(new)

    def _fused_update(
        self,
        values: list[Tensor],
        gradients: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        steps: list[Tensor],
    ) -> None:
        (group,) = self.param_groups
        rates: dict[str, Any] = {"learning_rate": group["lr"], "betas": group["betas"], "eps": group["eps"]}
        fused_adam_(values, gradients, means, squares, steps, **rates)

    def _view(self, weights: Tensor) -> "_MemoryOrder":
        """Return a tensor and its moments in memory order; made again if the weights have moved in memory."""
        view, state = self._views.get(weights), self.state[weights]
        if view is None or view.location != (weights.data_ptr(), weights.stride()):
            if state["exp_avg"].stride() != weights.stride():
                state |= {name: torch.empty_like(weights).copy_(state[name]) for name in MOMENTS}
            view = self._views[weights] = _MemoryOrder(weights, state)
        return view

    def _moments_are_zero_outside(self, taps: Taps, weights: Tensor) -> bool:
        """Return whether an update with a gradient of 0 outside `taps` changes nothing there."""
        if self._only_taps.get(weights) != taps:
            rows, columns = taps
            for name in MOMENTS:
                moments = self.state[weights][name]
                if moments.count_nonzero() != moments[:, :, rows, columns].count_nonzero():
                    return False
            self._only_taps[weights] = taps
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the state in the layout of `torch.optim.Adam`, which can load it."""
        (group,) = self.param_groups
        state = {index: self.state[weights] for index, weights in enumerate(group["params"])}
        return {"state": state, "param_groups": [group | {"params": list(range(len(group["params"])))}]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Load a `state_dict` of this class or of `torch.optim.Adam`."""
        (group,), (saved_group,) = self.param_groups, saved["param_groups"]
        group |= {name: saved_group[name] for name in ("lr", "betas", "eps")}
        self._only_taps.clear()
        for index, values in saved["state"].items():
            weights = group["params"][index]
            for name, value in values.items():
                self.state[weights][name].copy_(value)  # keeps the strides of the weights, which updates need


class _MemoryOrder:
    """A tensor with its moments, all permuted to the order of their memory, and its number of updates.

    The fused kernel needs contiguous tensors. It copies tensors in channels_last order, which takes three times as long
    as the update, and it reads a gradient in the wrong order if its strides differ from those of the weights.
    """

    def __init__(self, weights: Tensor, state: Mapping[str, Tensor]) -> None:
        self.location = (weights.data_ptr(), weights.stride())
        self.order = _longest_stride_first(weights.stride())
        self.step = state["step"]
        self._tensors = [tensor.detach() for tensor in (weights, state["exp_avg"], state["exp_avg_sq"])]
        self._permuted = [tensor.permute(self.order) for tensor in self._tensors]

    def tensors(self, taps: Taps) -> list[Tensor]:
        """Return values, means and squares, of all taps of a kernel or of some."""
        if taps == ALL_TAPS:
            return self._permuted
        return [tensor[:, :, taps[0], taps[1]].permute(self.order) for tensor in self._tensors]

    def reorder(self, gradient: Tensor) -> Tensor:
        """Return the gradient, contiguous in the order of the weights' memory."""
        return gradient.permute(self.order).contiguous()


@functools.cache
def _longest_stride_first(strides: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(strides)), key=lambda axis: strides[axis], reverse=True))
