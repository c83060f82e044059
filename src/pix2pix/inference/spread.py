"""Measure how the samples of one image differ, pixel by pixel, and draw it: files of samples to files of their spread.

Targets of numbers have a mean and a standard deviation, in the units of the target. Targets of classes have the share
of the samples that vote for each class, and the entropy of these shares in bits. Files are read by rows.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pix2pix.config.fields import MaskValue
from pix2pix.data.encoding.labels import UNKNOWN, LabelEncoding
from pix2pix.data.encoding.ranges import unknown_values
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array, ImageFacts, Pixels
from pix2pix.data.io.row_reader import RowReader, open_rows
from pix2pix.data.io.row_writer import begin_to_write_rows
from pix2pix.data.io.surroundings import Surroundings
from pix2pix.errors import DataError
from pix2pix.inference.bands import CHUNK_BYTES, resize_bands
from pix2pix.model.signature import Signature
from pix2pix.system.hardware import say_gigabytes
from pix2pix.text import format_count

SHOWN_SIDE = 768
"""Largest side of a picture for the eye, in pixels of each of its two maps."""

Floats = NDArray[np.float32]
Measure = Callable[[Array], Floats]
"""Return (rows, W, channels) of the values (samples, rows, W, C)."""


@dataclass(frozen=True)
class Spread:
    """The samples of one image, open for reading."""

    readers: Sequence[RowReader]
    model: Signature

    @property
    def measures(self) -> dict[str, Measure]:
        """What is measured, by kind: the middle of the samples, then how they differ."""
        values = self.model.target_values
        if isinstance(values, LabelEncoding):
            return {
                "votes": lambda samples: count_votes(samples, values),
                "entropy": lambda samples: entropy(count_votes(samples, values)),
            }
        mask = self.model.prepared.mask_value
        return {"mean": mean, "std": lambda samples: deviation(samples, mask)}

    def channels(self, kind: str) -> int:
        """Return the channels of a kind."""
        values, (votes, *_) = self.model.target_values, self.measures
        if isinstance(values, LabelEncoding):
            return len(values.classes) if kind == votes else 1
        return self.model.file_type.channels

    def begin_to_write(
        self, path: Path, kind: str, before_rename: Callable[[Path], object], surroundings: Surroundings
    ) -> Callable[[], None]:
        """Write one kind as float32; return what `images.begin_to_write` does. Raises DataError."""
        facts = ImageFacts(*self._size, self.channels(kind), "float32")
        rows = self._measure(self.measures[kind])
        return begin_to_write_rows(path, facts, rows, before_rename, surroundings=surroundings)

    def begin_to_draw(self, path: Path, before_rename: Callable[[Path], object]) -> Callable[[], None]:
        """Draw both kinds side by side as a PNG, with a scale. Raises DataError."""
        middle, differing = (self._shrunk(measure) for measure in self.measures.values())
        what = self._captions()
        return images.begin_to_encode(
            path, lambda file: _draw(file, self._viewable(middle), differing.mean(axis=2), what), before_rename
        )

    @property
    def _size(self) -> tuple[int, int]:
        return self.readers[0].facts.size

    def _measure(self, measure: Measure) -> Iterator[Floats]:
        height, width = self._size
        values = len(self.readers) * width * max(self.model.out_channels, self.model.file_type.channels)
        step = max(1, CHUNK_BYTES // (8 * values))
        for top in range(0, height, step):
            yield measure(np.stack([reader.read(top, min(height, top + step)) for reader in self.readers]))

    def _shrunk(self, measure: Measure) -> Floats:
        """Return one kind at the size of the picture, (h, w, channels)."""
        factor = min(1.0, SHOWN_SIDE / max(self._size))
        size = max(1, round(self._size[0] * factor)), max(1, round(self._size[1] * factor))
        bands = (torch.from_numpy(rows.transpose(2, 0, 1)) for rows in self._measure(measure))
        small: Tensor = torch.cat(list(resize_bands(bands, self._size, size)), dim=1)
        return small.numpy().transpose(1, 2, 0)

    def _viewable(self, middle: Floats) -> Pixels:
        values = self.model.target_values
        if isinstance(values, LabelEncoding):
            return values.display_table[middle.argmax(axis=2)]
        low, high = np.array(values.bounds, np.float64).T
        shown = slice(3 if middle.shape[2] == 3 else 1)
        levels = np.nan_to_num((middle - low) / (high - low) * 255)[..., shown]
        return np.rint(levels.clip(0, 255)).astype(np.uint8)

    def _captions(self) -> tuple[str, str]:
        count, values = format_count(len(self.readers), "sample"), self.model.target_values
        if isinstance(values, LabelEncoding):
            return f"most voted class of {count}", "entropy of the votes (bits)"
        several = ", mean of the channels" if self.model.file_type.channels > 1 else ""
        return f"mean of {count}", f"standard deviation{several}\n({values.describe()})"


@contextmanager
def open_spread(paths: Sequence[Path], model: Signature, most: float) -> Iterator[Spread]:
    """Open the files of the samples of one image. Raises DataError, also for stacks and for more than `most` bytes."""
    if images.find_planes(paths[0]):
        raise DataError(f"{paths[0]}: is a stack, for which no spread is computed; leave --uncertainty out")
    with ExitStack() as stack:
        readers = [stack.enter_context(open_rows(path, alpha=True)) for path in paths]
        needed = sum(reader.held_bytes for reader in readers)
        if needed > most:
            raise DataError(
                f"{paths[0]}: it and the other samples take {say_gigabytes(needed)} of memory, but "
                f"{say_gigabytes(most)} are free or allowed: translate .tif or .npy files, which are read by rows"
            )
        yield Spread(readers, model)


# ---- measures ----------------------------------------------------------------------------------------------------


def mean(samples: Array) -> Floats:
    """Return the mean of (samples, rows, W, C)."""
    return samples.mean(axis=0, dtype=np.float64).astype(np.float32)


def deviation(samples: Array, mask_value: MaskValue | None = None) -> Floats:
    """Return the standard deviation of (samples, rows, W, C), with N - 1; NaN where all are the mask value."""
    found = samples.std(axis=0, dtype=np.float64, ddof=1).astype(np.float32)
    if (unknown := unknown_values(samples, mask_value)) is not None:
        found[unknown.all(axis=0)] = math.nan
    return found


def count_votes(samples: Array, values: LabelEncoding) -> Floats:
    """Return the share of the samples (N, rows, W, 1 or 3) that have each class, (rows, W, classes).

    NaN where the samples have no class.
    """
    indices = np.stack([values.to_indices(sample, "a sample")[..., 0] for sample in samples])
    votes = np.stack([(indices == number).mean(axis=0) for number in range(len(values.classes))], axis=2)
    votes[(indices == UNKNOWN).all(axis=0)] = math.nan
    return votes.astype(np.float32)


def entropy(votes: Floats) -> Floats:
    """Return the entropy in bits of shares (rows, W, classes), (rows, W, 1)."""
    parts = -votes * np.log2(np.where(votes > 0, votes, 1))
    return parts.sum(axis=2, keepdims=True)


def _draw(file: BinaryIO, middle: Pixels, differing: Floats, captions: tuple[str, str]) -> None:
    from matplotlib.figure import Figure

    height, width = differing.shape
    side = 5.0 / max(height, width)  # inches of a pixel
    figure = Figure((2 * width * side + 1.6, height * side + 0.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(middle[..., 0] if middle.shape[2] == 1 else middle, cmap="gray", vmin=0, vmax=255, interpolation="none")
    top = float(np.nanmax(differing, initial=0)) or 1.0
    heat = right.imshow(differing, cmap="inferno", vmin=0, vmax=top, interpolation="none")
    figure.colorbar(heat, ax=right, shrink=0.8)
    for place, caption in zip((left, right), captions, strict=True):
        place.set_title(caption, fontsize=9)
        place.set_axis_off()
    figure.savefig(file, format="png", dpi=140, metadata={"Software": None})
