"""Settings: typed sections, rules, presets, YAML. `Config` is a checked set of all settings of a training."""

from pix2pix.config.config import (
    PATCH_LAYERS,
    SMALLEST_SIDE,
    Config,
    Settings,
    least_side,
    resolved_depth,
    size_multiple,
    smallest_discriminated,
)
from pix2pix.config.sections import (
    Augment,
    Data,
    Discriminator,
    Generator,
    Loss,
    Make,
    Optimizer,
    Section,
    SourceSettings,
    Training,
    source_prefix,
)

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
    "size_multiple",
    "smallest_discriminated",
    "source_prefix",
]
