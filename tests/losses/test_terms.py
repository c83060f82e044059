"""Loss terms computed by hand, their weighted sums, and what it takes to add a term."""

import math

import pytest
import torch

from pix2pix.config import Loss
from pix2pix.losses import (
    Adversarial,
    adversarial_terms,
    all_terms,
    discriminator_accuracy,
    discriminator_terms,
    generator_objective,
    generator_weights,
    perceptual_term,
    reconstruction_terms,
)
from pix2pix.networks import Logits


def logits(*maps: torch.Tensor) -> Logits:
    return Logits(maps)


def g_adversarial(fake: Logits, kind: str) -> float:
    return adversarial_terms(fake, fake, kind)["g_adversarial"].item()  # type: ignore[arg-type]


def test_terms_of_a_case_computed_by_hand() -> None:
    """Logits 0 and ln 3 are probabilities 1/2 and 3/4."""
    real, fake = logits(torch.tensor([[[[0.0, math.log(3)]]]])), logits(torch.tensor([[[[math.log(3), 0.0]]]]))
    terms = discriminator_terms(real, fake, "vanilla")
    assert terms["d_real"].item() == pytest.approx(-(math.log(1 / 2) + math.log(3 / 4)) / 2, abs=1e-6)
    assert terms["d_fake"].item() == pytest.approx(-(math.log(1 / 4) + math.log(1 / 2)) / 2, abs=1e-6)
    assert g_adversarial(fake, "vanilla") == pytest.approx(0.4904146, abs=1e-6)

    real, fake = logits(torch.tensor([2.0, -1.0])), logits(torch.tensor([0.5, -3.0]))
    assert {name: term.item() for name, term in discriminator_terms(real, fake, "lsgan").items()} == pytest.approx(
        {"d_real": (1 + 4) / 2, "d_fake": (0.25 + 9) / 2}
    )
    assert {name: term.item() for name, term in discriminator_terms(real, fake, "hinge").items()} == pytest.approx(
        {"d_real": (0 + 2) / 2, "d_fake": (1.5 + 0) / 2}
    )
    assert g_adversarial(fake, "lsgan") == pytest.approx((0.25 + 16) / 2)
    assert g_adversarial(fake, "hinge") == pytest.approx(1.25)

    output, target = torch.tensor([0.5, -1.0]), torch.tensor([1.0, 1.0])
    terms = reconstruction_terms(output, target)
    assert (terms["g_l1"].item(), terms["g_l2"].item()) == pytest.approx((1.25, (0.25 + 4) / 2))
    terms = reconstruction_terms(output, target, torch.tensor([True, False]))
    assert (terms["g_l1"].item(), terms["g_l2"].item()) == pytest.approx((0.5, 0.25))


def test_the_objective_weighs_the_terms() -> None:
    terms = {"g_adversarial": torch.tensor(2.0), "g_l1": torch.tensor(0.5), "g_l2": torch.tensor(0.25)}
    assert generator_objective(terms, Loss()).item() == pytest.approx(2 + 100 * 0.5)
    weights = Loss(adversarial_weight=0, l1_weight=0, l2_weight=10)
    assert generator_objective(terms, weights).item() == pytest.approx(2.5)


def test_terms_stay_finite_for_extreme_logits() -> None:
    extreme = logits(torch.tensor([-1e4, 1e4]))
    terms = discriminator_terms(extreme, extreme, "vanilla") | adversarial_terms(extreme, extreme, "vanilla")
    assert all(term.isfinite() for term in terms.values())


@pytest.mark.parametrize("kind", ["vanilla", "lsgan", "hinge"])
def test_two_scales_count_alike(kind: Adversarial) -> None:
    """A term is the mean over scales of the mean over patches, also where one scale has more patches."""
    real, fake = (logits(torch.randn(2, 1, 6, 6), torch.randn(2, 1, 2, 2)) for _ in range(2))
    for terms in (discriminator_terms, discriminator_accuracy, adversarial_terms):
        together = terms(real, fake, kind)
        one, other = (terms(logits(a), logits(b), kind) for a, b in zip(real.maps, fake.maps, strict=True))
        for name, term in together.items():
            torch.testing.assert_close(term, (one[name] + other[name]) / 2)


