"""Present an image to the generator by bands of rows, and resize its output back, as `AnySize` does with whole ones."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pix2pix.data.transforms.augment import interpolate
from pix2pix.data.transforms.padding import reflected_indices
from pix2pix.model.model_config import Size

CHUNK_BYTES = 2**26
"""Bytes of the rows that are resized at once, as float32."""

ReadRows = Callable[[int, int], Tensor]
"""Return the rows from one number to another of an image, (C, rows, W) in [-1, 1]."""


class PresentedImage:
    """The image that the generator sees, read by bands: resized, and padded by reflection to multiples of a number.

    `sources` holds (channels, whether they are label classes) of each source, as for `AnySize`.
    """

    def __init__(
        self, read: ReadRows, size: Size, presented: Size, multiple: int, sources: Sequence[tuple[int, bool]]
    ) -> None:
        self._read, self.size, self.presented, self._sources = read, size, presented, sources
        height, width = (-(-side // multiple) * multiple for side in presented)
        self.padded: Size = height, width
        self._channels = sum(channels for channels, _ in sources)

    def read_band(self, top: int, bottom: int) -> Tensor:
        """Return rows of the padded image, (C, rows, padded W)."""
        rows = reflected_indices(self.presented[0], self.padded[0])[top:bottom]
        first, last = int(rows.min()), int(rows.max()) + 1
        band = self._resized(first, last)
        columns = reflected_indices(self.presented[1], self.padded[1])
        for dimension, indices in ((1, rows - first), (2, columns)):
            if not np.array_equal(indices, np.arange(band.shape[dimension])):
                band = band.index_select(dimension, torch.from_numpy(indices))
        return band

    def _resized(self, top: int, bottom: int) -> Tensor:
        """Return rows of the image resized to `presented`, (C, rows, presented W)."""
        if self.presented == self.size:
            return self._read(top, bottom)
        weights = resize_weights(self.size[0], self.presented[0], top, bottom)
        nearest = nearest_rows(self.size, self.presented, top, bottom)
        first, last = min(weights.first, int(nearest.min())), max(weights.last, int(nearest.max()) + 1)
        band = torch.zeros(self._channels, bottom - top, self.presented[1])
        step = max(1, CHUNK_BYTES // (4 * self._channels * self.size[1]))
        for start, stop in pairwise([*range(first, last, step), last]):
            at = 0
            for channels, is_labels in self._sources:
                part = slice(at, at + channels)
                at += channels
                rows = self._read(start, stop)[part]
                if is_labels:
                    wide = F.interpolate(rows[None], (stop - start, self.presented[1]), mode="nearest-exact")[0]
                    taken = np.flatnonzero((nearest >= start) & (nearest < stop))
                    band[part, taken] = wide[:, nearest[taken] - start]
                else:
                    band[part] += weights.apply(resize_columns(rows, self.presented[1]), start)
        return band


def resize_bands(bands: Iterable[Tensor], size: Size, new: Size, begin: tuple[int, int] = (0, 0)) -> Iterator[Tensor]:
    """Resize an image that comes in bands (C, rows, W) from the top; yield bands of the new image.

    `begin` is the row of the image at which the bands begin, and the row of the new image at which to begin.
    """
    held_top, done = begin
    if size == new:
        yield from _after(bands, done - held_top)
        return
    held: Tensor | None = None  # rows that are still needed, from `held_top` on
    for band in bands:
        wide = resize_columns(band, new[1])
        held = wide if held is None else torch.cat([held, wide], dim=1)
        available = held_top + held.shape[1]
        step = max(1, CHUNK_BYTES // (4 * held.shape[0] * new[1]))
        while done < new[0]:
            stop = min(new[0], done + step)
            while stop > done and resize_weights(size[0], new[0], stop - 1, stop).last > available:
                stop = done + (stop - done) // 2
            if stop == done:
                break
            weights = resize_weights(size[0], new[0], done, stop)
            yield weights.apply(held, held_top)
            done = stop
        if done < new[0]:
            keep = resize_weights(size[0], new[0], done, done + 1).first
            held, held_top = held[:, max(0, keep - held_top) :].clone(), max(held_top, keep)


def _after(bands: Iterable[Tensor], rows: int) -> Iterator[Tensor]:
    """Yield bands (C, rows, W) without the first rows."""
    for band in bands:
        if band.shape[1] > rows:
            yield band[:, rows:]
        rows = max(0, rows - band.shape[1])


class _Weights:
    """Weights of input rows `first` to `last` in some output rows, (rows, last - first)."""

    def __init__(self, first: int, matrix: Tensor) -> None:
        self.first, self.last, self.matrix = first, first + matrix.shape[1], matrix

    def apply(self, rows: Tensor, top: int) -> Tensor:
        """Return what the rows (C, rows, W), which begin at `top`, contribute to the output rows."""
        first, last = max(self.first, top), min(self.last, top + rows.shape[1])
        if first >= last:
            return rows.new_zeros(len(rows), len(self.matrix), rows.shape[2])
        return self.matrix[:, first - self.first : last - self.first] @ rows[:, first - top : last - top]


def resize_weights(old: int, new: int, top: int, bottom: int) -> _Weights:
    """Return the weights of rows `top` to `bottom` of `F.interpolate`, bilinear with antialias, from `old` to `new`."""
    scale = old / new
    support = max(scale, 1.0)
    centres = scale * (np.arange(top, bottom) + 0.5)
    firsts = np.maximum((centres - support + 0.5).astype(int), 0)
    lasts = np.minimum((centres + support + 0.5).astype(int), old)
    first, last = int(firsts.min()), int(lasts.max())
    rows = np.arange(first, last)
    matrix = np.maximum(0, 1 - np.abs(rows + 0.5 - centres[:, None]) / support)
    matrix[(rows < firsts[:, None]) | (rows >= lasts[:, None])] = 0
    return _Weights(first, torch.from_numpy((matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)))


def resize_columns(rows: Tensor, width: int) -> Tensor:
    """Resize (C, rows, W) to (C, rows, width), bilinear with antialias."""
    if rows.shape[2] == width:
        return rows
    return interpolate(rows[None], (rows.shape[1], width))[0]


def nearest_rows(size: Size, presented: Size, top: int, bottom: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Return the input row of each output row, by nearest neighbour."""
    centres = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5)) * np.float32(size[0] / presented[0])
    return np.minimum(centres.astype(np.int64), size[0] - 1)
