"""Add to a graph what `inference/any_size.py` does: sizes that follow from the input's, resizing, padding, cropping.

A size is the name of (height, width), int64. Maps are (N, C, H, W) float32.
"""

from collections.abc import Sequence

from pix2pix.export.graph import Graph
from pix2pix.model.model_config import ModelConfig


def size_of(graph: Graph, x: str) -> str:
    """Return the size of a map."""
    return graph.add("Shape", x, start=2, end=4)


def add_output_size(graph: Graph, config: ModelConfig, size: str) -> str:
    """Add `ModelConfig.output_size`."""
    if config.enlarged == (1.0, 1.0):
        return size
    sides = graph.add("Round", _times(graph, size, config.enlarged))
    return graph.add("Max", graph.cast(sides, "int64"), graph.constant([1, 1], "int64"))


def add_presented_size(graph: Graph, config: ModelConfig, size: str) -> str:
    """Add `ModelConfig.presented_size`; the same name comes back where images keep their sizes."""
    if config.settings.native:
        return size
    image_size = graph.constant(config.settings.data.image_size, "int64")
    if config.scale is None:
        return image_size
    sides = _times(graph, size, config.scale)
    factors = graph.add("Div", graph.constant(config.settings.data.image_size, graph.real), sides)
    factor = graph.add("Max", graph.add("ReduceMax", factors, keepdims=1), graph.constant([1.0], graph.real))
    scaled = graph.cast(graph.add("Round", graph.add("Mul", sides, factor)), "int64")
    same = graph.add("ReduceMin", graph.cast(graph.add("Equal", size, image_size), "int64"), keepdims=1)
    return graph.add("Where", graph.cast(same, "bool"), image_size, graph.add("Max", image_size, scaled))


def _times(graph: Graph, size: str, factors: Sequence[float]) -> str:
    return graph.add("Mul", graph.cast(size, graph.real), graph.constant(factors, graph.real))


def add_resize(graph: Graph, x: str, size: str) -> str:
    """Resize a map, bilinear with antialias, as torch does.

    Pixels are gathered and weighted one axis after the other: of the operator Resize, runtimes differ in the antialias.
    """
    for axis, (old, new) in enumerate(zip(*(_sides(graph, of) for of in (size_of(graph, x), size)), strict=True), 2):
        indices, weights = _add_taps(graph, old, new)
        taps = graph.add("Gather", x, indices, axis=axis)  # (N, C, H, new, taps), or (N, C, new, taps, W)
        if axis == 2:
            weights = graph.add("Unsqueeze", weights, graph.constant([2], "int64"))
        x = graph.add("ReduceSum", graph.add("Mul", taps, weights), graph.constant([axis + 1], "int64"), keepdims=0)
    return x


def _add_taps(graph: Graph, old: str, new: str) -> tuple[str, str]:
    """Return which pixels of a side make each of `new` pixels, and with which weights, (new, taps) both.

    Pixel i lies at (2i + 1)·old / 2new, and pixels within max(old, new) / new around it count. Everything is a whole
    number over 2new until the weights, since runtimes that compute in half precision know no positions beyond 256.
    """
    one, two = (graph.constant(value, "int64") for value in (1, 2))
    whole, reach = graph.add("Mul", new, two), graph.add("Mul", graph.add("Max", old, new), two)

    def odd(value: str) -> str:
        return graph.add("Add", graph.add("Mul", value, two), one)

    centres = graph.add("Mul", odd(_count(graph, new)), old)
    # The division rounds towards 0, so it is made with a number that is not negative: (first + old)·2new.
    start = graph.add("Add", graph.add("Sub", centres, reach), graph.add("Add", new, graph.add("Mul", whole, old)))
    firsts = graph.add("Sub", graph.add("Div", start, whole), old)
    number = graph.add("Add", graph.add("Div", graph.add("Mul", reach, two), whole), two)
    centres, firsts = (graph.add("Unsqueeze", of, one_axis(graph)) for of in (centres, firsts))
    at = graph.add("Add", firsts, _count(graph, number))
    distance = graph.add("Abs", graph.add("Sub", graph.add("Mul", odd(at), new), centres))
    near = graph.add("Max", graph.add("Sub", reach, distance), graph.constant(0, "int64"))
    inside = graph.add("Min", graph.add("Max", at, graph.constant(0, "int64")), graph.add("Sub", old, one))
    weights = graph.add("Mul", near, graph.cast(graph.add("Equal", at, inside), "int64"))
    weights = graph.add("Div", graph.cast(weights, "float32"), graph.cast(reach, "float32"))
    total = graph.add("ReduceSum", weights, one_axis(graph))
    return inside, graph.add("Div", weights, total)


def one_axis(graph: Graph) -> str:
    """Return the number of the second axis."""
    return graph.constant([1], "int64")


def add_resize_nearest(graph: Graph, x: str, size: str, dtype: str = "float32") -> str:
    """Resize a map by nearest neighbour; `dtype` is the type in which positions are computed."""
    old = size_of(graph, x)
    steps = graph.add("Div", graph.cast(old, dtype), graph.cast(size, dtype))
    for axis, (was, step, new) in enumerate(zip(*(_sides(graph, of) for of in (old, steps, size)), strict=True), 2):
        centres = graph.add("Add", graph.cast(_count(graph, new), dtype), graph.constant(0.5, dtype))
        positions = graph.cast(graph.add("Floor", graph.add("Mul", centres, step)), "int64")
        last = graph.add("Sub", was, graph.constant(1, "int64"))
        x = graph.add("Gather", x, graph.add("Min", positions, last), axis=axis)
    return x


def add_padding(graph: Graph, x: str, multiple: int) -> str:
    """Pad a map by reflection to sides that are multiples of a number, as `data/transforms/padding.py` does."""
    one, number = graph.constant(1, "int64"), graph.constant(multiple, "int64")
    for axis, side in enumerate(_sides(graph, size_of(graph, x)), 2):
        over = graph.add("Sub", graph.add("Add", side, number), one)
        padded = graph.add("Mul", graph.add("Div", over, number), number)
        turn = graph.add("Mul", graph.add("Sub", side, one), graph.constant(2, "int64"))  # where 0 comes again
        at = graph.add("Mod", _count(graph, padded), graph.add("Max", turn, one))
        back = graph.add("Sub", turn, at)
        indices = graph.add("Where", graph.add("Less", at, side), at, back)
        x = graph.add("Gather", x, indices, axis=axis)
    return x


def add_crop(graph: Graph, x: str, size: str) -> str:
    """Keep the upper left part of a map that has a size."""
    start, axes = graph.constant([0, 0], "int64"), graph.constant([2, 3], "int64")
    return graph.add("Slice", x, start, size, axes)


def _sides(graph: Graph, size: str) -> tuple[str, str]:
    """Return height and width, as numbers without axes."""
    height, width = (graph.add("Gather", size, graph.constant(at, "int64"), axis=0) for at in (0, 1))
    return height, width


def _count(graph: Graph, stop: str) -> str:
    """Return 0, 1, ... stop - 1."""
    return graph.add("Range", graph.constant(0, "int64"), stop, graph.constant(1, "int64"))
