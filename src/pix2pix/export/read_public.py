"""Read a generator of pytorch-CycleGAN-and-pix2pix, such as latest_net_G.pth, into a model folder."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pix2pix.config import Config, Discriminator, Generator
from pix2pix.config.config import least_side
from pix2pix.config.fields import MAX_SIDE, Direction, Statistics
from pix2pix.config.io import make_config
from pix2pix.data.encoding.ranges import RangeEncoding
from pix2pix.errors import ConfigError, ModelError
from pix2pix.export.junyanz import (
    Found,
    Shapes,
    describe_network,
    expected_shapes,
    find_discriminator,
    find_generator,
    same_layers,
    take_weights,
)
from pix2pix.model import Model, make_model_config
from pix2pix.model.model import build_discriminator, build_generator
from pix2pix.model.model_config import CONVERTED, CONVERTED_SHA256
from pix2pix.model.torch_file import Entry, TensorFile, open_tensors
from pix2pix.system.files import sha256
from pix2pix.text import escape_unprintable, format_count, format_examples, format_list

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
TRACKED = ("running_mean", "running_var", "num_batches_tracked")
FOREIGN = {
    **dict.fromkeys((".h5", ".hdf5", ".keras"), "Keras"),
    **dict.fromkeys((".index", ".meta", ".pb"), "TensorFlow"),
    ".onnx": "ONNX",
    ".safetensors": "safetensors",
}
"""Endings of files of weights in formats that are not converted."""


class Assumed(NamedTuple):
    """What a file of the public code does not say."""

    key: str | None = None
    """Name of the generator in a file of several networks."""
    image_size: int | str | None = None
    direction: Direction = "AtoB"
    norm_statistics: Statistics = "image"
    dropout: bool = True
    """Whether a U-Net was trained with dropout."""


def read_public(source: Path, target: Path, opponent: Path | None, assumed: Assumed) -> list[str]:
    """Convert a file of the public code, and that of D, into a model folder; return what was found and assumed.

    Raises ModelError naming a file and a key, or ConfigError for an image size that does not fit the generator.
    """
    notes: list[str] = []
    discriminator = None
    with _open(source) as file:
        found, state = _find(file, find_generator, assumed.key)
        config = _make_settings(found, assumed, source)
        generator = _fill(build_generator, config, config.generator, file, state, notes)
    if opponent is not None:
        with _open(opponent) as file:
            chosen, state = _find(file, lambda shapes: find_discriminator(shapes, *found[1:]), None)
            _refuse_small(config, chosen.settings, opponent)
            settings = {"discriminator": chosen.settings.model_dump()}
            config = make_config(config.model_dump() | settings, str(opponent))
            discriminator = _fill(build_discriminator, config, config.discriminator, file, state, notes)
    epoch = re.match(r"([0-9]{1,6})_net_", source.name)
    model_config = make_model_config(
        config,
        assumed.norm_statistics,
        None,  # as the public code does, which resizes all images to one size
        converts={found.in_channels, found.out_channels} <= {1, 3},
        epoch=int(epoch[1]) if epoch else 0,
        validation={},
    )
    model = Model(generator, discriminator, model_config)
    model.save(target)
    return [*_describe(model), *notes]


def _open(path: Path) -> AbstractContextManager[TensorFile]:
    if kind := FOREIGN.get(path.suffix.lower()):
        raise ModelError(
            f"{path}: is a file of {kind}, which is not converted; only .pth files of pytorch-CycleGAN-and-pix2pix are "
            "(docs/migration.md says why)"
        )
    return open_tensors(path)


def _make_settings(found: Found, assumed: Assumed, source: Path) -> Config:
    """Return the settings of a model of this generator. Raises ConfigError for what does not fit it."""
    generator = found.settings
    assert isinstance(generator, Generator)
    _refuse_useless(generator, assumed)
    dropout = generator.dropout if generator.kind == "resnet" or assumed.dropout else 0.0
    size = max(2 ** (generator.depth or 8), 32)
    bounds = RangeEncoding.of_type("uint8").bounds
    data = {"image_size": size if assumed.image_size is None else assumed.image_size, "direction": assumed.direction}
    for side, channels in (("source", found.in_channels), ("target", found.out_channels)):
        data |= {f"{side}_channels": channels, f"{side}_type": "uint8", f"{side}_range": bounds}
    origin = {CONVERTED: source.name[:200], CONVERTED_SHA256: sha256(source)}
    values = {
        "data": data,
        "generator": generator.model_dump() | {"dropout": dropout},
        "provenance": {"pix2pix": version("pix2pix"), "torch": torch.__version__, **origin},
    }
    try:
        return make_config(values, str(source))
    except ConfigError:
        if assumed.image_size is None:
            raise
        make_config({**values, "data": data | {"image_size": size}}, str(source))  # raises it, unless the size is why
    multiple = 4 if generator.kind == "resnet" else 2 ** (generator.depth or 8)
    least = max(multiple, least_side(Discriminator()))
    raise ConfigError(
        f"--image-size {assumed.image_size}: expected N, or HxW for height x width, of {least} to {MAX_SIDE:,} pixels "
        f"and multiples of {multiple} for this generator, such as {size}"
    )


def _refuse_useless(generator: Generator, assumed: Assumed) -> None:
    """Raise ConfigError for assumptions that do not go with such a generator."""
    if assumed.norm_statistics == "running" and generator.norm != "batch":
        raise ConfigError(
            f"--norm-statistics running: is for batch norm, and the generator has {generator.norm} norm; leave it out"
        )
    if not assumed.dropout and generator.kind == "resnet" and generator.dropout:
        raise ConfigError(
            "--no-dropout: is for a U-Net; the tensors of this ResNet say that it has dropout; leave it out"
        )


def _refuse_small(config: Config, discriminator: Generator | Discriminator, opponent: Path) -> None:
    """Raise ConfigError for images that leave a discriminator no logit."""
    height, width = config.data.image_size
    assert isinstance(discriminator, Discriminator)
    if min(height, width) < (least := least_side(discriminator)):
        raise ConfigError(
            f"{opponent}: this discriminator needs images of {least} pixels a side or more, and they are resized to "
            f"{height}x{width}; set a larger --image-size, or leave --discriminator out"
        )


def _find(file: TensorFile, find: Callable[[Shapes], Found], key: str | None) -> tuple[Found, dict[str, Entry]]:
    """Return the network in a file, and its tensors by their plain names. Raises ModelError."""
    states = dict(_states(file.content))
    if key is not None and states:
        states = _choose(states, key, file.path)
    reasons, fitting = [], {}
    for name, state in states.items():
        plain = _without_prefix(state)
        try:
            fitting[name] = find({one: entry.shape for one, entry in plain.items()}), plain
        except ValueError as error:
            reasons.append(f"{f'{name} ' if name else ''}{error}")
    if len(fitting) > 1:
        names = escape_unprintable(format_list(list(fitting))[:300])
        raise ModelError(f"{file.path}: holds several networks that fit, {names}; choose one by --key NAME")
    if not fitting:
        reason = reasons[0][:500] if reasons else "has no tensors by name"
        raise ModelError(f"{file.path}: {escape_unprintable(reason)}")
    return next(iter(fitting.values()))


def _choose(states: dict[str, dict[str, Entry]], key: str, path: Path) -> dict[str, dict[str, Entry]]:
    """Return the network that --key names. Raises ConfigError, which lists the names that there are."""
    if key in states and key:
        return {key: states[key]}
    names = [name[:100] for name in states if name]
    what = f"it holds {format_examples(names, 10)}" if names else "it holds one network without a name; leave --key out"
    raise ConfigError(escape_unprintable(f"--key {key[:100]}: {path} holds no tensors of this name; {what}"))


def _states(content: Any) -> Iterator[tuple[str, dict[str, Entry]]]:
    """Yield the dictionaries of tensors in a file: all of it, or what stands below a name such as state_dict."""
    if not isinstance(content, dict):
        return
    if _is_state(content):
        yield "", content
    for name, value in content.items():
        if isinstance(name, str) and _is_state(value):
            yield name, value


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) and isinstance(entry, Entry) for name, entry in value.items())
        and all(isinstance(entry.shape, tuple) for entry in value.values())
    )


def _without_prefix(state: dict[str, Entry]) -> dict[str, Entry]:
    for prefix in PREFIXES * 2:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): entry for name, entry in state.items()}
    return state


def _fill(
    build: Callable[[Config], nn.Module],
    config: Config,
    settings: Generator | Discriminator,
    file: TensorFile,
    state: dict[str, Entry],
    notes: list[str],
) -> nn.Module:
    """Build a network, compare every tensor of a file with it, and then read them into it. Raises ModelError."""
    with torch.device("meta"):
        network = build(config)
    layers = same_layers(settings)
    affine = any(layer.is_norm and f"{layer.theirs}.weight" in state for layer in layers)
    expected = expected_shapes(network, layers, affine=affine)
    rounded = {name for name, entry in state.items() if _is_counter(name) and entry.storage.dtype != torch.int64}
    if rounded:
        notes.append(f"{file.path}: counters of batches, which nothing uses, are left out: they are no whole numbers")
    state = {name: entry for name, entry in state.items() if name not in rounded}
    old = {name for name in state.keys() - expected.keys() if name.rpartition(".")[2] in TRACKED}
    if old:
        notes.append(f"{file.path}: running statistics of instance norm are left out, as the public code does")
    missing = {name for name in expected.keys() - state.keys() if not _is_counter(name)}
    if odd := sorted(missing | (state.keys() - expected.keys() - old)):
        what = "is missing" if odd[0] in missing else "is not of this architecture"
        raise file.error(odd[0], f"{what}; expected {describe_network(settings)} of the public code")
    wanted = {name: state[name] for name in expected if name in state}
    for name, entry in wanted.items():
        if entry.shape != expected[name]:
            raise file.error(name, f"has the shape {entry.shape}, expected {expected[name]}")
    file.check(wanted)
    theirs = {name: _read(file, name, entry) for name, entry in wanted.items()}
    if kinds := sorted(
        {str(entry.storage.dtype).removeprefix("torch.") for entry in wanted.values()} - {"float32", "int64"}
    ):
        notes.append(f"{file.path}: numbers of type {format_list(kinds)} became float32")
    weights = take_weights(network, layers, theirs)
    network.to_empty(device="cpu")
    network.load_state_dict(weights)
    return network.eval()


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _read(file: TensorFile, name: str, entry: Entry) -> Tensor:
    """Read one tensor as float32, or int64 for a counter. Raises ModelError."""
    counts = _is_counter(name)
    if (entry.storage.dtype == torch.int64) != counts:
        raise file.error(name, f"has numbers of type {str(entry.storage.dtype).removeprefix('torch.')}")
    tensor = file.read(name, entry).to(torch.int64 if counts else torch.float32)
    if not torch.isfinite(tensor).all():
        raise file.error(name, "holds numbers that are not finite in float32")
    return tensor


def _describe(model: Model) -> Iterator[str]:
    """Say what was found in the tensors, and what had to be assumed."""
    config = model.config.settings
    generator, channels = config.generator, f"{model.in_channels} to {format_count(model.out_channels, 'channel')}"
    drops = "without dropout" if not generator.dropout else "with dropout"
    yield f"generator: {describe_network(generator)}, {channels}"
    if model.discriminator is not None:
        yield f"discriminator: {describe_network(config.discriminator)}"
    if generator.kind == "resnet":
        yield f"found: {drops}"
    elif generator.dropout_layers:
        yield f"assumed: trained {drops}, which leaves no trace in a U-Net (--dropout, --no-dropout)"
    yield "assumed: 8-bit images, resized to {}x{} (--image-size)".format(*config.data.image_size)
    source, target = config.data.direction.split("to")
    yield f"assumed: the source is {source}, the target {target} (--direction AtoB, BtoA)"
    if generator.norm == "batch":
        whose = "each image, as test.py without --eval" if model.config.norm_statistics == "image" else "the training"
        yield f"assumed: batch norm by the statistics of {whose} (--norm-statistics image, running)"
