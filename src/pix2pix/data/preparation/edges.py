"""A picture in, its outlines out: (H, W, C) uint8 -> (H, W) bool, one pixel wide (Canny 1986).

Gaussian, gradient, thinning across the edge, hysteresis along it. Thresholds are contrasts in [0, 1]: a straight
step by `c` of the full range has strength `c`, whatever the sigma.
"""

import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]  # (H, W)
Mask = NDArray[np.bool_]  # (H, W)


def outlines(pixels: Pixels, *, sigma: float, low: float, high: float) -> Mask:
    """Edges that are somewhere as strong as `high` and nowhere weaker than `low`; sigma in pixels."""
    strength, dy, dx = gradient(pixels, sigma)
    return slim(connected(thinned(strength, dy, dx, low), strength >= high))


def gradient(pixels: Pixels, sigma: float) -> tuple[Plane, Plane, Plane]:
    """(H, W, C) -> strength and gradient (dy, dx) of the smoothed picture, each (H, W).

    Every pixel takes the gradient of its steepest channel, so that two colours of one brightness have an edge too.
    """
    smooth = _smoothing(sigma)
    best: tuple[Plane, Plane, Plane] | None = None
    for channel in range(pixels.shape[2]):
        plane = _along(_along(np.float32(1 / 255) * pixels[..., channel], smooth, 0), smooth, 1)
        dy, dx = _sobel(plane, 0), _sobel(plane, 1)
        strength = np.hypot(dy, dx)
        if best is None:
            best = strength, dy, dx
        else:
            steeper = strength > best[0]
            for old, new in zip(best, (strength, dy, dx), strict=True):
                np.copyto(old, new, where=steeper)
    assert best is not None, "a picture has channels"
    unit = _step_response(smooth)
    return best[0] / unit, best[1], best[2]


def thinned(strength: Plane, dy: Plane, dx: Plane, low: float) -> Mask:
    """Where `strength` is at least `low` and a maximum along the gradient (dy, dx).

    The two neighbours it is held against lie one step along the gradient, between pixels, and are interpolated.
    Of two equal maxima side by side, as at a step between two pixels, one is kept.
    """
    height, width = strength.shape
    padded = np.pad(strength, 1)
    y, x = np.nonzero(strength >= low)
    here, down, right = strength[y, x], dy[y, x], dx[y, x]
    steep = np.abs(down) >= np.abs(right)
    long, short = np.where(steep, down, right), np.where(steep, right, down)
    with np.errstate(divide="ignore", invalid="ignore"):
        slant = np.nan_to_num(np.abs(short / long))  # in [0, 1]
    step_y, step_x = np.sign(down).astype(np.intp), np.sign(right).astype(np.intp)
    side_y, side_x = np.where(steep, step_y, 0), np.where(steep, 0, step_x)

    def beyond(sign: int) -> Plane:
        straight = padded[y + 1 + sign * side_y, x + 1 + sign * side_x]
        diagonal = padded[y + 1 + sign * step_y, x + 1 + sign * step_x]
        return straight + slant * (diagonal - straight)

    margin = np.float32(1e-5)  # rounding must not decide between two equal maxima
    peaks = (here > beyond(1) + margin) & (here >= beyond(-1) - margin)
    kept = np.zeros((height, width), bool)
    kept[y[peaks], x[peaks]] = True
    return kept


def connected(candidates: Mask, strong: Mask) -> Mask:
    """The candidates that touch a strong candidate, at a side or a corner, directly or through other candidates."""
    height, width = candidates.shape
    row = width + 2  # a border keeps neighbours from wrapping round
    open_ = np.pad(candidates, 1).ravel()
    found = np.zeros_like(open_)
    front = np.flatnonzero(np.pad(candidates & strong, 1))
    around = np.array([-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1])
    while front.size:
        found[front], open_[front] = True, False
        near = (front[:, None] + around).ravel()
        front = np.unique(near[open_[near]])
    return found.reshape(height + 2, row)[1:-1, 1:-1]


def slim(lines: Mask) -> Mask:
    """The same lines without the inner corners of stairs: a slanted line goes from pixel to pixel over corners."""
    padded = np.pad(lines, 1)
    for _ in range(4):
        up, left = padded[:-2, 1:-1], padded[1:-1, :-2]
        away = padded[2:, 1:-1] | padded[1:-1, 2:] | padded[2:, 2:]
        padded[1:-1, 1:-1] &= ~(up & left & ~away)  # up and left touch each other
        padded = np.rot90(padded)
    return padded[1:-1, 1:-1]


# ---- filters -----------------------------------------------------------------------------------------------------


def _smoothing(sigma: float) -> Plane:
    """Gaussian of `sigma` pixels, cut at four sigma, (2r+1,), sum 1."""
    radius = max(1, math.ceil(4 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return (weights / weights.sum()).astype(np.float32)


def _along(plane: Plane, kernel: Plane, axis: int) -> Plane:
    """Correlation along one axis; beyond the border the picture is mirrored, so that the border is no edge."""
    radius = len(kernel) // 2
    length = plane.shape[axis]
    padded = np.pad(plane, [(radius, radius) if side == axis else (0, 0) for side in (0, 1)], "symmetric")
    slices = (padded[i : i + length] if axis == 0 else padded[:, i : i + length] for i in range(len(kernel)))
    result = np.zeros_like(plane)
    for weight, part in zip(kernel, slices, strict=True):
        result += weight * part
    return result


def _sobel(plane: Plane, axis: int) -> Plane:
    """Change per pixel along `axis`, averaged across it with weights 1 2 1."""
    difference = np.array([-0.5, 0, 0.5], np.float32)
    return _along(_along(plane, difference, axis), np.array([0.25, 0.5, 0.25], np.float32), 1 - axis)


def _step_response(smooth: Plane) -> float:
    """Change per pixel beside a straight step from 0 to 1, after smoothing: the unit of strength."""
    step = np.repeat(np.array([0, 1], np.float32), len(smooth) + 2)[None]
    return float(_sobel(_along(step, smooth, 1), 1).max())
