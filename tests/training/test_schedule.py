"""Learning rates and seeds are functions of the progress alone."""

import itertools

import pytest
import torch

from pix2pix.config import Optimizer
from pix2pix.training.schedule import learning_rate, seed_step, step_seed


def test_linear_rate_reaches_zero_after_the_last_epoch() -> None:
    settings = Optimizer(schedule="linear")
    rates = [learning_rate(settings, epoch, 200) for epoch in range(200)]
    assert rates[:100] == [2e-4] * 100
    assert all(earlier > later > 0 for earlier, later in itertools.pairwise(rates[99:]))
    assert rates[199] == pytest.approx(2e-4 / 101)
    assert {learning_rate(Optimizer(), epoch, 200) for epoch in range(200)} == {2e-4}


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
