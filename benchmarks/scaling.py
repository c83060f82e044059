"""The row of growing sizes, seconds of a step against pixels and batch, and its plot."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.conditions import SMALLEST, Conditions
from benchmarks.ours import OurTraining
from benchmarks.rows import Row
from benchmarks.timing import interleaved
from pix2pix.system.files import write_atomically

SHAPES = {128: (1, 4, 16), 256: (1, 2, 4, 8, 16), 512: (1, 2, 4)}  # image size -> batches
QUICK_SHAPES = {128: (1, 4), 256: (1, 2, 4), 512: (1,)}
BESIDE = ", beside it one image of the usual size"
INK = "#24292f"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito, distinct for the colour-blind
Shape = tuple[int, int]
"""Side, batch."""


def scaling_rows(conditions: Conditions) -> Iterator[Row]:
    """Time steps of many shapes: none may cost more for a pixel than one image of the usual size does.

    Each shape has its turns with one image of the usual size, since the machine's speed changes meanwhile.
    """
    factor = conditions.image_size / 256
    table = QUICK_SHAPES if conditions.quick else SHAPES
    shapes = [(round(size * factor), batch) for size, batches in table.items() for batch in batches]
    usual = OurTraining(conditions.config(), conditions.scratch / "scaling")
    one = partial(usual.step, *conditions.batch(1))
    raw: dict[str, tuple[float, ...]] = {}
    for size, batch in shapes:
        if size < SMALLEST:
            continue
        config = conditions.config(image_size=size, batch_size=batch)
        training = OurTraining(config, conditions.scratch / f"scaling {size} {batch}")
        shape = partial(training.step, *conditions.batch(batch, size))
        rounds = 5 if size * size * batch <= conditions.image_size**2 else 3
        timings = interleaved({"shape": shape, "one": one}, rounds)
        name = f"{size} px, batch {batch}"
        raw[name], raw[name + BESIDE] = timings["shape"].seconds, timings["one"].seconds
    yield growth_row(raw, conditions)


def growth_row(raw: dict[str, tuple[float, ...]], conditions: Conditions) -> Row:
    """Return the largest cost per pixel of all larger shapes, relative to one image of the usual size."""
    side, cost = conditions.image_size, costs(raw)
    per_pixel = {shape: cost[shape] * side**2 / pixels(shape) for shape in cost}
    larger = [shape for shape in cost if pixels(shape) > side**2] or list(cost)
    worst = max(larger, key=lambda shape: per_pixel[shape])
    return Row(
        section="scaling",
        work=f"cost per pixel of the most expensive larger shape, against {side} px, batch 1",
        ours=f"{worst[0]} px x {worst[1]}",
        reference=f"{side} px x 1",
        value=per_pixel[worst],
        must=conditions.targets((1.1, 1.0))[0],
        at_most=True,
        note=f"seconds grow as (pixels x batch)^{_exponent(cost):.2f}",
        raw=raw,
    )


def costs(raw: dict[str, tuple[float, ...]]) -> dict[Shape, float]:
    """Return the cost of a step by shape, in steps of one image that were taken in turns with it."""
    found = {}
    for name in raw:
        if not name.endswith(BESIDE):
            size, batch = name.split(" px, batch ")
            found[int(size), int(batch)] = min(raw[name]) / min(raw[name + BESIDE])
    return found


def pixels(shape: Shape) -> int:
    """Pixels of a batch."""
    side, batch = shape
    return side * side * batch


def _exponent(cost: dict[Shape, float]) -> float:
    """Return the slope of a line through the logarithms of pixels and cost."""
    points = [(math.log(pixels(shape)), math.log(cost[shape])) for shape in cost]
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def draw_growth(row: Row, output: Path, title: str) -> None:
    """Write a PNG: the cost of a step against pixels x batch, both logarithmic, beside straight proportion."""
    cost = costs(row.raw)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for size, colour in zip(sorted({size for size, _ in cost}), COLOURS, strict=False):
        points = sorted((pixels(shape) / 1e6, cost[shape]) for shape in cost if shape[0] == size)
        axes.loglog(*zip(*points, strict=True), "o-", color=colour, label=f"{size} px", lw=1.4, markersize=4)
    work = sorted(pixels(shape) / 1e6 for shape in cost)
    cheapest = min(steps / (pixels(shape) / 1e6) for shape, steps in cost.items())
    axes.loglog(work, [cheapest * millions for millions in work], ":", color=INK, lw=1.2, label="in proportion")
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel("millions of pixels in a batch", fontsize=9, color=INK)
    axes.set_ylabel(
        f"time of a training step (one image of {row.reference.partition(' x')[0]}: 1)", fontsize=9, color=INK
    )
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color=INK, alpha=0.15, lw=0.6, which="both")
    axes.spines[:].set_visible(False)
    axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    write_atomically(output, lambda file: figure.savefig(file, format="png", dpi=120, metadata={"Software": None}))
