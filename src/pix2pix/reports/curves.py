"""Read `metrics.csv` and draw curves; draw histograms and spectra for pages."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pix2pix.config.training import FirstPhase
from pix2pix.errors import ModelError
from pix2pix.metrics.pixel import ACCURACIES, MEASURES
from pix2pix.system.files import write_atomically
from pix2pix.system.reading import LARGE, read_bytes
from pix2pix.text import escape_unprintable

if TYPE_CHECKING:  # matplotlib takes 26 MB, which a training needs only when it draws
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHANCE = math.log(2)  # the cross-entropy of random guesses
LINES: dict[str, Any] = {"train": "-", "val": (0, (3.5, 1.2))}  # solid; dashes in units of the line width
PANEL_SIZE = (4.3, 3.5)  # inches
TRAINING_COLUMNS = ("learning_rate", "images_per_second")
Across = Literal["epoch", "images_seen"]
FEW_POINTS = 20  # a curve with fewer points gets markers, filled for train, open for validation
ADVERSARIAL_UNITS = {
    "vanilla": "cross-entropy, nats",
    "lsgan": "squared error",
    "hinge": "hinge loss",
    "classes": "cross-entropy of classes, nats",
}
SIMILARITIES = (
    ("g_feature_matching", "feature matching", "mean distance of D's hidden activations"),
    ("g_perceptual", "perceptual term", "ST-LPIPS by AlexNet"),
)
"""Terms of G on features: column, name, unit."""
INK = "#24292f"
NO_PHASE = FirstPhase()
LEGEND: dict[str, Any] = {"fontsize": 8, "frameon": False, "labelcolor": INK, "columnspacing": 1.2}
COLOURS = {  # by Okabe and Ito, for colour-blind readers too
    "g_adversarial": "#d55e00",
    "g_l1": "#009e73",
    "g_cross_entropy": "#009e73",
    "g_feature_matching": "#009e73",
    "g_perceptual": "#009e73",
    "d_augment": "#0072b2",
    "pixel_accuracy": "#0072b2",
    "mean_iou": "#cc79a7",
    "d_real": "#0072b2",
    "d_fake": "#e69f00",
    "d_real_accuracy": "#0072b2",
    "d_fake_accuracy": "#e69f00",
    "psnr": "#cc79a7",
    "ssim": "#56b4e9",
    "l1": "#009e73",
}


# ---- rows of metrics.csv -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One epoch of one split."""

    step: int
    epoch: int  # number of complete epochs
    images_seen: int
    split: str
    seconds: float  # of training since the run began
    learning_rate: float
    images_per_second: float
    values: dict[str, float]  # term or metric -> mean over the split; only what was measured


def read_metrics(path: Path) -> list[Row]:
    """Read the rows of `metrics.csv`, oldest first; none if there is no file. Raises ModelError naming a broken line.

    A last line without a line end is skipped: it is still being written, or the process was killed.
    """
    if not path.exists():
        return []
    text = read_bytes(path, LARGE).decode("utf-8", errors="replace")
    reader = csv.DictReader(line for line in io.StringIO(text, newline="") if line.endswith("\n"))
    try:
        return [_row(cells) for cells in reader]
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        reason = escape_unprintable(str(error)[:200])
        raise ModelError(
            f"{path}, line {reader.line_num}: not a row of a run's metrics ({reason}); the command that trained it "
            "sets such lines aside"
        ) from None


def _row(cells: dict[str, str]) -> Row:
    head = {name: cells.pop(name) for name in ("step", "epoch", "images_seen", "split")}
    cells.pop("loading_share", None)
    pace = {name: float(cells.pop(name) or "nan") for name in ("seconds", "learning_rate", "images_per_second")}
    return Row(
        step=_count(head["step"]),
        epoch=_count(head["epoch"]),
        images_seen=_count(head["images_seen"]),
        split=head["split"],
        **pace,
        values={name: float(cell) for name, cell in cells.items() if cell},
    )


def _count(cell: str) -> int:
    if not (cell.isascii() and cell.isdecimal() and len(cell) < 19):
        raise ValueError(f"{cell[:100]!r} is not a count")
    return int(cell)


# ---- curves ------------------------------------------------------------------------------------------------


class Panel(NamedTuple):
    """One plot: terms that have the same unit."""

    title: str
    terms: tuple[str, ...]
    unit: str
    against_chance: bool = False


