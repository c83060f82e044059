"""A generator in, the same function prepared for translation out: norm folded, weights laid out once.

In training the library lays a convolution's weights out anew at every call, since they have changed; of a model that is
only used, that is most of the time that its deep layers take. The prepared network has the numbers of the plain one up
to rounding, and shares with it what it need not change.
"""

import copy
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from pix2pix.networks.blocks import BatchNorm
from pix2pix.networks.convolution import Conv, ConvTranspose, set_fast_convolutions
from pix2pix.networks.cpu import switch
from pix2pix.networks.cpu.packed import PackedConv
from pix2pix.system.hardware import choose_device, has_bf16

EngineName = Literal["packed", "folded"]
Precision = Literal["32", "bf16"]


WORDS: dict[EngineName, str] = {
    "packed": "packed (oneDNN, weights laid out once, running averages folded in, picture by picture)",
    "folded": "folded (torch, running averages folded in)",
}


def choose_engine(device: torch.device, precision: Precision = "32") -> EngineName:
    """The one that `pix2pix bench --only inference` found fastest on such a device."""
    can_pack = device.type == "cpu" and switch.available() and switch.has_onednn()
    return "packed" if can_pack and (precision == "32" or has_bf16()) else "folded"


def describe_engine() -> str:
    """What this machine translates with by default."""
    device = choose_device("auto")
    return f"{device}, {WORDS[choose_engine(torch.device(device))]}, fp32"


def prepare(generator: nn.Module, device: torch.device, *, precision: Precision = "32") -> nn.Module:
    """A generator in eval mode -> (N, in, H, W) in [-1, 1] to (N, out, H, W) float32 on `device`.

    The generator itself stays as it is. bf16 is for processors and GPUs that have it, and errs by about a thousandth
    of the range.
    """
    network = _around_the_same_numbers(generator).to(device)
    set_fast_convolutions(network, False)
    _fold(network)
    packs = choose_engine(device, precision) == "packed"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if packs:
        _pack(network, dtype)
    return _Casting(network.to(dtype), dtype, one_by_one=packs).eval()


def _around_the_same_numbers(network: nn.Module) -> nn.Module:
    """New modules and parameters, which may be replaced or moved, in memory that is the network's own."""
    memo: dict[int, Any] = {id(one): nn.Parameter(one.detach(), False) for one in network.parameters()}
    memo |= {id(one): one.detach() for one in network.buffers()}
    return copy.deepcopy(network, memo)


class _Casting(nn.Module):
    """A network in another arithmetic; in and out are float32.

    Weights are laid out for one picture, so on a processor several go through one by one, which is faster too.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, *, one_by_one: bool) -> None:
        super().__init__()
        self.network, self.dtype, self.one_by_one = network, dtype, one_by_one

    def forward(self, source: Tensor) -> Tensor:
        parts = torch.split(source, 1) if self.one_by_one else (source,)
        outputs = [self.network(part.to(self.dtype, memory_format=torch.channels_last)).float() for part in parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


# ---- folding ---------------------------------------------------------------------------------------------------


def _fold(network: nn.Module) -> None:
    """Batch norm with running averages is one factor and one summand a channel: they go into the layer before it."""
    for parent in network.modules():
        layers = list(parent.named_children()) if isinstance(parent, nn.Sequential) else []
        for (name, layer), (after, norm) in pairwise(layers):
            if (
                isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
                and isinstance(norm, BatchNorm)
                and norm.statistics == "running"
            ):
                setattr(parent, name, fuse_conv_bn_eval(layer, norm, isinstance(layer, nn.ConvTranspose2d)))
                setattr(parent, after, nn.Identity())


# ---- packing ---------------------------------------------------------------------------------------------------


def _pack(network: nn.Module, dtype: torch.dtype) -> None:
    for parent in network.modules():
        for name, layer in parent.named_children():
            if isinstance(layer, Conv | ConvTranspose):
                layer.fast = True
                few = min(layer.in_channels, layer.out_channels) < 8  # then there is little to lay out
                setattr(parent, name, layer if few else PackedConv(layer, dtype))
