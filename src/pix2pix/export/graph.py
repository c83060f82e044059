"""Collect the nodes of an ONNX graph; each value of the graph is known by its name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
"""The first opset with an antialiased Resize."""
IR_VERSION = 8
"""Of the same age as the opset, so that runtimes since 2022 read the file."""

Port = tuple[str, str, Sequence[str | int]]
"""Name, type and shape of an input or output; a word in the shape is a size that may be any."""


class Graph:
    """Nodes and constants in the order in which they were added."""

    def __init__(self, real: str = "float64") -> None:
        self.real = real
        """The type in which sizes and positions are computed."""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; return the name of its output. An empty name leaves an optional input out."""
        name = f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def constant(self, values: Any, dtype: str = "float32") -> str:
        """Add a constant, or find it among those that were added; return its name."""
        array = np.ascontiguousarray(values, dtype).reshape(np.shape(values))  # keeps a single number without axes
        key = dtype, array.shape, array.tobytes() if array.size < 1024 else b""
        if array.size < 1024 and key in self._known:
            return self._known[key]
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        self._known[key] = name
        return name

    def cast(self, value: str, dtype: str) -> str:
        """Convert a value to a type, such as uint16."""
        return self.add("Cast", value, to=onnx_type(dtype))

    def model(self, inputs: Sequence[Port], outputs: Mapping[str, Port], producer: str) -> onnx.ModelProto:
        """Return the model; `outputs` gives each value that leaves the graph its name. Raises onnx's errors."""
        nodes = [
            *self._nodes,
            *(helper.make_node("Identity", [value], [port[0]], port[0]) for value, port in outputs.items()),
        ]
        graph = helper.make_graph(
            nodes, "translator", list(map(_info, inputs)), list(map(_info, outputs.values())), self._constants
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name=producer
        )
        onnx.checker.check_model(model)
        return model


def onnx_type(dtype: str) -> int:
    """Return the number by which ONNX knows a type."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _info(port: Port) -> onnx.ValueInfoProto:
    name, dtype, shape = port
    return helper.make_tensor_value_info(name, onnx_type(dtype), shape)
