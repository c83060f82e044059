"""Read what an ONNX file says of itself, without its weights, and refuse what could open other files.

An ONNX file is a message of protocol buffers: fields, each with a number, a kind and a content. Runtimes read it only
after this check: tensors can lie in other files, and operators of other domains can load such.
"""

from collections.abc import Iterator
from typing import NamedTuple

LENGTH = 2
"""Kind of a field that holds bytes, a text or another message."""
SIZES = {1: 8, 5: 4}
"""Kind of a field of fixed size -> its bytes."""
MOST_DEPTH = 16
"""Graphs within nodes within graphs."""
DOMAINS = (b"", b"ai.onnx")
"""Of the operators that ONNX itself defines."""

MODEL_GRAPH, MODEL_METADATA, MODEL_TRAINING, MODEL_FUNCTIONS = 7, 14, 20, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_SPARSE = 1, 5, 15
NODE_ATTRIBUTE, NODE_DOMAIN = 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
ATTRIBUTE_SPARSE, ATTRIBUTE_SPARSES = 22, 23
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14


class _Field(NamedTuple):
    number: int
    content: memoryview
    """Of bytes, texts and messages; empty for numbers."""
    value: int = 0
    """Of a whole number."""


def read_fields(content: bytes) -> dict[str, str]:
    """Return the metadata of an ONNX file: name -> text.

    Raises ValueError for bytes that are no ONNX file, and for a file that is not all in itself.
    """
    metadata: dict[str, str] = {}
    graphs = 0
    for number, value, _ in _fields(memoryview(content)):
        if number == MODEL_GRAPH:
            _check_graph(value, 0)
            graphs += 1
        elif number == MODEL_METADATA:
            texts = {number: bytes(text).decode("utf-8") for number, text, _ in _fields(value)}
            metadata[texts.get(1, "")] = texts.get(2, "")
        elif number in (MODEL_TRAINING, MODEL_FUNCTIONS):
            raise ValueError("it holds functions or training steps, which no exported file does")
    if graphs != 1:
        raise ValueError("it is no ONNX file, or a part of one")
    return metadata


def _check_graph(graph: memoryview, depth: int) -> None:
    """Raise ValueError for tensors in other files, and for operators that ONNX does not define."""
    if depth > MOST_DEPTH:
        raise ValueError("its graphs are nested too deeply")
    for number, value, _ in _fields(graph):
        if number == GRAPH_NODE:
            _check_node(value, depth)
        elif number == GRAPH_INITIALIZER:
            _check_tensor(value)
        elif number == GRAPH_SPARSE:
            raise ValueError("it holds sparse tensors, which no exported file does")


def _check_node(node: memoryview, depth: int) -> None:
    for number, value, _ in _fields(node):
        if number == NODE_DOMAIN and value not in DOMAINS:
            raise ValueError("it holds operators of another domain than ONNX's own")
        if number == NODE_ATTRIBUTE:
            for kind, inner, _ in _fields(value):
                if kind in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                    _check_tensor(inner)
                elif kind in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                    _check_graph(inner, depth + 1)
                elif kind in (ATTRIBUTE_SPARSE, ATTRIBUTE_SPARSES):
                    raise ValueError("it holds sparse tensors, which no exported file does")


def _check_tensor(tensor: memoryview) -> None:
    for number, _, value in _fields(tensor):
        if number == TENSOR_EXTERNAL or (number == TENSOR_LOCATION and value):
            raise ValueError("its weights lie in other files (external data), which are not opened")


def _fields(content: memoryview) -> Iterator[_Field]:
    """Yield the fields of a message. Raises ValueError for bytes that are none."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        kind, value = key & 7, 0
        if kind == LENGTH:
            length, at = _varint(content, at)
            end = at + length
        elif kind in SIZES:
            length, end = 0, at + SIZES[kind]
        elif kind == 0:
            length, (value, end) = 0, _varint(content, at)
        else:
            raise ValueError("it is no ONNX file, or a damaged one")
        if end > len(content):
            raise ValueError("it ends within a field: it is no ONNX file, or a part of one")
        yield _Field(key >> 3, content[at : at + length], value)
        at = end


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """Return a number of variable length, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ValueError("it ends within a field: it is no ONNX file, or a part of one")
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
    raise ValueError("it is no ONNX file, or a damaged one")
