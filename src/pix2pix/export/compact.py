"""Store the weights of an ONNX graph in fewer bits; they are made float32 again when the file is loaded.

The arithmetic stays that of float32, which every engine has: only the file, and what a browser downloads, is smaller.
"""

from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Stored = Literal["32", "16", "int8"]
LEAST = 1024
"""Smaller arrays, such as biases, stay as they are."""


def store_weights(model: ModelProto, stored: Stored) -> ModelProto:
    """Return the graph with its weights in 16-bit floats, or in int8 with one scale for each output channel."""
    if stored == "32":
        return model
    compact = onnx.ModelProto()
    compact.CopyFrom(model)
    graph = compact.graph
    pack = _as_float16 if stored == "16" else _as_int8
    kept: list[TensorProto] = []
    nodes: list[NodeProto] = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < LEAST or values.ndim < 2:
            kept.append(tensor)
            continue
        packed, unpack = pack(tensor.name, values)
        kept += packed
        nodes += unpack
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return compact


def _as_float16(name: str, values: NDArray[Any]) -> tuple[list[TensorProto], list[NodeProto]]:
    packed = numpy_helper.from_array(values.astype(np.float16), f"{name}.16")
    return [packed], [helper.make_node("Cast", [packed.name], [name], to=TensorProto.FLOAT)]


def _as_int8(name: str, values: NDArray[Any]) -> tuple[list[TensorProto], list[NodeProto]]:
    """Return values / scale, rounded.

    Cast and Mul are folded into float32 weights when the file is loaded; DequantizeLinear would run for every picture.
    """
    scale = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    levels = np.clip(np.round(values / scale), -127, 127).astype(np.int8)
    packed = [numpy_helper.from_array(levels, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
    nodes = [
        helper.make_node("Cast", [packed[0].name], [f"{name}.levels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.levels", packed[1].name], [name]),
    ]
    return packed, nodes
