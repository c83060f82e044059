"""One-hot encoding of label maps, whose colours or gray values are classes: one channel per class."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.encoding import tensors
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.io.lossy import lossy_format
from pix2pix.errors import DataError
from pix2pix.text import format_count, format_examples

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]
UNKNOWN = 255
"""Index of pixels without a class."""
HATCH = 90, 200
"""Gray values of the stripes drawn over pixels without a class."""
NARROW = 128
"""Gray values within fewer levels are drawn in other colours, since an eye cannot tell them apart."""


@dataclass(frozen=True)
class LabelEncoding:
    """Encode the classes of a label map as channels (one-hot).

    A pixel belongs to the nearest class, at a distance of at most `tolerance` (Euclidean, in gray levels). A channel
    in [-1, 1] holds the probability of its class, -1 for 0 and 1 for 1.
    """

    classes: tuple[str, ...]
    """`#rrggbb` colours, or gray values such as `7`, in the order of their channels."""
    tolerance: float = 0.0
    file_type: str = "uint8"
    """Type of the values of files."""
    unknown: str | None = None
    """Colour or gray value of pixels without a class."""

    dtype = "uint8"
    """Type of class indices."""
    is_8bit = False

    def to_indices(self, values: Array, path: Path | str) -> Array:
        """Find the class of each pixel of a file, (H, W, 1 or 3); return indices (H, W, 1) uint8. Raises DataError.

        An alpha channel after these is ignored. Pixels of the value `unknown` get the index UNKNOWN.
        """
        values = without_alpha(values)
        if values.shape[2] != self._table.shape[1] or values.dtype.kind == "f":
            kind = "gray values" if self._table.shape[1] == 1 else "colours"
            raise DataError(
                f"{path}: has {format_count(values.shape[2], 'channel')} of {values.dtype}, but its classes are {kind}"
            )
        found, position, inverse = unique_colours(values)
        distance = np.sqrt(((found[:, None] - self._table[None]) ** 2).sum(axis=2))
        nearest = distance.argmin(axis=1).astype(np.uint8)
        far = distance[np.arange(len(found)), nearest] > self.tolerance
        if self.unknown is not None:
            unknown = (found == np.array(class_levels(self.unknown))).all(axis=1)
            nearest[unknown], far[unknown] = UNKNOWN, False
        if far.any():
            row, column = divmod(int(position[far].min()), values.shape[1])
            advice = "correct it, or train with it in --source-labels or --target-labels"
            if kind := lossy_format(path):
                least = max(60, math.ceil(distance.min(axis=1).max()))
                advice = (
                    f"{kind} mixes colours: train with --label-tolerance {least}, or --target-label-tolerance {least}"
                )
            raise DataError(
                f"{path}: holds {class_name(values[row, column])} at row {row}, column {column}, not one of the "
                f"{len(self.classes)} classes {format_examples(self.classes)}; {advice}"
            )
        indices: Array = nearest[inverse].reshape(*values.shape[:2], 1)
        return indices

    def encode_into(self, image: NDArray[np.float32], indices: Array) -> None:
        """Write indices (1, H, W) into `image` (classes, H, W): 1 for the class of a pixel, -1 for the others."""
        image.fill(-1)
        if self.unknown is None:
            np.put_along_axis(image, np.asarray(indices, np.int64), 1, axis=0)
            return
        channels = np.minimum(np.asarray(indices, np.int64), len(image) - 1)
        np.put_along_axis(image, channels, np.where(indices == UNKNOWN, -1, 1).astype(np.float32), axis=0)

    def to_tensor(self, values: Array, path: Path | str = "the image") -> "Tensor":
        """Encode (H, W, 1 or 3) of a file as (classes, H, W) of 1 and -1. Raises DataError."""
        image = np.empty((len(self.classes), *values.shape[:2]), np.float32)
        self.encode_into(image, self.to_indices(values, path).transpose(2, 0, 1))
        return tensors.from_numpy(image)

    def to_array(self, image: "Tensor") -> Array:
        """Return the most probable class of each pixel, (classes, H, W) -> values of files (H, W, 1 or 3).

        Raises ValueError for NaN.
        """
        if not image.isfinite().all():
            raise ValueError("expected an image in [-1, 1], got values that are not finite")
        return np.ascontiguousarray(self._table.astype(self.file_type)[image.argmax(dim=0).cpu().numpy()])

    def to_arrays(self, batch: "Tensor") -> list[Array]:
        """Decode each image of a batch (N, classes, H, W)."""
        return [self.to_array(image) for image in batch]

    def to_viewable(self, image: "Tensor") -> Pixels:
        """Draw (classes, H, W) as (H, W, 1 or 3) uint8 in the classes' colours; see `display_table`.

        Pixels without a class, which have -1 in all channels, are hatched.
        """
        highest, indices = image.cpu().max(dim=0)
        drawn: Pixels = self.display_table[indices.numpy()]
        unknown = (highest <= -1).numpy()
        if unknown.any():
            drawn[unknown] = _hatch(*unknown.shape)[unknown]
        return np.ascontiguousarray(drawn)

    @property
    def display_table(self) -> Pixels:
        """(classes, 1 or 3) levels in which classes are drawn: their own, or colours that an eye can tell apart."""
        levels = self._table
        if levels.shape[1] == 3 or (levels.min() >= 0 and levels.max() <= 255 and np.ptp(levels) >= NARROW):
            return levels.astype(np.uint8)
        if len(levels) == 2:
            return np.array([[0], [255]], np.uint8)
        hues = [
            colorsys.hsv_to_rgb(n * 0.618 % 1, 0.55 + 0.4 * (n % 2), 1 - 0.15 * (n % 3)) for n in range(len(levels))
        ]
        return np.rint(np.array([(0.0, 0.0, 0.0), *hues[1:]]) * 255).astype(np.uint8)

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """The least and the greatest value in the files."""
        return ((float(self._table.min()), float(self._table.max())),)

    @property
    def palette(self) -> Pixels | None:
        """The colours of the classes (classes, 3) uint8, for files with a palette; None for gray values."""
        return self._table.astype(np.uint8) if self.file_channels == 3 else None

    def describe(self) -> str:
        """Return `12 classes #000000, #0000aa, #0000ff and 9 more`."""
        without = "" if self.unknown is None else f", {self.unknown} is ignored"
        return f"{len(self.classes)} classes {format_examples(self.classes)}{without}"

    @property
    def file_channels(self) -> int:
        """Channels of the files: 1 for gray values, 3 for colours."""
        return self._table.shape[1]

    @property
    def _table(self) -> NDArray[np.float64]:
        """(classes, 1 or 3) levels."""
        return np.array([class_levels(name) for name in self.classes], np.float64)


def _hatch(height: int, width: int) -> Pixels:
    """Return diagonal stripes (H, W, 1) in two grays, about 32 across the image."""
    rows, columns = np.ogrid[:height, :width]
    stripes = (rows + columns) // max(2, max(height, width) // 64) % 2
    return np.where(stripes, HATCH[0], HATCH[1]).astype(np.uint8)[..., None]


def without_alpha(values: Array) -> Array:
    """Return the gray values or colours of (H, W, C): the colours of a label map are enough, alpha is ignored."""
    return values[..., :-1] if values.shape[2] in (2, 4) else values


def unique_colours(values: Array) -> tuple[NDArray[np.float64], Array, Array]:
    """Return the different colours (n, C) of (H, W, C), the first position of each, and the index of each pixel's."""
    flat = values.reshape(-1, values.shape[2]).astype(np.int64)
    packed = flat[:, 0] if flat.shape[1] == 1 else (flat[:, 0] << 32) + (flat[:, 1] << 16) + flat[:, 2]
    _, position, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return flat[position].astype(np.float64), position, inverse.reshape(-1)


def class_levels(name: str) -> list[int]:
    """Return the levels of a class: `#ff0080` -> [255, 0, 128]; `7` -> [7]."""
    return [int(name[at : at + 2], 16) for at in (1, 3, 5)] if name.startswith("#") else [int(name)]


def class_name(levels: Sequence[int] | Array) -> str:
    """Name a class by its levels: `#ff0080` or `7`."""
    if len(levels) == 1:
        return str(int(levels[0]))
    return "#" + "".join(f"{int(level):02x}" for level in levels)
