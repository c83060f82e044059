"""One-hot encoding of label maps, whose colours or gray values are classes: one channel per class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pix2pix.data.io.arrays import Pixels
from pix2pix.errors import DataError
from pix2pix.text import format_examples

Array = NDArray[Any]


@dataclass(frozen=True)
class LabelEncoding:
    """Encode the classes of a label map as channels (one-hot).

    A pixel belongs to the nearest class, at a distance of at most `tolerance` (Euclidean, in gray levels).
    """

    classes: tuple[str, ...]
    """`#rrggbb` colours, or gray values such as `7`, in the order of their channels."""
    tolerance: float = 0.0

    dtype = "uint8"
    """Type of class indices."""
    is_8bit = False

    def to_indices(self, values: Array, path: Path | str) -> Array:
        """Find the class of each pixel of a file, (H, W, 1 or 3); return indices (H, W, 1) uint8. Raises DataError."""
        if values.shape[2] != self._table.shape[1] or values.dtype.kind == "f":
            kind = "gray values" if self._table.shape[1] == 1 else "colours"
            raise DataError(f"{path}: has {values.shape[2]} channels of {values.dtype}, but its classes are {kind}")
        found, position, inverse = unique_colours(values)
        distance = np.sqrt(((found[:, None] - self._table[None]) ** 2).sum(axis=2))
        nearest = distance.argmin(axis=1)
        far = distance[np.arange(len(found)), nearest] > self.tolerance
        if far.any():
            row, column = divmod(int(position[far].min()), values.shape[1])
            raise DataError(
                f"{path}: holds {class_name(values[row, column])} at row {row}, column {column}, not one of the "
                f"{len(self.classes)} classes {format_examples(self.classes)}; "
                "correct it, or train with it in --source-labels"
            )
        return nearest.astype(np.uint8)[inverse].reshape(*values.shape[:2], 1)

    def encode_into(self, image: NDArray[np.float32], indices: Array) -> None:
        """Write indices (1, H, W) into `image` (classes, H, W): 1 for the class of a pixel, -1 for the others."""
        image.fill(-1)
        np.put_along_axis(image, np.asarray(indices, np.int64), 1, axis=0)

    def to_tensor(self, values: Array, path: Path | str = "the image") -> Tensor:
        """Encode (H, W, 1 or 3) of a file as (classes, H, W) of 1 and -1. Raises DataError."""
        image = np.empty((len(self.classes), *values.shape[:2]), np.float32)
        self.encode_into(image, self.to_indices(values, path).transpose(2, 0, 1))
        return torch.from_numpy(image)

    def to_viewable(self, image: Tensor) -> Pixels:
        """Draw (classes, H, W) as (H, W, 1 or 3) uint8 in the classes' colours."""
        table = np.clip(self._table, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(table[image.argmax(dim=0).cpu().numpy()])

    def describe(self) -> str:
        """Return `12 classes #000000, #0000aa, #0000ff and 9 more`."""
        return f"{len(self.classes)} classes {format_examples(self.classes)}"

    @property
    def file_channels(self) -> int:
        """Channels of the files: 1 for gray values, 3 for colours."""
        return self._table.shape[1]

    @property
    def _table(self) -> NDArray[np.float64]:
        """(classes, 1 or 3) levels."""
        return np.array([_levels(name) for name in self.classes], np.float64)


def unique_colours(values: Array) -> tuple[NDArray[np.float64], Array, Array]:
    """Return the different colours (n, C) of (H, W, C), the first position of each, and the index of each pixel's."""
    flat = values.reshape(-1, values.shape[2]).astype(np.int64)
    packed = flat[:, 0] if flat.shape[1] == 1 else (flat[:, 0] << 32) + (flat[:, 1] << 16) + flat[:, 2]
    _, position, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return flat[position].astype(np.float64), position, inverse.reshape(-1)


def _levels(name: str) -> list[int]:
    """Return the levels of a class: `#ff0080` -> [255, 0, 128]; `7` -> [7]."""
    return [int(name[at : at + 2], 16) for at in (1, 3, 5)] if name.startswith("#") else [int(name)]


def class_name(levels: Sequence[int] | Array) -> str:
    """Name a class by its levels: `#ff0080` or `7`."""
    if len(levels) == 1:
        return str(int(levels[0]))
    return "#" + "".join(f"{int(level):02x}" for level in levels)
