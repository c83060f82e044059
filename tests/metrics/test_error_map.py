"""Difference maps and the window of the largest error, on images with one planted error."""

from typing import Any

import numpy as np
import pytest
import torch

from pix2pix.metrics.error_map import error_map, find_window, mean_error
from pix2pix.metrics.pixel import image_metrics


@pytest.mark.parametrize(
    ("size", "error", "side"),
    [
        ((64, 64), (10, 40, 8), 16),
        ((64, 64), (60, 60, 4), 16),  # in a corner
        ((32, 400), (3, 350, 6), 28),  # oblong: a quarter of the side of a square with as many pixels
        ((8, 900), (2, 700, 4), 8),  # at most the shorter side
        ((20, 20), (5, 5, 3), 8),  # never smaller than eight pixels
        ((5, 5), (1, 1, 2), 5),
    ],
)
def test_the_window_holds_the_largest_error(size: tuple[int, int], error: tuple[int, int, int], side: int) -> None:
    errors = np.full(size, 0.01, np.float32)
    top, left, extent = error
    errors[top : top + extent, left : left + extent] = 0.8
    errors[0, 0] = np.nan
    window = find_window(errors)
    assert (window.height, window.width) == (side, side)
    assert (window.crop(errors) == np.float32(0.8)).sum() == (errors == np.float32(0.8)).sum()
    assert window.top >= 0
    assert window.left >= 0
    assert window.top + side <= size[0]
    assert window.left + side <= size[1]


@pytest.mark.parametrize("masked", [None, "pixels", "channels"])
def test_the_mean_of_a_map_is_l1(masked: Any) -> None:
    rng = torch.Generator().manual_seed(0)
    output, target = (torch.rand(3, 16, 16, generator=rng) * 2 - 1 for _ in "ab")
    mask = None
    if masked:
        mask = torch.rand(1 if masked == "pixels" else 3, 16, 16, generator=rng).gt(0.5).expand(3, -1, -1)
    errors = error_map(output, target, mask)
    batched = None if mask is None else mask[None]
    l1 = image_metrics(output[None], target[None], batched)["l1"].item()
    assert mean_error(output, target, mask) == pytest.approx(l1, rel=1e-5)
    if masked != "channels":
        assert np.nanmean(errors) == pytest.approx(l1, rel=1e-5)
    unknown = np.zeros((16, 16), bool) if mask is None else ~mask.any(dim=0).numpy()
    assert (np.isnan(errors) == unknown).all()


def test_of_classes_a_difference_is_another_class() -> None:
    target = torch.full((3, 2, 2), -1.0)
    target[0] = 1
    output = target.clone()
    output[1, 0, 0] = 1.5
    mask = torch.ones(3, 2, 2, dtype=torch.bool)
    mask[:, 1, 1] = False
    assert error_map(output, target, classes=True).tolist() == [[1, 0], [0, 0]]
    assert np.isnan(error_map(output, target, mask, classes=True)[1, 1])
    assert mean_error(output, target, mask, classes=True) == pytest.approx(1 / 3)
