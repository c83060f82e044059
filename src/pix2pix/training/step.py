"""State and one update: the whole method on one screen."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pix2pix.config import Loss
from pix2pix.config.fields import UpdateOrder
from pix2pix.losses import (
    adversarial_term,
    discriminator_accuracy,
    discriminator_objective,
    discriminator_terms,
    generator_objective,
    reconstruction_terms,
)
from pix2pix.networks import input_gradient, reuse_transforms
from pix2pix.training.optimizers import AnyAdam


@dataclass
class State:
    """What an update changes: both networks and both Adams."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: AnyAdam
    discriminator_optimizer: AnyAdam


@reuse_transforms()
def update(
    state: State,
    source: Tensor,
    target: Tensor,
    loss: Loss,
    *,
    backward: Callable[[Tensor], None],
    order: UpdateOrder = "two-pass",
    generator_learns: bool = True,
    mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """One discriminator update, then one generator update (paper, 3.3). Returns the detached, unweighted terms.

    source (N, in, H, W) and target (N, out, H, W) are in [-1, 1]. In the "two-pass" order D sees the output anew for
    G, after its own update; in "one-pass" it sees it once, before, and both learn from that. While `generator_learns`
    is false, in the discriminator's head start (slide "Training details"), G only shows what it makes. Where the
    boolean `mask` (N, out, H, W) is false, nothing is known of the target: D sees the output there in both pictures.
    """
    with torch.set_grad_enabled(generator_learns):
        output = state.generator(source)  # (N, out, H, W) in [-1, 1]
    d_terms: dict[str, Tensor] = {}
    d_accuracy: dict[str, Tensor] = {}
    g_terms = reconstruction_terms(output, target, mask)
    if mask is not None:
        target = torch.where(mask, target, output.detach())
    to_minimise = g_terms

    if loss.adversarial_weight:
        shown = output.detach().requires_grad_(generator_learns and order == "one-pass")
        real_logits = state.discriminator(source, target)  # (N, 1, h, w)
        fake_logits = state.discriminator(source, shown)
        d_terms = discriminator_terms(real_logits, fake_logits, loss.adversarial)
        d_accuracy = discriminator_accuracy(real_logits.detach(), fake_logits.detach(), loss.adversarial)
        if order == "one-pass":
            judged = adversarial_term(fake_logits, loss.adversarial)
            to_minimise = g_terms | {"g_adversarial": _with_gradient_of(judged["g_adversarial"], shown, output)}

        state.discriminator_optimizer.zero_grad()
        backward(discriminator_objective(d_terms, loss))
        state.discriminator_optimizer.step()

        if order == "two-pass":
            state.discriminator.requires_grad_(False)  # its turn is over: spare the gradients of its weights
            judged = adversarial_term(state.discriminator(source, output), loss.adversarial)
            state.discriminator.requires_grad_(True)
            to_minimise = g_terms | judged
        g_terms |= judged

    if generator_learns:
        state.generator_optimizer.zero_grad()
        backward(generator_objective(to_minimise, loss))
        state.generator_optimizer.step()
    return {name: term.detach() for name, term in (g_terms | d_terms | d_accuracy).items()}


def _with_gradient_of(term: Tensor, shown: Tensor, output: Tensor) -> Tensor:
    """A scalar on `output` with the gradient that `term` has on `shown`, the same picture cut off from G.

    So D can learn, and its graph be freed, before G does: the original code hands on this gradient too.
    """
    if not shown.requires_grad:
        return term
    return (output * input_gradient(term, shown)).sum()


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights and, since they belong to them, of the running statistics."""
    current = network.state_dict()
    for name, slow in average.state_dict().items():
        if slow.is_floating_point():
            slow.lerp_(current[name], 1 - decay)
        else:
            slow.copy_(current[name])  # a count of batches
