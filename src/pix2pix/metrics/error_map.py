"""Find where an output differs from its target: error maps, and the window of the largest error."""

import math
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Errors = NDArray[np.float32]
"""(H, W): the difference of each pixel, 0 to 1; NaN where the target is unknown."""
Image = TypeVar("Image", bound=NDArray[Any])
WINDOW_SHARE = 0.25  # of the side
SMALLEST_WINDOW = 8  # pixels


class Window(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, image: Image) -> Image:
        """Return this part of (H, W, ...)."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]  # type: ignore[return-value]


def error_map(output: Tensor, target: Tensor, mask: Tensor | None = None, *, classes: bool = False) -> Errors:
    """Return the difference of each pixel of (C, H, W) in [-1, 1].

    It is the mean of |target - output| over the channels, as a share of the full range, as in `l1`. With `classes`,
    channels hold probabilities, and it is 0 where the most probable class is the target's and 1 elsewhere. `mask`
    (C, H, W) is false where the target is unknown.
    """
    known = None if mask is None else mask.numpy()
    if classes:
        wrong = (output.argmax(dim=0) != target.argmax(dim=0)).numpy().astype(np.float32)
        return wrong if known is None else np.where(known[0], wrong, np.float32(np.nan))
    difference = ((output - target).abs() / 2).numpy()
    if known is None:
        return np.asarray(difference.mean(axis=0))
    with np.errstate(invalid="ignore"):  # 0/0 is the NaN of a pixel without a known channel
        return np.asarray(np.where(known, difference, 0).sum(axis=0) / known.sum(axis=0), np.float32)


def mean_error(output: Tensor, target: Tensor, mask: Tensor | None = None, *, classes: bool = False) -> float:
    """Return the mean over the known values of (C, H, W): `l1`, or with `classes` the share of wrong pixels."""
    if classes or mask is None:
        return float(np.nanmean(error_map(output, target, mask, classes=classes)))
    return float((output - target)[mask].abs().mean()) / 2


def find_window(errors: Errors) -> Window:
    """Return the square with the largest sum of errors, of a quarter of the side; unknown pixels count as 0.

    Of an oblong image, the side is that of a square with as many pixels, but at most the shorter side.
    """
    height, width = errors.shape
    side = min(height, width, max(SMALLEST_WINDOW, round(WINDOW_SHARE * math.sqrt(height * width))))
    sums = np.pad(np.nan_to_num(errors).astype(np.float64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    totals = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(int(totals.argmax()), totals.shape)
    return Window(int(top), int(left), side, side)
