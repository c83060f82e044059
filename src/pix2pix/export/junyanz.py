"""The networks of pytorch-CycleGAN-and-pix2pix: names and shapes of their tensors to settings, and weights both ways.

Its generators are the U-Net, built from the outside in (a block holds the next one), and the ResNet; its discriminators
are those of patches and of pixels. `same_layers` pairs their layers with those of this package.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pix2pix.config import PATCH_LAYERS, Discriminator, Generator
from pix2pix.config.fields import Biases, Norm
from pix2pix.networks.blocks import has_bias
from pix2pix.text import format_count

Shapes = Mapping[str, tuple[int, ...]]


class Layer(NamedTuple):
    """A layer by its name here and there."""

    ours: str
    theirs: str
    is_norm: bool = False
    swaps: bool = False
    """Whether its inputs are a layer's output and then its skip here, and the other way round there."""


class Found(NamedTuple):
    """A generator or discriminator that shapes of tensors describe."""

    settings: Generator | Discriminator
    in_channels: int
    out_channels: int


def find_generator(shapes: Shapes) -> Found:
    """Return the generator whose tensors have these names and shapes. Raises ValueError naming the key that is odd."""
    if "model.model.0.weight" in shapes:
        return _find_unet(shapes)
    if "model.1.weight" in shapes and len(shapes["model.1.weight"]) == 4:
        return _find_resnet(shapes)
    if "model.0.weight" in shapes or "net.0.weight" in shapes:
        raise ValueError("looks like a discriminator; give the file of the generator, and this one as --discriminator")
    raise ValueError(_unlike("a U-Net (model.model.0.weight) or a ResNet (model.1.weight)", shapes))


def _find_unet(shapes: Shapes) -> Found:
    depth = 1
    while f"{_unet_block(depth)}.{_unet_down(depth)}.weight" in shapes:
        depth += 1
    if depth < 2 or depth > 10:
        raise ValueError(f"describes a U-Net of {depth} layers, expected 2 to 10")
    base, in_channels = _conv(shapes, "model.model.0.weight")[:2]
    out_channels = _conv(shapes, "model.model.3.weight")[1]
    norm = _find_norm(shapes, f"{_unet_block(depth - 1)}.4", "model.model.0.bias")
    settings = Generator(
        kind="unet",
        depth=depth,
        base_channels=base,
        norm=norm,
        bias=_find_bias(norm, "model.model.0.bias" in shapes),
        dropout_layers=tuple(range(2, depth - 3)),
    )
    return Found(settings, in_channels, out_channels)


def _find_resnet(shapes: Shapes) -> Found:
    blocks = 0
    while f"model.{10 + blocks}.conv_block.1.weight" in shapes:
        blocks += 1
    if not blocks:
        raise ValueError(_unlike("residual blocks with padding by reflection (model.10.conv_block.1.weight)", shapes))
    base, in_channels = _conv(shapes, "model.1.weight")[:2]
    norm = _find_norm(shapes, "model.2", "model.1.bias")
    settings = Generator(
        kind="resnet",
        blocks=blocks,
        base_channels=base,
        norm=norm,
        bias=_find_bias(norm, "model.1.bias" in shapes),
        dropout=0.5 if "model.10.conv_block.6.weight" in shapes and _is_conv(shapes, "model.10.conv_block.6") else 0.0,
    )
    return Found(settings, in_channels, _conv(shapes, f"model.{17 + blocks}.weight")[0])


