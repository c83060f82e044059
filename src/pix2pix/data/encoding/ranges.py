"""Values of a file's type <-> numbers in [-1, 1]: by which bounds, and how bounds are measured."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pix2pix.config import Data, SourceSettings
from pix2pix.config.fields import Bounds, MaskValue
from pix2pix.data.encoding import tensors
from pix2pix.data.io import images
from pix2pix.data.io.arrays import with_channels
from pix2pix.data.io.file_facts import cache_folder, remembered
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.errors import ConfigError, DataError

Array = NDArray[Any]
Side = Literal["source", "target"]

PERCENTILES = (0.5, 99.5)
SAMPLES = 10_000_000
"""Values of one channel, at most, that percentiles are taken of: evenly spread over all images and in each."""


@dataclass(frozen=True)
class Values:
    """How one side's values are numbers: their type, and what becomes -1 and 1 in each channel, or in all alike.

    Values outside the bounds become numbers outside [-1, 1]; nothing is clipped. For integers the way to float32 and
    back is exact.
    """

    dtype: str
    bounds: Bounds

    @classmethod
    def of_type(cls, dtype: str) -> "Values":
        """Bounds at the least and the greatest value of an integer type; 0 and 1 for float32."""
        return cls(dtype, (type_bounds(dtype) or (0.0, 1.0),))

    @property
    def plain(self) -> bool:
        """Whether these are the bytes of ordinary pictures."""
        return self.dtype == "uint8" and set(self.bounds) == {(0.0, 255.0)}

    def scale_into(self, image: NDArray[np.float32], values: Array) -> None:
        """(C, H, W) values -> numbers, written into `image`; `values` may be any view."""
        if self.plain:
            tensors.scale_into(image, values)
            return
        low, factor = self._places(np.float32)
        np.subtract(values, low, out=image, casting="same_kind")
        np.multiply(image, factor, out=image)
        np.subtract(image, np.float32(1), out=image)

    def to_tensor(self, values: Array) -> Tensor:
        """(H, W, C) values -> (C, H, W) float32."""
        if self.plain:
            return tensors.to_tensor(values)
        image = np.empty((values.shape[2], *values.shape[:2]), np.float32)
        self.scale_into(image, values.transpose(2, 0, 1))
        return torch.from_numpy(image)

    def to_array(self, image: Tensor) -> Array:
        """(C, H, W) in [-1, 1] -> (H, W, C) values, integers rounded: `to_tensor` undone. Raises ValueError for NaN."""
        if self.plain:
            return tensors.to_array(image)
        low, factor = self._places(np.float64)
        values = (image.detach().to("cpu", torch.float64).numpy() + 1) / factor + low
        if not np.isfinite(values).all():
            raise ValueError("expected an image in [-1, 1], got one with values that are not finite")
        if self.dtype != "float32":
            limits = np.iinfo(self.dtype)
            values = np.rint(values)
            if values.min() < limits.min or values.max() > limits.max:
                raise ValueError(f"expected an image within {self.dtype}, got values in [{image.min()}, {image.max()}]")
        return np.ascontiguousarray(values.transpose(1, 2, 0).astype(self.dtype))

    def to_arrays(self, batch: Tensor) -> list[Array]:
        """The same for a batch (N, C, H, W)."""
        return tensors.to_arrays(batch) if self.plain else [self.to_array(image) for image in batch]

    def describe(self) -> str:
        """`uint16 from 0 to 4095`."""
        places = ", ".join(f"{low:g} to {high:g}" for low, high in self.bounds[:4])
        return f"{self.dtype} from {places}" + (", ..." if len(self.bounds) > 4 else "")

    def _places(self, dtype: type[np.floating]) -> tuple[Array, Array]:
        """What becomes -1, and numbers for each unit, (C or 1, 1, 1)."""
        low, high = np.array(self.bounds, np.float64).T[..., None, None]
        return low.astype(dtype), (2 / (high - low)).astype(dtype)


def type_bounds(dtype: str) -> tuple[float, float] | None:
    """The least and the greatest value of an integer type; None for float32."""
    if dtype == "float32":
        return None
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


# ---- bounds from settings and data -----------------------------------------------------------------------------


def values_of(
    data: Data, side: Side, pairs: Sequence[Pair], progress: Callable[[int, int], None] | None = None
) -> Values:
    """What the settings say of the target or the only source; as `part_values`."""
    if side == "source":
        refs = [pair.source for pair in pairs]
        return part_values(data.source_settings(1)[0], refs, memory=cache_folder(data), progress=progress)
    part = SourceSettings.model_construct(channels=data.target_channels, range=data.target_range, type=data.target_type)
    refs = [pair.target for pair in pairs]
    folder = cache_folder(data)
    return _within(part_values(part, refs, "target_", mask=data.mask_value, memory=folder, progress=progress))


def part_values(
    part: SourceSettings,
    refs: Sequence[ImageRef],
    prefix: str = "source_",
    *,
    mask: MaskValue | None = None,
    memory: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Values:
    """What the settings say of one image of each pair, with bounds measured on `refs` where they leave that open, once
    for the same files if there is a folder `memory`.

    The files' type, if the settings do not know it, is that of the first. Messages call the settings by `prefix`.
    Raises DataError or ConfigError.
    """
    dtype: str = part.type or images.probe(refs[0].path).dtype
    asked = part.range or ("type" if dtype == "uint8" else "measured")
    if not isinstance(asked, str):
        return Values(dtype, asked)
    if asked == "type":
        bounds = type_bounds(dtype)
        if bounds is None:
            what = "targets" if prefix == "target_" else "sources"
            raise ConfigError(
                f"data.{prefix}range type: the {what} hold {dtype} values, which have no full range; "
                f"use measured, percentile or --{prefix.replace('_', '-')}range=LOW,HIGH"
            )
        return Values(dtype, (bounds,))

    def measure() -> Bounds:
        arrays = _arrays(refs, part.channels, mask, progress)
        return _measured(arrays) if asked == "measured" else _percentiles(arrays, len(refs))

    question = f"{asked} range, {refs[0].half}, {part.channels} channels, mask {mask}, at most {SAMPLES} values"
    bounds = remembered(memory, [ref.file for ref in refs], question, measure)
    return Values(dtype, tuple((float(low), float(high)) for low, high in bounds))


def _within(values: Values) -> Values:
    """Raises ConfigError for targets' bounds that their type cannot hold: outputs could not be written."""
    limits = type_bounds(values.dtype)
    if limits is not None:
        for low, high in values.bounds:
            if low < limits[0] or high > limits[1]:
                raise ConfigError(
                    f"data.target_range {low:g},{high:g}: the targets hold {values.dtype} values, "
                    f"from {limits[0]:g} to {limits[1]:g}; give bounds within"
                )
    return values


