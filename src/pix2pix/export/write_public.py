"""Write a model as pytorch-CycleGAN-and-pix2pix saves its networks, such as latest_net_G.pth."""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from pix2pix.config import Config, Discriminator, Generator
from pix2pix.data.encoding.ranges import RangeEncoding
from pix2pix.errors import ModelError
from pix2pix.export.junyanz import describe_network, give_weights, same_layers
from pix2pix.model import Model
from pix2pix.system.files import remove_partial_files, write_atomically

PUBLIC_SIZE = 256
"""Side in pixels to which test.py resizes images without flags."""


def write_public(model: Model, target: Path, opponent: Path | None) -> list[str]:
    """Write the weights of a model, and of D, as the public code saves them; return what it needs to load them.

    Raises ModelError for a network that the public code has not.
    """
    config = model.config.settings
    for reason in _not_public(config):
        raise ModelError(f"{target}: the public code has no such generator: {reason}")
    files: list[tuple[Path, nn.Module, Generator | Discriminator]] = [(target, model.generator, config.generator)]
    if opponent is not None:
        if model.discriminator is None:
            raise ModelError(f"{opponent}: the model has no discriminator; leave out --discriminator")
        for reason in _not_public_discriminator(config.discriminator):
            raise ModelError(f"{opponent}: the public code has no such discriminator: {reason}")
        files.append((opponent, model.discriminator, config.discriminator))
    states = [(path, _public_state(path, network, settings)) for path, network, settings in files]
    for path, state in states:
        remove_partial_files(path.parent, [path.name])  # of a conversion that was killed
        write_atomically(path, lambda file, state=state: torch.save(state, file))  # type: ignore[misc]
    notes = [f"generator: {describe_network(config.generator)}", f"flags of test.py: {_flags(model)}"]
    return [*notes, *_lost(model)]


def _public_state(path: Path, network: nn.Module, settings: Generator | Discriminator) -> dict[str, Tensor]:
    try:
        theirs = give_weights(network, same_layers(settings), settings.norm)
    except ValueError as error:
        raise ModelError(f"{path}: cannot be written: {error}") from None
    return OrderedDict((name, tensor.detach().contiguous()) for name, tensor in theirs.items())


def _not_public(config: Config) -> Iterator[str]:
    """Yield what the generators of the public code cannot be."""
    generator = config.generator
    if config.data.target_kind == "labels":
        yield "its outputs are classes"
    if generator.kind == "encoder_decoder":
        yield "it has no skip connections"
    if generator.kind == "unet" and (generator.depth or 0) < 5:
        yield f"its U-Net has {generator.depth} layers, and the public one 5 or more"
    if generator.upsampling != "transposed":
        yield f"its upsampling is {generator.upsampling}"
    if generator.bottleneck_norm and generator.kind == "unet":
        yield "its innermost layer has a norm"
    yield from _not_public_norm(generator)


def _not_public_discriminator(discriminator: Discriminator) -> Iterator[str]:
    if discriminator.kind != "patch" or discriminator.scales != 1 or discriminator.spectral_norm:
        yield f"it is {discriminator.describe()}"
    yield from _not_public_norm(discriminator)


def _not_public_norm(settings: Generator | Discriminator) -> Iterator[str]:
    """Yield why the public code has no such norm and biases."""
    norm, bias = settings.norm, settings.bias
    if norm == "group":
        yield "its norm is group"
    if (norm == "batch" and bias == "all") or (norm == "none" and bias != "none"):
        yield f"its convolutions have biases, which the public code has not with {norm} norm"


def _lost(model: Model) -> Iterator[str]:
    """Say which values the images have, if the public code, which reads one 8-bit image, cannot read them."""
    encodings = [image.values for image in model.prepared.images]
    if len(encodings) > 2 or not all(isinstance(one, RangeEncoding) and one.is_8bit for one in encodings):
        sources = " + ".join(source.describe() for source in model.sources)
        yield (
            "not in the file: what the values of images mean. test.py reads one 8-bit image, but this model "
            f"translates {sources} to {model.prepared.target.describe()}"
        )


def _flags(model: Model) -> str:
    """Return the flags with which the public code loads a generator and reads images as in the training."""
    generator, data = model.config.settings.generator, model.config.settings.data
    known = {8: "unet_256", 7: "unet_128"} if generator.kind == "unet" else {9: "resnet_9blocks", 6: "resnet_6blocks"}
    number = (generator.depth or 0) if generator.kind == "unet" else generator.blocks
    name = known.get(number, f"(none has {number} {'num_downs' if generator.kind == 'unet' else 'blocks'})")
    words = f"--netG {name} --norm {generator.norm} --ngf {generator.base_channels}"
    words += f" --input_nc {model.in_channels} --output_nc {model.out_channels}"
    words += "" if generator.dropout else " --no_dropout"
    height, width = data.image_size
    if height == width != PUBLIC_SIZE and not model.config.settings.native:
        words += f" --load_size {height} --crop_size {height}"
    words += " --direction BtoA" if data.direction == "BtoA" else ""
    return words + (" --eval" if model.config.norm_statistics == "running" else "")
