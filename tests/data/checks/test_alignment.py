"""Offsets between the edges of two images are found where there is one, and nothing is claimed where there is none."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from pix2pix.data.checks.alignment import cell_size, edge_map, find_offset
from pix2pix.data.io.arrays import Array
from pix2pix.synthetic.facades import facade

SHIFT = (16, 8)  # pixels down and right: the content of a target lies lower and further right than its source's


def cells(seed: int) -> Array:
    """Draw a field of bright blobs on uneven ground, as in a fluorescence image: (256, 256, 1)."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(256, 256)), 30) * 400
    for row, column, radius in zip(*rng.integers(0, 256, (2, 25)), rng.uniform(5, 14, 25), strict=True):
        y, x = np.ogrid[:256, :256]
        field += 90 / (1 + np.exp((np.hypot(y - row, x - column) - radius) / 0.8))
    return np.clip(field + 60 + rng.normal(0, 3, field.shape), 0, 255)[..., None]


def blurred(image: Array, sigma: float) -> Array:
    return ndimage.gaussian_filter(image, (sigma, sigma, 0))


def gray(image: Array) -> Array:
    return image.mean(axis=2, keepdims=True)


def emboss(image: Array, shear: int) -> Array:
    return 128 + gray(image) - np.roll(gray(image), (shear, shear), (0, 1))


def edges(image: Array) -> Array:
    slope = np.hypot(*np.gradient(gray(image)[..., 0]))[..., None]
    return 255 * (slope > np.percentile(slope, 90))


KINDS: dict[str, Callable[[Array], Array]] = {
    "gray": gray,
    "inverted": lambda image: 255 - image,
    "blurred": lambda image: blurred(image, 2),
    "noisy": lambda image: image + np.random.default_rng(1).normal(0, 40, image.shape),
    "lines": edges,
    "mask": lambda image: 255 * (gray(blurred(image, 2)) > np.median(gray(image)) + 20),
    "four levels": lambda image: np.floor(gray(blurred(image, 1)) / 64) * 64,
    "phase contrast": lambda image: 128 + gray(image) - gray(blurred(image, 6)),
    "DIC": lambda image: emboss(image, 2),
    "DIC, wide shear": lambda image: emboss(image, 6),
    "steep contrast": lambda image: 255 * (np.clip(image, 0, 255) / 255) ** 3,
}
FAINT = ("noisy", "lines", "DIC", "DIC, wide shear")  # unclear in some images


def offset(source: Array, target: Array) -> tuple[int, int] | None:
    found, cell = find_offset(edge_map(source), edge_map(target)), cell_size(*source.shape[:2])
    return found and (found[0] * cell, found[1] * cell)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_targets(kind: str) -> None:
    """A target of any kind is aligned or unclear, and one that is shifted is found, about where it lies."""
    down, right = SHIFT
    found = 0
    for image in [*(cells(seed) for seed in range(2)), *(facade(seed)[0].astype(float) for seed in range(2))]:
        target = KINDS[kind](image)
        unshifted = offset(image, target)
        assert unshifted is None or max(map(abs, unshifted)) <= 6, unshifted
        shifted = offset(image[down:, right:], target[:-down, :-right])
        assert shifted is None or max(abs(shifted[0] - down), abs(shifted[1] - right)) <= 6, shifted
        found += shifted is not None
    assert found >= (1 if kind in FAINT else 3)


@pytest.mark.parametrize("seed", [2, 3, 11])
def test_labels_shifted_against_their_photo(seed: int) -> None:
    photo, labels = facade(seed, (300, 300))
    assert offset(photo[20:276, 20:276], labels[24:280, 12:268]) == (-4, 8)


def test_facades_are_not_shifted() -> None:
    """The default data, whose windows repeat: aligned or unclear, and photos with the labels of others are unclear."""
    drawn = [facade(seed, 128) for seed in range(48)]
    found = [offset(photo, labels) for photo, labels in drawn]
    assert sum(one is not None for one in found) > 36
    assert max(max(map(abs, one)) for one in found if one) <= 2
    crossed = [offset(drawn[n][0], drawn[n - 1][1]) for n in range(len(drawn))]
    assert sum(one is not None for one in crossed) <= 1


@pytest.mark.parametrize("size", [32, 64, 128])
def test_unrelated_textures(size: int) -> None:
    rng = np.random.default_rng(size)
    textures = [blurred(rng.normal(size=(size, size, 1)), sigma) for sigma in (0, 1, 2, 4) * 5]
    claims = [offset(one, other) for one, other in pairwise(textures)]
    assert sum(claim is not None for claim in claims) <= 1


def test_a_pattern_that_repeats_is_unclear() -> None:
    tile = blurred(np.random.default_rng(0).normal(size=(16, 16, 1)), 1)
    periodic = np.tile(tile, (16, 16, 1))
    assert offset(periodic, np.roll(periodic, 5, 0)) is None
    assert offset(periodic, periodic) is None


def test_flat_and_small_images() -> None:
    flat = np.full((256, 256, 3), 9, np.uint8)
    photo = facade(1)[0]
    assert offset(photo, flat) is None
    assert offset(flat[:100], flat[:100]) is None
    assert offset(photo[:20, :20], photo[:20, :20]) is None
