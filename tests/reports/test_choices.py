"""Which images stand for a metric, and for a difference of runs."""

import math

import numpy as np
import pytest

from pix2pix.reports.differing import choose_differing, count_best
from pix2pix.reports.examples import choose_examples

L1 = [0.3, 0.1, 0.5, 0.2, 0.4]
SSIM = [0.9, 0.1, 0.8, 0.3, math.nan]


def titled(scores: list[dict[str, float]], metric: str) -> dict[str, int]:
    return {
        title: index
        for index, standings in choose_examples(scores).items()
        if metric in standings
        for title in standings[metric].titles
    }


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("l1", L1, {"best": 1, "median": 0, "worst": 2}),
        ("ssim", SSIM, {"best": 0, "median": 2, "worst": 1}),  # higher is better; NaN is left out
        ("psnr", [20, math.inf, 5], {"best": 1, "median": 0, "worst": 2}),
        ("pixel_accuracy", [0.5, 0.9], {"best": 1, "worst": 0}),
        ("l1", [0.2], {"only image": 0}),
        ("l1", [0.1] * 4, {"best": 0, "median": 1, "worst": 3}),  # no image is shown twice where all are equal
    ],
)
def test_best_median_and_worst(metric: str, values: list[float], expected: dict[str, int]) -> None:
    assert titled([{metric: value} for value in values], metric) == expected


def test_images_have_their_places_by_all_metrics() -> None:
    scores = [{"l1": l1, "l2": l1**2, "ssim": ssim} for l1, ssim in zip(L1, SSIM, strict=True)]
    chosen = choose_examples(scores)
    assert list(chosen) == [1, 0, 2]  # by l1; image 4 is none of the three by any metric
    assert {name: (one.rank, one.of, one.titles) for name, one in chosen[0].items()} == {
        "l1": (3, 5, ("median",)),
        "ssim": (1, 4, ("best",)),
    }  # l2 sorts as psnr does
    assert choose_examples([]) == {}


def test_images_for_which_runs_differ_most() -> None:
    runs = {
        "a": {"l1": np.array([0.1, 0.2, 0.3]), "psnr": np.array([20.0, np.inf, 11.0]), "g_l1": np.zeros(3)},
        "b": {"l1": np.array([0.1, 0.5, 0.2]), "psnr": np.array([20.0, 10.0, 13.0]), "ssim": np.zeros(3)},
    }
    assert choose_differing(runs) == {1: ["l1"], 2: ["psnr"]}  # infinity has no distance
    assert count_best(runs) == {"l1": {"a": 1, "b": 1}, "psnr": {"a": 1, "b": 1}}
    assert choose_differing({"a": runs["a"], "b": runs["a"]}) == {}
    assert choose_differing({"a": {"l1": np.array([])}, "b": {"l1": np.array([])}}) == {}
    assert count_best({"a": {"l1": np.array([np.nan])}, "b": {"l1": np.array([np.nan])}})["l1"] == {"a": 0, "b": 0}
