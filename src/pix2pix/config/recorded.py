"""What `auto` became in a run: noted in the provenance of its settings, which stay `auto`."""

from pydantic import ValidationError

from pix2pix.config.config import Config
from pix2pix.config.io import explain
from pix2pix.config.training import Training
from pix2pix.errors import ConfigError

CHOICES = ("device", "precision", "convolutions", "devices", "nodes", "best_by")
"""Settings of `training` whose `auto` depends on the machine or on the version of this package."""


def record_choices(resolved: Config, asked: Training) -> Config:
    """Return resolved settings as a run saves them: what was asked for, and in the provenance what it became."""
    settings = {name: getattr(asked, name) for name in CHOICES}
    became = {name: str(getattr(resolved.training, name)) for name in CHOICES}
    training = resolved.training.model_copy(update=settings)
    return resolved.model_copy(update={"training": training, "provenance": resolved.provenance | became})


def apply_choices(saved: Config) -> Config:
    """Return the settings of a run with what `auto` became. Raises ConfigError for a provenance that was edited.

    Earlier versions saved what it became as the setting itself.
    """
    known = {name: saved.provenance[name] for name in CHOICES if name in saved.provenance}
    became = {name: value for name, value in known.items() if getattr(saved.training, name) == "auto"}
    try:
        training = Training.model_validate(saved.training.model_dump() | became)
    except ValidationError as error:
        raise ConfigError(f"provenance: {explain(error, Training)}") from None
    provenance = {name: value for name, value in saved.provenance.items() if name not in known}
    return saved.model_copy(update={"training": training, "provenance": provenance})
