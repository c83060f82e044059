"""State and one update: the whole method on one screen."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

from pix2pix.config import Loss, Optimizer
from pix2pix.losses import (
    adversarial_term,
    discriminator_objective,
    discriminator_terms,
    generator_objective,
    reconstruction_terms,
)


@dataclass
class State:
    """What an update changes: both networks and both Adams."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: Adam
    discriminator_optimizer: Adam


def make_adam(network: nn.Module, settings: Optimizer) -> Adam:
    """Adam as the paper uses it (6.2): 2e-4, betas 0.5 and 0.999; one fused kernel for all tensors."""
    return Adam(network.parameters(), lr=settings.learning_rate, betas=settings.betas, fused=True)


def update(
    state: State,
    source: Tensor,
    target: Tensor,
    loss: Loss,
    *,
    backward: Callable[[Tensor], None],
    generator_learns: bool = True,
) -> dict[str, Tensor]:
    """One discriminator update, then one generator update (paper, 3.3). Returns the detached, unweighted terms.

    source (N, in, H, W) and target (N, out, H, W) are in [-1, 1]. While `generator_learns` is false, in the
    discriminator's head start (slide "Training details"), G only shows what it makes.
    """
    with torch.set_grad_enabled(generator_learns):
        output = state.generator(source)  # (N, out, H, W) in [-1, 1]
    d_terms: dict[str, Tensor] = {}
    g_terms = reconstruction_terms(output, target)

    if loss.adversarial_weight:
        real_logits = state.discriminator(source, target)  # (N, 1, h, w)
        fake_logits = state.discriminator(source, output.detach())
        d_terms = discriminator_terms(real_logits, fake_logits, loss.adversarial)
        state.discriminator_optimizer.zero_grad()
        backward(discriminator_objective(d_terms, loss))
        state.discriminator_optimizer.step()

        state.discriminator.requires_grad_(False)  # its turn is over: spare the gradients of its weights
        fake_logits = state.discriminator(source, output)
        state.discriminator.requires_grad_(True)
        g_terms |= adversarial_term(fake_logits, loss.adversarial)

    if generator_learns:
        state.generator_optimizer.zero_grad()
        backward(generator_objective(g_terms, loss))
        state.generator_optimizer.step()
    return {name: term.detach() for name, term in (g_terms | d_terms).items()}


@torch.no_grad()
def average_into(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights and, since they belong to them, of the running statistics."""
    current = network.state_dict()
    for name, slow in average.state_dict().items():
        if slow.is_floating_point():
            slow.lerp_(current[name], 1 - decay)
        else:
            slow.copy_(current[name])  # a count of batches
