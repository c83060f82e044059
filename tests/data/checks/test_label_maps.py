"""Label maps are told from photos, drawings and noise of as few colours."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from pix2pix.data.checks.label_maps import list_colours
from pix2pix.data.io.arrays import Pixels
from pix2pix.synthetic.facades import facade

RNG = np.random.default_rng(0)
PHOTO, LABELS = facade(5, 256)
SMOOTH = ndimage.gaussian_filter(RNG.normal(size=(256, 256)), 12)
SMOOTH = 255 * (SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH)
Y, X = np.mgrid[:256, :256]


def one_channel(values: np.ndarray) -> Pixels:
    return np.asarray(values, np.uint8)[..., None]


def posterised(levels: int, image: np.ndarray = SMOOTH) -> Pixels:
    return one_channel(np.floor(image / 256 * levels) * (255 // levels))


def as_rgb(values: Pixels) -> Pixels:
    return np.repeat(values, 3, axis=2)


def jpeg(values: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def adaptive_palette(values: Pixels, colours: int) -> Pixels:
    return np.asarray(Image.fromarray(values).quantize(colours).convert("RGB"))


NUCLEI = np.hypot(Y % 64 - 32, X % 64 - 32)
NOISY_GRAY = PHOTO.mean(axis=2) + RNG.normal(0, 8, PHOTO.shape[:2])

KINDS: dict[str, tuple[Pixels, bool]] = {
    "label map": (LABELS, True),
    "mask of 0 and 1": (one_channel(NUCLEI < 20), True),
    "nested classes": (one_channel(np.digitize(-NUCLEI, [-26, -12])), True),
    "numbered instances": (one_channel((NUCLEI < 20) * (1 + Y // 64 * 4 + X // 64)), True),
    "broad strokes": (one_channel(255 * (np.abs(NUCLEI - 20) < 4)), True),
    "202 grays": (one_channel(SMOOTH * 201 / 255), False),
    "202 grays as RGB": (as_rgb(one_channel(SMOOTH * 201 / 255)), False),
    "gray photo of 6 levels": (posterised(6), False),
    "gray photo of 16 levels as RGB": (as_rgb(posterised(16)), False),
    "noisy gray photo of 4 levels": (posterised(4, np.clip(NOISY_GRAY, 0, 255)), False),
    "photo of 64 colours, dithered": (adaptive_palette(PHOTO + RNG.integers(0, 20, PHOTO.shape, np.uint8), 64), False),
    "edges": (one_channel(255 * (np.abs(NUCLEI - 20) < 0.7)), False),
    "edges 2 pixels wide": (one_channel(255 * (np.abs(NUCLEI - 20) < 1)), False),
    "halftone": (one_channel(255 * (RNG.uniform(size=(256, 256)) < SMOOTH / 255)), False),
    "label map in JPEG": (jpeg(LABELS, 90), False),  # its colours are not the classes
    "mask in JPEG": (jpeg(as_rgb(one_channel(255 * (NUCLEI < 20))), 75), False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str) -> None:
    image, is_label_map = KINDS[kind]
    assert (list_colours(image) is not None) == is_label_map


def test_flat_and_tiny_images() -> None:
    assert list_colours(np.full((8, 8, 1), 7, np.uint8)) == ("07",)
    assert list_colours(np.zeros((2, 8, 1), np.uint8)) is None
