"""Find the palette of label maps, the colours of their classes, and the class of every pixel."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pix2pix.data.io.arrays import Pixels
from pix2pix.data.loading.dataset import read_pair
from pix2pix.data.pairing.pair import Pair
from pix2pix.errors import ConfigError, DataError
from pix2pix.metrics.diagnostics import choose_evenly
from pix2pix.system.reading import read_text

Colour = tuple[int, ...]
SAMPLED_MAPS = 60
MOST_CLASSES = 64
CLASS_RADIUS = 30.0
"""Gray levels. In lossy files, a class includes all colours within this distance."""
FLAT_LEVELS = 12  # a larger difference of neighbours is an edge, where lossy files mix colours
RAREST_CLASS = 5e-4  # share of the flat pixels
# A label map has EXPLAINED_SHARE of its flat pixels within NEAR_LEVELS of their class's colour. A photo does not.
NEAR_LEVELS = 12.0
EXPLAINED_SHARE = 0.75


def parse_palette(text: str) -> list[Colour]:
    """Read `#0000ff,#ff5500`, or a file with one such colour on each line. Raises ConfigError."""
    path = Path(text)
    try:
        words = read_text(path).split() if path.is_file() else text.split(",")
        colours = [tuple(bytes.fromhex(word.strip().removeprefix("#"))) for word in words if word.strip()]
    except ValueError:
        colours = []
    if len(colours) < 2 or len({len(colour) for colour in colours}) > 1 or len(set(colours)) < len(colours):
        raise ConfigError(
            f"--palette {text}: expected two or more different colours, such as #0000ff,#ff5500, or a file with one "
            "on each line"
        )
    return colours


def format_palette(palette: Sequence[Colour]) -> str:
    """Return what `parse_palette` reads."""
    return ",".join("#" + bytes(colour).hex() for colour in palette)


def find_palette(pairs: Sequence[Pair]) -> list[Colour]:
    """Find the classes' colours in the sources of some training pairs, most frequent first.

    If the maps have few different colours, these are the classes. Otherwise the maps are lossy (JPEG): colours are
    counted in flat areas, and a class includes the colours near its most frequent one. Raises DataError if the sources
    are not label maps.
    """
    maps = [read_pair(pairs[index], any_size=True)[0] for index in choose_evenly(len(pairs), SAMPLED_MAPS)]
    found: list[Colour] = []
    if all(pixels.dtype == np.uint8 and pixels.shape[2] <= 3 for pixels in maps):
        exact = _count_colours(np.concatenate([pixels.reshape(-1, pixels.shape[2]) for pixels in maps]))
        found = [colour for colour, _ in exact] if len(exact) <= MOST_CLASSES else _find_lossy_palette(maps)
    if len(found) < 2:
        raise DataError(
            f"{pairs[0].source.path}: the sources are not label maps of 2 to {MOST_CLASSES} colours, which a segmenter "
            "needs; give the colours with --palette, or drop --segmenter"
        )
    return found


def label_pixels(pair: Pair, palette: Sequence[Colour], size: tuple[int, int]) -> Tensor:
    """Return the classes (H, W) of the source of a pair: the nearest colour of each pixel, resized without mixing."""
    source = read_pair(pair, any_size=True)[0]
    if source.shape[2] != len(palette[0]):
        raise DataError(f"{pair.source.path}: has {source.shape[2]} channels, but the palette has {len(palette[0])}")
    classes = torch.from_numpy(_colour_distances(source, palette).argmin(axis=-1))
    return F.interpolate(classes[None, None].double(), size, mode="nearest-exact")[0, 0].long()


def _find_lossy_palette(maps: Sequence[Pixels]) -> list[Colour]:
    """Return the colours of lossy label maps; none where the maps look like photos."""
    flat = np.concatenate([pixels[_flat_pixels(pixels)] for pixels in maps])
    found = _cluster_colours(_count_colours(flat))
    if not 2 <= len(found) <= MOST_CLASSES:
        return []
    explained = (_colour_distances(flat, found).min(axis=-1) < NEAR_LEVELS).mean()
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
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float()[None]
    contrast = F.max_pool2d(image, 3, 1, 1) + F.max_pool2d(-image, 3, 1, 1)
    flat: NDArray[np.bool_] = (contrast.amax(dim=1)[0] <= FLAT_LEVELS).numpy()
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


def _colour_distances(pixels: Pixels, palette: Sequence[Colour]) -> NDArray[np.float64]:
    """Return the distance of each pixel to each colour of the palette: (..., C) -> (..., K)."""
    return np.stack([np.linalg.norm(pixels - np.array(colour, np.float64), axis=-1) for colour in palette], axis=-1)
