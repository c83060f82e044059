"""One training step of the paper's method: D is updated, then G."""

from collections.abc import Callable
from dataclasses import dataclass, field

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
class TrainState:
    """Everything that training changes. The networks are wrapped for precision and for averaged gradients."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: AnyAdam
    discriminator_optimizer: AnyAdam
    average: nn.Module | None = None
    """Exponential moving average of the generator, not wrapped."""
    local_statistics: list[Tensor] = field(default_factory=list)
    """Running statistics that each process computes from its own part of a batch."""


@reuse_transforms()
def train_step(
    state: TrainState,
    source: Tensor,
    target: Tensor,
    loss: Loss,
    *,
    backward: Callable[[Tensor], None] = torch.autograd.backward,
    order: UpdateOrder = "two-pass",
    generator_learns: bool = True,
    mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """Update D, then G (paper, 3.3). Returns the detached, unweighted terms.

    source (N, in, H, W) and target (N, out, H, W) are in [-1, 1]. In the order "two-pass", D runs on the output again
    for G, after its own update. In "one-pass", both updates use the same run of D. During discriminator warm-up
    (lecture, "Training details") `generator_learns` is false. Where the boolean `mask` (N, out, H, W) is false, the
    target is unknown; the output replaces it, so D sees the output there in both images.
    """
    with torch.set_grad_enabled(generator_learns):
        output = state.generator(source)  # G(x), (N, out, H, W) in [-1, 1]
    g_terms = reconstruction_terms(output, target, mask)  # g_l1 is equation 3
    if mask is not None:
        target = torch.where(mask, target, output.detach())
    minimised, d_terms, d_accuracy = g_terms, dict[str, Tensor](), dict[str, Tensor]()

    if loss.adversarial_weight:
        image = output.detach().requires_grad_(generator_learns and order == "one-pass")
        real_logits = state.discriminator(source, target)  # D(x, y), (N, 1, h, w)
        fake_logits = state.discriminator(source, image)  # D(x, G(x))
        d_terms = discriminator_terms(real_logits, fake_logits, loss.adversarial)  # equation 1
        d_accuracy = discriminator_accuracy(real_logits.detach(), fake_logits.detach(), loss.adversarial)
        if order == "one-pass":
            adversarial = adversarial_term(fake_logits, loss.adversarial)
            minimised = g_terms | {"g_adversarial": _with_gradient_of(adversarial["g_adversarial"], image, output)}

        state.discriminator_optimizer.zero_grad()
        backward(discriminator_objective(d_terms, loss))  # halved (3.3)
        state.discriminator_optimizer.step()

        if order == "two-pass":
            state.discriminator.requires_grad_(False)  # G's update needs no gradients of D's weights
            adversarial = adversarial_term(state.discriminator(source, output), loss.adversarial)
            state.discriminator.requires_grad_(True)
            minimised = g_terms | adversarial
        g_terms |= adversarial

    if generator_learns:
        state.generator_optimizer.zero_grad()
        backward(generator_objective(minimised, loss))  # equation 4
        state.generator_optimizer.step()
    return {name: term.detach() for name, term in (g_terms | d_terms | d_accuracy).items()}


def _with_gradient_of(term: Tensor, image: Tensor, output: Tensor) -> Tensor:
    """Return a scalar that has the same gradient for `output` as `term` for `image`, a detached copy of `output`.

    This allows to update D and free its graph first, and to update G afterwards with the gradient of the old D.
    """
    if not image.requires_grad:
        return term
    return (output * input_gradient(term, image)).sum()
