"""A generator in, the same function prepared for translation out: norm folded, weights laid out once.

In training the library lays a convolution's weights out anew at every call, since they have changed; of a model that is
only used, that is most of the time that its deep layers take. The prepared network has the numbers of the plain one up
to rounding, and shares with it what it need not change.
"""

import copy
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pix2pix.networks.blocks import BatchNorm
from pix2pix.networks.convolution import UP_TILE, Conv, ConvTranspose, Way, set_fast
from pix2pix.networks.cpu import winograd as toom
from pix2pix.system.hardware import choose_device, has_bf16

EngineName = Literal["packed", "folded"]
Precision = Literal["32", "bf16"]


WORDS: dict[EngineName, str] = {
    "packed": "packed (oneDNN, weights laid out once, running averages folded in, picture by picture)",
    "folded": "folded (torch, running averages folded in)",
}


def choose_engine(device: torch.device, precision: Precision = "32") -> EngineName:
    """The one that `pix2pix bench --only inference` found fastest on such a device."""
    has_onednn = device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return "packed" if has_onednn and (precision == "32" or has_bf16()) else "folded"


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
    set_fast(network, False)
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
                setattr(parent, name, _folded(layer, norm))
                setattr(parent, after, nn.Identity())


@torch.no_grad()
def _folded(layer: nn.Conv2d | nn.ConvTranspose2d, norm: BatchNorm) -> nn.Module:
    """One convolution that does what it and the norm after it do."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    bias = 0.0 if layer.bias is None else layer.bias.double()
    shape = (1, -1, 1, 1) if isinstance(layer, nn.ConvTranspose2d) else (-1, 1, 1, 1)  # where its outputs are
    dtype = layer.weight.dtype
    both = copy.copy(layer)
    both._parameters = dict(layer._parameters)
    both.weight = nn.Parameter(layer.weight * scale.to(dtype).view(shape), requires_grad=False)
    both.bias = nn.Parameter(((bias - norm.running_mean.double()) * scale + norm.bias.double()).to(dtype), False)
    return both


# ---- packing ---------------------------------------------------------------------------------------------------


def _pack(network: nn.Module, dtype: torch.dtype) -> None:
    for parent in network.modules():
        for name, layer in parent.named_children():
            if isinstance(layer, Conv | ConvTranspose):
                layer.fast = True
                few = min(layer.in_channels, layer.out_channels) < 8  # then there is little to lay out
                setattr(parent, name, layer if few else _Packed(layer, dtype))


class _Packed(nn.Module):
    """A convolution whose weights are prepared for the first map that comes by; others are right too.

    They lie as oneDNN wants them, or are transformed once for Toom-Cook where training would transform them each time.
    """

    def __init__(self, layer: Conv | ConvTranspose, dtype: torch.dtype) -> None:
        super().__init__()
        self.transposed = isinstance(layer, ConvTranspose)
        self.stride = list(layer.stride)
        self.way: Callable[[Tensor], Way] | None = layer.way
        self.weight: Tensor | None = layer.weight.detach().to(dtype)
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self.packed: Any = None
        self.points: Tensor | None = None
        self.lock = threading.Lock()  # several threads may share a translator

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            if self.weight is not None:
                self._prepare(x)
        if self.points is not None:
            y = toom.apply(x, self.points, "up", UP_TILE)
            return y if self.bias is None else y.add_(self.bias.view(-1, 1, 1))
        ops: Any = torch.ops.mkldnn
        more: Any = ([1, 1], 1, "none", [], "")  # dilation, groups, nothing after it
        if self.transposed:
            y = ops._convolution_transpose_pointwise(x, self.packed, self.bias, [1, 1], [0, 0], self.stride, *more)
        else:
            y = ops._convolution_pointwise(x, self.packed, self.bias, [1, 1], self.stride, *more)
        return y

    def _prepare(self, x: Tensor) -> None:
        assert self.weight is not None
        assert self.way is not None
        if self.transposed and self.way(x) == "toom":
            self.points = toom.transform(self.weight, "up", UP_TILE)
        else:
            self.packed = self._laid_out(list(x.shape))
        self.weight = self.way = None  # nothing else holds the layer, and with it its weights

    def _laid_out(self, size: list[int]) -> Tensor:
        assert self.weight is not None
        weight = self.weight.contiguous()
        if self.transposed:
            laid_out: Tensor = torch.ops.mkldnn._reorder_convolution_transpose_weight(
                weight, [1, 1], [0, 0], self.stride, [1, 1], 1, size
            )
            return laid_out
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        packed: Tensor = reorder(weight.to_mkldnn(), [1, 1], self.stride, [1, 1], 1, size)
        return packed
