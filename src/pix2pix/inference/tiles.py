"""Translate an image in overlapping tiles and blend them, row of tiles by row of tiles.

The tiles lie on a grid of the generator's size multiple, so each layer samples a tile at the same pixels as the whole
image. Where tiles overlap, their outputs are mixed with weights that fall towards their borders and sum to 1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pix2pix.model.model_config import Size

Network = Callable[[Tensor], Tensor]
ReadBand = Callable[[int, int], Tensor]
"""Return the rows from one number to another of the padded image, (in, rows, W) in [-1, 1]."""


@dataclass(frozen=True)
class Axis:
    """Tiles along one side of an image."""

    length: int
    """Pixels of the padded side."""
    tile: int
    """Pixels of a tile, at most `length`."""
    starts: tuple[int, ...]
    """First pixel of each tile."""

    @classmethod
    def plan(cls, length: int, tile: int, overlap: int) -> "Axis":
        """Place tiles that overlap by `overlap` pixels; the last one ends with the image and may overlap more."""
        tile = min(tile, length)
        last = length - tile
        starts = [*range(0, last, tile - overlap), last] if last else [0]
        return cls(length, tile, tuple(starts))

    def weights(self) -> list[Tensor]:
        """Return the weights (tile,) of each tile; those of a pixel sum to 1."""
        raw, total = [], torch.zeros(self.length)
        for index, start in enumerate(self.starts):
            weights = torch.ones(self.tile)
            if index and (shared := self.starts[index - 1] + self.tile - start):
                weights[:shared] = _ramp(shared)
            if index + 1 < len(self.starts) and (shared := start + self.tile - self.starts[index + 1]):
                weights[-shared:] = torch.minimum(weights[-shared:], _ramp(shared).flip(0))
            raw.append(weights)
            total[start : start + self.tile] += weights
        return [weights / total[start : start + self.tile] for weights, start in zip(raw, self.starts, strict=True)]


def _ramp(shared: int) -> Tensor:
    """Return weights that rise from 0 to 1 in the inner half of an overlap.

    A quarter at each end is left out, since a pixel near the border of a tile lacks what lies beyond it.
    """
    position = (torch.arange(shared) + 0.5) / shared
    return ((position - 0.25) * 2).clamp(1e-3, 1)  # never 0: more than two tiles may overlap


@dataclass(frozen=True)
class TileGrid:
    """Tiles of an image."""

    rows: Axis
    columns: Axis
    planned: tuple[int, int]
    """Side and overlap for which they were planned; tiles are no larger than the image."""

    @classmethod
    def plan(cls, padded: Size, tile: int, overlap: int) -> "TileGrid":
        """Plan square tiles for an image of a size; all numbers are multiples of the generator's size multiple."""
        return cls(Axis.plan(padded[0], tile, overlap), Axis.plan(padded[1], tile, overlap), (tile, overlap))

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.rows.starts) * len(self.columns.starts)


def translate_tiles(
    grid: TileGrid,
    read_band: ReadBand,
    network: Network,
    on_tile: Callable[[], object] = lambda: None,
    *,
    first: int = 0,
) -> Iterator[Tensor]:
    """Yield the blended output (out, rows, W) from the top to the bottom. Calls `on_tile` after each tile.

    It begins at the row of tiles `first`, with the same numbers as without.
    """
    rows, columns = grid.rows, grid.columns
    left_over: Tensor | None = None  # of the tiles above, where the next ones overlap them
    ends = [*rows.starts[1:], rows.length]
    for (top, end), row_weights in zip(zip(rows.starts, ends, strict=True), rows.weights(), strict=True):
        if top + rows.tile <= rows.starts[first]:  # overlaps nothing that is yielded
            continue
        band = read_band(top, top + rows.tile)
        blended: Tensor | None = None
        for left, column_weights in zip(columns.starts, columns.weights(), strict=True):
            output = network(band[None, :, :, left : left + columns.tile])[0].cpu()
            if blended is None:
                blended = output.new_zeros(len(output), rows.tile, columns.length)
                if left_over is not None:
                    blended[:, : left_over.shape[1]] = left_over
            weights = row_weights[:, None] * column_weights
            blended[:, :, left : left + columns.tile] += output.mul_(weights)
            on_tile()
        assert blended is not None
        left_over = blended[:, end - top :].clone()
        done = blended[:, : end - top]
        del band, blended  # they are large, and the next band is read before they would be replaced
        if top >= rows.starts[first]:
            yield done
        del done


def sample_tiles(grid: TileGrid, read_band: ReadBand, most: int) -> Iterator[Tensor]:
    """Yield up to `most` tiles (1, in, H, W), spread evenly over the image."""
    rows, columns = grid.rows, grid.columns
    across = min(len(columns.starts), max(1, round((most * len(columns.starts) / len(rows.starts)) ** 0.5)))
    down = min(len(rows.starts), max(1, most // across))
    across = min(len(columns.starts), max(1, most // down))
    for top in _spread(rows.starts, down):
        band = read_band(top, top + rows.tile)
        for left in _spread(columns.starts, across):
            yield band[None, :, :, left : left + columns.tile]


def _spread(starts: tuple[int, ...], count: int) -> list[int]:
    """Return `count` of the starts, in the middle of equal parts."""
    return [starts[int((index + 0.5) * len(starts) / count)] for index in range(count)]
