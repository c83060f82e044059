"""Translate an image that does not fit into memory: read by rows, translated in tiles, written by rows."""

import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pix2pix.data.io.arrays import Array, ImageFacts, half_width, take_half
from pix2pix.data.io.row_reader import RowReader, open_rows
from pix2pix.data.io.row_writer import SUFFIXES, begin_to_write_rows
from pix2pix.data.io.surroundings import NOTHING, Surroundings
from pix2pix.data.io.view import Half
from pix2pix.errors import DataError
from pix2pix.inference.bands import CHUNK_BYTES, PresentedImage, nearest_rows, resize_bands, resize_weights
from pix2pix.inference.encode_sources import encode_sources
from pix2pix.inference.fit_sources import SourceImage, refuse_other_sizes, source_holes
from pix2pix.inference.jobs import Job
from pix2pix.inference.kept_rows import keep_rows
from pix2pix.inference.memory import Budget, needed_memory, working_memory
from pix2pix.inference.settle import settle_statistics, uses_image_statistics
from pix2pix.inference.tiles import TileGrid, sample_tiles, translate_tiles
from pix2pix.inference.tiling import Tiling
from pix2pix.inference.translator import Translator
from pix2pix.inference.views import view_source
from pix2pix.model.model_config import Size
from pix2pix.system.hardware import say_gigabytes
from pix2pix.system.progress import OnNamedProgress

MOST_TILE = 2048
"""Largest side of a tile that is chosen for the user."""
SAMPLES = 32
"""Tiles from which the statistics of norms are taken."""

_log = logging.getLogger(__name__)