def draw_curves(metrics: Path, output: Path, *, phase: FirstPhase = NO_PHASE, adversarial: str = "vanilla") -> None:
    """Write the curves of a run as one PNG: a panel for each unit, train solid, validation dashed.

    The first epochs, in which one network learns alone, are shaded; `adversarial` is the kind of loss.
    """
    rows = read_metrics(metrics)
    panels = _panels(rows, adversarial)
    columns = min(3, len(panels)) or 1
    lines = -(-len(panels) // columns) or 1
    figure = _make_figure((PANEL_SIZE[0] * columns, PANEL_SIZE[1] * lines))
    for place, panel in enumerate(panels, start=1):
        _draw_panel(figure.add_subplot(lines, columns, place), panel, rows, phase)
    if not panels:
        figure.text(0.5, 0.5, "No epoch has been finished yet.", ha="center", color=INK)
    write_atomically(output, lambda file: figure.savefig(file, format="png", dpi=120, metadata={"Software": None}))


def curve_svgs(rows: Sequence[Row], *, phase: FirstPhase = NO_PHASE, adversarial: str = "vanilla") -> list[str]:
    """Draw the panels of `draw_curves` as SVG elements for a page."""
    return [_panel_svg(panel, rows, phase) for panel in _panels(rows, adversarial)]


def _panels(rows: Sequence[Row], adversarial: str) -> list[Panel]:
    """Return the panels that have data."""
    unit, vanilla = ADVERSARIAL_UNITS.get(adversarial, adversarial), adversarial == "vanilla"
    panels = [
        Panel("Generator: adversarial term", ("g_adversarial",), unit, vanilla),
        Panel("Generator: L1 term", ("g_l1",), "mean |y − G(x)|, images in [−1, 1]"),
        Panel("Generator: cross-entropy", ("g_cross_entropy",), "mean −log p of the right class, nats"),
        *(Panel(f"Generator: {name}", (term,), meaning) for term, name, meaning in SIMILARITIES),
        Panel("Discriminator", ("d_real", "d_fake"), unit, vanilla),
        Panel("Peak signal-to-noise ratio", ("psnr",), "PSNR, dB"),
        Panel("Structural similarity", ("ssim",), "SSIM, 1 is a perfect copy"),
        Panel("Perceptual distance", ("st_lpips",), "ST-LPIPS, 0 is a perfect copy"),
        Panel("Kernel distance of sets", ("kid_vgg",), "KID of VGG's features, 0 is the same distribution"),
        Panel("Classes", ("pixel_accuracy", "mean_iou"), "share of pixels; intersection over union"),
        Panel("Labels read from the outputs", ("label_accuracy",), "share of pixels"),
        Panel("Discriminator: accuracy", ("d_real_accuracy", "d_fake_accuracy"), _share_of(adversarial)),
        Panel("Discriminator: augmentation", ("d_augment",), "probability of each change"),
        Panel("Learning rate", ("learning_rate",), "learning rate of Adam"),
        Panel("Speed", ("images_per_second",), "images per second, updates only"),
    ]
    if len({row.learning_rate for row in rows}) <= 1:  # a constant, which the settings name
        panels = [panel for panel in panels if panel.terms != ("learning_rate",)]
    return [panel for panel in panels if any(_points(rows, term, split) for term in panel.terms for split in LINES)]


def _share_of(adversarial: str | None) -> str:
    """Return the unit of D's accuracies."""
    return "share of pixels" if adversarial == "classes" else "share of patches, 1/2 is chance"


def _points(rows: Sequence[Row], term: str, split: str, across: Across = "epoch") -> list[tuple[int, float]]:
    """Return (epoch or pairs seen, value) of a term, where it was measured; learning rate and speed are of training."""
    if term in TRAINING_COLUMNS:
        found = [(getattr(row, across), getattr(row, term)) for row in rows if row.split == split == "train"]
    else:
        found = [(getattr(row, across), row.values[term]) for row in rows if row.split == split and term in row.values]
    return [(place, value) for place, value in found if math.isfinite(value)]


def _draw_panel(axes: "Axes", panel: Panel, rows: Sequence[Row], phase: FirstPhase) -> None:
    for term in panel.terms:
        _draw_term(axes, term, rows)
    if panel.against_chance:
        axes.axhline(CHANCE, linestyle=":", color=INK, lw=1.2, label="log 2 = chance")
    last = max(row.epoch for row in rows)
    if end := min(phase.epochs, last):
        middle = {"ha": "center", "va": "center", "transform": axes.get_xaxis_transform()}
        axes.axvspan(0, end, color=INK, alpha=0.08, lw=0)
        axes.text(end / 2, 0.5, phase.name, middle, rotation=90, fontsize=8, color=INK, alpha=0.7)
    _scale(axes, panel, last)
    _decorate(axes, panel.title, "epoch", panel.unit)
    columns = 2 if len(axes.get_legend_handles_labels()[1]) == 4 else 3
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=columns, handlelength=1.6, **LEGEND)


