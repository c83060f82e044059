"""Presets: recipes, the published ones one line each. A file of settings overrides a preset; flags override both."""

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from pix2pix.config.config import Config
from pix2pix.config.data import Data
from pix2pix.config.io import make_config, merge_settings, read_yaml
from pix2pix.errors import ConfigError


class Preset(NamedTuple):
    """The settings that a recipe fixes, by section, and where it is from; all others keep their defaults."""

    settings: Mapping[str, Mapping[str, Any]]
    source: str


def _row(
    batch_size: int,
    epochs: int,
    discriminator_epochs: int,
    schedule: str,
    flip: bool,
    dropout_layers: tuple[int, ...],
    source: str,
) -> Preset:
    """Return a recipe that differs from others in these settings only."""
    training = {"batch_size": batch_size, "epochs": epochs, "discriminator_epochs": discriminator_epochs}
    return Preset(
        {
            "augment": {"flip": flip},
            "generator": {"dropout_layers": dropout_layers},
            "optimizer": {"schedule": schedule},
            "training": training,
        },
        source,
    )


MODERN: dict[str, dict[str, Any]] = {
    "generator": {
        "bottleneck_size": 4,  # deeper layers of a U-Net see only padding
        "dropout": 0.0,
        "upsampling": "resize",  # transposed convolutions leave a grid
    },
    "discriminator": {"augment": "adaptive"},  # Zhao et al. 2020, Karras et al. 2020: few pairs
    "loss": {
        "adversarial": "hinge",
        "l1_weight": 10.0,
        "cross_entropy_weight": 10.0,
        "feature_matching_weight": 10.0,  # Wang et al. 2018
    },
    "optimizer": {"schedule": "linear"},
    "training": {"epochs": 200, "ema_images": 1000.0},  # Karras et al. 2020
}

# fmt: off
PRESETS = {
    #               batch  epochs  warm-up  rate        flip   dropout    source
    "slides":   _row(4,     300,    50,      "constant", False, (1, 2, 3), "the lecture: facades, its own figures"),
    "paper":    _row(1,     200,    0,       "constant", True,  (1, 2, 3), "Isola et al. 2017, 6.2: facades, maps"),
    "junyanz":  _row(1,     200,    0,       "linear",   True,  (2, 3, 4), "the public PyTorch code's defaults"),
    "modern":   Preset(MODERN, "this package, parts of 2017 to 2022: docs/results.md"),
}
# fmt: on
"""Name -> recipe. One with other settings is `Preset({section: {setting: value}}, source)`."""
DEFAULT_PRESET = "paper"
EITHER = (("ema", "ema_images"), ("discriminator_epochs", "reconstruction_first"))
"""Settings of the training of which only one can be given."""


def preset_values(name: str) -> dict[str, Any]:
    """Return the nested settings of a preset. Raises ConfigError, with a suggestion, for an unknown name."""
    if name not in PRESETS:
        near = difflib.get_close_matches(str(name), PRESETS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(PRESETS)}"
        raise ConfigError(f"there is no preset `{name}`; {hint}")
    return {section: dict(values) for section, values in PRESETS[name].settings.items()}


Inherit = Callable[[str, str | None], Mapping[str, Any]]
"""Return the settings, by section, that a training takes from its parent; arguments: the parent, the data."""


def choose_settings(
    data: str | Path | None,
    preset: str | None,
    file: str | Path | None,
    overrides: Mapping[str, Any],
    inherit: Inherit | None = None,
) -> Config:
    """Merge preset, settings of the parent, YAML file and overrides, and check the result. Raises ConfigError.

    Without a preset, a file is used alone; without both, the preset `paper` is used. A preset's choice gives way to
    the other way of choosing it. `inherit` is asked if there is a parent (`training.from_model`).
    """
    if str(data) == "":
        raise ConfigError("the name of the data is empty: give a folder of pairs, or pairs.csv")
    values = {} if file is None else read_yaml(file)
    name = preset or (DEFAULT_PRESET if file is None else None)
    pairs: dict[str, Any] = {}
    if data is not None:
        pairs = {"data": {"path": str(data), "source": None, "target": None}}
    elif overrides.get("data", {}).get("source"):
        pairs = {"data": {"path": None}}
    preset_given = preset_values(name) if name else {}
    training = preset_given.get("training", {})
    for given in (values.get("training"), overrides.get("training")):
        for one, other in EITHER:
            if isinstance(given, Mapping) and given.keys() & {one, other}:
                training.pop(one, None), training.pop(other, None)
    given = merge_settings(values, pairs, overrides)
    inherited = {} if inherit is None else _inherited(given, inherit)
    merged = merge_settings(preset_given, inherited, given)
    if "generator" in inherited and "depth" not in (given.get("generator") or {}) and not _takes_size(merged):
        merged = merge_settings(merged, {"generator": {"depth": None}})
    return make_config(merged, str(file or "settings"))


def _inherited(given: Mapping[str, Any], inherit: Inherit) -> Mapping[str, Any]:
    """Return what a training takes from its parent; nothing without one."""
    training, data = (given[name] if isinstance(given.get(name), Mapping) else {} for name in ("training", "data"))
    parent = training.get("from_model")
    if not isinstance(parent, str | os.PathLike):
        return {}
    return inherit(os.fspath(parent), data.get("path") or data.get("target"))


def _takes_size(merged: Mapping[str, Any]) -> bool:
    """Return whether a U-Net of the inherited depth takes images of image_size."""
    generator, depth = merged["generator"], merged["generator"].get("depth")
    try:
        size = Data.model_validate({"image_size": merged["data"]["image_size"]}).image_size
    except ValidationError:
        return True  # the check of all settings says what is wrong with it
    return generator.get("kind") == "resnet" or not depth or all(side % 2**depth == 0 for side in size)
