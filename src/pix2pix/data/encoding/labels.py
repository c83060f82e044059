"""Label maps <-> classes: the colours or gray values of a picture, each a channel of its own (one-hot)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pix2pix.config import Data, SourceSettings
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.errors import DataError
from pix2pix.text import format_examples

Array = NDArray[Any]

MOST = 256
"""Classes, at most."""


@dataclass(frozen=True)
class Labels:
    """The classes of a label map, in the order of their channels: `#rrggbb` colours, or gray values such as `7`.

    A pixel belongs to the nearest class, which may be `tolerance` away at most (Euclidean, in levels).
    """

    classes: tuple[str, ...]
    tolerance: float = 0.0

    dtype = "uint8"
    """Of the indices of classes."""
    plain = False

    def of(self, values: Array, path: Path | str) -> Array:
        """(H, W, 1 or 3) of a file -> (H, W, 1) uint8, the index of each pixel's class. Raises DataError."""
        if values.shape[2] != self._table.shape[1] or values.dtype.kind == "f":
            kind = "gray values" if self._table.shape[1] == 1 else "colours"
            raise DataError(f"{path}: has {values.shape[2]} channels of {values.dtype}, but its classes are {kind}")
        found, place, inverse = _different(values)
        distance = np.sqrt(((found[:, None] - self._table[None]) ** 2).sum(axis=2))
        nearest = distance.argmin(axis=1)
        far = distance[np.arange(len(found)), nearest] > self.tolerance
        if far.any():
            row, column = divmod(int(place[far].min()), values.shape[1])
            raise DataError(
                f"{path}: holds {_name(values[row, column])} at row {row}, column {column}, which is none of the "
                f"{len(self.classes)} classes {format_examples(self.classes)}; "
                "repaint it, or train with it among --source-labels"
            )
        return nearest.astype(np.uint8)[inverse].reshape(*values.shape[:2], 1)

    def scale_into(self, image: NDArray[np.float32], indices: Array) -> None:
        """(1, H, W) indices -> (classes, H, W), written into `image`: 1 for a pixel's own class, -1 for the others."""
        image.fill(-1)
        np.put_along_axis(image, np.asarray(indices, np.int64), 1, axis=0)

    def to_tensor(self, values: Array, path: Path | str = "the image") -> Tensor:
        """(H, W, 1 or 3) of a file -> (classes, H, W), 1 and -1. Raises DataError."""
        image = np.empty((len(self.classes), *values.shape[:2]), np.float32)
        self.scale_into(image, self.of(values, path).transpose(2, 0, 1))
        return torch.from_numpy(image)

    def picture(self, image: Tensor) -> Pixels:
        """(classes, H, W) -> (H, W, 1 or 3) uint8 in the classes' colours."""
        table = np.clip(self._table, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(table[image.argmax(dim=0).cpu().numpy()])

    def describe(self) -> str:
        """`12 classes #000000, #0000aa, #0000ff and 9 more`."""
        return f"{len(self.classes)} classes {format_examples(self.classes)}"

    @property
    def file_channels(self) -> int:
        """1 for gray values, 3 for colours."""
        return self._table.shape[1]

    @property
    def _table(self) -> NDArray[np.float64]:
        """(classes, 1 or 3) levels."""
        return np.array([_levels(name) for name in self.classes], np.float64)


def labels_of(data: Data, train: Sequence[Pair], progress: Callable[[int, int], None] | None = None) -> Labels:
    """The classes of the only source; as `part_labels`."""
    return part_labels(data.source_settings(1)[0], [pair.source for pair in train], progress=progress)


def part_labels(
    part: SourceSettings,
    refs: Sequence[ImageRef],
    prefix: str = "source_",
    progress: Callable[[int, int], None] | None = None,
) -> Labels:
    """The classes that the settings name, or else all that these label maps hold. Raises DataError."""
    if part.labels is not None:
        return Labels(part.labels, part.label_tolerance)
    flag = "--" + prefix.replace("_", "-")
    known: set[tuple[int, ...]] = set()
    for done, ref in enumerate(refs, start=1):
        values = images.read(ref.path, ref.half)
        if values.shape[2] not in (1, 3) or values.dtype.kind == "f":
            raise DataError(f"{ref.path}: is no label map: expected gray or RGB of whole numbers")
        found, _, _ = _different(values)
        known.update(tuple(int(level) for level in levels) for levels in found[: MOST + 1])
        if len(known) > MOST:
            raise DataError(
                f"{ref.path}: brings the sources to more than {MOST} colours, so they are no label maps as they are "
                "(JPEG blurs colours): name the classes and how far pixels may be from them, as in "
                f"{flag}labels '#0000aa,#ff0000' {'--' if prefix == 'source_' else flag}label-tolerance 60"
            )
        if progress is not None:
            progress(done, len(refs))
    if len({len(levels) for levels in known}) > 1:
        raise DataError("some of the sources are gray and some in colour: save all label maps in one way")
    return Labels(tuple(_name(levels) for levels in sorted(known)), part.label_tolerance)


def _different(values: Array) -> tuple[NDArray[np.float64], Array, Array]:
    """(H, W, C) -> its different pixels (n, C), the first place of each, and which of them each pixel is."""
    flat = values.reshape(-1, values.shape[2]).astype(np.int64)
    packed = flat[:, 0] if flat.shape[1] == 1 else (flat[:, 0] << 32) + (flat[:, 1] << 16) + flat[:, 2]
    _, place, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return flat[place].astype(np.float64), place, inverse.reshape(-1)


def _levels(name: str) -> list[int]:
    """`#ff0080` -> [255, 0, 128]; `7` -> [7]."""
    return [int(name[at : at + 2], 16) for at in (1, 3, 5)] if name.startswith("#") else [int(name)]


def _name(levels: Sequence[int] | Array) -> str:
    if len(levels) == 1:
        return str(int(levels[0]))
    return "#" + "".join(f"{int(level):02x}" for level in levels)
