"""Structural similarity (SSIM) of two images in [0, 1], as a map.

torchmetrics has SSIM too, and a test compares the two. This implementation exists because every training validates
SSIM, and importing torchmetrics takes 270 MB of memory and seconds of start-up (docs/log.md, 2026-11-28).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMA, RADIUS = 1.5, 5  # of the Gaussian window, in pixels: 11x11
K1, K2 = 0.01, 0.03


def ssim_map(image: Tensor, reference: Tensor) -> Tensor:
    """Return the structural similarity around every pixel of two batches (N, C, H, W) in [0, 1]; the same shape.

    Wang et al. 2004: local means, variances and covariance under a Gaussian window. Borders are mirrored. Sides must be
    longer than the radius of the window, 5.
    """
    products = torch.cat([image, reference, image * image, reference * reference, image * reference])
    mean_x, mean_y, square_x, square_y, product = _blur(products).chunk(5)
    variances = (square_x - mean_x.square()).clamp(min=0) + (square_y - mean_y.square()).clamp(min=0)
    covariance = product - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x.square() + mean_y.square() + K1**2)
    return luminance * (2 * covariance + K2**2) / (variances + K2**2)


def _blur(x: Tensor) -> Tensor:
    """Blur (N, C, H, W) by the Gaussian window, along the rows and then the columns, as sums of shifted maps.

    This is seven times as fast as convolutions of maps with one channel.
    """
    window = [math.exp(-0.5 * (distance / SIGMA) ** 2) for distance in range(-RADIUS, RADIUS + 1)]
    window = [weight / sum(window) for weight in window]
    blurred = F.pad(x, (RADIUS,) * 4, mode="reflect")
    for axis in (2, 3):
        shifted = [blurred.narrow(axis, first, x.shape[axis]) for first in range(len(window))]
        blurred = shifted[0] * window[0]
        for part, weight in zip(shifted[1:], window[1:], strict=True):
            blurred.add_(part, alpha=weight)
    return blurred
