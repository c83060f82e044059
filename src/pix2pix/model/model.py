"""What is shipped: weights and their configuration <-> a folder or a hub repository; no flags, no pickle."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import Field, ValidationError
from torch import nn

from pix2pix.config import Config, Section, SourceSettings, source_prefix
from pix2pix.config.io import explain
from pix2pix.config.legacy import current
from pix2pix.data.encoding.labels import Labels
from pix2pix.data.encoding.ranges import Values
from pix2pix.data.encoding.sources import Source, known_sources
from pix2pix.errors import ConfigError, ModelError
from pix2pix.networks import PatchGAN, make_generator, set_norm_statistics
from pix2pix.system.files import write_atomically, write_folder_atomically, write_text

TYPES = {torch.float32: "F32", torch.int64: "I64"}
"""The types of tensors in a model, and their names in a safetensors file."""
GENERATOR, DISCRIMINATOR, CONFIG = "generator.safetensors", "discriminator.safetensors", "config.json"


Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ModelConfig(Section):
    """`config.json`: everything needed to rebuild the networks and to present a picture as training did."""

    format: Literal[1] = 1
    """Version of this file's layout."""
    pix2pix: str
    """Version of the package that wrote it."""
    settings: Config = Field(validation_alias="config", serialization_alias="config")
    """The resolved settings of the training, without the paths of its data."""
    norm_statistics: Literal["image", "running"]
    """What batch norm uses when translating: each image's own statistics, or the averages of training."""
    scale: tuple[Factor, Factor] | None
    """Size that training used over the size of the files, (vertical, horizontal); None if the files' sizes differed,
    in which case each was resized to image_size."""
    converts: bool = False
    """Whether files with other channels than the networks' are converted, as was asked for in training."""
    epoch: int
    """Epochs trained when the weights were kept."""
    validation: dict[str, float | None]
    """Validation metrics of that epoch; empty without a validation split."""


@dataclass(frozen=True)
class Model:
    """A generator in eval mode, its configuration and, if at hand, the discriminator that it was trained against."""

    generator: nn.Module
    discriminator: PatchGAN | None
    config: ModelConfig

    @property
    def in_channels(self) -> int:
        """Channels of the source."""
        return _channels(self.config.settings.data.network_channels)

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return _channels(self.config.settings.data.target_channels)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Of each source, in the order in which they are stacked: its channels, and how they become numbers."""
        return known_sources(self.config.settings.data)

    @property
    def source_values(self) -> Values | Labels:
        """How the values of the only source become numbers in [-1, 1]."""
        (source,) = self.sources
        return source.values

    @property
    def target_values(self) -> Values:
        """How the output's numbers in [-1, 1] become values."""
        data = self.config.settings.data
        assert not isinstance(data.target_range, str), "a model configuration is checked when it is read"
        if data.target_type is None or data.target_range is None:  # of before these were settings
            return Values.of_type("uint8")
        return Values(data.target_type, data.target_range)

    @property
    def size_multiple(self) -> int:
        """Sides that the generator takes are multiples of this."""
        return int(self.generator.size_multiple)  # type: ignore[arg-type]

    def save(self, folder: Path) -> None:
        """Write the model folder, whole or not at all."""
        with write_folder_atomically(folder) as new:
            _save_weights(self.generator, new / GENERATOR)
            if self.discriminator is not None:
                _save_weights(self.discriminator, new / DISCRIMINATOR)
            write_text(new / CONFIG, self.config.model_dump_json(indent=2, by_alias=True) + "\n")
            write_text(new / "README.md", _readme(self.config))


def build_networks(config: Config) -> tuple[nn.Module, PatchGAN]:
    """Resolved settings -> freshly initialised generator and discriminator."""
    source, target = _channels(config.data.network_channels), _channels(config.data.target_channels)
    generator = make_generator(
        config.generator, in_channels=source, out_channels=target, image_size=config.data.image_size
    )
    return generator, PatchGAN(source, target, config.discriminator)


def choose_statistics(generator: nn.Module, discriminator: nn.Module, statistics: Literal["image", "running"]) -> None:
    """What batch norm uses outside training: G as chosen; D always the image's own statistics.

    D's running averages mix targets with outputs, of which it never sees a mixture, and so fit neither.
    """
    set_norm_statistics(generator, statistics)
    set_norm_statistics(discriminator, "image")


