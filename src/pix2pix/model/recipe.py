"""Describe the settings of a training by the nearest preset and the settings that differ from it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from pix2pix.config import Config, Settings
from pix2pix.config.config import resolved_depth
from pix2pix.config.presets import PRESETS, preset_values

SECTIONS = ("augment", "generator", "discriminator", "loss", "optimizer", "training")
NOT_THE_RECIPE = {
    "training.device", "training.precision", "training.threads", "training.devices", "training.nodes",
    "training.rank_timeout", "training.convolutions", "training.validate_every", "training.validation_images",
    "training.samples", "training.keep_every", "training.validation_perceptual", "training.license",
}  # fmt: skip
"""Settings of the machine, of what is measured and of what is written."""


class Difference(NamedTuple):
    """A setting, its value and that of the preset."""

    name: str
    value: Any
    usual: Any


class Recipe(NamedTuple):
    """The nearest preset, where it is from, and what differs from it."""

    preset: str
    source: str
    differences: list[Difference]


def find_recipe(config: Config) -> Recipe:
    """Return the preset from which the fewest settings differ; of several the first."""
    found = [Recipe(name, PRESETS[name].source, list(_differences(config, name))) for name in PRESETS]
    paper_first = sorted(found, key=lambda recipe: recipe.preset != "paper")
    return min(paper_first, key=lambda recipe: len(recipe.differences))


def _differences(config: Config, preset: str) -> Iterator[Difference]:
    usual = Settings.model_validate(preset_values(preset))  # without the rules on sizes, which a preset need not fit
    for section in SECTIONS:
        ours, theirs = getattr(config, section), getattr(usual, section)
        assert isinstance(ours, BaseModel)
        for field in type(ours).model_fields:
            name, value, other = (
                f"{section}.{field}",
                getattr(ours, field),
                getattr(theirs, field, None),
            )  # None: a term of the user's own
            if name == "generator.depth":
                other = resolved_depth(usual.generator, config.data.image_size)
            if name == "augment.load_size":
                value, other = config.load_size, config.model_copy(update={"augment": usual.augment}).load_size
            is_open = other in (None, "auto") and name not in ("training.patience", "training.ema_images")
            if value != other and not is_open and name not in NOT_THE_RECIPE:
                yield Difference(name, value, other)
