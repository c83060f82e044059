"""Decide how a source can be drawn: classes of a label map with names and colours, lines, or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.checks.label_maps import has_flat_areas
from pix2pix.data.checks.main_colours import Colour, colour_distances, find_main_colours
from pix2pix.data.io.arrays import Pixels
from pix2pix.errors import ConfigError
from pix2pix.serve.engine import SourceFacts
from pix2pix.serve.options import Draw
from pix2pix.serve.palettes import NamedColour, name_colours, read_palette
from pix2pix.text import format_count

Kind = Literal["labels", "lines", "image"]
MOST_CLASSES = 64
DARK, BRIGHT = 64, 191
LEAST_TWO_VALUED = 0.85
"""Share of the pixels of a drawing that are dark or bright."""
LEAST_BACKGROUND = 0.6
LEAST_SAME = 0.6
"""Share of the pixels of a label map that have the class of two neighbours; photos of few colours have fewer."""


@dataclass(frozen=True)
class Drawing:
    """What the page offers for one source."""

    kind: Kind
    classes: tuple[NamedColour, ...] = ()
    background: str = "#ffffff"
    stroke: str = "#000000"

    def describe(self) -> dict[str, Any]:
        """Return the part of the description of a source."""
        if self.kind == "labels":
            return {"kind": "labels", "classes": [{"name": one.name, "color": one.color} for one in self.classes]}
        if self.kind == "lines":
            return {"kind": "lines", "background": self.background, "stroke": self.stroke}
        return {"kind": "image"}


def choose_drawing(source: SourceFacts, samples: Sequence[Pixels], draw: Draw, palette: Path | None) -> Drawing:
    """Choose by what the user says, by the classes of the model, or by samples of its sources.

    Raises ConfigError for labels whose colours are not known.
    """
    drawable = source.dtype == "uint8" and source.channels in (1, 3)
    if draw == "image" or (not drawable and draw == "auto"):
        return Drawing("image")
    if not drawable:
        raise ConfigError(f"--draw {draw}: the source has {format_count(source.channels, 'channel')} of {source.dtype}")
    if palette is not None and draw != "lines":
        return Drawing("labels", read_palette(palette))
    colours = [_levels(name) for name in source.classes]
    if draw == "lines" or (draw == "auto" and not colours and _are_lines(samples)):
        return _lines(samples)
    if not colours and samples and all(sample.dtype == np.uint8 for sample in samples):
        colours = _find_classes(samples)
    if not 2 <= len(colours) <= MOST_CLASSES or any(not 0 <= level < 256 for one in colours for level in one):
        if draw == "labels":
            raise ConfigError("--draw labels: the colours of the classes are not known here; give --palette FILE")
        return Drawing("image")
    return Drawing("labels", name_colours(colours, complete=bool(source.classes)))


def _find_classes(samples: Sequence[Pixels]) -> list[Colour]:
    """Return the colours of pictures that consist of areas of few colours; none of others."""
    colours = sorted(find_main_colours(samples))
    if len(colours) < 2:
        return []
    grays = all(len(set(colour)) == 1 for colour in colours)
    classes = [colour_distances(sample, colours).argmin(axis=-1).astype(np.uint8) for sample in samples]
    with_areas = sum(_has_areas(one) and (not grays or has_flat_areas(one[..., None], grays=True)) for one in classes)
    return colours if 2 * with_areas >= len(samples) else []


def _has_areas(classes: NDArray[np.uint8]) -> bool:
    """Return whether most pixels (H, W) have the class of the pixels to their right and below them."""
    here = classes[:-1, :-1]
    same = (here == classes[1:, :-1]) & (here == classes[:-1, 1:])
    return bool(same.mean() >= LEAST_SAME)


def _levels(name: str) -> Colour:
    """Return the levels of a class: `#ff0080` -> (255, 0, 128); `7` -> (7,)."""
    return tuple(bytes.fromhex(name[1:])) if name.startswith("#") else (int(name),)


def _are_lines(samples: Sequence[Pixels]) -> bool:
    """Return whether pictures are lines on a plain background: gray, nearly all dark or bright, hardly any areas."""
    if not samples or any(sample.dtype != np.uint8 for sample in samples):
        return False
    if any(np.ptp(sample, axis=2).max() > 8 for sample in samples):
        return False
    levels = np.concatenate([sample[..., 0].ravel() for sample in samples])
    dark, bright = (levels < DARK).mean(), (levels > BRIGHT).mean()
    two_valued = dark + bright >= LEAST_TWO_VALUED and max(dark, bright) >= LEAST_BACKGROUND and min(dark, bright) > 0
    flat = [has_flat_areas(np.where(one[..., :1] < 128, np.uint8(0), np.uint8(255)), grays=True) for one in samples]
    return bool(two_valued and sum(flat) * 2 < len(flat))


def _lines(samples: Sequence[Pixels]) -> Drawing:
    """Draw in black on white, or as the samples do."""
    if samples and np.mean([np.median(sample) for sample in samples]) < 128:
        return Drawing("lines", background="#000000", stroke="#ffffff")
    return Drawing("lines")
