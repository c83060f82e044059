"""Begin a training with the weights of another model, its parent: `train --from MODEL`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pix2pix.config import Config
from pix2pix.distributed.parallel import unwrap
from pix2pix.distributed.process_group import ProcessGroup
from pix2pix.errors import ConfigError, ModelError
from pix2pix.model import Model, build_networks, load_model, locate
from pix2pix.model.carry import Carried, carry_discriminator, carry_generator, fill, match_channels
from pix2pix.model.hub import PREFIX
from pix2pix.model.model_config import CONFIG, PARENT, PARENT_EPOCH, PARENT_SHA256, read_model_config
from pix2pix.model.recipe import find_recipe
from pix2pix.model.weights import DISCRIMINATOR, GENERATOR
from pix2pix.system.files import sha256
from pix2pix.training.plan import Plan
from pix2pix.training.run_folder import find_resumable, name_run
from pix2pix.training.step import TrainState

ORIGIN = (PARENT, PARENT_SHA256, PARENT_EPOCH)
OF_DATA = ("augment", "augment_probability")
"""Settings of D that are a recipe's and no part of its network."""


class Inheritance(NamedTuple):
    """What both networks take from the parent, and what is to say about it."""

    generator: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    notes: list[str]


# ---- settings --------------------------------------------------------------------------------------------------


def inherit_settings(run: Path | None, overwrite: bool, parent: str, data: str | None) -> dict[str, Any]:
    """Return the networks and the image size of the parent, by section; without it, those of a run that began with it.

    Raises ModelError or ConfigError.
    """
    try:
        config = read_model_config(find_parent(parent) / CONFIG).settings
        has_discriminator = (find_parent(parent) / DISCRIMINATOR).exists()
    except ModelError:
        found = None if overwrite else find_resumable(run, name_run(data))
        if found is None or found[1].training.from_model != parent:
            raise
        config, has_discriminator = found[1], True
    settings: dict[str, Any] = {
        "data": {"image_size": config.data.image_size},
        "generator": config.generator.model_dump(),
    }
    if has_discriminator:
        settings["discriminator"] = config.discriminator.model_dump(exclude=set(OF_DATA))
    return settings


def find_parent(parent: str) -> Path:
    """Return the folder of the parent. Raises ConfigError for a file, and ModelError."""
    if Path(parent).suffix.lower() == ".onnx":
        raise ConfigError(
            f"training.from_model {parent}: an ONNX file holds no weights that can be trained; give the run or model "
            "folder that it was exported from"
        )
    return locate(parent)


# ---- the plan --------------------------------------------------------------------------------------------------


def with_parent(plan: Plan, run: Path | None, recorded: Config | None) -> tuple[Plan, list[str]]:
    """Return a plan that names its parent in its provenance, and what is to say about it.

    A run that is resumed, of which `recorded` are the settings, keeps what it began with and does not read the parent.
    Raises ConfigError if nothing of the parent fits, or if it is the run itself.
    """
    parent = plan.config.training.from_model
    if parent is None:
        return plan, []
    if recorded is not None and recorded.training.from_model == parent and PARENT in recorded.provenance:
        origin = {name: recorded.provenance[name] for name in ORIGIN if name in recorded.provenance}
        lines = [f"{origin[PARENT]}, as this run began"]
    else:
        folder = find_parent(parent)
        if run is not None and run.resolve() in (folder.resolve(), *folder.resolve().parents):
            raise ConfigError(
                f"training.from_model {parent}: is the run {run} itself; its own command with more --epochs goes on, "
                "and another --run begins anew with its weights"
            )
        model = load_model(folder, discriminator=True)
        origin = _describe_origin(parent, folder, model)
        lines = [f"{origin[PARENT]}, epoch {origin[PARENT_EPOCH]}, SHA-256 {origin[PARENT_SHA256][:12]}..."]
        lines += _inherit(plan, model).notes
    config = plan.config.model_copy(update={"provenance": plan.config.provenance | origin})
    return replace(plan, config=config), [f"{'parent' * (not at):13}{line}" for at, line in enumerate(lines)]