def _draw_term(axes: "Axes", term: str, rows: Sequence[Row]) -> None:
    for split, line in LINES.items():
        if points := _points(rows, term, split):
            axes.plot(
                *zip(*points, strict=True),
                linestyle=line,
                marker="o" if len(points) < FEW_POINTS else "",
                markersize=3.5,
                markerfacecolor="none" if split == "val" else None,
                linewidth=1.4,
                color=COLOURS.get(term, INK),
                label=term if term in TRAINING_COLUMNS else f"{term}, {split}",
            )


def _panel_svg(panel: Panel, rows: Sequence[Row], phase: FirstPhase) -> str:
    figure = _make_figure(PANEL_SIZE)
    _draw_panel(figure.add_subplot(), panel, rows, phase)
    return _inline_svg(figure, f"{panel.title} by epoch")


# ---- curves of several runs --------------------------------------------------------------------------------


RUNS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
MARKERS = ("o", "s", "^", "D")  # one for each cycle of the colours
LONGEST_NAME = 28  # letters in a legend


def overlaid_svgs(runs: Mapping[str, Sequence[Row]], across: Across, adversarial: str | None) -> list[str]:
    """Draw the rows of several runs, by name: a panel for each term, a colour for each run, as SVG elements.

    `adversarial` is the kind of loss of all runs, or None if they differ.
    """
    unit = "each run's own loss" if adversarial is None else ADVERSARIAL_UNITS.get(adversarial, adversarial)
    panels = [Panel(term, (term,), unit, adversarial == "vanilla") for term in ("g_adversarial", "d_real", "d_fake")]
    panels[1:1] = [
        Panel("g_l1", ("g_l1",), "mean |y − G(x)|, images in [−1, 1]"),
        Panel("g_cross_entropy", ("g_cross_entropy",), "mean −log p of the right class, nats"),
        *(Panel(term, (term,), meaning) for term, _, meaning in SIMILARITIES),
    ]
    panels += [Panel(term, (term,), _share_of(adversarial)) for term in ACCURACIES]
    panels += [
        Panel(one.name, (one.name,), one.unit or f"{'higher' if one.higher_is_better else 'lower'} is better")
        for one in MEASURES[2:]
    ]
    panels += [Panel("images_per_second", ("images_per_second",), "images per second, updates only")]
    if len({row.learning_rate for rows in runs.values() for row in rows}) > 1:
        panels += [Panel("learning_rate", ("learning_rate",), "learning rate of Adam")]
    return [svg for panel in panels if (svg := _overlaid_svg(panel, runs, across))]


