"""Curves of which it is known what should be said."""

from collections.abc import Callable

import pytest

from pix2pix.reports.advice import advise
from pix2pix.reports.curves import Row

Curve = Callable[[int], float]


def rows(train: Curve, val: Curve, accuracy: Curve, epochs: int = 30, rate: Curve = lambda epoch: 2e-4) -> list[Row]:
    found = []
    for epoch in range(1, epochs + 1):
        sure = {"d_real_accuracy": accuracy(epoch), "d_fake_accuracy": accuracy(epoch)}
        for split, values in (
            ("train", {"g_l1": train(epoch), **sure}),
            ("val", {"g_l1": val(epoch), "l1": val(epoch)}),
        ):
            found.append(Row(100 * epoch, epoch, epoch, split, 1.0, rate(epoch), 5.0, values))
    return found


def falling(epoch: int) -> float:
    return 0.3 + 0.3 * 0.9**epoch


@pytest.mark.parametrize(
    ("val", "accuracy", "said"),
    [
        (lambda n: 0.3, lambda n: 0.7, []),
        (lambda n: 0.3, lambda n: 1.0 if n >= 12 else 0.7, ["Since epoch 12: The discriminator is saturated"]),
        (lambda n: 0.3 + 0.01 * abs(n - 10), lambda n: 0.7, ["Overfitting begins around epoch 1"]),
        (lambda n: 0.3 if n == 29 else 0.4 + 0.01 * abs(n - 10), lambda n: 0.7, []),  # the newest are the best yet
        (lambda n: 1 / n, lambda n: 0.7, ["l1 is still improving"]),
        (lambda n: 0.01 if n == 20 else 1 / n, lambda n: 0.7, []),  # after the best epoch
    ],
)
def test_what_is_said(val: Curve, accuracy: Curve, said: list[str]) -> None:
    found = advise(rows(falling, val, accuracy), "l1", 0)
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


def test_a_falling_rate_is_no_reason_for_more_epochs() -> None:
    assert advise(rows(falling, lambda n: 1 / n, lambda n: 0.7, rate=lambda n: 1e-5 * (31 - n)), "l1", 0) == []


def test_overfitting_comes_with_no_advice_to_go_on() -> None:
    found = rows(falling, lambda n: 0.3 + 0.01 * abs(n - 10), lambda n: 0.7)
    for row in found:
        row.values["ssim"] = row.epoch / 100
    overfitting, improving = advise(found, "ssim", 0)
    assert overfitting.startswith("Overfitting begins")
    assert improving == "Validation ssim is still improving in the newest epochs, although the L1 rises."


def test_a_young_run_says_nothing() -> None:
    assert advise(rows(falling, falling, lambda n: 1.0, epochs=2), "last", 0) == []


def test_skipped_steps_and_past_alarms_are_told() -> None:
    found = rows(falling, lambda n: 0.3, lambda n: 0.7)
    found[8].values["skipped_steps"] = 2
    found[10].values["alarm_saturated"] = 1
    skipped, past = advise(found, "l1", 0)
    assert skipped.startswith("2 steps skipped in 1 epoch (first in epoch 5)")
    assert past.startswith("Between epochs 6 and 6, but not at the end: The discriminator is saturated")