def make_model_config(
    config: Config,
    norm_statistics: Literal["image", "running"],
    scale: tuple[float, float] | None,
    converts: bool,
    epoch: int,
    validation: dict[str, float | None],
) -> ModelConfig:
    """The configuration of a model that this version of the package trained."""
    data = config.data.model_copy(update={"path": None, "source": None, "target": None})
    return ModelConfig(
        pix2pix=version("pix2pix"),
        settings=config.model_copy(update={"data": data}),
        norm_statistics=norm_statistics,
        scale=scale,
        converts=converts,
        epoch=epoch,
        validation=validation,
    )


def load_model(name: str | Path, *, discriminator: bool = False) -> Model:
    """A run folder, a model folder or a hub id -> Model on the CPU, in eval mode.

    The discriminator is read only if asked for, and is None where the folder has none.
    Raises ModelError with one sentence that names the file.
    """
    folder = locate(name)
    model_config = _read_config(folder / CONFIG)
    networks = build_networks(model_config.settings)
    choose_statistics(*networks, model_config.norm_statistics)
    _load_weights(networks[0], folder / GENERATOR)
    if not discriminator or not (folder / DISCRIMINATOR).exists():
        return Model(networks[0].eval(), None, model_config)
    _load_weights(networks[1], folder / DISCRIMINATOR)
    return Model(networks[0].eval(), networks[1].eval(), model_config)


def describe_model(name: str | Path) -> dict[str, Any]:
    """A run folder, model folder or hub id -> facts for people and programs; every file is read and checked."""
    model = load_model(name, discriminator=True)
    model_config, config = model.config, model.config.settings
    return {
        "folder": str(locate(name)),
        "pix2pix": model_config.pix2pix,
        "generator": config.generator.kind,
        "depth": config.generator.depth,
        "parameters": sum(weights.numel() for weights in model.generator.parameters()),
        "channels": f"{model.in_channels} -> {model.out_channels}",
        **_described(model.sources),
        "target_values": model.target_values.describe(),
        "direction": config.data.direction,
        "image_size": list(config.data.image_size),
        "size_multiple": model.size_multiple,
        "norm": config.generator.norm,
        "norm_statistics": model_config.norm_statistics,
        "presented_at": "image_size"
        if model_config.scale is None
        else f"{model_config.scale[0]:g} x {model_config.scale[1]:g} of its size",
        "discriminator": f"patch {config.discriminator.patch_size}" if model.discriminator else "absent",
        "epoch": model_config.epoch,
        "validation": model_config.validation,
    }


def locate(name: str | Path) -> Path:
    """The folder with `config.json`: `name` itself, its `model/`, or a download from the hub."""
    path = Path(name)
    for folder in (path / "model", path):
        if (folder / CONFIG).exists():
            return folder
    if path.exists():
        what = "a run that has no model yet" if (path / "config.yaml").exists() else "not a model or run folder"
        raise ModelError(f"{path}: {what}; expected {CONFIG} and {GENERATOR} in it or in its `model/`")
    if str(name).count("/") == 1 and not str(name).startswith((".", "/", "~", "runs/")):
        return _download(str(name))
    raise ModelError(f"{path}: no such model; give a run folder, a model folder or a hub id such as `owner/name`")


def _download(repository: str) -> Path:
    """A hub id -> the folder of its files in the hub's cache (HF_HOME, HF_HUB_OFFLINE are honoured)."""
    from huggingface_hub import snapshot_download  # heavy, and needed for hub ids alone

    try:
        files = [CONFIG, GENERATOR, DISCRIMINATOR]
        folder = Path(snapshot_download(repository, allow_patterns=files))
    except Exception as error:  # the hub's client raises its own, requests' and OS errors alike
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{repository}: there is no such folder here, and the hub did not give it either ({reason}); "
            "check the path, or the network"
        ) from None
    if not (folder / CONFIG).exists():
        raise ModelError(f"{repository}: the hub repository has no {CONFIG}, so it is not a pix2pix model")
    return folder