def find_discriminator(shapes: Shapes, in_channels: int, out_channels: int) -> Found:
    """Return the discriminator of a generator of these channels that has such tensors. Raises ValueError."""
    pixel = "net.0.weight" in shapes
    first = "net.0.weight" if pixel else "model.0.weight"
    if first not in shapes:
        raise ValueError(_unlike("a discriminator (model.0.weight or net.0.weight)", shapes))
    base, channels = _conv(shapes, first)[:2]
    if channels not in (out_channels, in_channels + out_channels):
        raise ValueError(
            f"{first} takes {format_count(channels, 'channel')}, expected {in_channels + out_channels} for source and "
            f"image, or {out_channels} for the image alone"
        )
    layers = 0 if pixel else sum(len(shape) == 4 for shape in shapes.values()) - 2
    patch = next((patch for patch, halvings in PATCH_LAYERS.items() if halvings == layers), None)
    if patch is None or (not pixel and layers == 0):
        raise ValueError(f"describes a discriminator with {layers} layers of stride 2, expected 1 to 5")
    middle = "net.2" if pixel else "model.2"
    norm = _find_norm(shapes, "net.3" if pixel else "model.3", f"{middle}.bias")
    settings = Discriminator.model_validate(
        {
            "patch_size": patch,
            "base_channels": base,
            "norm": norm,
            "bias": _find_bias(norm, f"{middle}.bias" in shapes),
            "conditional": channels != out_channels,
        }
    )
    return Found(settings, in_channels, out_channels)


def _find_norm(shapes: Shapes, name: str, bias: str) -> Norm:
    """Return the norm of a network: the public instance norm has no weights, and is known by biases before it."""
    if f"{name}.weight" in shapes:
        return "batch" if f"{name}.running_mean" in shapes else "instance"
    return "instance" if bias in shapes else "none"


def _find_bias(norm: Norm, present: bool) -> Biases:
    return "auto" if has_bias(norm, "auto") == present else "all" if present else "none"


def _conv(shapes: Shapes, name: str) -> tuple[int, ...]:
    """Return the shape of the weights of a convolution. Raises ValueError."""
    shape = shapes.get(name)
    if shape is None:
        raise ValueError(f"lacks {name}")
    if len(shape) != 4 or not all(0 < side <= 2**16 for side in shape):
        raise ValueError(f"has {name} of the shape {shape}, expected the weights of a convolution")
    return shape


def _is_conv(shapes: Shapes, name: str) -> bool:
    return len(shapes.get(f"{name}.weight", ())) == 4


def _unlike(expected: str, shapes: Shapes) -> str:
    names = ", ".join(sorted(shapes)[:3])
    return f"has no tensors of {expected}; its first are {names or 'none'}"


def describe_network(settings: Generator | Discriminator) -> str:
    """Name an architecture in words."""
    if isinstance(settings, Discriminator):
        return f"a discriminator of patches of {settings.patch_size} pixels, {settings.norm} norm"
    kind = f"a U-Net of {settings.depth} layers" if settings.kind == "unet" else f"a ResNet of {settings.blocks} blocks"
    return f"{kind}, {settings.base_channels} base channels, {settings.norm} norm"


# ---- names -----------------------------------------------------------------------------------------------------


def _unet_block(number: int) -> str:
    """Return the prefix of a block of the U-Net, the outermost being 0."""
    return "model.model" + ".1.model" * (number > 0) + ".3.model" * (number - 1)


def _unet_down(number: int) -> int:
    return 1 if number else 0


def same_layers(settings: Generator | Discriminator) -> list[Layer]:
    """Return the layers of a network with their names here and there; the depth of a U-Net must be set."""
    if isinstance(settings, Discriminator):
        return list(_discriminator_layers(settings))
    return list(_unet_layers(settings.depth or 0) if settings.kind == "unet" else _resnet_layers(settings))


def _unet_layers(depth: int) -> Iterator[Layer]:
    for number in range(depth):
        block, innermost = _unet_block(number), number == depth - 1
        yield Layer(f"encoder.{number}.0", f"{block}.{_unet_down(number)}")
        if 0 < number < depth - 1:
            yield Layer(f"encoder.{number}.1", f"{block}.2", is_norm=True)
        up = 3 if innermost or number == 0 else 5
        ours = f"decoder.{depth - 1 - number}" if number else "to_image"
        yield Layer(f"{ours}.1", f"{block}.{up}", swaps=not innermost)
        if number:
            yield Layer(f"{ours}.2", f"{block}.{up + 1}", is_norm=True)


