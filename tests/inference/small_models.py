"""Untrained models of few weights, and noise to translate."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pix2pix.config.io import make_config
from pix2pix.inference.tiles import Axis
from pix2pix.model import Model, build_networks, make_model_config
from pix2pix.networks import set_norm_statistics

SIZE = 32
LEVEL = 1 / 127.5  # one step of 8 bits in [-1, 1]
Scale = tuple[float, float] | None


def make_model(
    source: int = 3, target: int = 3, scale: Scale = (1.0, 1.0), statistics: Any = "image", depth: int | None = None
) -> Model:
    """An untrained model of few weights, large enough that its pictures are not flat."""
    values = {
        "data": {"image_size": SIZE, "source_channels": source, "target_channels": target},
        "generator": {"base_channels": 4} | ({"depth": depth} if depth else {}),
        "discriminator": {"base_channels": 4, "patch_size": 16},
    }
    config = make_config(values)
    torch.manual_seed(0)
    generator, _ = build_networks(config)
    with torch.no_grad():
        for weights in generator.parameters():
            if weights.ndim == 4:
                weights.mul_(8)
    set_norm_statistics(generator, statistics)
    return Model(
        generator.eval(), None, make_model_config(config, statistics, scale, converts=False, epoch=1, validation={})
    )


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def seams(axis: Axis) -> list[int]:
    """The pixels at which a tile begins or ends inside the image."""
    ends = (start + axis.tile for start in axis.starts[:-1])
    return sorted({*axis.starts[1:], *ends})
