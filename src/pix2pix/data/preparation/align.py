"""Write a set of pairs anew, with source and target of each pair at one size."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from pix2pix.config import Data, SourceSettings
from pix2pix.data.encoding.background import Colour, lay_over, opacity_of, parse_colour, type_limits
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array
from pix2pix.data.pairing.pair import ImageRef
from pix2pix.data.pairing.pairs import describe_unmatched, find_pairs
from pix2pix.data.transforms.augment import resize_values
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.folders import write_folder_atomically
from pix2pix.system.progress import OnProgress

Size = tuple[int, int]
"""(height, width) in pixels."""
Fit = Literal["resize", "crop", "pad"]
"""Change the shape; or keep it, and cut what is too much; or keep it, and repeat the edges."""


class Aligned(NamedTuple):
    """What was written."""

    path: Path
    pairs: int
    changed: int
    """Images that did not have the size of their pair."""
    laid_over: int = 0
    """Images with transparent pixels, which were laid over a background."""


def align(
    data: Data,
    output: Path,
    *,
    size: Size | None = None,
    fit: Fit = "resize",
    background: str = "white",
    progress: OnProgress | None = None,
) -> Aligned:
    """Write the pairs of `data` into A|B/SPLIT of a new folder, sources in A, each pair at one size.

    The size is that of the target, or `size`. Images are resized bilinearly, label maps by the nearest pixel.
    Transparent pixels are laid over `background`, unless the channels of that side include opacity; of label maps the
    transparency is ignored, as in training. Calls progress(done, total). Raises ConfigError or DataError.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"--output {output}: exists already; choose a new folder")
    found = find_pairs(data)
    if found.unmatched:
        raise DataError(f"{describe_unmatched(found)}; add the missing images or move these away")
    pairs = [(split, pair) for split, inside in found.splits.items() for pair in inside]
    colour = parse_colour(background)
    changed = laid_over = 0
    with write_folder_atomically(output) as new:
        for number, (split, pair) in enumerate(pairs, start=1):
            if pair.more:
                raise ConfigError("data align takes pairs of one source, but these have several")
            (drawn,) = data.source_settings(1)
            source, target = _read(pair.source, drawn, colour), _read(pair.target, data.target_settings, colour)
            wanted = size or (target.values.shape[0], target.values.shape[1])
            for side, (values, transparent), part in (("A", source, drawn), ("B", target, data.target_settings)):
                changed += values.shape[:2] != wanted
                laid_over += transparent
                aligned = _bring_to(values, wanted, fit, nearest=part.kind == "labels")
                suffix = images.suffix_for(aligned.dtype.name, aligned.shape[2])
                images.write(new / side / split / f"{pair.name}{suffix}", aligned)
            if progress is not None:
                progress(number, len(pairs))
    return Aligned(output, len(pairs), changed, laid_over)


class _Opaque(NamedTuple):
    """The values of an image (H, W, C), and whether some of its pixels were laid over the background."""

    values: Array
    laid_over: bool = False


def _read(ref: ImageRef, settings: SourceSettings, colour: Colour) -> _Opaque:
    """Read an image without its opacity, unless that is one of the channels of its side. Raises DataError."""
    values = images.read(ref.path, ref.view, alpha=True)
    if settings.channels in (2, 4) or values.shape[2] == images.probe(ref.path, ref.view).channels:
        return _Opaque(values)
    limits, colours = type_limits(values), values[..., :-1]
    opacity = opacity_of(values, limits)
    if settings.kind == "labels" or opacity.min() >= 1:
        return _Opaque(colours)
    if colours.shape[2] not in (1, 3):
        return _Opaque(images.read(ref.path, ref.view))  # which refuses transparency
    return _Opaque(lay_over(colours, opacity, colour, limits), laid_over=True)


def _bring_to(values: Array, size: Size, fit: Fit, *, nearest: bool) -> Array:
    """Bring (H, W, C) to (*size, C) of the same type."""
    height, width = values.shape[:2]
    if (height, width) == size:
        return values
    ratios = size[0] / height, size[1] / width
    if fit == "resize":
        inner = size
    else:
        ratio = max(ratios) if fit == "crop" else min(ratios)
        inner = max(1, round(height * ratio)), max(1, round(width * ratio))
    resized = resize_values(values, inner, nearest=nearest)
    over = [max(0, old - new) for old, new in zip(inner, size, strict=True)]
    resized = resized[over[0] // 2 :, over[1] // 2 :][: size[0], : size[1]]
    missing = [new - old for old, new in zip(resized.shape[:2], size, strict=True)]
    sides = [(less // 2, less - less // 2) for less in missing]
    return np.ascontiguousarray(np.pad(resized, [*sides, (0, 0)], mode="edge"))
