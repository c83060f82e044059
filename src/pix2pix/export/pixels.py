"""Add to a graph how pixels become channels and channels pixels, as `data/encoding` does.

Pixels are (N, H, W, C) of the type of files; channels are (N, C, H, W) float32 in [-1, 1].
"""

from typing import NamedTuple

import numpy as np

from pix2pix.data.encoding.labels import LabelEncoding, class_levels
from pix2pix.data.encoding.measure import label_name
from pix2pix.data.encoding.prepared import ImageEncoding
from pix2pix.data.encoding.ranges import RangeEncoding, type_bounds
from pix2pix.export.graph import Graph

TO_CHANNELS, TO_PIXELS = [0, 3, 1, 2], [0, 2, 3, 1]
LARGEST = float(np.finfo(np.float32).max)


class Channels(NamedTuple):
    """A source in the graph."""

    values: str
    """(N, C, H, W) float32."""
    holes: str | None
    """(N, 1, H, W) float32: 1 where a channel has no data, else 0; None without such pixels."""


def add_source(graph: Graph, source: ImageEncoding, pixels: str, *, wants_holes: bool) -> Channels:
    """Encode the pixels of a source, and fill those without data."""
    values, holes = graph.cast(pixels, "float32"), None
    if isinstance(source.values, LabelEncoding):
        return Channels(_add_classes(graph, source.values, values), None)
    if source.nodata is not None:
        missing = _add_missing(graph, source, values)
        if len(source.fill) in (1, source.file_channels):
            values = graph.add("Where", missing, graph.constant(source.fill), values)
        if wants_holes:
            axes = graph.constant([3], "int64")
            holes = graph.add("ReduceMax", graph.cast(missing, "float32"), axes, keepdims=1)
            holes = graph.add("Transpose", holes, perm=TO_CHANNELS)
    return Channels(graph.add("Transpose", _encode(graph, source.values, values), perm=TO_CHANNELS), holes)


def _encode(graph: Graph, encoding: RangeEncoding, values: str) -> str:
    if encoding.is_8bit:
        values = graph.add("Div", values, graph.constant(127.5))
    else:
        low, high = np.array(encoding.bounds, np.float64).T
        values = graph.add("Sub", values, graph.constant(low))
        values = graph.add("Mul", values, graph.constant(2 / (high - low)))
    return graph.add("Sub", values, graph.constant(1.0))


def _add_missing(graph: Graph, source: ImageEncoding, values: str) -> str:
    """Return where values are `nodata`, and of floating numbers also where they are not finite."""
    found = []
    if source.values.dtype == "float32":
        finite = graph.add("LessOrEqual", graph.add("Abs", values), graph.constant(LARGEST))  # false for NaN
        found.append(graph.add("Not", finite))
    if not isinstance(source.nodata, str):
        found.append(graph.add("Equal", values, graph.constant(source.nodata)))
    return found[0] if len(found) == 1 else graph.add("Or", *found)


def _add_classes(graph: Graph, labels: LabelEncoding, values: str) -> str:
    """Return a channel for each class: 1 where it is the nearest one to (N, H, W, 1 or 3), -1 elsewhere."""
    table = np.array([class_levels(name) for name in labels.classes], np.float32)
    if table.shape[1] == 1:
        distance = graph.add("Abs", graph.add("Sub", values, graph.constant(table[:, 0])))
        nearest = graph.add("ArgMin", distance, axis=3, keepdims=0)
    else:  # |x - t|² = |x|² - (2 x·t - |t|²), whole numbers that float32 holds exactly for 8 bits
        product = graph.add("MatMul", values, graph.constant(2 * table.T))
        nearest = graph.add(
            "ArgMax", graph.add("Sub", product, graph.constant((table**2).sum(axis=1))), axis=3, keepdims=0
        )
    numbers = graph.constant(np.arange(len(table)).reshape(-1, 1, 1), "int64")
    same = graph.add("Equal", graph.add("Unsqueeze", nearest, graph.constant([1], "int64")), numbers)
    return graph.add("Where", same, graph.constant(1.0), graph.constant(-1.0))


def add_target(graph: Graph, target: ImageEncoding, output: str, holes: str | None) -> str:
    """Decode an output (N, C, H, W) in [-1, 1] to pixels; where `holes` is 1 they get the target's mask value."""
    labels = isinstance(target.values, LabelEncoding)
    pixels = _class_values(graph, target, output) if labels else _values(graph, target, output)
    if holes is not None and target.mask_value is not None:
        there = graph.cast(graph.add("Transpose", holes, perm=TO_PIXELS), "bool")
        mask = class_levels(label_name(target.mask_value)) if labels else float(target.mask_value)
        pixels = graph.add("Where", there, graph.constant(mask), pixels)
    return pixels if target.file_type == "float32" else graph.cast(pixels, target.file_type)


def _values(graph: Graph, target: ImageEncoding, output: str) -> str:
    assert isinstance(target.values, RangeEncoding)
    pixels = graph.add("Add", graph.add("Transpose", output, perm=TO_PIXELS), graph.constant(1.0))
    low, high = np.array(target.values.bounds, np.float64).T
    pixels = graph.add("Mul", pixels, graph.constant((high - low) / 2))
    if low.any():
        pixels = graph.add("Add", pixels, graph.constant(low))
    limits = type_bounds(target.file_type)
    if limits is None:
        return pixels
    return graph.add("Clip", graph.add("Round", pixels), *(graph.constant(limit) for limit in limits))


def _class_values(graph: Graph, target: ImageEncoding, output: str) -> str:
    assert isinstance(target.values, LabelEncoding)
    table = np.array([class_levels(name) for name in target.values.classes], np.float32)
    return graph.add("Gather", graph.constant(table), graph.add("ArgMax", output, axis=1, keepdims=0), axis=0)
