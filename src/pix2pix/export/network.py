"""Add the layers of a generator to a graph: (N, in, H, W) to (N, out, H, W), both float32 in [-1, 1].

Each layer becomes the nodes that mean the same, written here rather than traced with example images, so no size of an
image gets into the graph.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from pix2pix.errors import ModelError
from pix2pix.export.graph import Graph
from pix2pix.networks.blocks import BatchNorm
from pix2pix.networks.generators import Probabilities
from pix2pix.networks.upsampling import ShuffleConv


@dataclass(frozen=True)
class NetworkWriter:
    """Adds networks to a graph, with weights and maps of a type."""

    graph: Graph
    dtype: str = "float32"
    """`float32` or `float16`; norms that measure their input do so in float32."""
    phases: bool = True
    """Whether transposed convolutions become plain ones, see `phase_kernels`."""

    def add(self, network: nn.Module, x: str) -> str:
        """Add all layers of a network in eval mode. Raises ModelError for a layer that is not known here."""
        values: dict[Any, str] = {}
        modules = dict(network.named_modules())
        output = ""
        for node in _Tracer().trace(network).nodes:
            if node.op == "placeholder":
                values[node] = self._cast(x)
            elif node.op == "call_module":
                values[node] = self._add_layer(modules[str(node.target)], values[node.args[0]])
            elif node.op == "call_function" and node.target is torch.cat:
                values[node] = self.graph.add("Concat", *(values[one] for one in node.args[0]), axis=1)
            elif node.op == "call_function" and node.target is operator.add:
                values[node] = self.graph.add("Add", *(values[one] for one in node.args))
            elif node.op == "output":
                output = values[node.args[0]]
            else:
                raise ModelError(f"the generator computes {node.target}, which cannot be exported")
        return self.graph.cast(output, "float32") if self.dtype != "float32" else output

    def _add_layer(self, layer: nn.Module, x: str) -> str:
        for kind, add in _LAYERS.items():
            if isinstance(layer, kind):
                return add(self, layer, x)
        raise ModelError(f"the generator has a layer {type(layer).__name__}, which cannot be exported")

    def _cast(self, x: str) -> str:
        return x if self.dtype == "float32" else self.graph.cast(x, self.dtype)

    def _weights(self, values: Tensor | NDArray[Any]) -> str:
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        return self.graph.constant(array, self.dtype)

    # ---- convolutions ------------------------------------------------------------------------------------------

    def _conv(self, layer: Any, x: str) -> str:
        down, across = layer.padding
        pads = [down, across, down, across]
        if layer.padding_mode == "reflect":
            x = self.graph.add(
                "Pad", x, self.graph.constant([0, 0, *pads[:2], 0, 0, *pads[2:]], "int64"), mode="reflect"
            )
            pads = [0] * 4
        return self._convolve(x, layer.weight, layer.bias, strides=list(layer.stride), pads=pads)

    def _convolve(self, x: str, weight: Any, bias: Any, op: str = "Conv", **attributes: Any) -> str:
        inputs = [self._weights(weight), *([] if bias is None else [self._weights(bias)])]
        return self.graph.add(op, x, *inputs, kernel_shape=list(weight.shape[2:]), **attributes)

    def _conv_transpose(self, layer: Any, x: str) -> str:
        if not self.phases:
            attributes = {"strides": [2, 2], "pads": [1] * 4, "output_padding": list(layer.output_padding)}
            return self._convolve(x, layer.weight, layer.bias, "ConvTranspose", **attributes)
        bias = None if layer.bias is None else layer.bias.repeat(4)
        x = self._convolve(x, phase_kernels(layer.weight.detach()), bias, strides=[1, 1], pads=[1] * 4)
        x = self.graph.add("DepthToSpace", x, blocksize=2, mode="DCR")
        inside = [self.graph.constant(value, "int64") for value in ([1, 1], [-1, -1], [2, 3])]
        return self.graph.add("Slice", x, *inside)

    def _shuffle_conv(self, layer: Any, x: str) -> str:
        return self.graph.add("DepthToSpace", self._conv(layer.conv, x), blocksize=2, mode="CRD")

    # ---- norms -------------------------------------------------------------------------------------------------

    def _batch_norm(self, layer: Any, x: str) -> str:
        if layer.statistics == "image":
            return self._instance_norm(layer, x)
        values = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
        return self.graph.add("BatchNormalization", x, *map(self._weights, values), epsilon=layer.eps)

    def _instance_norm(self, layer: Any, x: str) -> str:
        return self._in_float32(x, lambda x: self._normalise(x, layer.weight, layer.bias, layer.eps))

    def _group_norm(self, layer: Any, x: str) -> str:
        def add(x: str) -> str:
            graph, ones = self.graph, torch.ones(layer.num_groups)
            groups = graph.add("Reshape", x, graph.constant([0, layer.num_groups, -1], "int64"))
            groups = self._normalise(groups, ones, torch.zeros_like(ones), layer.eps)
            y = graph.add("Reshape", groups, graph.add("Shape", x))
            weight, bias = (graph.constant(one.detach().view(-1, 1, 1).numpy()) for one in (layer.weight, layer.bias))
            return graph.add("Add", graph.add("Mul", y, weight), bias)

        return self._in_float32(x, add)

    def _normalise(self, x: str, weight: Tensor, bias: Tensor, eps: float) -> str:
        scale, shift = (self.graph.constant(one.detach().numpy()) for one in (weight, bias))
        return self.graph.add("InstanceNormalization", x, scale, shift, epsilon=eps)

    def _in_float32(self, x: str, add: Callable[[str], str]) -> str:
        """Add nodes that compute in float32: half precision has no numbers for the squares of small differences."""
        if self.dtype == "float32":
            return add(x)
        return self._cast(add(self.graph.cast(x, "float32")))

    # ---- the others --------------------------------------------------------------------------------------------

    def _probabilities(self, _: nn.Module, x: str) -> str:
        def add(x: str) -> str:
            share = self.graph.add("Softmax", x, axis=1)
            doubled = self.graph.add("Mul", share, self.graph.constant(2.0))
            return self.graph.add("Sub", doubled, self.graph.constant(1.0))

        return self._in_float32(x, add)


def phase_kernels(weight: Tensor) -> Tensor:
    """Return the kernels (4·out, in, 2, 2) of a transposed convolution (in, out, 3 or 4, same) of stride 2, padding 1.

    Such a convolution uses two of the taps along an axis for even outputs, and the other two for odd ones. A plain 2x2
    convolution with padding 1 gives (N, 4·out, H + 1, W + 1); its four groups of channels become the pixels of 2x2
    squares (DepthToSpace), and without the outermost pixels this is the transposed convolution, with as many products.
    A third tap alone is a fourth that is zero, if the output has twice the size of the input.
    """
    four = nn.functional.pad(weight, [0, 4 - weight.shape[3], 0, 4 - weight.shape[2]])
    phases = [four[:, :, down::2, across::2].flip(2, 3) for down in (0, 1) for across in (0, 1)]
    return torch.cat([phase.transpose(0, 1) for phase in phases])


class _Tracer(fx.Tracer):
    """Records which layers a network calls, and nothing inside them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, nn.Sequential | nn.ModuleList)


_Add = Callable[[NetworkWriter, Any, str], str]
_LAYERS: dict[type[nn.Module], _Add] = {
    nn.Conv2d: NetworkWriter._conv,
    nn.ConvTranspose2d: NetworkWriter._conv_transpose,
    ShuffleConv: NetworkWriter._shuffle_conv,
    BatchNorm: NetworkWriter._batch_norm,
    nn.InstanceNorm2d: NetworkWriter._instance_norm,
    nn.GroupNorm: NetworkWriter._group_norm,
    nn.LeakyReLU: lambda self, layer, x: self.graph.add("LeakyRelu", x, alpha=layer.negative_slope),
    nn.ReLU: lambda self, layer, x: self.graph.add("Relu", x),
    nn.Tanh: lambda self, layer, x: self.graph.add("Tanh", x),
    nn.Dropout: lambda self, layer, x: x,
    nn.Identity: lambda self, layer, x: x,
    Probabilities: NetworkWriter._probabilities,
}
