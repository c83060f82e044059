"""Loss terms computed by hand, their weighted sums, and what it takes to add a term."""

import math

import pytest
import torch

from pix2pix.config import Loss
from pix2pix.losses import (
    adversarial_term,
    all_terms,
    discriminator_accuracy,
    discriminator_terms,
    generator_objective,
    generator_weights,
    reconstruction_terms,
)


def test_terms_of_a_case_computed_by_hand() -> None:
    """Logits 0 and ln 3 are probabilities 1/2 and 3/4."""
    real, fake = torch.tensor([[[[0.0, math.log(3)]]]]), torch.tensor([[[[math.log(3), 0.0]]]])
    terms = discriminator_terms(real, fake, "vanilla")
    assert terms["d_real"].item() == pytest.approx(-(math.log(1 / 2) + math.log(3 / 4)) / 2, abs=1e-6)
    assert terms["d_fake"].item() == pytest.approx(-(math.log(1 / 4) + math.log(1 / 2)) / 2, abs=1e-6)
    assert adversarial_term(fake, "vanilla")["g_adversarial"].item() == pytest.approx(0.4904146, abs=1e-6)

    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    assert {name: term.item() for name, term in discriminator_terms(real, fake, "lsgan").items()} == pytest.approx(
        {"d_real": (1 + 4) / 2, "d_fake": (0.25 + 9) / 2}
    )
    assert {name: term.item() for name, term in discriminator_terms(real, fake, "hinge").items()} == pytest.approx(
        {"d_real": (0 + 2) / 2, "d_fake": (1.5 + 0) / 2}
    )
    assert adversarial_term(fake, "lsgan")["g_adversarial"].item() == pytest.approx((0.25 + 16) / 2)
    assert adversarial_term(fake, "hinge")["g_adversarial"].item() == pytest.approx(1.25)

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
    logits = torch.tensor([-1e4, 1e4])
    terms = discriminator_terms(logits, logits, "vanilla") | adversarial_term(logits, "vanilla")
    assert all(term.isfinite() for term in terms.values())


def test_accuracy_is_the_share_on_the_right_side() -> None:
    real, fake = torch.tensor([0.7, 0.3, -1.0, 2.0]), torch.tensor([0.7, -0.3, -1.0, 0.2])
    expected = {"vanilla": (0.75, 0.5), "hinge": (0.75, 0.5), "lsgan": (0.5, 0.75)}
    for kind, (on_real, on_fake) in expected.items():
        accuracy = discriminator_accuracy(real, fake, kind)  # type: ignore[arg-type]
        assert (accuracy["d_real_accuracy"], accuracy["d_fake_accuracy"]) == (on_real, on_fake)


def test_every_term_has_its_weight_in_the_settings() -> None:
    weights = {"g_adversarial": 1.0, "g_l1": 100.0, "g_l2": 0.0, "g_cross_entropy": 100.0}
    assert generator_weights(Loss()) == weights
    assert all_terms() == (*weights, "d_real", "d_fake", "d_real_accuracy", "d_fake_accuracy")
