"""Untrained models of few weights, and noise to translate."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.inference.tiles import Axis
from pix2pix.model import Model
from tests.untrained import untrained

SIZE = 32
LEVEL = 1 / 127.5  # one step of 8 bits in [-1, 1]
Scale = tuple[float, float] | None


def make_model(
    source: int = 3, target: int = 3, scale: Scale = (1.0, 1.0), statistics: Any = "image", depth: int | None = None
) -> Model:
    """An untrained model of few weights, large enough that its pictures are not flat."""
    settings = {
        "data": {"image_size": SIZE, "source_channels": source, "target_channels": target},
        "generator": {"depth": depth} if depth else {},
    }
    return untrained(settings, scale=scale, statistics=statistics, gain=8)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def seams(axis: Axis) -> list[int]:
    """The pixels at which a tile begins or ends inside the image."""
    ends = (start + axis.tile for start in axis.starts[:-1])
    return sorted({*axis.starts[1:], *ends})