def _read_config(path: Path) -> ModelConfig:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict):
            values = {name: current(value) if name == "config" else value for name, value in values.items()}
        model_config = ModelConfig.model_validate(values)
    except ValidationError as error:
        raise ModelError(
            f"{path}: not a model configuration that this version reads: {explain(error, ModelConfig)}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as a model configuration ({error})") from None
    data = model_config.settings.data
    target = SourceSettings.model_construct(channels=data.target_channels, range=data.target_range)
    count = max(1, len(data.sources))
    if list(data.sources) != [str(number) for number in range(1, len(data.sources) + 1)]:
        raise ModelError(f"{path}: config.data.sources has {', '.join(data.sources)}, expected all numbers from 1")
    try:
        sources = data.source_settings(count)
    except ConfigError as error:
        raise ModelError(f"{path}: config: {error}") from None
    named = {source_prefix(number, count): part for number, part in enumerate(sources, start=1)}
    for prefix, part in {"target_": target, **named}.items():
        if part.channels is None:
            raise ModelError(f"{path}: leaves config.data.{prefix}channels open, expected a number")
        if part.network_channels is None:
            raise ModelError(f"{path}: leaves config.data.{prefix}labels open, expected the classes of label maps")
        if isinstance(part.range, str):
            raise ModelError(f"{path}: config.data.{prefix}range is {part.range}, expected numbers")
        if part.range and len(part.range) not in (1, part.channels):
            raise ModelError(
                f"{path}: config.data.{prefix}range has {len(part.range)} bounds, expected one for each channel"
            )
    return model_config


def _save_weights(network: nn.Module, path: Path) -> None:
    """Tensor by tensor; the library's own function first holds a copy of all of them, and then one of the file.

    The format: eight bytes with the length of a JSON header, which says where each tensor's bytes lie, and those bytes.
    """
    tensors = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].element_size()):  # so that all are aligned
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text = text.ljust(-(-len(text) // 8) * 8)

    def write(file: BinaryIO) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in header:
            flat = tensors[name].cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)

    write_atomically(path, write)


def _load_weights(network: nn.Module, path: Path) -> None:
    """Fill a network, after comparing every name, shape and type in the file's header."""
    if not path.exists():
        raise ModelError(f"{path}: missing; a model folder holds {CONFIG} and {GENERATOR}: copy it again as a whole")
    expected = network.state_dict()
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: (tuple(entry.get_shape()), entry.get_dtype()) for name, entry in slices.items()}
        if odd := sorted(set(expected) ^ set(found)):
            raise ModelError(f"{path}: does not fit its {CONFIG}: tensor {odd[0]} is in only one of the two")
        for name, has in found.items():
            wanted = (tuple(expected[name].shape), TYPES[expected[name].dtype])
            if has != wanted:
                raise ModelError(f"{path}: does not fit its {CONFIG}: {name} is {has}, expected {wanted}")
        weights = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path}: broken or not a safetensors file ({error}); copy it again") from None
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: {name} holds numbers that are not finite; the file is broken, copy it again")
    network.load_state_dict(weights)


def _described(sources: Sequence[Source]) -> dict[str, str]:
    """Of the only source its values, or of each its channels and values, for people."""
    if len(sources) == 1:
        return {"source_values": sources[0].values.describe()}
    return {f"source_{number}": source.describe() for number, source in enumerate(sources, start=1)}


def _channels(count: int | None) -> int:
    assert count is not None, "networks are built from resolved settings"
    return count


def _readme(model_config: ModelConfig) -> str:
    config = model_config.settings
    measured = ", ".join(f"{name} {value:.4f}" for name, value in model_config.validation.items() if value is not None)
    height, width = config.data.image_size
    count = max(1, len(config.data.sources))
    inputs = ["INPUT"] if count == 1 else [f"SOURCE_{number}" for number in range(1, count + 1)]
    picture = "image" if count == 1 else "[" + ", ".join(f"source_{number}" for number in range(1, count + 1)) + "]"
    statistics = "each image" if model_config.norm_statistics == "image" else "training (running averages)"
    return f"""---
library_name: pix2pix
pipeline_tag: image-to-image
tags: [pix2pix, image-to-image]
---
# A pix2pix translator

Trained by the method of Isola et al. 2017 with pix2pix {model_config.pix2pix}: {config.generator.kind} generator at
{height}x{width}, {config.data.network_channels} to {config.data.target_channels} channels, epoch {model_config.epoch}.
Validation: {measured or "no validation split"}.

    pix2pix translate THIS_FOLDER {" ".join(inputs)} --output DIR

    import pix2pix
    picture = pix2pix.Translator.from_pretrained("THIS_FOLDER")({picture})

Batch norm uses the statistics of {statistics}.
All settings are in `{CONFIG}`.
"""
