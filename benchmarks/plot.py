"""Seconds of steps of many shapes in, a picture of their growth out."""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.training import costs, size_of
from pix2pix.system.files import write_atomically

INK = "#24292f"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito's, which the colour-blind tell apart


def draw_growth(raw: dict[str, tuple[float, ...]], output: Path, title: str) -> None:
    """Write a PNG: the cost of a step against pixels x batch, both logarithmic, beside straight proportion."""
    cost = costs(raw)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for size, colour in zip(sorted({size for size, _ in cost}), COLOURS, strict=False):
        points = sorted((size_of(shape) / 1e6, cost[shape]) for shape in cost if shape[0] == size)
        axes.loglog(*zip(*points, strict=True), "o-", color=colour, label=f"{size} px", lw=1.4, markersize=4)
    work = sorted(size_of(shape) / 1e6 for shape in cost)
    cheapest = min(steps / (size_of(shape) / 1e6) for shape, steps in cost.items())
    axes.loglog(work, [cheapest * pixels for pixels in work], ":", color=INK, lw=1.2, label="in proportion")
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel("millions of pixels in a batch", fontsize=9, color=INK)
    axes.set_ylabel("a training step, in steps of one picture", fontsize=9, color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color=INK, alpha=0.15, lw=0.6, which="both")
    axes.spines[:].set_visible(False)
    axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    write_atomically(output, lambda file: figure.savefig(file, format="png", dpi=120, metadata={"Software": None}))
