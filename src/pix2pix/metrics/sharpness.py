"""Edges, spectrum and grid of images (N, C, H, W): what pixel metrics do not see of sharpness."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BANDS = 24  # of the spectrum
GRID_PERIOD = 4  # pixels; also 2, its overtone
GRID_BLOCK = 32  # pixels; 16 where images have less than 64, for enough blocks to average over
VISIBLE = (1 / 127.5) ** 2  # power of noise of one 8-bit level in images from -1 to 1


def gradient_energy(images: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the mean squared difference of neighbours, down and across, where both are known: (N, C, H, W) -> (N,)."""
    known = torch.ones_like(images, dtype=torch.bool) if known is None else known
    total = torch.zeros(len(images))
    for side in (-2, -1):
        ends = (known.narrow(side, start, known.shape[side] - 1) for start in (0, 1))
        inside = torch.logical_and(*ends)
        total += (images.diff(dim=side).square() * inside).sum(dim=(1, 2, 3)) / inside.sum(dim=(1, 2, 3))
    return total


def radial_spectrum(images: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the frequencies of BANDS rings up to 1/2, in cycles per pixel, and the mean power of (N, C, H, W) in each.

    The mean is subtracted and the borders are faded (Hann window), since a jump at the borders would count as detail.
    """
    height, width = images.shape[-2:]
    window = torch.hann_window(height, periodic=False)[:, None] * torch.hann_window(width, periodic=False)
    faded = (images - images.mean(dim=(-2, -1), keepdim=True)) * window
    power = torch.fft.fft2(faded.double()).abs().square().mean(dim=(0, 1)) / (height * width)
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width))
    ring = (radius * 2 * BANDS).long().flatten()
    inside = ring < BANDS
    total = torch.zeros(BANDS, dtype=torch.double).index_add_(0, ring[inside], power.flatten()[inside])
    members = torch.bincount(ring[inside], minlength=BANDS)
    return (np.arange(BANDS) + 0.5) / (2 * BANDS), (total / members.clamp(min=1)).numpy()


def grid_energy(images: Tensor) -> float:
    """Return the power at a grid's frequencies over the power beside them, about 1 without a grid: (N, C, H, W) -> .

    Layers that double the sides leave patterns that repeat every 2 or 4 pixels: multiples of 1/4 cycle per pixel along
    both axes. The ratio is averaged over these 15 frequencies. The spectra are those of small blocks, each divided by
    its own power at high frequencies, so that plain areas count most.
    """
    block = GRID_BLOCK if min(images.shape[-2:]) >= 2 * GRID_BLOCK else GRID_BLOCK // 2
    level = torch.stack([_spectrum_of_plain_areas(image, block) for image in images]).sum(dim=0).log()
    down, across = ((level.roll(2, axis) + level.roll(-2, axis)) / 2 for axis in (0, 1))
    beside = (down + across) / 2
    beside[0], beside[:, 0] = across[0], down[:, 0]  # images have more power along the axes: compare along them
    step = block // GRID_PERIOD
    return float((level - beside)[::step, ::step].exp().flatten()[1:].mean())


def _spectrum_of_plain_areas(image: Tensor, block: int) -> Tensor:
    """Return the sum of the spectra (block, block) of the overlapping blocks of an image (C, H, W), weighted."""
    blocks = image.float().unfold(1, block, block // 2).unfold(2, block, block // 2)  # (C, down, across, block, block)
    window = torch.hann_window(block)[:, None] * torch.hann_window(block)
    faded = (blocks - blocks.mean(dim=(-2, -1), keepdim=True)) * window / window.square().sum().sqrt()
    power = torch.fft.fft2(faded).abs().square().mean(dim=0).flatten(0, 1) + VISIBLE
    step = block // GRID_PERIOD
    high = slice(block // 4, block - block // 4)  # above 1/4 cycle per pixel along both axes
    fine = power[:, high, high].unflatten(2, (-1, step)).unflatten(1, (-1, step))
    between = fine[:, :, 2 : step - 1, :, 2 : step - 1].mean(dim=(1, 2, 3, 4))  # without the grid's frequencies
    return (power / between[:, None, None]).sum(dim=0)