def _arrays(
    refs: Sequence[ImageRef],
    channels: int | None,
    mask: MaskValue | None,
    progress: Callable[[int, int], None] | None,
) -> Iterable[Array]:
    """(pixels, C) of each image. Raises DataError, naming the file, for values that are not finite."""
    for done, ref in enumerate(refs, start=1):
        values = images.read(ref.path, ref.half, alpha=channels in (2, 4))
        if channels is not None:
            values = with_channels(values, channels, str(ref.path))
        hole = holes(values, mask)
        if hole is None:
            refuse_gaps(values, ref.path)
        else:
            values = np.where(hole, np.nan, values.astype(np.float64))
        if progress is not None:
            progress(done, len(refs))
        yield values.reshape(-1, values.shape[2])


def refuse_gaps(values: Array, path: Path) -> None:
    """Raises DataError for NaN or infinity in (H, W, C), naming its place."""
    if values.dtype.kind != "f":
        return
    if not np.isfinite(values).all():
        row, column, channel = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"{path}: holds {values[row, column, channel]} at row {row}, column {column}, channel {channel}, "
            "expected finite numbers: repair or remove it"
        )


def holes(values: Array, mask: MaskValue | None) -> NDArray[np.bool_] | None:
    """Where values say that nothing is known; None without a mask value."""
    if mask is None:
        return None
    return np.isnan(values) if mask == "nan" else np.asarray(values == mask)


def _measured(arrays: Iterable[Array]) -> Bounds:
    """The least and the greatest value of each channel."""
    lows, highs = [], []
    for values in arrays:
        lows.append(np.fmin.reduce(values, axis=0))  # passes over NaN
        highs.append(np.fmax.reduce(values, axis=0))
    return _bounds(np.fmin.reduce(_joined(lows), axis=0), np.fmax.reduce(_joined(highs), axis=0))


def _percentiles(arrays: Iterable[Array], count: int) -> Bounds:
    """PERCENTILES of each channel."""
    most = max(1, SAMPLES // count)
    sampled = [values[:: -(-len(values) // most)].copy() for values in arrays]
    _joined([values[0] for values in sampled])
    low, high = np.nanpercentile(np.concatenate(sampled), PERCENTILES, axis=0)
    return _bounds(low, high)


def _joined(rows: list[Array]) -> Array:
    if len({row.shape for row in rows}) > 1:
        raise DataError("the images of one side have different numbers of channels; `pix2pix data check` names them")
    return np.stack(rows)


def _bounds(low: Array, high: Array) -> Bounds:
    """A channel that is the same everywhere becomes -1."""
    if np.isnan(low).any():
        raise DataError("the targets hold nothing but data.mask_value in one of their channels: there is no range")
    pairs = zip(low.tolist(), high.tolist(), strict=True)
    return tuple((float(least), float(most if most > least else least + 1)) for least, most in pairs)
