"""Choose the images that show what a metric means: the best, the median and the worst by each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pix2pix.data.io.arrays import Pixels
from pix2pix.metrics.error_map import Errors, Window
from pix2pix.metrics.pixel import HIGHER_IS_BETTER, MEASURES, SAME_ORDER, Measure
from pix2pix.reports.pictures import ErrorView, Scale, View, colour, shown_size

TITLES = ("only image", "best", "median", "worst")
LEADING = ("l1", "pixel_accuracy")  # metrics in whose order images are shown


class Standing(NamedTuple):
    """The place of an image among those of its split by one metric."""

    rank: int  # 1 is the best
    of: int
    titles: tuple[str, ...]  # of TITLES; several where images are few, mostly none


@dataclass(frozen=True)
class LabelViews:
    """Labels of an image: those of the source, those that a segmenter reads, and where it misreads the output."""

    source: Pixels
    output: Pixels
    target: Pixels
    errors: Errors  # 1 where a label of the output is read wrongly

    def draw_errors(self) -> Pixels:
        """Draw where labels are read wrongly: black is right."""
        return colour(self.errors, 1.0)


@dataclass(frozen=True)
class Example:
    """One pair and its output, for the page of an evaluation."""

    name: str
    size: tuple[int, int]  # (height, width) before it was shrunk for the page
    values: Mapping[str, float]
    standings: Mapping[str, Standing]  # metric -> place
    window: Window  # of the largest error
    source: View
    output: View
    target: View
    errors: ErrorView
    labels: LabelViews | None = None

    @property
    def reduced(self) -> bool:
        """Whether the whole image is shown smaller than it is."""
        return shown_size(*self.size) != self.size


@dataclass(frozen=True)
class Row:
    """The images that stand for some metrics: those which choose the same ones."""

    measures: list[Measure]
    cells: dict[str, int]  # best, median, worst -> place of the example in the gallery


@dataclass(frozen=True)
class Gallery:
    """The images of an evaluation that its page shows."""

    examples: Sequence[Example] = ()
    classes: bool = False  # whether outputs are label maps
    channels: int = 3  # of outputs
    span: float | None = None  # width of the full range in the target's own units, if all channels have the same

    @cached_property
    def scale(self) -> Scale:
        """The colour scale of all difference maps."""
        return Scale.of([one.errors for one in self.examples], classes=self.classes, span=self.span)

    @property
    def rows(self) -> list[Row]:
        """The metrics with their images; metrics that choose the same images share a row."""
        rows: dict[tuple[tuple[str, int], ...], Row] = {}
        for measure in MEASURES:
            titled = {
                title: place
                for place, one in enumerate(self.examples)
                if measure.name in one.standings
                for title in one.standings[measure.name].titles
            }
            cells = {title: titled[title] for title in TITLES if title in titled}
            if cells:
                rows.setdefault(tuple(cells.items()), Row([], cells)).measures.append(measure)
        return list(rows.values())


def rank_images(scores: Sequence[Mapping[str, float]]) -> dict[str, list[int]]:
    """Return metric -> indices of the images, best first; images without a value are left out."""
    ranked: dict[str, list[int]] = {}
    for name, higher_is_better in HIGHER_IS_BETTER.items():
        known = [n for n, values in enumerate(scores) if not math.isnan(values.get(name, math.nan))]
        if known and name not in SAME_ORDER:
            sign = -1 if higher_is_better else 1
            ranked[name] = sorted(known, key=lambda n: sign * scores[n][name])
    return ranked


def choose_titles(ranked: Sequence[int]) -> dict[str, int]:
    """Return title -> image, of images sorted from best to worst; a single image is none of the three."""
    if len(ranked) < 2:
        return dict.fromkeys(("only image",), ranked[0])
    median = {} if len(ranked) == 2 else {"median": ranked[(len(ranked) - 1) // 2]}
    return {"best": ranked[0], **median, "worst": ranked[-1]}


def choose_examples(scores: Sequence[Mapping[str, float]]) -> dict[int, dict[str, Standing]]:
    """Return the images that are best, median or worst by a metric, each with its places by all metrics.

    They are sorted by the leading metric, best first.
    """
    ranked = rank_images(scores)
    titles = {name: choose_titles(indices) for name, indices in ranked.items()}
    chosen = {index for of in titles.values() for index in of.values()}
    leading = next((ranked[name] for name in LEADING if name in ranked), [])
    return {
        index: {
            name: Standing(
                indices.index(index) + 1,
                len(indices),
                tuple(title for title, titled in titles[name].items() if titled == index),
            )
            for name, indices in ranked.items()
            if index in indices
        }
        for index in sorted(chosen, key=lambda index: (leading.index(index) if index in leading else math.inf, index))
    }
