"""Derive a pair from a photo, (H, W, C) uint8: the source is its edges, grayscale, low resolution, or has holes."""

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pix2pix.config import Make
from pix2pix.data.encoding.background import lay_over, opacity_of, parse_colour, type_limits
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels, pil_to_array, to_pil, with_channels
from pix2pix.errors import DataError

Mask = NDArray[np.bool_]  # (H, W)
HOLE = 128  # mid-gray: unlike white and black, no photo has large areas of exactly it


def derive_pair(photo: Path, name: str, settings: Make) -> tuple[Pixels, Pixels]:
    """Read a photo and derive source and target of one size. Holes depend on `name`. Raises DataError."""
    pixels = _read_opaque(photo, settings.background)
    if settings.kind == "gray" and pixels.shape[2] == 1:
        raise DataError(f"{photo}: is gray already; --kind gray needs photos in colour")
    target = with_channels(pixels, settings.channels)
    if settings.size is not None:
        target = _shrink_and_crop(target, settings.size, photo)
    match settings.kind:
        case "edges":
            edges = find_edges(target, sigma=settings.sigma, low=settings.low, high=settings.high)
            source = np.where(edges, np.uint8(0), np.uint8(255))[..., None]  # black on white, like a drawing
        case "gray":
            source = with_channels(target, 1)
        case "lowres":
            height, width, _ = target.shape
            small = (height // settings.factor, width // settings.factor)
            if not min(small):
                raise DataError(f"{photo}: is {height}x{width}, too small for --factor {settings.factor}")
            source = _resize(_resize(target, small), (height, width))
        case "mask":
            seed = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big")
            holes = draw_holes(np.random.default_rng([settings.seed, seed]), target.shape[:2], settings.holes)
            source = np.where(holes[..., None], np.uint8(HOLE), target)
    return source, target


def _read_opaque(photo: Path, background: str | None) -> Pixels:
    """Read (H, W, 1 or 3), transparent pixels laid over a background. Raises DataError."""
    pixels = images.read(photo, alpha=True)
    has_alpha = pixels.shape[2] > images.probe(photo).channels
    colours = pixels[..., :-1] if has_alpha else pixels
    if pixels.dtype != np.uint8 or colours.shape[2] not in (1, 3):
        raise DataError(f"{photo}: is not an 8-bit photo in gray or RGB: convert it to one")
    limits = type_limits(pixels)
    if not has_alpha or pixels[..., -1].min() == limits[1]:
        return np.ascontiguousarray(colours)
    if background is None:
        raise DataError(f"{photo}: has transparency: --background white lays such photos over white")
    return lay_over(colours, opacity_of(pixels, limits), parse_colour(background), limits)


def find_edges(pixels: Pixels, *, sigma: float, low: float, high: float) -> Mask:
    """Find edges (Canny 1986), one pixel wide; `sigma` is in pixels, `low` and `high` are thresholds of the contrast.

    An edge exceeds `high` somewhere and `low` everywhere. Contrasts are shares of the full range: a straight step by
    `c` has contrast `c` for every sigma. All channels are searched, so that two colours of equal brightness have an
    edge between them.
    """
    from skimage.feature import canny
    from skimage.morphology import thin

    steps = np.exp(-0.5 * (np.arange(-99, 100) / sigma) ** 2)
    unit = 4 * (steps[99] + steps[100]) / steps.sum()  # skimage's gradient at a straight step from 0 to 1
    padded = np.pad(pixels, [(2, 2), (2, 2), (0, 0)], "symmetric")  # canny finds no edges in the outermost pixels
    planes = np.moveaxis(padded, 2, 0) / np.float32(255 * unit)
    edges = np.logical_or.reduce([canny(plane, sigma, low, high, mode="nearest") for plane in planes])
    thinned: Mask = thin(edges)  # the edges of the channels may lie a pixel apart
    return thinned[2:-2, 2:-2]


def draw_holes(rng: np.random.Generator, size: tuple[int, int], mean_share: float) -> Mask:
    """Draw rectangles and brush strokes on (H, W) until they cover a random share, 0.5 to 1.5 times `mean_share`."""
    height, width = size
    side = min(size)
    goal = rng.uniform(0.5, 1.5) * mean_share
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    while (holes := np.asarray(canvas) > 0).mean() < goal:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if rng.random() < 0.5:
            half_width, half_height = rng.uniform(0.04, 0.15, 2) * side
            draw.rectangle((x - half_width, y - half_height, x + half_width, y + half_height), fill=255)
        else:
            _draw_stroke(draw, rng, x, y, side)
    return holes


def _draw_stroke(draw: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, side: int) -> None:
    """Draw a few straight lines with a round brush, beginning at (x, y); each turns a little from the last."""
    radius, angle = rng.uniform(0.015, 0.05) * side, rng.uniform(0, 2 * np.pi)
    points = [(x, y)]
    for _ in range(rng.integers(3, 9)):
        angle += rng.uniform(-1, 1)
        length = rng.uniform(0.05, 0.2) * side
        x, y = x + length * np.cos(angle), y + length * np.sin(angle)
        points.append((x, y))
    draw.line(points, fill=255, width=max(1, round(2 * radius)))
    for x, y in points:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def _shrink_and_crop(pixels: Pixels, size: tuple[int, int], photo: Path) -> Pixels:
    """Shrink (H, W, C) until it just covers `size`, and crop the centre. Raises DataError if it is smaller."""
    height, width = pixels.shape[:2]
    if height < size[0] or width < size[1]:
        raise DataError(f"{photo}: is {height}x{width}, smaller than --size {size[0]}x{size[1]}; it is not enlarged")
    scale = max(size[0] / height, size[1] / width)
    covering = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    resized = _resize(pixels, covering)
    top, left = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    return np.ascontiguousarray(resized[top : top + size[0], left : left + size[1]])


def _resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize (H, W, C) to (*size, C), bicubic, antialiased."""
    return pil_to_array(to_pil(pixels).resize(size[::-1], Image.Resampling.BICUBIC))
