"""A trained model: save it to a folder and load it; no flags, no pickle."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pix2pix.config import Config
from pix2pix.config.fields import Statistics
from pix2pix.errors import ModelError
from pix2pix.model.card import README, SAMPLES, find_parent, write_card
from pix2pix.model.facts import EVALUATION, describe_pairs, read_evaluations
from pix2pix.model.hub import MOST_READS, identify, locate
from pix2pix.model.model_config import CONFIG, ModelConfig, Present, read_model_config, write_model_config
from pix2pix.model.recipe import find_recipe
from pix2pix.model.signature import Signature
from pix2pix.model.weights import DISCRIMINATOR, GENERATOR, load_weights, save_weights
from pix2pix.networks import make_discriminator, make_generator, set_norm_statistics
from pix2pix.system.files import write_text
from pix2pix.system.folders import write_folder_atomically
from pix2pix.text import format_count

MODEL_FILES = (GENERATOR, DISCRIMINATOR, CONFIG, README, SAMPLES, EVALUATION)
"""Files of a model folder. Saving replaces all of them: those of other weights must not stay beside new ones."""


@dataclass(frozen=True)
class Model(Signature):
    """A generator in eval mode, its configuration and, if it was saved, the discriminator of its training."""

    generator: nn.Module
    discriminator: nn.Module | None
    config: ModelConfig
    present: Present = "auto"
    """How the generator is shown images of other sizes."""
    folder: Path | None = None
    """Folder from which it was loaded."""

    @property
    def size_multiple(self) -> int:
        """The generator takes sides that are multiples of this."""
        return int(self.generator.size_multiple)  # type: ignore[arg-type]

    def weight_bytes(self) -> Iterator[bytes]:
        """Yield what identifies the weights of the generator."""
        for name, tensor in sorted(self.generator.state_dict().items()):
            yield f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
            yield tensor.detach().cpu().contiguous().reshape(-1).numpy().tobytes()

    def save(self, folder: Path, *, samples: bytes | None = None) -> None:
        """Write the model folder, completely or not at all. Files that others put into it stay.

        `samples` is the picture of the model card (`draw_samples`). Raises ModelError for a number that is not finite.
        """
        for network in (self.generator, self.discriminator):
            for name, tensor in () if network is None else network.state_dict().items():
                if not torch.isfinite(tensor).all():
                    raise ModelError(f"{folder}: {name} holds numbers that are not finite; the model is not saved")
        with write_folder_atomically(folder, MODEL_FILES) as new:
            digests = {GENERATOR: save_weights(self.generator, new / GENERATOR)}
            if self.discriminator is not None:
                digests[DISCRIMINATOR] = save_weights(self.discriminator, new / DISCRIMINATOR)
            config = self.config
            if config.sha256.get(GENERATOR, digests[GENERATOR]) != digests[GENERATOR]:  # changed since it was loaded
                config = config.model_copy(update={"validation": {}, "trained": None})
            write_model_config(new / CONFIG, config, digests)
            write_text(new / README, write_card(config, samples=samples is not None))
            if samples is not None:
                (new / SAMPLES).write_bytes(samples)


def build_networks(config: Config) -> tuple[nn.Module, nn.Module]:
    """Build generator and discriminator from resolved settings, with random weights."""
    return build_generator(config), build_discriminator(config)


def build_generator(config: Config) -> nn.Module:
    """Build a generator from resolved settings, with random weights."""
    source, target = _channels(config.data.network_channels), _channels(config.data.target_network_channels)
    return make_generator(
        config.generator,
        in_channels=source,
        out_channels=target,
        image_size=config.data.image_size,
        classes=config.data.target_kind == "labels",
    )


def build_discriminator(config: Config) -> nn.Module:
    """Build a discriminator from resolved settings, with random weights."""
    source, target = _channels(config.data.network_channels), _channels(config.data.target_network_channels)
    return make_discriminator(config.discriminator, source, target, features=config.loss.feature_matching_weight > 0)


def choose_statistics(generator: nn.Module, discriminator: nn.Module | None, statistics: Statistics) -> None:
    """Choose the statistics of batch norm in eval mode: as given for G, those of the image for D.

    The running averages of D mix targets and outputs, so they fit neither.
    """
    set_norm_statistics(generator, statistics)
    if discriminator is not None:
        set_norm_statistics(discriminator, "image")


def load_model(name: str | Path, *, discriminator: bool = False) -> Model:
    """Load a run folder, a model folder or a hub id onto the CPU, in eval mode. Raises ModelError.

    The discriminator is loaded only if `discriminator` is true; it is None if the folder has none. If a training
    replaces the model meanwhile, the new one is read.
    """
    for _ in range(MOST_READS - 1):
        folder = locate(name)
        before = identify(folder)
        try:
            return _load(folder, discriminator)
        except ModelError:
            if identify(folder) == before:
                raise
    return _load(locate(name), discriminator)


def _load(folder: Path, discriminator: bool) -> Model:
    """Load the model in a folder; its files must belong together. Raises ModelError."""
    model_config = read_model_config(folder / CONFIG)
    wanted, opponent = discriminator and (folder / DISCRIMINATOR).exists(), None
    with torch.device("meta"):  # no memory before the weights are known to fit
        generator = build_generator(model_config.settings)
        if wanted:
            opponent = build_discriminator(model_config.settings)
    choose_statistics(generator, opponent, model_config.norm_statistics)
    load_weights(generator, folder / GENERATOR, model_config.sha256.get(GENERATOR))
    if opponent is None:
        return Model(generator.eval(), None, model_config, folder=folder)
    load_weights(opponent, folder / DISCRIMINATOR, model_config.sha256.get(DISCRIMINATOR))
    return Model(generator.eval(), opponent.eval(), model_config, folder=folder)


def describe_model(name: str | Path) -> dict[str, Any]:
    """List the facts of a model for `pix2pix info`; reads and checks every file. Raises ModelError."""
    folder = locate(name)
    model = load_model(folder, discriminator=True)
    model_config, config = model.config, model.config.settings
    return {
        "folder": str(folder),
        "pix2pix": model_config.pix2pix,
        "generator": config.generator.kind,
        "depth": config.generator.depth,
        "upsampling": config.generator.upsampling,
        "parameters": sum(weights.numel() for weights in model.generator.parameters()),
        **model.describe(),
        "discriminator": config.discriminator.describe() if model.discriminator else "absent",
        "epoch": model_config.epoch,
        **({"origin": words} if (words := model_config.describe_origin()) else {}),
        "validation": model_config.validation,
        **_describe_training(model_config),
        "license": config.training.license,
        "evaluations": [one.model_dump() for one in read_evaluations(folder, model_config.sha256.get(GENERATOR))],
    }


def _describe_training(model_config: ModelConfig) -> dict[str, Any]:
    """Describe what the model was made of; older models do not know it."""
    recipe, trained, parent = find_recipe(model_config.settings), model_config.trained, find_parent(model_config)
    differing = f", {format_count(len(recipe.differences), 'setting')} differ" if recipe.differences else ""
    facts: dict[str, Any] = {"recipe": f"{recipe.preset}{differing}"}
    if trained is not None:
        facts["data"] = f"{trained.data} ({describe_pairs(trained.pairs)})"
        facts["alarms"] = list(trained.alarms)
    return facts if parent is None else {**facts, "parent": parent}


def _channels(count: int | None) -> int:
    assert count is not None, "networks are built from resolved settings"
    return count
