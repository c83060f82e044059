"""Looks at all pairs in, in a few bytes for each; what they come to, and what is odd about some, out."""

import statistics
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pix2pix.data.checks.inspect import MOST_COLOURS, Look, Part, cell_size
from pix2pix.data.checks.report import Alignment, Problem, SideReport, files_of, offset_in_words
from pix2pix.data.io.arrays import TYPES, ImageFacts
from pix2pix.data.pairing.pair import ImageRef, Pair, source_titles
from pix2pix.data.pairing.pairs import PairSet

Side = Literal["source", "target"]
Looks = dict[str, Look]
"""File -> what is in it."""
Offset = tuple[int, int] | None
"""Pixels (down, right) by which a target lies off its source, where that can be told."""


class SideTally:
    """What the images of one side, a source or the target, come to, in a few bytes for each pair."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.channels = array("L")  # of each pair, 0 where unknown
        self.types = array("B")  # place in TYPES, counted from 1
        self.low, self.high, self.count = float("inf"), float("-inf"), 0
        self.colours: Counter[str] | None = Counter()

    def add(self, part: Part) -> None:
        """Count the next image that was decoded."""
        self.count += 1
        self.low, self.high = min(self.low, part.low), max(self.high, part.high)
        if part.colours is None or self.colours is None:
            self.colours = None
        else:
            self.colours.update(part.colours)
            self.colours = self.colours if len(self.colours) <= MOST_COLOURS else None

    def report(self) -> SideReport | None:
        """What they hold together; None if none was decoded."""
        if not self.count:
            return None
        return SideReport(self.low, self.high, None if self.colours is None else dict(self.colours.most_common()))


class Tally:
    """What all looks come to, in a few bytes for each pair. With `holes`, NaN in a target is no defect."""

    def __init__(self, sources: int, *, holes: bool) -> None:
        self.holes = holes
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.sides = [SideTally(name) for name in [*source_titles(sources), "target"]]
        self.source_digests, self.target_digests = array("Q"), array("Q")  # 0 where unknown or flat
        self.offsets: dict[int, tuple[int, int]] = {}  # place of the pair -> pixels (down, right)
        self.compared = 0
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def add(self, pair: Pair, looks: Looks, offset: Offset) -> None:
        """Count the next pair."""
        for file, found in looks.items():
            if found.problem is not None:
                self.problems.append(Problem(Path(file), found.problem))
            for part in found.parts:
                if part.flat:
                    what = f"its {part.half} half is" if part.half else "is"
                    self.warnings.append(Problem(Path(file), f"{what} one flat colour"))
        facts = [looks[ref.file].facts for ref in pair.refs]
        for side, known in zip(self.sides, facts, strict=True):
            side.channels.append(known.channels if known else 0)
            side.types.append(TYPES.index(known.dtype) + 1 if known else 0)
        source, target = facts[0], facts[-1]
        self._add_parts(pair, looks)
        if offset:
            self.offsets[len(self.source_digests) - 1] = offset
        if source:
            self.sizes[source.height, source.width] += 1
        if source and target:
            self.compared += 1
        for ref, known in zip(pair.sources, facts, strict=False):
            if known and target and other_size(known, target):
                self.problems.append(
                    Problem(
                        ref.path,
                        f"is {_size(known)} (HxW), but its target {pair.target.path} is {_size(target)}; "
                        f"the {'two ' if len(facts) == 2 else ''}images of a pair need one size",
                    )
                )

    def _add_parts(self, pair: Pair, looks: Looks) -> None:
        *sources, target = parts = [looks[ref.file].part(ref.half) for ref in pair.refs]
        self.source_digests.append(_digest(sources))
        self.target_digests.append(_digest([target]))
        for side, ref, part in zip(self.sides, pair.refs, parts, strict=True):
            if part:
                side.add(part)
                self._add_odd_values(ref, part, looks[ref.file], known=self.holes and side.name == "target")
            if part and target and part is not target and part.digest == target.digest and not part.flat:
                self.warnings.append(
                    Problem(ref.path, f"{pair.name}: its {side.name} and its target are the same image")
                )

    def _add_odd_values(self, ref: ImageRef, part: Part, found: Look, *, known: bool) -> None:
        """Values that are no numbers, unless they are known holes."""
        odd = part.infinite + (0 if known else part.nan)
        if odd and found.facts:
            where = f"its {part.half} half holds" if part.half else "holds"
            count = found.facts.height * found.facts.width * found.facts.channels
            what = "infinity" if known else "NaN or infinity"
            self.problems.append(
                Problem(ref.path, f"{where} {what} in {odd:,} of {count:,} values: replace them, or leave the pair out")
            )

    def alignment(self) -> Alignment:
        """How targets lie on their sources, as far as can be told."""
        down, right = zip(*self.offsets.values(), strict=True) if self.offsets else ((0,), (0,))
        across = round(statistics.median(down)), round(statistics.median(right))
        return Alignment(len(self.offsets), self.compared, across)


def _digest(parts: Sequence[Part | None]) -> int:
    """64 bits of an image, or of several together; 0 where one is unknown or all are flat."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or all(part.flat for part in known):
        return 0
    return known[0].digest if len(known) == 1 else hash(tuple(part.digest for part in known)) & (2**64 - 1)