def _describe_origin(parent: str, folder: Path, model: Model) -> dict[str, str]:
    """Return the provenance of the weights: the name of the folder or the hub id, their SHA-256 and epoch."""
    local = Path(parent).exists()
    name = (
        (folder.parent if folder.name == "model" else folder).resolve().name if local else parent.removeprefix(PREFIX)
    )
    digest = model.config.sha256.get(GENERATOR) or sha256(folder / GENERATOR)
    return {PARENT: name[:200], PARENT_SHA256: digest, PARENT_EPOCH: str(model.config.epoch)}


def _inherit(plan: Plan, old: Model) -> Inheritance:
    """Return what the networks of a plan take from a model. Raises ConfigError if nothing of the generator fits."""
    config, before = plan.config, old.config.settings
    with torch.device("meta"):
        generator, discriminator = build_networks(config)
    channels = match_channels(plan.prepared, old.prepared)
    for_g = carry_generator(old, generator, channels)
    if config.generator.kind != before.generator.kind or not any(one.ndim == 4 for one in for_g.weights.values()):
        ours, theirs = (
            f"{one.kind}, {one.base_channels} base channels" for one in (config.generator, before.generator)
        )
        raise ConfigError(
            f"training.from_model {config.training.from_model}: its generator ({theirs}) has no layer that fits these "
            f"settings ({ours}); leave out --base-channels and the --generator settings to take its own"
        )
    for_d = Carried({}, ["begins anew, since the parent has none"])
    if old.discriminator is not None:
        same = type(old.discriminator) is type(discriminator)
        for_d = Carried({}, ["begins anew, since that of the parent is of another kind"])
        for_d = carry_discriminator(old.discriminator, discriminator, channels) if same else for_d
    notes = [*_differences(config, before), *channels.sources.notes, *channels.output.notes]
    notes += [f"generator: {note}" for note in for_g.notes] + [f"discriminator: {note}" for note in for_d.notes]
    notes.append("both optimisers and the schedule of their rates begin anew")
    return Inheritance(for_g.weights, for_d.weights, notes)


def _differences(config: Config, before: Config) -> Iterator[str]:
    """Yield how settings of the data and the depth differ from those of the parent."""
    if config.data.direction != before.data.direction:
        yield f"direction: {before.data.direction} before, {config.data.direction} now"
    if config.data.image_size != before.data.image_size:
        was, now = ("x".join(map(str, one.data.image_size)) for one in (before, config))
        yield f"image_size: {was} before, {now} now"
    was, now = (find_recipe(one).preset for one in (before, config))
    if was != now:
        yield f"recipe: nearest to {was} before, to {now} now; --preset {was} keeps its losses and rates"
    if config.generator.kind != "resnet" and config.generator.depth != before.generator.depth:
        yield f"depth: {before.generator.depth} before, {config.generator.depth} now; the outer layers are the same"


# ---- weights ---------------------------------------------------------------------------------------------------


def take_weights(plan: Plan, state: TrainState, group: ProcessGroup) -> None:
    """Fill both networks, and the average, with the weights of the parent. Raises ConfigError."""
    inherited = group.broadcast(lambda: _load(plan))
    generator = unwrap(state.generator)
    for network, weights in ((generator, inherited.generator), (unwrap(state.discriminator), inherited.discriminator)):
        fill(network, weights)
    if state.average is not None:
        fill(state.average, generator.state_dict())


def _load(plan: Plan) -> Inheritance:
    parent, origin = plan.config.training.from_model, plan.config.provenance
    assert parent is not None, "only for a training with a parent"
    folder = find_parent(parent)
    model = load_model(folder, discriminator=True)
    if _describe_origin(parent, folder, model)[PARENT_SHA256] != origin[PARENT_SHA256]:
        raise ConfigError(
            f"training.from_model {parent}: its weights have changed since this run was planned; add --overwrite to "
            "begin with the new ones"
        )
    return _inherit(plan, model)
