"""Find the colours of the classes of label maps, also of those whose compression has mixed them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.io.arrays import Pixels

Colour = tuple[int, ...]
MOST_CLASSES = 64
CLASS_RADIUS = 30.0
"""Gray levels. In lossy files, a class includes all colours within this distance."""
FLAT_LEVELS = 12  # a larger difference of neighbours is an edge, where lossy files mix colours
RAREST_CLASS = 5e-4  # share of the flat pixels
# A label map has EXPLAINED_SHARE of its flat pixels within NEAR_LEVELS of their class's colour. A photo does not.
NEAR_LEVELS = 12.0
EXPLAINED_SHARE = 0.75


def find_main_colours(maps: Sequence[Pixels]) -> list[Colour]:
    """Return the classes' colours of label maps (H, W, 1 or 3), most frequent first; none where they look like photos.

    If the maps have few different colours, these are the classes. Otherwise the maps are lossy (JPEG): colours are
    counted in flat areas, and a class includes the colours near its most frequent one.
    """
    exact = _count_colours(np.concatenate([pixels.reshape(-1, pixels.shape[2]) for pixels in maps]))
    return [colour for colour, _ in exact] if len(exact) <= MOST_CLASSES else _find_lossy_palette(maps)


def _find_lossy_palette(maps: Sequence[Pixels]) -> list[Colour]:
    """Return the colours of lossy label maps; none where the maps look like photos."""
    flat = np.concatenate([pixels[_flat_pixels(pixels)] for pixels in maps])
    found = _cluster_colours(_count_colours(flat))
    if not 2 <= len(found) <= MOST_CLASSES:
        return []
    explained = (colour_distances(flat, found).min(axis=-1) < NEAR_LEVELS).mean()
    return found if explained >= EXPLAINED_SHARE else []


def _count_colours(colours: NDArray[np.uint8]) -> list[tuple[Colour, int]]:
    """Return the different colours of (n, C) and their counts, most frequent first."""
    if not len(colours):
        return []
    packed = colours.astype(np.uint32) @ (256 ** np.arange(colours.shape[1], dtype=np.uint32))
    values, counts = np.unique(packed, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    channels = colours.shape[1]
    return [(tuple(int(values[n]) >> 8 * c & 255 for c in range(channels)), int(counts[n])) for n in order]


def _flat_pixels(pixels: Pixels) -> NDArray[np.bool_]:
    """Return where all eight neighbours have nearly the same colour: (H, W, C) -> (H, W)."""
    lowest = highest = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), "edge")
    for axis in (0, 1):
        count = lowest.shape[axis] - 2
        shifted = [np.arange(start, start + count) for start in range(3)]
        lowest = np.minimum.reduce([lowest.take(at, axis) for at in shifted])
        highest = np.maximum.reduce([highest.take(at, axis) for at in shifted])
    contrast = highest - lowest
    flat: NDArray[np.bool_] = contrast.max(axis=2) <= FLAT_LEVELS
    return flat


def _cluster_colours(counted: list[tuple[Colour, int]]) -> list[Colour]:
    """Cluster greedily: the most frequent colour absorbs all within CLASS_RADIUS, until only rare ones are left."""
    if not counted:
        return []
    colours = np.array([colour for colour, _ in counted], np.float64)
    counts = np.array([count for _, count in counted], np.float64)
    total = counts.sum()
    found: list[Colour] = []
    while len(found) <= MOST_CLASSES and counts.any():
        near = np.linalg.norm(colours - colours[counts.argmax()], axis=1) <= CLASS_RADIUS
        weight = counts * near
        if weight.sum() < RAREST_CLASS * total:
            break
        mean = (weight @ colours) / weight.sum()
        near |= np.linalg.norm(colours - mean, axis=1) <= CLASS_RADIUS
        found.append(tuple(round(float(level)) for level in mean))
        counts = np.where(near, 0, counts)
    return found


def colour_distances(pixels: Pixels, palette: Sequence[Colour]) -> NDArray[np.float64]:
    """Return the distance of each pixel to each colour of the palette: (..., C) -> (..., K)."""
    return np.stack([np.linalg.norm(pixels - np.array(colour, np.float64), axis=-1) for colour in palette], axis=-1)
