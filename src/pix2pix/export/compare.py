"""Compare an ONNX model with the model that it was made from: errors and time."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.export.engines import Run
from pix2pix.inference.encode_sources import Encoded, encode_sources
from pix2pix.inference.fit_sources import SourceImage
from pix2pix.inference.translator import Translator
from pix2pix.model import Model
from pix2pix.model.model_config import Size
from pix2pix.text import format_share

Array = NDArray[Any]
OTHER_CLASS = "share of pixels with another class"
ROUNDS, SECONDS = 9, 3.0
"""Timing ends after so many rounds, or so many seconds."""


class Limit(NamedTuple):
    """Largest errors of a precision that are no fault, as shares of the range; of labels, the share of all pixels."""

    most: float
    mean: float


LIMITS = {"32": Limit(0.02, 0.0005), "16": Limit(1.0, 0.005), "int8": Limit(1.0, 0.05)}


@dataclass(frozen=True)
class Difference:
    """How far the outputs for one size are from those of the model."""

    height: int
    width: int
    unit: str
    """What `most` and `mean` count: values of the target, or shares of pixels with another class."""
    most: float
    mean: float
    share_most: float
    """`most` as a share of the target's range."""
    share_mean: float

    @property
    def counts_classes(self) -> bool:
        """Whether the target is a label map, of which pixels with another class are counted."""
        return self.unit == OTHER_CLASS

    def describe_mean(self) -> str:
        """Return `the mean error is 1.5 uint8 values, 0.6 % of the range`, or what it is for classes."""
        share = format_share(self.share_mean)
        if self.counts_classes:
            return f"{share} of the pixels have another class"
        return f"the mean error is {self.mean:.4g} {self.unit}, {share} of the range"

    def is_within(self, limit: Limit) -> bool:
        """Return whether the errors are no fault. NaN is one."""
        return self.share_most <= limit.most and self.share_mean <= limit.mean


def encode(translator: Translator, sources: Sequence[Array]) -> Tensor:
    """Encode the sources (H, W, C) of one image as (in, H, W) in [-1, 1]. Raises DataError."""
    return _encode(translator, sources).tensor


def _encode(translator: Translator, sources: Sequence[Array]) -> Encoded:
    images = [SourceImage(values, False, Path(f"source {number}")) for number, values in enumerate(sources, start=1)]
    return encode_sources(images, translator.model, translator.rule)


def translate_natively(translator: Translator, sources: Sequence[Array]) -> Array:
    """Translate the sources (H, W, C) of one image by the model itself. Raises DataError."""
    model, encoded = translator.model, _encode(translator, sources)
    output = model.target_values.to_array(translator.translate(encoded.tensor[None])[0])
    model.prepared.target.put_unknown(output, encoded.holes)
    return output


def find_difference(run: Run, translator: Translator, sources: Sequence[Array]) -> Difference:
    """Compare the outputs for the sources (H, W, C) of one image."""
    expected = translate_natively(translator, sources)
    found = run([one[None] for one in sources])[0]
    size = sources[0].shape[0], sources[0].shape[1]
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return Difference(*size, f"shape {found.shape} in place of {expected.shape}", *[float("nan")] * 4)
    if isinstance(translator.model.target_values, LabelEncoding):
        other = float((found != expected).any(axis=2).mean())
        return Difference(*size, OTHER_CLASS, other, other, other, other)
    same = np.isnan(expected) & np.isnan(found) if expected.dtype.kind == "f" else np.zeros(1, np.bool_)
    error = np.where(same, 0.0, np.abs(found.astype(np.float64) - expected))
    low, high = np.array(translator.model.target_values.bounds, np.float64).T
    share = error / (high - low)
    unit = f"{expected.dtype.name} values"
    return Difference(*size, unit, *map(float, (error.max(), error.mean(), share.max(), share.mean())))


@dataclass(frozen=True)
class Speed:
    """How an engine does on one image of the training's size."""

    engine: str
    milliseconds: float
    share_mean: float | None
    """Mean error as a share of the range; None for the model itself."""


def measure_engines(runs: Mapping[str, Run], translator: Translator, sources: Sequence[Array]) -> tuple[Speed, ...]:
    """Time the engines, and the model itself, on one image (H, W, C) in turn."""
    speeds = [
        Speed(name, measure_milliseconds(run, sources), find_difference(run, translator, sources).share_mean)
        for name, run in runs.items()
    ]

    def run_model(batch: Sequence[Array]) -> Array:
        return translate_natively(translator, [one[0] for one in batch])

    return (*speeds, Speed("pix2pix", measure_milliseconds(run_model, sources), None))


def check_sizes(model: Model) -> tuple[Size, ...]:
    """Return three sizes to compare at: that of the training, an odd one that is not square, and a larger one."""
    height, width = model.config.settings.data.image_size
    return (height, width), (height * 5 // 8 | 1, width * 3 // 4 | 1), (height + height // 4, width + width // 2)


def measure_milliseconds(run: Run, sources: Sequence[Array]) -> float:
    """Return the median time of a run on one image (H, W, C), after a first one."""
    batch = [one[None] for one in sources]
    run(batch)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < ROUNDS and (not times or time.perf_counter() - began < SECONDS):
        start = time.perf_counter()
        run(batch)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)
