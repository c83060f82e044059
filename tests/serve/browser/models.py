"""Untrained models for the page."""

from pathlib import Path
from typing import Any

import torch

from pix2pix.config.io import make_config
from pix2pix.model import Model, build_networks, make_model_config
from pix2pix.networks import set_norm_statistics


def save_models(folder: Path, colours: tuple[str, ...], size: int, *, seed: int = 0) -> dict[str, Path]:
    """Save a model for each kind of source; return name -> folder."""
    high = {
        "source_type": "uint16",
        "target_type": "uint16",
        "source_range": [[0, 65535]],
        "target_range": [[0, 65535]],
    }
    gray = {"source_channels": 1, "target_channels": 1}
    kinds: dict[str, dict[str, Any]] = {
        "labels": {"source_kind": "labels", "source_labels": list(colours)},
        "lines": {"source_channels": 1},
        "photo": {},
        "gray16": gray | high,
        "two": {"sources": {"1": {"type": "uint8", "channels": 3}, "2": {"type": "uint8", "channels": 1}}},
    }
    return {name: _save(folder / name, data, size, seed) for name, data in kinds.items()}


def _save(folder: Path, data: dict[str, Any], size: int, seed: int) -> Path:
    one = {} if "sources" in data else {"source_channels": 3}
    values = {
        "data": {"image_size": size, "target_channels": 3} | one | data,
        "generator": {"base_channels": 4, "dropout": 0.5},
        "discriminator": {"base_channels": 4, "patch_size": 16},
    }
    config = make_config(values)
    torch.manual_seed(seed)
    generator, _ = build_networks(config)
    with torch.no_grad():
        for weights in generator.parameters():
            if weights.ndim == 4:
                weights.mul_(8)  # else all of its pictures are gray
    set_norm_statistics(generator, "image")
    half = None if "sources" in data else "left"
    described = make_model_config(config, "image", (1.0, 1.0), converts=False, epoch=1, validation={}, half=half)
    Model(generator.eval(), None, described).save(folder)
    return folder