def _size(facts: ImageFacts) -> str:
    return f"{facts.height}x{facts.width}"


def other_size(source: ImageFacts, target: ImageFacts) -> bool:
    return (source.height, source.width) != (target.height, target.width)


def duplicates(found: PairSet, tally: Tally) -> list[Problem]:
    """Pairs that share an image: across splits a leak, within one a repetition or a contradiction."""
    places = [(split, pair) for split, pairs in found.splits.items() for pair in pairs]
    leaks, others = [], []
    first: dict[tuple[Side, int], int] = {}
    for place, digests in enumerate(zip(tally.source_digests, tally.target_digests, strict=True)):
        split, pair = places[place]
        sides: tuple[Side, Side] = ("source", "target")
        earlier = [
            first.setdefault((side, digest), place) if digest else place
            for side, digest in zip(sides, digests, strict=True)
        ]
        same = [side for side, other in zip(sides, earlier, strict=True) if other != place]
        if not same:
            continue
        other_split, other = places[earlier[0] if same[0] == "source" else earlier[1]]
        both = len(same) == 2 and earlier[0] == earlier[1]
        what = "the pair" if both else f"the {' and '.join(same)}"
        where = f"{other_split}/{other.name}"
        path = (pair.source if same[0] == "source" else pair.target).path
        if split != other_split:
            leaks.append(
                Problem(path, f"{what} of {split}/{pair.name} is also that of {where}: {split} is no fair test")
            )
        elif both:
            others.append(Problem(path, f"{what} {split}/{pair.name} is {where} again"))
        elif "source" in same:
            others.append(Problem(path, f"{what} of {split}/{pair.name} is also that of {where}, with another target"))
        else:
            others.append(Problem(path, f"{what} of {split}/{pair.name} is also that of {where}, with another source"))
    return leaks + others


def shifted(pairs: Sequence[Pair], tally: Tally) -> list[Problem]:
    """Pairs whose edges lie clearly off each other, other than those of most pairs do."""
    alignment = tally.alignment()
    if not alignment.reliable:
        return []
    height, width = tally.sizes.most_common(1)[0][0]
    allowed = max(2 * cell_size(height, width), 0.03 * max(height, width))
    return [
        Problem(
            pairs[place].target.path,
            f"seems to lie {offset_in_words(offset)} its source, "
            f"where most targets lie {offset_in_words(alignment.median)} theirs",
        )
        for place, offset in tally.offsets.items()
        if max(abs(part - usual) for part, usual in zip(offset, alignment.median, strict=True)) > allowed
    ]


def channels_of(
    side: str, prefix: str, paths: Sequence[Path], channels: Sequence[int], asked: int | None
) -> tuple[int | None, list[Problem]]:
    """The channels of one side, and the files that have others, unless they will be converted."""
    tally = Counter(filter(None, channels))
    if asked or not tally:
        return asked, []
    most, count = tally.most_common(1)[0]
    flag = f"--{prefix.replace('_', '-')}channels"
    reason = f"but {count} of {tally.total()} {files_of(side)} have {most}; set {flag} 1 or 3 to convert"
    return most, [
        Problem(path, f"has {has} channel{'s' if has > 1 else ''}, {reason}")
        for path, has in zip(paths, channels, strict=True)
        if has not in (0, most)
    ]


def types_of(side: str, paths: Sequence[Path], types: Sequence[int]) -> tuple[str | None, list[Problem]]:
    """The type of one side's values, and the files that have another."""
    tally = Counter(filter(None, types))
    if not tally:
        return None, []
    most, count = tally.most_common(1)[0]
    reason = f"but {count} of {tally.total()} {files_of(side)} hold {TYPES[most - 1]}: save all in one type"
    return TYPES[most - 1], [
        Problem(path, f"holds {TYPES[has - 1]} values, {reason}")
        for path, has in zip(paths, types, strict=True)
        if has not in (0, most)
    ]
