"""A network in, its Adam out: the paper's optimiser, which need not hold all gradients at once."""

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.adam import adam

from pix2pix.config import Optimizer


class EagerAdam(Adam):
    """Adam that changes each tensor during the backward pass, as soon as its gradient is complete, and drops that.

    The numbers are those of `Adam(fused=True)`, since a tensor's change depends on its own gradient alone. What is
    saved is one copy of the weights in memory, and the gradient is read while the processor's cache still holds it.
    `step` changes what a backward pass has left a gradient for: nothing, unless the hooks are off, as they must be
    where gradients are averaged over processes first.
    """

    def __init__(self, network: nn.Module, settings: Optimizer, *, eager: bool = True) -> None:
        super().__init__(network.parameters(), lr=settings.learning_rate, betas=settings.betas, fused=True)
        if eager:
            for weights in network.parameters():
                weights.register_post_accumulate_grad_hook(self._change)  # type: ignore[no-untyped-call]

    def _change(self, weights: Tensor) -> None:
        """One fused update of one tensor."""
        assert weights.grad is not None
        (group,) = self.param_groups  # loading a state puts a new one here
        state = self.state[weights]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=weights.device)
            state["exp_avg"] = torch.zeros_like(weights, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(weights, memory_format=torch.preserve_format)
        beta1, beta2 = group["betas"]
        with torch.no_grad():
            adam(
                [weights],
                [weights.grad],
                [state["exp_avg"]],
                [state["exp_avg_sq"]],
                [],
                [state["step"]],
                fused=True,
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=group["lr"],
                weight_decay=0.0,
                eps=group["eps"],
                maximize=False,
            )
        weights.grad = None


def make_adam(network: nn.Module, settings: Optimizer, *, eager: bool = True) -> Adam:
    """Adam as the paper uses it (6.2): 2e-4, betas 0.5 and 0.999; fused."""
    return EagerAdam(network, settings, eager=eager)
