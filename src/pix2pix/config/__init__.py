"""Settings: typed sections, rules, presets, YAML. `Config` is a checked set of all settings of a training."""

from pix2pix.config.config import (
    PATCH_LAYERS,
    SMALLEST_SIDE,
    Config,
    Settings,
    least_side,
    resolved_depth,
    smallest_discriminated,
)
from pix2pix.config.data import Augment, Data, Make, SourceSettings, source_prefix
from pix2pix.config.networks import Discriminator, Generator
from pix2pix.config.section import Section
from pix2pix.config.training import Loss, Optimizer, Training

__all__ = [
    "PATCH_LAYERS",
    "SMALLEST_SIDE",
    "Augment",
    "Config",
    "Data",
    "Discriminator",
    "Generator",
    "Loss",
    "Make",
    "Optimizer",
    "Section",
    "Settings",
    "SourceSettings",
    "Training",
    "least_side",
    "resolved_depth",
    "smallest_discriminated",
    "source_prefix",
]
