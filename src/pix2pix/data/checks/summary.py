"""Aggregate file inspections into statistics, problems and warnings of the data set, with a few bytes per pair."""

import statistics
from array import array
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from pix2pix.config import source_prefix
from pix2pix.config.fields import MaskValue
from pix2pix.data.checks.alignment import cell_size
from pix2pix.data.checks.evidence import SideBySideEvidence
from pix2pix.data.checks.inspect import FileInspection, ImageStats
from pix2pix.data.checks.label_maps import MAX_COLOURS
from pix2pix.data.checks.report import Alignment, Problem, ValueReport, describe_offset, name_images
from pix2pix.data.checks.scan import Inspections, Offset
from pix2pix.data.checks.stray_classes import ColourFiles
from pix2pix.data.checks.turned import TurnedPairs
from pix2pix.data.checks.values import End
from pix2pix.data.encoding.nodata import describe_only_unknown
from pix2pix.data.io.arrays import TYPES, ImageFacts, advise_channels
from pix2pix.data.pairing.pair import ImageRef, Pair, source_titles
from pix2pix.data.pairing.pairs import PairSet
from pix2pix.data.pairing.two_sizes import Factor, Size, common_factor, describe_two_sizes
from pix2pix.text import format_count

Side = Literal["source", "target"]


