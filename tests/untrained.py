"""Untrained models of few weights."""

from typing import Any

import torch

from pix2pix.config.io import make_config, merge_settings
from pix2pix.model import Model, build_networks, make_model_config
from pix2pix.networks import set_norm_statistics


def untrained(
    settings: dict[str, Any] | None = None,
    *,
    base_channels: int = 4,
    scale: tuple[float, float] | None = (1.0, 1.0),
    statistics: Any = "image",
    gain: float = 1.0,
    **described: Any,
) -> Model:
    """A model of RGB to RGB at 32x32, with the seed 0; `gain` multiplies the weights, so that pictures are not flat."""
    several = "sources" in (settings or {}).get("data", {})
    usual = {
        "data": {"image_size": 32, "target_channels": 3} | ({} if several else {"source_channels": 3}),
        "generator": {"base_channels": base_channels},
        "discriminator": {"base_channels": base_channels, "patch_size": 16},
    }
    config = make_config(merge_settings(usual, settings or {}))
    torch.manual_seed(0)
    generator, discriminator = build_networks(config)
    with torch.no_grad():
        for weights in generator.parameters():
            if weights.ndim == 4:
                weights.mul_(gain)
    set_norm_statistics(generator, statistics)
    config_of_model = make_model_config(config, statistics, scale, converts=False, epoch=1, validation={}, **described)
    return Model(generator.eval(), discriminator.eval(), config_of_model)
