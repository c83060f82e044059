"""Carry the weights of a model over to new networks, also of other channels, classes or depth.

Layers of equal names and shapes keep their weights. The first and the last layer are adapted to other channels, and say
how; the others begin anew.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import ImageEncoding, PreparedData
from pix2pix.model.model import Model
from pix2pix.networks.discriminators import ClassUNet, TwoScales
from pix2pix.networks.upsampling import ShuffleConv
from pix2pix.text import format_count, format_examples

PARAMETRIZED = ".parametrizations."
"""In names of weights with spectral norm."""


class ChannelMap(NamedTuple):
    """New channels as sums of old ones: weights (new, old), and what is to say about it; empty if all are kept."""

    weights: Tensor
    notes: tuple[str, ...] = ()


class Channels(NamedTuple):
    """What the channels of both images are made of: where a network reads them, and where it writes them."""

    sources: ChannelMap
    target: ChannelMap
    """Where D reads it."""
    output: ChannelMap


class Carried(NamedTuple):
    """The weights of a network that were carried over, by name, and what is to say about them."""

    weights: dict[str, Tensor]
    notes: list[str]


def match_channels(new: PreparedData, old: PreparedData) -> Channels:
    """Say of which channels of a model those of new data are made."""
    before = [*old.sources, *[None] * len(new.sources)]
    maps = [_match(image, before[at], reads=True) for at, image in enumerate(new.sources)]
    widths = [source.channels for source in old.sources]
    rows, start = [], 0
    for at, one in enumerate(maps):
        row = torch.zeros(len(one.weights), sum(widths))
        row[:, start : start + one.weights.shape[1]] = one.weights
        rows.append(row)
        start += widths[at] if at < len(widths) else 0
    notes = tuple(note for one in maps for note in one.notes)
    if len(old.sources) > len(new.sources):
        notes += (f"source: {format_count(len(old.sources), 'source')} before, of which the last are left out",)
    targets = [_match(new.target, old.target, reads=reads) for reads in (True, False)]
    return Channels(ChannelMap(torch.cat(rows), notes), *targets)


def _match(new: ImageEncoding, old: ImageEncoding | None, *, reads: bool) -> ChannelMap:
    """Say of which channels of an image those of another are made; `reads` for a layer that reads them.

    Classes are matched by name. Other channels are the mean of all, times old over new where they are read, so that
    what a layer sums up stays as large.
    """
    if old is None:
        return ChannelMap(torch.zeros(new.channels, 0), (f"{new.name}: is new and has no effect at first",))
    if isinstance(new.values, LabelEncoding) and isinstance(old.values, LabelEncoding):
        return _match_classes(new.name, new.values.classes, old.values.classes)
    notes = []
    if (was := old.values.describe()) != (now := new.values.describe()):
        notes.append(f"{new.name}: values were {was}, and are {now}")
    same_kind = isinstance(new.values, LabelEncoding) == isinstance(old.values, LabelEncoding)
    if same_kind and new.channels == old.channels:
        return ChannelMap(torch.eye(new.channels), tuple(notes))
    share = 1 / (new.channels if reads else old.channels)
    scaled = f", times {old.channels}/{new.channels}" if reads and new.channels != old.channels else ""
    each = f"{format_count(new.channels, 'channel')}, each the mean of {old.channels} before{scaled}"
    return ChannelMap(torch.full((new.channels, old.channels), share), (f"{new.name}: {each}", *notes))


def _match_classes(name: str, new: Sequence[str], old: Sequence[str]) -> ChannelMap:
    weights = torch.full((len(new), len(old)), 1 / len(old))
    for row, one in enumerate(new):
        if one in old:
            weights[row] = torch.eye(len(old))[old.index(one)]
    notes = []
    if fresh := [one for one in new if one not in old]:
        notes.append(f"{name}: new classes begin as the mean of those before: {format_examples(fresh, 6)}")
    if gone := [one for one in old if one not in new]:
        notes.append(f"{name}: classes left out: {format_examples(gone, 6)}")
    return ChannelMap(weights, tuple(notes))


# ---- networks --------------------------------------------------------------------------------------------------


def carry_generator(old: Model, new: nn.Module, channels: Channels) -> Carried:
    """Carry the weights of a model's generator over to a new one, which may be on the meta device.

    The outer layers of a U-Net of another depth are the same; its innermost decoder layer then keeps the weights of its
    skip.
    """
    shift = len(getattr(old.generator, "decoder", ())) - len(getattr(new, "decoder", ()))
    return _carry(old.generator, new, channels.sources.weights, channels.output.weights, shift)


def carry_discriminator(old: nn.Module, new: nn.Module, channels: Channels) -> Carried:
    """Carry the weights of a discriminator over to a new one, which may be on the meta device."""
    reads, gives = _blocks(channels.sources.weights, channels.target.weights), torch.eye(1)
    if isinstance(new, ClassUNet):
        reads, gives = channels.target.weights, _blocks(channels.sources.weights, gives)
    elif not all(getattr(part, "conditional", True) for part in new.modules()):
        reads = channels.target.weights
    return _carry(old, new, reads, gives, 0)


def _carry(old: nn.Module, new: nn.Module, reads: Tensor, gives: Tensor, shift: int) -> Carried:
    """Carry over what fits. `reads` and `gives` say what the channels of the first and last layers are made of."""
    first, last = _ends(new)
    before, wanted = old.state_dict(), new.state_dict()
    kept, used = dict[str, Tensor](), set[str]()
    for name, tensor in wanted.items():
        source = _name_before(name, shift)
        if source not in before:
            continue
        weights, layer = before[source].detach(), _layer_of(name)
        if layer in first and weights.ndim == 4:
            weights = _combine(reads, weights, 1)
        if layer in last and (weights.ndim == 4 or name.endswith(".bias")):
            axis = 1 if weights.ndim == 4 and isinstance(new.get_submodule(layer), nn.ConvTranspose2d) else 0
            weights = _combine(_of_four(gives) if last[layer] else gives, weights, axis)
        if shift > 0 and layer == "decoder.0.1" and weights.ndim == 4 and len(weights) == 2 * len(tensor):
            weights = weights[len(tensor) :]  # the skip, which stands behind the output of the next layer
        if weights.shape == tensor.shape and weights.dtype == tensor.dtype:
            kept[name] = weights
            used.add(source)
    layers = dict.fromkeys(_layer_of(name) for name in wanted)
    fresh = [layer for layer in layers if any(_layer_of(name) == layer and name not in kept for name in wanted)]
    gone = dict.fromkeys(_layer_of(name) for name in before if name not in used)
    notes = [f"weights of {len(layers) - len(fresh)} of {format_count(len(layers), 'layer')} are kept"]
    notes += [f"begin anew: {format_examples(fresh, 8)}"] if fresh else []
    notes += [f"left out: {format_examples(gone, 8)}"] if gone else []
    return Carried(kept, notes)


def _ends(network: nn.Module) -> tuple[set[str], dict[str, bool]]:
    """Return the first convolutions of a network, and the last, each with whether it makes four pixels of one."""
    first, last = set[str](), dict[str, bool]()
    parts = ("original.", "halved.") if isinstance(network, TwoScales) else ("",)
    for part in parts:
        layers = [
            name
            for name, module in network.named_modules()
            if name.startswith(part) and isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        ]
        first.add(layers[0])
        above = network.get_submodule(layers[-1].rpartition(".")[0])
        last[layers[-1]] = isinstance(above, ShuffleConv)
    return first, last


def _combine(channels: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Make new channels of old ones along an axis; weights of another width stay as they are, and will not fit."""
    if weights.shape[axis] != channels.shape[1] or torch.equal(channels, torch.eye(channels.shape[1])):
        return weights
    return torch.tensordot(channels, weights, dims=([1], [axis])).movedim(0, axis)


def _blocks(first: Tensor, second: Tensor) -> Tensor:
    """Return the map of channels that stand behind one another."""
    blocks: Tensor = torch.block_diag(first, second)  # type: ignore[no-untyped-call]
    return blocks


def _of_four(channels: Tensor) -> Tensor:
    """Return the same for outputs of which four neighbours make a channel."""
    return torch.kron(channels, torch.eye(4))


def _name_before(name: str, shift: int) -> str:
    """Return the name of a tensor in a U-Net with more decoder layers; the innermost is number 0."""
    if not name.startswith("decoder.") or not shift:
        return name
    head, number, rest = name.split(".", 2)
    return f"{head}.{int(number) + shift}.{rest}"


def _layer_of(name: str) -> str:
    return name.partition(PARAMETRIZED)[0] if PARAMETRIZED in name else name.rpartition(".")[0]


def fill(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy carried weights into a network, in place."""
    own = network.state_dict()
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)