class SideSummary:
    """Statistics of one side, a source or the target."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.channels = array("L")  # of each pair, 0 where unknown
        self.types = array("B")  # place in TYPES, counted from 1, 0 where unknown
        self.low, self.high, self.count = float("inf"), float("-inf"), 0
        self.ends: tuple[End, End] | None = None
        self.values_count = self.not_finite = self.transparent = 0
        self.colours: Counter[str] | None = Counter()
        self.colour_files = ColourFiles()

    def add(self, ref: ImageRef, image: ImageStats) -> None:
        """Count the next decoded image."""
        self.count += 1
        self.low, self.high = min(self.low, image.low), max(self.high, image.high)
        low, high = self.ends or (image.lowest, image.highest)
        if self.ends is not None:
            low, high = low.join(image.lowest, 1), high.join(image.highest, -1)
        self.ends = low, high
        self.values_count += image.count
        self.not_finite += image.nan + image.infinite
        self.transparent += image.transparent
        if image.colours is None or self.colours is None:
            self.colours = None
        else:
            self.colours.update(image.colours)
            self.colour_files.add(ref, image.colours)
            self.colours = self.colours if len(self.colours) <= MAX_COLOURS else None

    def values(self) -> ValueReport | None:
        """Return the values of all decoded images together; None if there are none."""
        if not self.count:
            return None
        return ValueReport(self.low, self.high, None if self.colours is None else dict(self.colours.most_common()))


class Summary:
    """Statistics of all pairs added so far.

    `unknown` marks unknown pixels of a target, which may not be all that it has; where it is NaN, NaN is no problem.
    NaN and infinity in the sources of the numbers `filled`, from 1, are none either. With `resize`, sources are resized
    to their targets.
    """

    def __init__(
        self, sources: int, *, unknown: MaskValue | None, filled: Collection[int] = (), resize: bool = False
    ) -> None:
        self.unknown, self.filled, self.resize = unknown, filled, resize
        self.both_sizes: set[tuple[Size, Size]] = set()  # of a source and its target
        self.unequal: list[tuple[Pair, ImageRef, Size, Size]] = []  # of two sizes: a source, its size, the target's
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.sides = [SideSummary(name) for name in [*source_titles(sources), "target"]]
        self.source_digests, self.target_digests = array("Q"), array("Q")  # 0 where unknown or flat
        self.offsets: dict[int, tuple[int, int]] = {}  # number of the pair -> pixels (down, right)
        self.compared = 0
        self.side_by_side, self.turned = SideBySideEvidence(), TurnedPairs(resize=resize)
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def add(self, pair: Pair, inspections: Inspections, offset: Offset) -> None:
        """Count the next pair."""
        for (file, _), inspection in inspections.items():
            if inspection.problem is not None:
                self.problems.append(Problem(Path(file), inspection.problem))
            for image in inspection.images:
                if image.flat:
                    what = f"its {image.half} half is" if image.half else "is"
                    self.warnings.append(Problem(Path(file), f"{what} one flat colour"))
        if offset:
            self.offsets[len(self.source_digests)] = offset
        turned = self.turned.add(pair, inspections)
        self._add_facts(pair, [inspections[ref.whole].facts for ref in pair.refs], turned)
        self._add_images(pair, inspections)

    def _add_facts(self, pair: Pair, facts: Sequence[ImageFacts | None], turned: set[str]) -> None:
        """Count sizes, channels and types. Sizes of files that are `turned` differently are reported elsewhere."""
        for side, known in zip(self.sides, facts, strict=True):
            side.channels.append(known.channels if known else 0)
            side.types.append(TYPES.index(known.dtype) + 1 if known else 0)
        source, target = facts[0], facts[-1]
        if pair.source.half:
            self.side_by_side.add(pair.source.path, source)
        if trained := target if self.resize else source:
            self.sizes[trained.size] += 1
        if source and target:
            self.compared += 1
            self.both_sizes.add((source.size, target.size))
        for ref, known in zip(pair.sources, facts, strict=False):
            if known and target and known.size != target.size and ref.file not in turned and not self.resize:
                self.unequal.append((pair, ref, known.size, target.size))

    def _add_images(self, pair: Pair, inspections: Inspections) -> None:
        """Count values and hashes of decoded images."""
        *sources, target = images = [inspections[ref.whole].image(ref.half) for ref in pair.refs]
        self.source_digests.append(_combine_digests(sources))
        self.target_digests.append(_combine_digests([target]))
        for number, (side, ref, image) in enumerate(zip(self.sides, pair.refs, images, strict=True), start=1):
            if image is None:
                continue
            side.add(ref, image)
            if self.unknown is not None and side is self.sides[-1] and image.is_only(self.unknown):
                self.problems.append(Problem(ref.path, describe_only_unknown(self.unknown)))
            elif number not in self.filled:
                self._add_non_finite(ref, image, inspections[ref.whole], number)
            if target and side is not self.sides[-1] and image.digest == target.digest and not image.flat:
                self.warnings.append(
                    Problem(ref.path, f"{pair.name}: its {side.name} and its target are the same image")
                )

    def _add_non_finite(self, ref: ImageRef, image: ImageStats, inspection: FileInspection, number: int) -> None:
        """Note NaN and infinity in an image of the side `number`, from 1; in targets with holes only infinity."""
        is_target = number == len(self.sides)
        holes = self.unknown == "nan" and is_target
        bad = image.infinite + (0 if holes else image.nan)
        if bad and inspection.facts:
            where = f"its {image.half} half holds" if image.half else "holds"
            count = inspection.facts.height * inspection.facts.width * inspection.facts.channels
            what = "infinity" if holes else "NaN or infinity"
            flag = "--mask-value" if is_target else f"--{source_prefix(number, len(self.sides) - 1)}nodata"
            flag = flag.replace("source_", "")
            can_mark = not (is_target and image.infinite)
            advice = f"if they mark pixels without data, give {flag} nan; otherwise " if can_mark else ""
            self.problems.append(
                Problem(
                    ref.path, f"{where} {what} in {bad:,} of {count:,} values: {advice}replace them, or remove the pair"
                )
            )

    def factor(self) -> Factor | None:
        """Return the size of all targets over that of their first sources; None unless all have the same."""
        return common_factor(self.both_sizes)

    def size_problems(self) -> list[Problem]:
        """Return the sources that do not have the size of their target."""
        factor = self.factor() if len(self.sides) == 2 else None
        return [
            Problem(ref.path, describe_two_sizes(pair, size, target, factor))
            for pair, ref, size, target in self.unequal
        ]

    def alignment(self) -> Alignment:
        """Return the median offset of targets from their sources, over the pairs whose edges agree clearly."""
        down, right = zip(*self.offsets.values(), strict=True) if self.offsets else ((0,), (0,))
        median = round(statistics.median(down)), round(statistics.median(right))
        return Alignment(len(self.offsets), self.compared, median)


def _combine_digests(images: Sequence[ImageStats | None]) -> int:
    """Return a 64-bit hash of one or several images; 0 if one is unknown or all are flat."""
    known = [image for image in images if image is not None]
    if len(known) < len(images) or all(image.flat for image in known):
        return 0
    return known[0].digest if len(known) == 1 else hash(tuple(image.digest for image in known)) & (2**64 - 1)


def find_duplicates(found: PairSet, summary: Summary) -> list[Problem]:
    """Find pairs that share an image: across splits it is a leak, within a split a repetition or a contradiction."""
    pairs = [(split, pair) for split, inside in found.splits.items() for pair in inside]
    leaks, others = [], []
    first: dict[tuple[Side, int], int] = {}
    for number, digests in enumerate(zip(summary.source_digests, summary.target_digests, strict=True)):
        split, pair = pairs[number]
        sides: tuple[Side, Side] = ("source", "target")
        earlier = [
            first.setdefault((side, digest), number) if digest else number
            for side, digest in zip(sides, digests, strict=True)
        ]
        same = [side for side, other in zip(sides, earlier, strict=True) if other != number]
        if not same:
            continue
        other_split, other = pairs[earlier[0] if same[0] == "source" else earlier[1]]
        both = len(same) == 2 and earlier[0] == earlier[1]
        what = "the pair" if both else f"the {' and '.join(same)}"
        where = f"{other_split}/{other.name}"
        path = (pair.source if same[0] == "source" else pair.target).path
        if split != other_split:
            leaks.append(
                Problem(
                    path, f"{what} of {split}/{pair.name} is also that of {where}: {split} is not an independent test"
                )
            )
        elif both:
            others.append(Problem(path, f"{what} {split}/{pair.name} is {where} again"))
        else:
            different = "target" if "source" in same else "source"
            others.append(
                Problem(path, f"{what} of {split}/{pair.name} is also that of {where}, with another {different}")
            )
    return leaks + others


def find_misaligned(pairs: Sequence[Pair], summary: Summary) -> list[Problem]:
    """Find pairs whose edges agree clearly, at another offset than in most pairs."""
    alignment = summary.alignment()
    if not alignment.reliable:
        return []
    height, width = summary.sizes.most_common(1)[0][0]
    allowed = max(2 * cell_size(height, width), 0.03 * max(height, width))
    return [
        Problem(
            pairs[number].target.path,
            f"seems to lie {describe_offset(offset)} its source, "
            f"while most targets lie {describe_offset(alignment.median)} theirs",
        )
        for number, offset in summary.offsets.items()
        if max(abs(one - usual) for one, usual in zip(offset, alignment.median, strict=True)) > allowed
    ]


def find_other_channels(
    side: SideSummary, prefix: str, paths: Sequence[Path], expected: int | None
) -> tuple[int | None, list[Problem]]:
    """Return the channels of a side, and the files with other channels; none if `expected` converts them."""
    counts = Counter(filter(None, side.channels))
    if expected or not counts:
        return expected, []
    most, count = counts.most_common(1)[0]
    share = f"{count} of {counts.total()} {name_images(side.name)}"
    reason = f"but {most} as in {share} is expected"
    return most, [
        Problem(path, f"has {format_count(has, 'channel')}, {reason}; {advise_channels(has, most, prefix)}")
        for path, has in zip(paths, side.channels, strict=True)
        if has not in (0, most)
    ]


def find_other_types(side: SideSummary, paths: Sequence[Path]) -> tuple[str | None, list[Problem]]:
    """Return the type of a side's values, and the files that have another."""
    counts = Counter(filter(None, side.types))
    if not counts:
        return None, []
    most, count = counts.most_common(1)[0]
    share = f"{count} of {counts.total()} {name_images(side.name)}"
    reason = f"but {TYPES[most - 1]} as in {share} is expected: save all in one type"
    return TYPES[most - 1], [
        Problem(path, f"holds {TYPES[has - 1]} values, {reason}")
        for path, has in zip(paths, side.types, strict=True)
        if has not in (0, most)
    ]
