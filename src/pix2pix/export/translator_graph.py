"""Build the graph of a whole translator: pixels of the sources in, pixels of the target out, of any size."""

import onnx

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.export.graph import Graph, Port
from pix2pix.export.network import NetworkWriter
from pix2pix.export.pixels import add_source, add_target
from pix2pix.export.sizes import (
    add_crop,
    add_output_size,
    add_padding,
    add_presented_size,
    add_resize,
    add_resize_nearest,
    size_of,
)
from pix2pix.inference.optimize import fold_generator
from pix2pix.model import Model


def build_graph(model: Model, *, dtype: str = "float32", phases: bool = True, real: str = "float64") -> onnx.ModelProto:
    """Build the ONNX model of a translator. Raises ModelError.

    `dtype` and `phases` are those of `NetworkWriter`, `real` is that of `Graph`: sizes of float32 may differ by a pixel
    from those of the model, where a resized side ends halfway between two.
    """
    graph, config, target = Graph(real), model.config, model.prepared.target
    wants_holes = target.mask_value is not None
    ports = source_ports(model)
    sources = [
        add_source(graph, source, port[0], wants_holes=wants_holes)
        for source, port in zip(model.sources, ports, strict=True)
    ]
    file_size = size_of(graph, sources[0].values)
    size = add_output_size(graph, config, file_size)
    resizes = size != file_size or model.prepared.resize_source
    shown_size = add_presented_size(graph, config, size)

    parts, holes = [], []
    for source, (values, missing) in zip(model.sources, sources, strict=True):
        resize = add_resize_nearest if isinstance(source.values, LabelEncoding) else add_resize
        values = resize(graph, values, size) if resizes else values
        parts.append(resize(graph, values, shown_size) if shown_size != size else values)
        if missing is not None:
            holes.append(add_resize_nearest(graph, missing, size, graph.real) if resizes else missing)
    x = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)
    x = add_padding(graph, x, model.size_multiple)

    x = NetworkWriter(graph, dtype, phases).add(fold_generator(model.generator), x)

    x = add_crop(graph, x, shown_size)
    if shown_size != size:
        x = add_resize(graph, x, size)
    x = graph.add("Clip", x, graph.constant(-1.0), graph.constant(1.0))
    hole = None if not holes else holes[0] if len(holes) == 1 else graph.add("Max", *holes)
    pixels = add_target(graph, target, x, hole)
    return graph.model(ports, {pixels: target_port(model)}, f"pix2pix {config.pix2pix}")


def source_ports(model: Model) -> list[Port]:
    """Name the inputs: `source`, or `source_1`, `source_2` and so on."""
    several = len(model.sources) > 1
    ports: list[Port] = []
    for number, (name, source) in enumerate(zip(model.source_names, model.sources, strict=True), start=1):
        own = number if several and model.prepared.resize_source else ""  # each source has a size of its own
        ports.append((name, source.file_type, ["N", f"H{own}", f"W{own}", source.file_channels]))
    return ports


def target_port(model: Model) -> Port:
    """Name the output, `target`."""
    resizes = model.prepared.resize_source
    sides = ["H_target", "W_target"] if resizes or model.config.enlarged != (1.0, 1.0) else ["H", "W"]
    target = model.prepared.target
    return "target", target.file_type, ["N", *sides, target.file_channels]
