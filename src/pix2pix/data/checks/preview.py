"""Draw random pairs of a data set on a contact sheet, as stored and as training would augment them."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pix2pix.config import Config, Data
from pix2pix.data.checks.contact_sheet import draw_sheet, fit
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.io.arrays import Pixels, to_pil, to_viewable
from pix2pix.data.io.eight_bit import WRITE_OPTIONS
from pix2pix.data.loading.dataset import PairDataset, read_pair
from pix2pix.data.pairing.pair import Pair, source_titles
from pix2pix.data.pairing.pairs import PairSet, find_pairs
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.files import write_atomically
from pix2pix.system.progress import OnProgress

MAX_PAIRS = 200
MAX_CELL = 256  # pixels; all images are resized to one longer side, that of the largest or this
SOFTWARE = "pix2pix data preview"
DRAWS = 2  # augmented versions of each pair


@dataclass(frozen=True)
class Preview:
    """A sheet on disk, and the names of its pairs in reading order, as `split/name`."""

    path: Path
    names: tuple[str, ...]


def preview(
    config: Config,
    output: Path,
    *,
    count: int = 8,
    split: str | None = None,
    seed: int = 0,
    augmented: bool = False,
    found: PairSet | None = None,
    progress: OnProgress | None = None,
) -> Preview:
    """Write a PNG of `count` random pairs, sources | target, of `split` or of all splits.

    `found` are the pairs, if they are known. With `augmented`, two random augmentations at image_size follow each pair,
    as in training. Calls progress(done, total). Raises ConfigError or DataError, and then writes nothing.
    """
    refuse_output(output, config.data)
    if not 1 <= count <= MAX_PAIRS:
        raise ConfigError(f"--count {count}: a sheet holds 1 to {MAX_PAIRS} pairs")
    chosen = _choose(found or find_pairs(config.data), split, count, seed)
    augmentations = _augment([pair for _, pair in chosen], config, seed) if augmented else None
    cells = []
    for _, pair in chosen:
        cells.append([*_read_viewable(pair, config.data), *(next(augmentations) if augmentations else [])])
        if progress is not None:
            progress(len(cells), len(chosen))
    sides = [*source_titles(len(chosen[0][1].sources)), "target"]
    titles = [*sides, *[f"{side}, augmented" for side in sides] * (DRAWS if augmented else 0)]
    _write_sheet(output, _arrange(cells, titles))
    return Preview(output, tuple(f"{split_name}/{pair.name}" for split_name, pair in chosen))


def _write_sheet(path: Path, sheet: Pixels) -> None:
    """Write a PNG whose text says who drew it, so that only such a file is ever replaced."""
    facts = PngInfo()
    facts.add_text("Software", SOFTWARE)
    write_atomically(path, lambda file: to_pil(sheet).save(file, **WRITE_OPTIONS[".png"], pnginfo=facts))


def _is_sheet(path: Path) -> bool:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get("Software") == SOFTWARE
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _read_viewable(pair: Pair, data: Data) -> list[Pixels]:
    asked = [*(part.channels for part in data.source_settings(len(pair.sources))), data.target_channels]
    alpha = [channels in (2, 4) for channels in asked]
    return [to_viewable(values) for values in read_pair(pair, alpha=alpha, any_size=data.resize_source)]


def refuse_output(output: Path, data: Data) -> None:
    """Raise ConfigError for a sheet inside the data set, where it could be read as an image, or over another file."""
    if output.suffix.lower() != ".png":
        raise ConfigError(f"--output {output}: expected a file name ending in .png")
    if os.path.lexists(output) and not _is_sheet(output):
        raise ConfigError(
            f"--output {output}: exists, and `data preview` did not draw it; move it away, or choose another --output"
        )
    for folder in filter(None, (data.path, *(data.source or ()), data.target)):
        if Path(folder).resolve() in output.resolve().parents:
            raise ConfigError(f"--output {output} lies in the data folder {folder}, where it could be read as an image")


def _choose(found: PairSet, split: str | None, count: int, seed: int) -> list[tuple[str, Pair]]:
    """Choose at most `count` random pairs, with their splits, in the order of the set. Raises DataError."""
    if split is not None and split not in found.splits:
        raise DataError(
            f"there is no split {split!r}; the data have {', '.join(found.splits)}: choose one with --split"
        )
    pairs = [(name, pair) for name, pairs in found.splits.items() if split in (None, name) for pair in pairs]
    picked = np.random.default_rng(seed).permutation(len(pairs))[:count]
    return [pairs[index] for index in sorted(picked)]


def _augment(pairs: Sequence[Pair], config: Config, seed: int) -> Iterator[list[Pixels]]:
    """Yield sources and target of each pair, augmented as in DRAWS epochs of training, (*image_size, C) uint8."""
    prepared = prepare_data(config.data, pairs)
    dataset = PairDataset(pairs, prepared, augment=config.augment, load_size=config.load_size, seed=seed)
    for index in range(len(pairs)):
        drawn = [dataset[epoch, index] for epoch in range(1, DRAWS + 1)]
        yield [
            cell for source, target, _ in drawn for cell in (*dataset.draw_sources(source), dataset.draw_target(target))
        ]


def _arrange(cells: Sequence[Sequence[Pixels]], titles: Sequence[str]) -> Pixels:
    """Draw the sheet, with images of one longer side. With many pairs, several stand in one row, for a square sheet."""
    columns = max(1, round(math.sqrt(len(cells) / len(titles))))
    side = min(MAX_CELL, max(max(image.shape[:2]) for pair in cells for image in pair))
    images_of_pairs = [[fit(image, side) for image in pair] for pair in cells]
    rows = [
        [image for pair in images_of_pairs[start : start + columns] for image in pair]
        for start in range(0, len(cells), columns)
    ]
    return draw_sheet(rows, list(titles) * columns)
