"""Pictures of pages: how large they are, and that colours mean what the legend says."""

import numpy as np
import pytest

from pix2pix.metrics.error_map import Window
from pix2pix.reports.pictures import LARGEST_SIDE, Scale, colour, error_view, shrink, view


@pytest.mark.parametrize(
    ("errors", "limit", "ticks"),
    [
        ([0.0], 0.01, ["0", "0.005 (0.5)", "0.01 (1) or more"]),
        ([0.011], 0.02, ["0", "0.01 (1)", "0.02 (2) or more"]),
        ([0.15] * 99 + [0.9], 0.2, ["0", "0.1 (10)", "0.2 (20) or more"]),  # one percent may be beyond the end
        ([0.15, 0.9], 1.0, ["0", "0.5 (50)", "1 (100)"]),
        ([0.04, np.nan], 0.05, ["0", "0.025 (2.5)", "0.05 (5) or more"]),
        ([1.5], 1.0, ["0", "0.5 (50)", "1 (100)"]),  # a target may be outside of its range
    ],
)
def test_the_scale_covers_the_errors_and_its_legend_says_so(
    errors: list[float], limit: float, ticks: list[str]
) -> None:
    image = np.array([errors], np.float32)
    scale = Scale.of([error_view(image, Window(0, 0, 1, 1))], classes=False, span=100.0)
    assert (scale.limit, scale.ticks, scale.unknown) == (limit, ticks, bool(np.isnan(image).any()))
    shares = np.array([[0, limit / 2, limit, 2 * limit, np.nan]], np.float32)
    drawn = colour(shares, scale.limit)[0].tolist()
    strip = scale.strip[0].tolist()
    assert drawn == [strip[0], strip[128], strip[-1], strip[-1], [128, 128, 128]]
    assert (np.diff(scale.strip[0].astype(int) @ [0.2126, 0.7152, 0.0722]) > -1).all()  # ever brighter


def test_the_legend_has_the_targets_units_or_two_classes() -> None:
    assert Scale(1.0, 65535.0, False, False).ticks == ["0", "0.5 (32,768)", "1 (65,535)"]
    assert Scale(0.3, None, False, False).ticks == ["0", "0.15", "0.3 or more"]
    scale = Scale.of([error_view(np.ones((2, 2), np.float32), Window(0, 0, 1, 1))], classes=True, span=None)
    assert (scale.limit, scale.ticks) == (1.0, ["right class", "wrong class"])


@pytest.mark.parametrize(
    ("size", "shown"), [((300, 200), (300, 200)), ((1024, 512), (512, 256)), ((2, 4096), (1, 512))]
)
def test_large_images_are_shrunk_and_their_windows_are_not(size: tuple[int, int], shown: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    image[:, ::2] = 200
    window = Window(0, 0, min(size), min(size))
    drawn = view(image, window)
    assert drawn.whole.shape[:2] == shown
    assert drawn.zoom.shape[:2] == tuple(min(side, LARGEST_SIDE) for side in (window.height, window.width))
    labels = shrink(image[..., :1], labels=True)
    assert labels.shape == (*shown, 1)
    assert set(np.unique(labels)) <= {0, 200}  # no class is mixed from two
    errors = np.where(image[..., 0] > 0, 0.4, np.nan if shown == size else 0.0).astype(np.float32)
    assert np.nanmean(error_view(errors, window).whole) == pytest.approx(np.nanmean(errors), rel=0.01)
