"""One training step of the paper's method: D is updated, then G."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached

from pix2pix.config import Loss
from pix2pix.config.fields import UpdateOrder
from pix2pix.losses import (
    adversarial_terms,
    class_terms,
    discriminator_accuracy,
    discriminator_objective,
    discriminator_terms,
    generator_objective,
    perceptual_term,
    reconstruction_terms,
)
from pix2pix.networks import Logits, class_image, input_gradient, reuse_transforms
from pix2pix.networks.cpu.fused_adam import AdamInBackward
from pix2pix.networks.cpu.winograd import forget_transforms
from pix2pix.training.discriminator_augment import DiscriminatorAugment
from pix2pix.training.finite import BadStepError, find_bad, keep_tensors
from pix2pix.training.optimizers import AnyAdam, gradient_square, moments_of, weights_of

COMPARED_SIDE = 64
"""Pixels of the part of an image that g_perceptual compares in a step: whole images would take a third of it."""


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
    classes: bool = False
    """Whether targets are label maps: the generator then gives logits of classes in training."""
    augment: DiscriminatorAugment | None = None
    """What changes the images before D sees them."""
    similarity: nn.Module | None = None
    """Frozen network of g_perceptual, (output, target) -> (N,)."""

    def __post_init__(self) -> None:
        self.kept_buffers, self.kept_weights = list[Tensor](), list[Tensor]()  # copies, to undo a step
        self.buffers = [*self.generator.buffers(), *self.discriminator.buffers()]
        self.statistics = [buffer for buffer in self.buffers if buffer.is_floating_point()]
        if isinstance(self.discriminator_optimizer, AdamInBackward):
            self.discriminator_optimizer.deferred = True  # D changes only when G's gradient is known to be finite

    def draw_discriminator(self, pairs: int) -> Callable[[Tensor, Tensor], Logits]:
        """Return D behind an augmentation that is drawn once, for all images of a step."""
        if self.augment is None:
            return self.discriminator
        augmented = self.augment.draw(pairs)
        return lambda source, image: self.discriminator(*augmented(source, image))


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
    agree: Callable[[int], int] = int,
) -> dict[str, Tensor]:
    """Update D, then G (paper, 3.3). Returns the detached, unweighted terms.

    source (N, in, H, W) and target (N, out, H, W) are in [-1, 1]. In the order "two-pass", D runs on the output again
    for G, after its own update. In "one-pass", both updates use the same run of D. During discriminator warm-up
    (lecture, "Training details") `generator_learns` is false. Where the boolean `mask` (N, out, H, W) is false, the
    target is unknown; the output replaces it, so D sees the output there in both images.

    Raises BadStepError if a term, a gradient or a running statistic is not finite. Then neither network has changed,
    unless the error says otherwise. With several processes, `agree` returns the maximum of a number over all of them.
    """
    check = StepCheck(state, len(source), agree)
    with torch.set_grad_enabled(generator_learns):
        output, g_terms = _translate(state, source, target, mask)  # G(x), (N, out, H, W) in [-1, 1]
    check.note_terms(g_terms)
    if mask is not None:
        target = torch.where(mask, target, output.detach())
    objective = generator_objective(g_terms, loss)
    d_terms, d_accuracy = dict[str, Tensor](), dict[str, Tensor]()

    if loss.adversarial_weight:
        image = output.detach().requires_grad_(generator_learns and order == "one-pass")
        discriminator = state.draw_discriminator(len(source))
        with cached():  # spectral norm divides the weights once for both
            real_logits = discriminator(source, target)  # D(x, y), (N, 1, h, w) for each scale
            fake_logits = discriminator(source, image)  # D(x, G(x))
        d_terms = discriminator_terms(real_logits, fake_logits, loss.adversarial)  # equation 1
        check.note_terms(d_terms)
        d_accuracy = discriminator_accuracy(real_logits, fake_logits, loss.adversarial)
        if order == "one-pass":
            adversarial = adversarial_terms(real_logits, fake_logits, loss.adversarial)
            objective = objective + _with_gradient_of(generator_objective(adversarial, loss), image, output)

        state.discriminator_optimizer.zero_grad()
        backward(discriminator_objective(d_terms, loss))  # halved (3.3)
        check.note_gradient("discriminator", state.discriminator_optimizer)

        if order == "two-pass":
            check.keep(state.discriminator_optimizer)
            state.discriminator_optimizer.step()
            state.discriminator.requires_grad_(False)  # G's update needs no gradients of D's weights
            if loss.feature_matching_weight:
                real_logits = discriminator(source, target)
            adversarial = adversarial_terms(real_logits, discriminator(source, output), loss.adversarial)
            objective = objective + generator_objective(adversarial, loss)
            state.discriminator.requires_grad_(True)
        check.note_terms(adversarial)
        g_terms |= adversarial
    check.note_statistics()

    if generator_learns:
        state.generator_optimizer.zero_grad()
        check.before_backward()
        backward(objective)  # equation 4
        check.note_gradient("generator", state.generator_optimizer)
    check.refuse_bad()
    if loss.adversarial_weight and order == "one-pass":
        state.discriminator_optimizer.step()
    if generator_learns:
        state.generator_optimizer.step()
    return {name: term.detach() for name, term in (g_terms | d_terms | d_accuracy).items()}


def _translate(
    state: TrainState, source: Tensor, target: Tensor, mask: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return G(x) and its terms against the target; g_l1 is equation 3 of the paper."""
    output = state.generator(source)
    if state.classes:
        return class_image(output), class_terms(output, target, mask)
    terms = reconstruction_terms(output, target, mask)
    if state.similarity is not None:
        terms |= perceptual_term(state.similarity, *_crop_alike(output, target, mask))
    return output, terms