def _resnet_layers(settings: Generator) -> Iterator[Layer]:
    def with_norm(ours: str, at: int, theirs: str, there: int) -> Iterator[Layer]:
        yield Layer(f"{ours}.{at}", f"{theirs}.{there}")
        yield Layer(f"{ours}.{at + 1}", f"{theirs}.{there + 1}", is_norm=True)

    for layer in range(3):
        yield from with_norm("head", 3 * layer, "model", 3 * layer + 1)
    second = 6 if settings.dropout else 5
    for block in range(settings.blocks):
        yield from with_norm(f"blocks.{block}", 0, f"model.{10 + block}.conv_block", 1)
        yield from with_norm(f"blocks.{block}", 4, f"model.{10 + block}.conv_block", second)
    for layer in range(2):
        yield from with_norm("tail", 3 * layer, "model", 10 + settings.blocks + 3 * layer)
    yield Layer("tail.6", f"model.{17 + settings.blocks}")


def _discriminator_layers(settings: Discriminator) -> Iterator[Layer]:
    if settings.patch_size == 1:
        for at in (0, 2, 3, 5):
            yield Layer(f"layers.{at}", f"net.{at}", is_norm=at == 3)
        return
    halvings = PATCH_LAYERS[settings.patch_size]
    yield Layer("layers.0.0", "model.0")
    for layer in range(1, halvings):
        yield Layer(f"layers.{layer}.0", f"model.{3 * layer - 1}")
        yield Layer(f"layers.{layer}.1", f"model.{3 * layer}", is_norm=True)
    yield Layer(f"layers.{halvings}", f"model.{3 * halvings - 1}")
    yield Layer(f"layers.{halvings + 1}", f"model.{3 * halvings}", is_norm=True)
    yield Layer(f"layers.{halvings + 3}", f"model.{3 * halvings + 2}")


# ---- weights ---------------------------------------------------------------------------------------------------

PLAIN = {"weight": 1.0, "bias": 0.0}
"""Gain and shift of an instance norm that has none."""
COUNT = "num_batches_tracked"
"""Counter of batch norm, which files of torch before 0.4.1 lack."""


def expected_shapes(network: nn.Module, layers: Sequence[Layer], *, affine: bool) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor there; `affine` says whether instance norms have gains there."""
    ours = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    result = {}
    for layer in layers:
        if layer.is_norm and f"{layer.ours}.running_mean" not in ours and not affine:
            continue
        for name, shape in ours.items():
            if name.rpartition(".")[0] == layer.ours:
                result[f"{layer.theirs}.{name.rpartition('.')[2]}"] = shape
    return result


def take_weights(network: nn.Module, layers: Sequence[Layer], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a network of this package from tensors of the public code."""
    places = {layer.ours: layer for layer in layers}
    state = {}
    for name, tensor in network.state_dict().items():
        module, _, kind = name.rpartition(".")
        layer = places[module]
        there = theirs.get(f"{layer.theirs}.{kind}")
        if there is None:  # of an instance norm, or the counter of an old batch norm
            there = torch.full(tensor.shape, PLAIN.get(kind, 0.0), dtype=tensor.dtype)
        state[name] = _swapped(there) if layer.swaps and kind == "weight" else there
    return state


def give_weights(network: nn.Module, layers: Sequence[Layer], norm: Norm) -> dict[str, Tensor]:
    """Return the tensors of the public code for a network of this package.

    Raises ValueError for what it cannot hold: gains of an instance norm.
    """
    state, theirs = network.state_dict(), dict[str, Tensor]()
    for layer in layers:
        parts = {name.rpartition(".")[2]: state[name] for name in state if name.rpartition(".")[0] == layer.ours}
        if layer.is_norm and norm == "instance":
            if any((tensor != PLAIN[kind]).any() for kind, tensor in parts.items()):
                raise ValueError(
                    f"its instance norm {layer.ours} has gains and shifts, which the public code's has not"
                )
            continue
        if not layer.is_norm and norm == "instance" and "bias" not in parts:
            module: Any = network.get_submodule(layer.ours)
            parts["bias"] = torch.zeros(module.out_channels)  # there each has one, which the norm subtracts again
        if layer.swaps:
            parts["weight"] = _swapped(parts["weight"])
        theirs |= {f"{layer.theirs}.{kind}": tensor for kind, tensor in parts.items()}
    return theirs


def _swapped(weight: Tensor) -> Tensor:
    """Swap the halves of the inputs of a transposed convolution (in, out, 4, 4)."""
    return weight.roll(len(weight) // 2, 0)
