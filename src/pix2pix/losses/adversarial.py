"""Loss terms of the logits of a discriminator, for D and for G.

To add an adversarial loss: enter its four parts in ADVERSARIAL. Of several scales, a term is the mean. A discriminator
of classes has the cross-entropies of Schönfeld et al. 2021 (3.2), whatever the kind is.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pix2pix.networks import Logits

Adversarial = Literal["vanilla", "lsgan", "hinge"]


class AdversarialLoss(NamedTuple):
    """Losses of logits, element by element, and the logit above which D classifies an image as real."""

    real: Callable[[Tensor], Tensor]
    """D's loss on (source, target)."""
    fake: Callable[[Tensor], Tensor]
    """D's loss on (source, output)."""
    generator: Callable[[Tensor], Tensor]
    """G's loss on (source, output)."""
    boundary: float


ADVERSARIAL: dict[Adversarial, AdversarialLoss] = {
    # -log D(x, y), -log(1 - D(x, G(x))) (paper, equation 1); non-saturating -log D(x, G(x)) (3.3); log 2 is chance
    "vanilla": AdversarialLoss(
        real=lambda logits: F.softplus(-logits),
        fake=F.softplus,
        generator=lambda logits: F.softplus(-logits),
        boundary=0.0,
    ),
    # Mao et al. 2017 with the labels 0 and 1
    "lsgan": AdversarialLoss(
        real=lambda logits: (logits - 1).square(),
        fake=torch.square,
        generator=lambda logits: (logits - 1).square(),
        boundary=0.5,
    ),
    # Lim and Ye 2017
    "hinge": AdversarialLoss(
        real=lambda logits: F.relu(1 - logits),
        fake=lambda logits: F.relu(1 + logits),
        generator=torch.neg,
        boundary=0.0,
    ),
}


def discriminator_terms(real: Logits, fake: Logits, kind: Adversarial) -> dict[str, Tensor]:
    """Return D's mean losses on (source, target) and (source, output): `d_real`, `d_fake`, scalars."""
    if real.classes is not None:
        return {"d_real": balanced_cross_entropy(real), "d_fake": _cross_entropy_of_generated(fake)}
    loss = ADVERSARIAL[kind]
    return {"d_real": _mean(loss.real, real), "d_fake": _mean(loss.fake, fake)}


def discriminator_accuracy(real: Logits, fake: Logits, kind: Adversarial) -> dict[str, Tensor]:
    """Return the shares of patches that D classifies correctly: `d_real_accuracy`, `d_fake_accuracy`; 1/2 is chance.

    Of a discriminator of classes, they are shares of pixels: of targets with the right class, of outputs called
    generated.
    """
    if real.classes is not None:
        return {
            "d_real_accuracy": _share_of_class(real, real.classes),
            "d_fake_accuracy": _share_of_class(fake, _as_generated(fake)),
        }
    boundary = ADVERSARIAL[kind].boundary
    return {
        "d_real_accuracy": _mean(lambda logits: (logits > boundary).float(), real),
        "d_fake_accuracy": _mean(lambda logits: (logits < boundary).float(), fake),
    }


def adversarial_terms(real: Logits, fake: Logits, kind: Adversarial) -> dict[str, Tensor]:
    """Return G's terms that depend on D: `g_adversarial` and, if D gives its features, `g_feature_matching`."""
    if fake.classes is not None:
        return {"g_adversarial": balanced_cross_entropy(fake)}
    terms = {"g_adversarial": _mean(ADVERSARIAL[kind].generator, fake)}
    if fake.features:
        terms["g_feature_matching"] = feature_matching(real, fake)
    return terms


def feature_matching(real: Logits, fake: Logits) -> Tensor:
    """Return the mean over layers and scales of the mean |D_l(x, y) - D_l(x, G(x))| (Wang et al. 2018, 3.3)."""
    pairs = zip(fake.features, real.features, strict=True)
    return torch.stack([F.l1_loss(of_fake, of_real.detach()) for of_fake, of_real in pairs]).mean()


def _mean(loss: Callable[[Tensor], Tensor], logits: Logits) -> Tensor:
    """Return the mean over scales of the mean over patches."""
    return torch.stack([loss(one).mean() for one in logits.maps]).mean()


# ---- of a discriminator of classes: the last logit is that of "generated"; pixels without a class do not count ----


def balanced_cross_entropy(logits: Logits) -> Tensor:
    """Return the mean over the classes that occur of the mean -log p of the true class over their pixels, in nats."""
    (scores,), classes = logits.maps, _classes(logits)
    counts = torch.bincount(classes[classes >= 0], minlength=scores.shape[1])
    weights = torch.where(counts > 0, 1 / (counts * counts.count_nonzero()), 0).to(scores.dtype)
    return F.cross_entropy(scores, classes, weights, ignore_index=-1, reduction="sum")


def _cross_entropy_of_generated(logits: Logits) -> Tensor:
    """Return the mean -log p of "generated" over the pixels."""
    wanted = _as_generated(logits)
    total = F.cross_entropy(logits.maps[0], wanted, ignore_index=-1, reduction="sum")
    return total / (wanted >= 0).sum().clamp(min=1)


def _share_of_class(logits: Logits, wanted: Tensor) -> Tensor:
    right = (logits.maps[0].argmax(dim=1) == wanted).sum()  # never for -1
    return right / (wanted >= 0).sum().clamp(min=1)


def _as_generated(logits: Logits) -> Tensor:
    """Return the class "generated" for each pixel that has a class (N, H, W)."""
    classes = _classes(logits)
    return torch.where(classes >= 0, logits.maps[0].shape[1] - 1, classes)


def _classes(logits: Logits) -> Tensor:
    assert logits.classes is not None
    return logits.classes