def _crop_alike(output: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cut the same random square of COMPARED_SIDE pixels out of all; torch's CPU generator draws where."""
    top, left = (int(torch.randint(max(0, side - COMPARED_SIDE) + 1, ())) for side in output.shape[2:])
    part = (..., slice(top, top + COMPARED_SIDE), slice(left, left + COMPARED_SIDE))
    return output[part], target[part], None if mask is None else mask[part]


class StepCheck:
    """Collect what must be finite in a step, look at it once before the weights change, and undo the step if it is not.

    The forward passes have changed the buffers by then, and in the order "two-pass" D has been updated: these are
    copied first.
    """

    def __init__(self, state: TrainState, pairs: int, agree: Callable[[int], int]) -> None:
        self._state, self._pairs, self._agree = state, pairs, agree
        self._undo = [keep_tensors(state.buffers, state.kept_buffers)]
        self._suspects: dict[str, Tensor] = {}

    def keep(self, optimizer: AnyAdam) -> None:
        """Copy the weights and moments of a network that is updated before the check."""
        self._undo.append(keep_tensors([*weights_of(optimizer), *moments_of(optimizer)], self._state.kept_weights))

    def note_gradient(self, network: str, optimizer: AnyAdam) -> None:
        """Note the gradient of a network, after its backward pass and before `step`."""
        self._suspects[f"the gradient of the {network}"] = gradient_square(optimizer)

    def note_terms(self, terms: Mapping[str, Tensor]) -> None:
        """Note loss terms; of no pairs, they are undefined."""
        self._suspects |= {name: term if self._pairs else torch.zeros_like(term) for name, term in terms.items()}

    def note_statistics(self) -> None:
        """Note the running statistics, after the last forward pass."""
        if self._state.statistics:
            flat = torch.cat([buffer.flatten() for buffer in self._state.statistics])
            self._suspects["a running statistic"] = torch.dot(flat, flat)

    def before_backward(self) -> None:
        """Look already now if G's optimiser updates weights during the backward pass."""
        adam = self._state.generator_optimizer
        if isinstance(adam, AdamInBackward) and not adam.deferred:
            self.refuse_bad()
            self._suspects.clear()

    def refuse_bad(self) -> None:
        """Undo the step and raise BadStepError if anything noted is not finite."""
        what = find_bad(self._suspects, self._agree)
        if what is None:
            return
        adam = self._state.generator_optimizer
        undone = not (isinstance(adam, AdamInBackward) and adam.has_begun)
        for undo in self._undo:
            undo()
        adam.zero_grad()
        self._state.discriminator_optimizer.zero_grad()
        forget_transforms()
        raise BadStepError(what, undone=undone)


def _with_gradient_of(term: Tensor, image: Tensor, output: Tensor) -> Tensor:
    """Return a scalar that has the same gradient for `output` as `term` for `image`, a detached copy of `output`.

    This allows to update D and free its graph first, and to update G afterwards with the gradient of the old D.
    """
    if not image.requires_grad:
        return term
    return (output * input_gradient(term, image)).sum()