def _overlaid_svg(panel: Panel, runs: Mapping[str, Sequence[Row]], across: Across) -> str:
    """Return one panel; empty if no run has the term."""
    figure, (term,) = _make_figure(PANEL_SIZE), panel.terms
    axes = figure.add_subplot()
    splits = [split for split in LINES if any(_points(rows, term, split) for rows in runs.values())]
    for place, (name, rows) in enumerate(runs.items()):
        look: dict[str, Any] = {"color": RUNS[place % len(RUNS)], "marker": MARKERS[place // len(RUNS) % len(MARKERS)]}
        for split in splits:
            if points := _points(rows, term, split, across):
                few = len(points) < FEW_POINTS
                inside = "none" if split == "val" else look["color"]
                shape = {"markersize": 3.5 if few else 0, "markerfacecolor": inside, "linestyle": LINES[split]}
                axes.plot(*zip(*points, strict=True), lw=1.4 if split == "val" else 1.1, **look, **shape)
        if any(_points(rows, term, split) for split in splits):
            axes.plot([], [], label=_shorten(name), lw=3, color=look["color"])
    if not splits:
        return ""
    if len(splits) > 1:
        for split in splits:
            axes.plot([], [], color=INK, linestyle=LINES[split], lw=1.4, label=split)
    if panel.against_chance:
        axes.axhline(CHANCE, linestyle=":", color=INK, lw=1.2, label="log 2 = chance")
    _scale(axes, panel, max(getattr(row, across) for rows in runs.values() for row in rows))
    _decorate(axes, panel.title, {"epoch": "epoch", "images_seen": "pairs seen"}[across], panel.unit)
    columns = 2 if max(len(name) for name in runs) > LONGEST_NAME // 2 else 3
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=columns, handlelength=1.6, **LEGEND)
    return _inline_svg(figure, f"{term} of all runs by {across.replace('_', ' ')}")


def _shorten(name: str) -> str:
    """Keep the beginning and the end of a long name."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2 - 1]}…{name[-LONGEST_NAME // 2 :]}"


def _scale(axes: "Axes", panel: Panel, last: int) -> None:
    if panel.terms[0] in TRAINING_COLUMNS:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(_ticks(5))
        axes.ticklabel_format(axis="y", scilimits=(-2, 4), useMathText=True)  # 2.0 ×10⁻⁴, not 0.0002 and 5e-05
        axes.yaxis.get_offset_text().set(size=8, color=INK)
    if panel.terms[0] == "d_augment":  # a probability, which is often 0 throughout
        axes.set_ylim(bottom=0)
    axes.set_xlim(0, 1.05 * last)  # the last markers stay clear of the edge
    axes.margins(y=0.08)
    axes.xaxis.set_major_locator(_ticks(6, integer=True))


def _decorate(axes: "Axes", title: str, across: str, up: str) -> None:
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.set_xlabel(across, fontsize=9, color=INK)
    axes.set_ylabel(up, fontsize=9, color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color=INK, alpha=0.15, lw=0.6)
    axes.spines[:].set_visible(False)
    axes.spines["bottom"].set(visible=True, color=INK)


# ---- spread over images ------------------------------------------------------------------------------------


def spread_svg(values: Sequence[float], name: str, unit: str) -> str:
    """Draw a histogram of one metric of many images with its mean, as an SVG element for a page."""
    finite = [value for value in values if math.isfinite(value)]
    figure = _make_figure((3.2, 2.2))
    axes = figure.add_subplot()
    axes.hist(finite, bins="sturges", color=COLOURS.get(name, INK), alpha=0.75, rwidth=0.94)
    if finite:
        axes.axvline(sum(finite) / len(finite), linestyle="--", color=INK, lw=1.2, label="mean")
        axes.legend(**LEGEND)
    axes.xaxis.set_major_locator(_ticks(5))
    axes.yaxis.set_major_locator(_ticks(4, integer=True))
    _decorate(axes, name, unit, "images")
    return _inline_svg(figure, f"Distribution of {name} over the images")


def spectrum_svg(frequencies: Sequence[float], output: Sequence[float], target: Sequence[float]) -> str:
    """Draw the power by frequency of outputs and targets, as an SVG element for a page."""
    figure = _make_figure(PANEL_SIZE)
    axes = figure.add_subplot()
    for powers, colour, label in ((target, COLOURS["d_real"], "targets"), (output, COLOURS["d_fake"], "outputs")):
        axes.plot(frequencies, powers, color=colour, lw=1.4, label=label)
    if any(power > 0 for power in (*output, *target)):
        axes.set_yscale("log")
    axes.set_xlim(0, 0.5)
    _decorate(axes, "Spectrum", "cycles per pixel; 0.5 is the finest", "power")
    axes.legend(**LEGEND)
    return _inline_svg(figure, "Power of outputs and targets by frequency")


def _make_figure(size: tuple[float, float]) -> "Figure":
    """Make an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _ticks(most: int, *, integer: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, integer=integer)


def _inline_svg(figure: "Figure", label: str) -> str:
    """Return an SVG element with real text, in the text colour of the page.

    `label` describes the element for screen readers, and makes its ids unique on the page.
    """
    import matplotlib as mpl

    text = io.StringIO()
    nothing: Mapping[str, None] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r' id="\w+_\d+"', "", svg)  # unused, and must not repeat on a page
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