def test_feature_matching_against_its_formula() -> None:
    """The mean over layers of the mean distance; the gradient goes into the generated image only."""
    real, fake = ([torch.randn(2, c, 4, 4, requires_grad=True) for c in (3, 5)] for _ in range(2))
    one, other = Logits((torch.zeros(1),), tuple(real)), Logits((torch.zeros(1),), tuple(fake))
    term = adversarial_terms(one, other, "hinge")["g_feature_matching"]
    expected = sum((a - b).abs().mean() for a, b in zip(real, fake, strict=True)) / 2
    torch.testing.assert_close(term, expected, atol=1e-5, rtol=0)
    term.backward()
    assert all(layer.grad is None for layer in real)
    assert all(layer.grad is not None for layer in fake)


def test_terms_of_classes_against_their_formulas() -> None:
    """Class by class: -log of the softmax, the mean over a class's pixels, then over the classes that occur."""
    scores, classes = torch.randn(2, 5, 6, 6), torch.randint(0, 3, (2, 6, 6))  # class 3 does not occur
    classes[0, :2] = -1
    real = fake = Logits((scores,), (), classes)
    log_p = scores.log_softmax(dim=1)
    chosen = log_p.permute(0, 2, 3, 1)
    of_classes = [-chosen[classes == c][:, c].mean() for c in range(3)]
    terms = discriminator_terms(real, fake, "vanilla") | adversarial_terms(real, fake, "vanilla")
    terms |= discriminator_accuracy(real, fake, "vanilla")
    known, found = classes >= 0, scores.argmax(dim=1)
    expected = {
        "d_real": torch.stack(of_classes).mean(),
        "d_fake": -chosen[known][:, 4].mean(),
        "g_adversarial": torch.stack(of_classes).mean(),
        "d_real_accuracy": (found == classes)[known].float().mean(),
        "d_fake_accuracy": (found == 4)[known].float().mean(),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, atol=1e-5, rtol=0)
    nothing = Logits((scores,), (), torch.full_like(classes, -1))
    assert all(term == 0 for term in discriminator_terms(nothing, nothing, "vanilla").values())


def test_the_perceptual_term_leaves_out_masked_pixels() -> None:
    output, target = torch.rand(2, 2, 1, 4, 4)
    mask = torch.rand(2, 1, 4, 4) < 0.5

    def network(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (one - other).square().sum(dim=(1, 2, 3))

    term = perceptual_term(network, output, target, mask)["g_perceptual"]  # type: ignore[arg-type]
    torch.testing.assert_close(term, (output - target)[mask].square().sum() / 2)


def test_accuracy_is_the_share_on_the_right_side() -> None:
    real, fake = logits(torch.tensor([0.7, 0.3, -1.0, 2.0])), logits(torch.tensor([0.7, -0.3, -1.0, 0.2]))
    expected = {"vanilla": (0.75, 0.5), "hinge": (0.75, 0.5), "lsgan": (0.5, 0.75)}
    for kind, (on_real, on_fake) in expected.items():
        accuracy = discriminator_accuracy(real, fake, kind)  # type: ignore[arg-type]
        assert (accuracy["d_real_accuracy"], accuracy["d_fake_accuracy"]) == (on_real, on_fake)


def test_every_term_has_its_weight_in_the_settings() -> None:
    weights = {"g_adversarial": 1.0, "g_l1": 100.0, "g_l2": 0.0, "g_cross_entropy": 100.0}
    weights |= {"g_feature_matching": 0.0, "g_perceptual": 0.0}
    assert generator_weights(Loss()) == weights
    assert all_terms() == (*weights, "d_real", "d_fake", "d_real_accuracy", "d_fake_accuracy")
