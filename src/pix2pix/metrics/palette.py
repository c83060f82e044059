"""Find the palette of label maps, the colours of their classes, and the class of every pixel."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pix2pix.data.checks.main_colours import MOST_CLASSES, Colour, colour_distances, find_main_colours
from pix2pix.data.loading.dataset import read_pair
from pix2pix.data.pairing.pair import Pair
from pix2pix.errors import ConfigError, DataError
from pix2pix.metrics.diagnostics import choose_evenly
from pix2pix.system.reading import read_text
from pix2pix.text import format_count

SAMPLED_MAPS = 60


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
    """Find the classes' colours in the sources of some training pairs, as `find_main_colours` does.

    Raises DataError if the sources are not label maps.
    """
    maps = [read_pair(pairs[index], any_size=True)[0] for index in choose_evenly(len(pairs), SAMPLED_MAPS)]
    found: list[Colour] = []
    if all(pixels.dtype == np.uint8 and pixels.shape[2] <= 3 for pixels in maps):
        found = find_main_colours(maps)
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
        raise DataError(
            f"{pair.source.path}: has {format_count(source.shape[2], 'channel')}, but the palette {len(palette[0])}"
        )
    classes = torch.from_numpy(colour_distances(source, palette).argmin(axis=-1))
    return F.interpolate(classes[None, None].double(), size, mode="nearest-exact")[0, 0].long()