class HugeImage:
    """One image, its sources open for reading by rows, and the tiles in which it is translated."""

    def __init__(
        self, translator: Translator, readers: Sequence[RowReader], output: Path, half: Half | None = None
    ) -> None:
        self.translator, self.readers, self.output, self.half = translator, readers, output, half
        height, width = readers[0].facts.size
        self.file_size: Size = height, width if half is None else half_width(width, readers[0].path)
        self.size: Size = translator.model.output_size(self.file_size)
        """Of the output, and of the sources resized to it."""
        self.conversions: set[str] = set()
        """What was done to the channels so far, in words."""
        model, self.rule = translator.model, translator.rule
        self.model = model
        refuse_other_sizes([(reader.path, reader.facts.size) for reader in readers])
        presented = model.presented_size(self.size)
        read = PresentedImage(self._read, self.file_size, self.size, 1, model.source_kinds).read_band
        self.image = PresentedImage(read, self.size, presented, model.size_multiple, model.source_kinds)

    def _read(self, top: int, bottom: int) -> Tensor:
        """Read and encode rows of the sources, (in, rows, W)."""
        rows = [self._rows(reader, top, bottom) for reader in self.readers]
        encoded = encode_sources(rows, self.model, self.rule, enlarge=False)
        self.conversions.update(encoded.conversions)
        return encoded.tensor

    def _rows(self, reader: RowReader, top: int, bottom: int) -> SourceImage:
        values = reader.read(top, bottom)
        alpha = values.shape[2] > reader.facts.channels
        values = values if self.half is None else take_half(values, self.half, reader.path)
        return SourceImage(values, alpha, Path(f"{reader.path} (from row {top})") if top else reader.path)

    # ---- memory --------------------------------------------------------------------------------------------------

    def held_bytes(self) -> int:
        """Estimate the bytes that are held from the beginning to the end, whatever the tiles."""
        facts, chunk = self.output_facts, CHUNK_BYTES
        rows = min(chunk, 4 * math.prod(self.size) * (self.model.in_channels + self.model.out_channels))
        decoded = sum(reader.held_bytes for reader in self.readers)
        return 4 * rows + decoded + (0 if self.writes_rows else 3 * _image_bytes(facts))

    def needed_bytes(self, tile: int) -> tuple[int, int]:
        """Estimate the bytes for tiles of a side: those of the bands, and those of the generator."""
        height, width = (min(tile, side) for side in self.image.padded)
        source, output = self.model.in_channels, self.model.out_channels
        # A band of the source, and one of the output with what the next one needs; at first two of the source.
        band = 4 * height * self.image.padded[1] * (source + max(source, 2 * output))
        return self.held_bytes() + band, working_memory(self.model, (height, width))

    @property
    def writes_rows(self) -> bool:
        """Whether the format of the output is written row by row."""
        return self.output.suffix.lower() in SUFFIXES

    @property
    def sizes(self) -> str:
        """The size of the file, and that of the output if it is another, in words."""
        file, new = ("{}x{}".format(*size) for size in (self.file_size, self.size))
        return f"{file} (HxW)" if file == new else f"{file} (HxW), its output {new},"

    @property
    def output_facts(self) -> ImageFacts:
        """Size, channels and type of the output."""
        return ImageFacts(*self.size, self.model.file_type.channels, self.model.file_type.dtype)

    def choose_grid(self, tiling: Tiling, budget: Budget, before: tuple[int, int] | None = None) -> TileGrid:
        """Choose the largest tiles that fit into the budget, or take those of the user. Raises DataError.

        `before` are side and overlap of a translation that was begun, which goes on with them if they fit.
        """
        if before is not None and self._fits(before[0], budget):
            return TileGrid.plan(self.image.padded, *before)
        multiple = self.model.size_multiple
        smallest = max(2, -(-max(self.model.config.settings.data.image_size) // multiple)) * multiple
        sides = [tiling.tile] if tiling.tile else range(max(MOST_TILE, smallest), smallest - 1, -multiple)
        for side in sides:
            if self._fits(side, budget):
                return TileGrid.plan(self.image.padded, side, tiling.overlap_of(side, multiple))
        raise DataError(self._refusal(sides[-1], budget))

    def _fits(self, tile: int, budget: Budget) -> bool:
        bands, working = self.needed_bytes(tile)
        if budget.device is None:
            return bands + working <= budget.host
        return bands <= budget.host and working <= budget.device

    def _refusal(self, tile: int, budget: Budget) -> str:
        needed = say_gigabytes(sum(self.needed_bytes(tile)))
        limit = "allowed" if budget.given else "free"
        text = (
            f"{self.readers[0].path}: is {self.sizes}, and translating it in tiles of {tile} takes about "
            f"{needed} of memory, but {say_gigabytes(budget.host)} are {limit}: "
        )
        text += "give more by --memory, or " if budget.given else ""
        if math.prod(self.image.presented) > math.prod(self.size):
            shown = "{}x{}".format(*self.image.presented)
            return f"{text}the model sees it at {shown}; --present native shows it at its own size"
        if any(reader.whole for reader in self.readers) or not self.writes_rows:
            return f"{text}give it as an uncompressed or tiled .tif or as .npy, which are read and written by rows"
        return f"{text}cut it into parts"

    # ---- translation ---------------------------------------------------------------------------------------------

    def rows(self, grid: TileGrid, budget: Budget, on_tile: Callable[[], object], done: int = 0) -> Iterator[Array]:
        """Yield the output in arrays (rows, W, out) of the target's type, from the row `done` on."""
        if done >= self.size[0]:
            return
        network = self._network(grid, budget)
        (height, width), size = self.image.presented, self.size
        needed = done if self.image.presented == size else resize_weights(height, size[0], done, done + 1).first
        first = bisect_right(grid.rows.starts, needed) - 1
        top = grid.rows.starts[first]
        tiles = translate_tiles(grid, self.image.read_band, network, on_tile, first=first)
        bands = _first_rows((band[:, :, :width] for band in tiles), height - top)
        for band in resize_bands(bands, self.image.presented, size, (top, done)):
            step = max(1, CHUNK_BYTES // (4 * band.shape[0] * band.shape[2]))
            for part in torch.split(band, step, dim=1):
                holes = self._holes(done, done + part.shape[1])
                array = self.translator.to_output(part.clamp(-1, 1), holes, self.readers[0].path)
                done += len(array)
                yield array

    def _holes(self, top: int, bottom: int) -> NDArray[np.bool_] | None:
        """Return `source_holes` of some rows of the output, for which those of the sources are read again."""
        if self.model.prepared.mask_value is None or all(source.nodata is None for source in self.model.sources):
            return None
        rows = nearest_rows(self.file_size, self.size, top, bottom)
        first, last = int(rows.min()), int(rows.max()) + 1
        read = [self._rows(reader, first, last).values for reader in self.readers]
        holes = source_holes(read, self.model, (last - first, self.size[1]))
        return None if holes is None else holes[rows - first]

    @torch.no_grad()
    def _network(self, grid: TileGrid, budget: Budget) -> Callable[[Tensor], Tensor]:
        """Return the generator for tiles, with norm statistics of the whole image."""
        translator = self.translator
        network: nn.Module = translator.optimized.network
        if grid.count > 1 and uses_image_statistics(translator.generator):
            _, working = self.needed_bytes(grid.columns.tile)
            free = budget.host - self.needed_bytes(grid.columns.tile)[0] if budget.device is None else budget.device
            together = int(max(1, min(8, free // max(1, working))))
            samples = sample_tiles(grid, self.image.read_band, SAMPLES)
            batches = (batch.to(translator.device) for batch in _batched(samples, together))
            network = translator.optimize(settle_statistics(translator.generator, batches))

        def translate(tile: Tensor) -> Tensor:
            with torch.no_grad():
                output: Tensor = network(tile.to(translator.device))
            return output

        return translate


def translate_huge(
    translator: Translator,
    job: Job,
    output: Path,
    tiling: Tiling,
    budget: Budget,
    *,
    before_rename: Callable[[Path], object] | None = None,
    identity: str | None = None,
    surroundings: Surroundings = NOTHING,
    progress: OnNamedProgress | None = None,
) -> HugeImage:
    """Translate one image in tiles into a file. Calls progress(tiles done, all, the name). Raises DataError.

    What a killed call of the same `identity` has done is not done again; None to begin anew.
    """
    with ExitStack() as stack:
        readers = [
            stack.enter_context(open_rows(path, view_source(path, translator.model, number)[0], alpha=True))
            for number, path in enumerate(job.sources)
        ]
        image = HugeImage(translator, readers, output, job.half)
        kept = stack.enter_context(keep_rows(output, identity, image.output_facts))
        grid = image.choose_grid(tiling, budget, None if kept is None else kept.grid)
        if tiling.tile is None:
            _log.warning("%s", _describe(image, grid))
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, grid.count, job.sources[0].name)

        def translate(first: int) -> Iterator[Array]:
            nonlocal done
            if first:
                _log.warning("%s: goes on from row %d of %d", output, first, image.size[0])
                done = grid.count * first // image.size[0]
            return image.rows(grid, budget, count, first)

        rows = translate(0) if kept is None else kept.rows(grid.planned, translate)
        palette = image.model.palette
        begin_to_write_rows(
            output, image.output_facts, rows, before_rename, surroundings=surroundings, palette=palette
        )()
        return image


def _describe(image: HugeImage, grid: TileGrid) -> str:
    needed = say_gigabytes(needed_memory(image.model, image.size))
    overlap = max(
        axis.starts[0] + axis.tile - axis.starts[1] if len(axis.starts) > 1 else 0 for axis in (grid.rows, grid.columns)
    )
    return (
        f"{image.readers[0].path}: is {image.sizes} and would take about {needed} of memory whole; "
        f"translated in {grid.count} tiles of {grid.columns.tile} with an overlap of {overlap}"
    )


def _image_bytes(facts: ImageFacts) -> int:
    return math.prod(facts.size) * facts.channels * np.dtype(facts.dtype).itemsize


def _first_rows(bands: Iterable[Tensor], height: int) -> Iterator[Tensor]:
    """Yield bands (C, rows, W) up to `height` rows in all."""
    for band in bands:
        if height > 0:
            yield band[:, :height]
        height -= band.shape[1]


def _batched(tiles: Iterable[Tensor], count: int) -> Iterator[Tensor]:
    """Join tiles (1, C, H, W) into batches of up to `count`."""
    waiting: list[Tensor] = []
    for tile in tiles:
        waiting.append(tile)
        if len(waiting) == count:
            yield torch.cat(waiting)
            waiting = []
    if waiting:
        yield torch.cat(waiting)
