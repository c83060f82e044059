"""Make a trained generator faster: fold batch norm into convolutions, pack weights for the CPU.

In training a convolution reorders its weights at every call, since they change. In inference this would be most of the
time of the inner layers. The results are the same up to rounding.
"""

import copy
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from pix2pix.networks.blocks import BatchNorm
from pix2pix.networks.convolution import Conv, ConvTranspose, set_fast_convolutions
from pix2pix.networks.cpu import switch
from pix2pix.networks.cpu.packed import PackedConv
from pix2pix.networks.upsampling import ResizeConv, ShuffleConv
from pix2pix.system.hardware import choose_device, has_bf16

Optimization = Literal["packed", "folded"]
Precision = Literal["32", "bf16"]

DESCRIPTIONS: dict[Optimization, str] = {
    "packed": "weights reordered once for the CPU library oneDNN, one image at a time",
    "folded": "torch's convolutions",
}


def choose_optimization(device: torch.device, precision: Precision = "32") -> Optimization:
    """Return the faster optimization on a device, as measured by `make bench`."""
    can_pack = device.type == "cpu" and switch.available() and switch.has_onednn()
    return "packed" if can_pack and (precision == "32" or has_bf16()) else "folded"


def describe_optimization(norm: str, norm_statistics: str) -> str:
    """Describe the device and the optimization that this machine uses by default for a model with these settings."""
    device = choose_device("auto")
    folds = norm == "batch" and norm_statistics == "running"
    norms = ", batch norm folded into the convolutions" if folds else ""
    return f"{device}, fp32, {DESCRIPTIONS[choose_optimization(torch.device(device))]}{norms}"


def optimize_generator(
    generator: nn.Module, device: torch.device, size: tuple[int, int] = (256, 256), *, precision: Precision = "32"
) -> nn.Module:
    """Return a faster copy of a generator in eval mode: (N, in, H, W) -> (N, out, H, W) float32 on `device`.

    It is fastest for images of about `size`, (height, width) in multiples of what the generator takes; the same `size`
    gives the same outputs, whatever is translated before. The generator does not change; the copy shares its memory
    where possible. bf16, on processors and GPUs that have it, has errors of about a thousandth of the range.
    """
    network = fold_generator(copy_modules(generator).to(device))
    packed = choose_optimization(device, precision) == "packed"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if packed:
        _pack_convolutions(network, dtype, size)
    return _WithDtype(network.to(dtype), dtype, one_by_one=packed).eval()


def fold_generator(generator: nn.Module) -> nn.Module:
    """Return a copy of a generator in eval mode of torch's convolutions alone, with norms merged where they can be."""
    network = copy_modules(generator)
    set_fast_convolutions(network, False)
    _settle_upsampling(network)
    _fold_norms(network)
    return network


def copy_modules(network: nn.Module) -> nn.Module:
    """Copy the modules, and share the memory of their parameters and buffers."""
    memo: dict[int, Any] = {id(weights): nn.Parameter(weights.detach(), False) for weights in network.parameters()}
    memo |= {id(buffer): buffer.detach() for buffer in network.buffers()}
    return copy.deepcopy(network, memo)


class _WithDtype(nn.Module):
    """A network that computes in `dtype`; its input and output are float32.

    Packed weights are laid out for one image. With `one_by_one` the images of a batch are therefore computed one at a
    time.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, *, one_by_one: bool) -> None:
        super().__init__()
        self.network, self.dtype, self.one_by_one = network, dtype, one_by_one

    def forward(self, source: Tensor) -> Tensor:
        parts = torch.split(source, 1) if self.one_by_one else (source,)
        outputs = [self.network(part.to(self.dtype, memory_format=torch.channels_last)).float() for part in parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _settle_upsampling(network: nn.Module) -> None:
    """Replace each layer that computes its kernel from its weights by a convolution with that kernel."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, ResizeConv):
                setattr(parent, name, layer.settled())


def _fold_norms(network: nn.Module) -> None:
    """Merge each convolution with the batch norm after it, if the norm uses running averages."""
    for parent in network.modules():
        layers = list(parent.named_children()) if isinstance(parent, nn.Sequential) else []
        for (name, layer), (after, norm) in pairwise(layers):
            if not (isinstance(norm, BatchNorm) and norm.statistics == "running"):
                continue
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                transposed = isinstance(layer, nn.ConvTranspose2d)
                setattr(parent, name, fuse_conv_bn_eval(layer, norm, transposed))
                setattr(parent, after, nn.Identity())
            elif isinstance(layer, ShuffleConv):
                layer.conv = fuse_conv_bn_eval(layer.conv, _of_quarters(norm))
                setattr(parent, after, nn.Identity())


def _of_quarters(norm: BatchNorm) -> BatchNorm:
    """Return the norm for the map before `pixel_shuffle`, where four channels in a row become one."""
    quarters = BatchNorm(4 * norm.num_features, norm.eps).eval()
    for name, value in norm.state_dict().items():
        if value.ndim:
            getattr(quarters, name).data = value.repeat_interleave(4)
    return quarters


def _pack_convolutions(network: nn.Module, dtype: torch.dtype, size: tuple[int, int]) -> None:
    """Replace convolutions by packed ones, except those of few channels, whose weights are reordered quickly."""
    shapes = _input_shapes(network, size)
    for prefix, parent in list(network.named_modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, Conv | ConvTranspose) or isinstance(parent, ShuffleConv):
                layer.fast = True
                if min(layer.in_channels, layer.out_channels) >= 8:
                    shape = shapes[f"{prefix}.{name}".lstrip(".")]
                    setattr(parent, name, PackedConv(layer, dtype, shape))


def _input_shapes(network: nn.Module, size: tuple[int, int]) -> dict[str, torch.Size]:
    """Return the shape of the input of each convolution, by its name, for one image of a size.

    Computes with one channel in place of all. On the meta device the first operation would import for a second.
    """
    thin = copy_modules(network)
    shapes: dict[str, torch.Size] = {}
    for prefix, parent in list(thin.named_modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                outputs = 4 if isinstance(parent, ShuffleConv) else 1
                setattr(parent, name, _ThinConv(layer, outputs, f"{prefix}.{name}".lstrip("."), shapes))
            elif isinstance(layer, BatchNorm | nn.InstanceNorm2d | nn.GroupNorm):
                setattr(parent, name, nn.Identity())
    with torch.no_grad():
        thin(torch.zeros(1, 1, *size))
    return shapes


class _ThinConv(nn.Module):
    """A convolution from one channel to `outputs`, with the geometry of another, that notes the input of that one."""

    def __init__(
        self, layer: nn.Conv2d | nn.ConvTranspose2d, outputs: int, name: str, shapes: dict[str, torch.Size]
    ) -> None:
        super().__init__()
        self.transposed, self.stride, self.padding = isinstance(layer, nn.ConvTranspose2d), layer.stride, layer.padding
        self.output_padding = layer.output_padding
        axes = (1, outputs) if self.transposed else (outputs, 1)
        self.weight = torch.ones(*axes, *layer.kernel_size)  # a new layer would draw random numbers
        self.channels, self.name, self.shapes = layer.in_channels, name, shapes

    def forward(self, x: Tensor) -> Tensor:
        self.shapes[self.name] = torch.Size((1, self.channels, *x.shape[-2:]))
        if self.transposed:
            return F.conv_transpose2d(x[:, :1], self.weight, None, self.stride, self.padding, self.output_padding)  # type: ignore[arg-type]
        return F.conv2d(x[:, :1], self.weight, None, self.stride, self.padding)
