"""Linear encoding of values of a file's type as numbers in [-1, 1], and back."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.config.fields import Bounds, MaskValue
from pix2pix.data.encoding import tensors
from pix2pix.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]


@dataclass(frozen=True)
class RangeEncoding:
    """Encode values linearly: the lower bound becomes -1, the upper bound 1.

    Nothing is clipped: a value outside the bounds becomes a number outside [-1, 1]. Integers survive the way to float32
    and back exactly.
    """

    dtype: str
    """Type of the files' values."""
    bounds: Bounds
    """(low, high) of each channel, or one pair for all channels."""

    @classmethod
    def of_type(cls, dtype: str) -> "RangeEncoding":
        """Make the encoding of a whole integer type, or of 0 to 1 for float32."""
        return cls(dtype, (type_bounds(dtype) or (0.0, 1.0),))

    @property
    def is_8bit(self) -> bool:
        """Whether values are uint8 and the bounds are 0 and 255, as for ordinary photos."""
        return self.dtype == "uint8" and set(self.bounds) == {(0.0, 255.0)}

    def encode_into(self, image: NDArray[np.float32], values: Array) -> None:
        """Encode values (C, H, W), which may be any view, into the array `image`."""
        if self.is_8bit:
            tensors.scale_into(image, values)
            return
        low, factor = self._offset_and_factor(np.float32)
        np.subtract(values, low, out=image, casting="same_kind")
        np.multiply(image, factor, out=image)
        np.subtract(image, np.float32(1), out=image)

    def to_tensor(self, values: Array) -> "Tensor":
        """Encode (H, W, C) values as (C, H, W) float32."""
        if self.is_8bit:
            return tensors.to_tensor(values)
        image = np.empty((values.shape[2], *values.shape[:2]), np.float32)
        self.encode_into(image, values.transpose(2, 0, 1))
        return tensors.from_numpy(image)

    def to_array(self, image: "Tensor") -> Array:
        """Decode (C, H, W) in [-1, 1] to (H, W, C) values, integers rounded. Raises ValueError for NaN."""
        if self.is_8bit:
            return tensors.to_array(image)
        low, factor = self._offset_and_factor(np.float64)
        values = (image.detach().cpu().double().numpy() + 1) / factor + low
        if not np.isfinite(values).all():
            raise ValueError("expected an image in [-1, 1], got values that are not finite")
        if self.dtype != "float32":
            limits = np.iinfo(self.dtype)
            values = np.rint(values)
            if values.min() < limits.min or values.max() > limits.max:
                raise ValueError(f"expected an image within {self.dtype}, got values in [{image.min()}, {image.max()}]")
        return np.ascontiguousarray(values.transpose(1, 2, 0).astype(self.dtype))

    def to_arrays(self, batch: "Tensor") -> list[Array]:
        """Decode each image of a batch (N, C, H, W)."""
        return tensors.to_arrays(batch) if self.is_8bit else [self.to_array(image) for image in batch]

    def describe(self) -> str:
        """Return `uint16 from 0 to 4095`."""
        ranges = ", ".join(f"{low:g} to {high:g}" for low, high in self.bounds[:4])
        return f"{self.dtype} from {ranges}" + (", ..." if len(self.bounds) > 4 else "")

    def _offset_and_factor(self, dtype: type[np.floating]) -> tuple[Array, Array]:
        """Return the lower bounds and the factors of the encoding, (C or 1, 1, 1) each."""
        low, high = np.array(self.bounds, np.float64).T[..., None, None]
        return low.astype(dtype), (2 / (high - low)).astype(dtype)


def type_bounds(dtype: str) -> tuple[float, float] | None:
    """Return the least and the greatest value of an integer type; None for float32."""
    if dtype == "float32":
        return None
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def refuse_non_finite(values: Array, path: Path) -> None:
    """Raise DataError for NaN or infinity in (H, W, C); it names the file and the position."""
    if values.dtype.kind != "f":
        return
    if not np.isfinite(values).all():
        row, column, channel = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"{path}: holds {values[row, column, channel]} at row {row}, column {column}, channel {channel}, "
            "expected finite numbers: repair or remove it"
        )


def unknown_values(values: Array, mask_value: MaskValue | None) -> NDArray[np.bool_] | None:
    """Return where values equal the mask value, which marks unknown pixels; None without a mask value."""
    if mask_value is None:
        return None
    return np.isnan(values) if mask_value == "nan" else np.asarray(values == float(mask_value))
