"""Learning rates, decays, objectives and seeds are functions of the progress alone."""

import itertools

import pytest
import torch

from pix2pix.config import Config, Optimizer, Training
from pix2pix.training.ema import ema_decay
from pix2pix.training.schedule import learning_rates, loss_of_epoch, seed_step, step_seed


def test_linear_rate_reaches_zero_after_the_last_epoch() -> None:
    settings = Optimizer(schedule="linear")
    rates, of_d = zip(*(learning_rates(settings, epoch, 200, 0) for epoch in range(200)), strict=True)
    assert rates == of_d
    assert rates[:100] == (2e-4,) * 100
    assert all(earlier > later > 0 for earlier, later in itertools.pairwise(rates[99:]))
    assert rates[199] == pytest.approx(2e-4 / 101)
    assert {learning_rates(Optimizer(), epoch, 200, 0) for epoch in range(200)} == {(2e-4, 2e-4)}


def test_both_rates_rise_from_zero_and_keep_their_ratio() -> None:
    for schedule in ("constant", "linear"):
        settings = Optimizer(learning_rate=1e-3, discriminator_learning_rate=4e-3, warmup_images=100, schedule=schedule)
        rates = [learning_rates(settings, 0, 10, seen) for seen in (0, 1, 50, 100, 1000)]
        assert [rate.generator for rate in rates] == pytest.approx([0, 1e-5, 5e-4, 1e-3, 1e-3])
        assert [rate.discriminator for rate in rates] == pytest.approx([0, 4e-5, 2e-3, 4e-3, 4e-3])
    late = learning_rates(settings, 9, 10, 50)
    assert late.generator == pytest.approx(1e-3 / 6 / 2), "linear and rising at once"


def test_the_average_forgets_the_first_weights() -> None:
    """Half of it is younger than the half-life, which is at most a twentieth of the pairs seen."""
    training = Training(ema_images=100)
    assert ema_decay(training, 4, 0) == 0, "after the first step it is the network"
    assert ema_decay(training, 4, 400) == pytest.approx(0.5 ** (4 / 20))
    assert ema_decay(training, 4, 10_000) ** 25 == pytest.approx(0.5)
    assert ema_decay(training, 8, 10_000) == pytest.approx(ema_decay(training, 4, 10_000) ** 2)
    assert ema_decay(Training(ema=0.9), 4, 0) == 0.9


@pytest.mark.parametrize(("share", "epochs", "first"), [(0.1, 200, 20), (0.1, 3, 1), (0.34, 3, 1), (0.0, 9, 0)])
def test_reconstruction_first_is_a_share_of_the_epochs(share: float, epochs: int, first: int) -> None:
    config = Config.model_validate({"training": {"epochs": epochs, "reconstruction_first": share}})
    without = [epoch for epoch in range(epochs) if not loss_of_epoch(config, epoch).adversarial_weight]
    assert without == list(range(first))
    assert loss_of_epoch(config, first) is config.loss
    assert loss_of_epoch(config, 0).l1_weight == config.loss.l1_weight


def test_every_step_and_rank_has_a_seed_of_its_own() -> None:
    seeds = [step_seed(0, step, rank) for step in range(50) for rank in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert step_seed(0, 7) == step_seed(0, 7, rank=0) != step_seed(1, 7)
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_a_seeded_step_draws_the_same_numbers() -> None:
    drawn = []
    for step in (3, 4, 3):
        seed_step(step_seed(0, step), torch.device("cpu"))
        drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
