"""A data set in, a report out: what is there, and everything that would stand in the way of training."""

import os
import re
import statistics
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pix2pix.config import Data, source_prefix
from pix2pix.data.findings import Findings, cache_folder, stamp
from pix2pix.data.images import TYPES, ImageFacts
from pix2pix.data.looks import MOST_COLOURS, Look, Outlines, Part, cell_size, look, shift
from pix2pix.data.pair import ImageRef, Pair
from pix2pix.data.pairs import PairSet, find_pairs
from pix2pix.data.sheets import source_titles

THREADS = max(1, min(4, os.cpu_count() or 1))
AHEAD = 8 * THREADS
"""Pairs that may wait for their turn in the report: memory stays bounded, and an interruption loses little."""
PROGRESS_SECONDS = 0.05
SHOWN = 30
"""Findings of one heading that a reader gets in full; of more, the first three of each kind."""
_look = look

Side = Literal["source", "target"]


class Problem(NamedTuple):
    """A file that cannot be used as it is. The reason does not repeat the path."""

    path: Path
    reason: str


@dataclass(frozen=True)
class SideReport:
    """What the readable images of one side hold together. Known only if decoded."""

    low: float
    """The least value."""
    high: float
    """The greatest."""
    colours: dict[str, int] | None
    """Where there are few enough for label maps: colour, as hexadecimal digits -> images with it, most first."""


@dataclass(frozen=True)
class PartReport:
    """What the files of one of several sources hold; None where none can be read."""

    channels: int | None
    """As set, or of most files."""
    type: str | None
    """Of the values of most files."""
    values: SideReport | None
    """None unless decoded."""


@dataclass(frozen=True)
class Alignment:
    """How far targets lie off their sources, in pixels (down, right), by phase correlation of their edges."""

    clear: int
    """Pairs whose edges agree well enough to tell."""
    of: int
    """Pairs that could be compared."""
    median: tuple[int, int]
    """Of the clear pairs."""

    @property
    def reliable(self) -> bool:
        """Whether enough pairs were clear to speak of the set."""
        return self.clear >= max(5, self.of / 10)


@dataclass(frozen=True)
class CheckReport:
    """What a data set holds, and what is wrong with it."""

    pairs: PairSet
    """The pairs that were looked at."""
    layout: str
    """How the files lie, for humans."""
    counts: dict[str, int]
    """Pairs in each split."""
    carved: tuple[str, ...]
    """Splits taken out of `train`, as there was no folder of theirs."""
    sizes: dict[str, int]
    """Size of the source, `HxW` -> pairs, the most frequent first."""
    native_size: tuple[int, int] | None
    """(height, width), where all sources have the same."""
    source_channels: int | None
    """Channels of the sources: as set, or of most files, of several together; None if none can be read."""
    target_channels: int | None
    """The same for the targets."""
    source_type: str | None
    """Type of the sources' values, of most files; None if none can be read, or if there are several sources."""
    target_type: str | None
    """The same for the targets."""
    sources: SideReport | None
    """What the sources hold; None unless decoded, or if there are several."""
    targets: SideReport | None
    """The same for the targets."""
    alignment: Alignment | None
    """How targets lie on their sources; None unless decoded."""
    unmatched: tuple[Path, ...]
    """Images that belong to no pair."""
    problems: tuple[Problem, ...]
    """Everything wrong with single files, in the order of the pairs."""
    warnings: tuple[Problem, ...]
    """What can be trained on but deserves a look: flat images, duplicates, shifted pairs. Known only if decoded."""
    fingerprint: str
    """SHA-256 over names and byte sizes."""
    bad: frozenset[tuple[str, str]]
    """(split, name) of the pairs that have problems."""
    parts: tuple[PartReport, ...] = ()
    """Of several sources, each."""
    files: int = 0
    """How many were looked at."""
    seconds: float = field(default=0.0, compare=False)
    """How long that took."""

    @property
    def ok(self) -> bool:
        """Whether every image is in a pair and can be used."""
        return not self.problems and not self.unmatched

    @property
    def left_out(self) -> tuple[Problem, ...]:
        """Everything that training on the rest leaves out, and why."""
        return (*self.problems, *(Problem(path, reason) for path, reason in self.pairs.strays))

    def without_bad(self) -> "CheckReport":
        """The same for the pairs that can be used, in the splits that they had."""
        splits = {
            split: tuple(pair for pair in pairs if (split, pair.name) not in self.bad)
            for split, pairs in self.pairs.splits.items()
        }
        kept = replace(self.pairs, splits={split: pairs for split, pairs in splits.items() if pairs}, strays=())
        counts = {split: len(pairs) for split, pairs in kept.splits.items()}
        return replace(
            self, pairs=kept, counts=counts, unmatched=(), problems=(), bad=frozenset(), fingerprint=kept.fingerprint()
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`, under the names of the fields."""
        alignment = self.alignment
        return {
            "ok": self.ok,
            "layout": self.layout,
            "counts": self.counts,
            "carved": list(self.carved),
            "sizes": self.sizes,
            "native_size": list(self.native_size) if self.native_size else None,
            "source_channels": self.source_channels,
            "target_channels": self.target_channels,
            "source_type": self.source_type,
            "target_type": self.target_type,
            "sources": vars(self.sources) if self.sources else None,
            "targets": vars(self.targets) if self.targets else None,
            "parts": [vars(part) | {"values": vars(part.values) if part.values else None} for part in self.parts],
            "alignment": vars(alignment) | {"reliable": alignment.reliable} if alignment else None,
            "unusable_pairs": len(self.bad),
            "unmatched": [str(path) for path in self.unmatched],
            "strays": _plain(self.pairs.strays),
            "problems": _plain(self.problems),
            "warnings": _plain(self.warnings),
            "passed_over": [str(path) for path in self.pairs.passed_over],
            "hint": self.pairs.hint,
            "fingerprint": self.fingerprint,
            "files": self.files,
            "seconds": round(self.seconds, 3),
        }

    def _sides(self) -> list[tuple[str, int | None, str | None, SideReport | None]]:
        """(name, channels, type, values) of the source, or of each with a colon, and of the target."""
        parts = self.parts or (PartReport(self.source_channels, self.source_type, self.sources),)
        names = ["source"] if len(parts) == 1 else [f"{title}:" for title in source_titles(len(parts))]
        return [
            *((name, part.channels, part.type, part.values) for name, part in zip(names, parts, strict=True)),
            ("target" if len(parts) == 1 else "target:", self.target_channels, self.target_type, self.targets),
        ]

    def to_text(self) -> str:
        """The report for a reader: what is there, then what is wrong, the worst first; long lists are cut short."""
        carved, unknown = f" ({' and '.join(self.carved)} carved from train)" if self.carved else "", "?"
        lines = [
            f"layout       {self.layout}",
            f"pairs        {_tally(self.counts)}{carved}",
            f"sizes        {_sizes(self.sizes)}",
            f"channels     {', '.join(f'{name} {channels or unknown}' for name, channels, _, _ in self._sides())}",
            f"values       {', '.join(f'{name} {_values(kind, side)}' for name, _, kind, side in self._sides())}",
            *_colours([(name.strip(":"), side) for name, _, _, side in self._sides()]),
            *([f"alignment    {_alignment(self.alignment)}"] if self.alignment else []),
            f"fingerprint  {self.fingerprint}",
            *([f"hint         {self.pairs.hint}"] if self.pairs.hint else []),
            f"problems     {f'{len(self.problems)}, {_pairs(len(self.bad))} unusable' if self.problems else 'none'}",
            *_cut(self.problems),
            f"unmatched    {len(self.unmatched) or 'none'}",
            *_cut(self.pairs.strays),
            f"warnings     {len(self.warnings) or 'none'}",
            *_cut(self.warnings),
        ]
        if self.pairs.passed_over:
            names = ", ".join(visible(path) for path in self.pairs.passed_over[:3])
            more = f" and {len(self.pairs.passed_over) - 3:,} more" if len(self.pairs.passed_over) > 3 else ""
            lines.append(f"passed over  {names}{more}: no images by their names")
        each = 1000 * self.seconds / max(1, self.files)
        lines.append(f"looked at    {self.files:,} files in {self.seconds:.1f} s, {each:.2g} s a thousand")
        return "\n".join(lines)


def check(data: Data, *, decode: bool = True, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Look at every pair: decoded in full, or at headers only. Calls progress(done, total) now and then and at the end.

    What a file holds is remembered until it changes, so that a second look takes no longer than asking for its times;
    so is what an interrupted look has seen. Raises DataError or ConfigError only where no pairs are found at all;
    what is wrong with files is reported.
    """
    began = time.monotonic()
    found = find_pairs(data)
    pairs = [pair for split in found.splits.values() for pair in split]
    data.sources(found.sources)  # refuses settings of another number of them
    tally, told = _Tally(found.sources, holes=data.mask_value == "nan"), 0.0
    with Findings(cache_folder(data)) as findings:
        for done, (pair, looks, offset) in enumerate(_looks(pairs, decode, findings, data), start=1):
            tally.add(pair, looks, offset)
            if progress is not None and (done in (1, len(pairs)) or time.monotonic() - told > PROGRESS_SECONDS):
                told = time.monotonic()
                progress(done, len(pairs))
    files = len({ref.file for pair in pairs for ref in pair.refs})
    return replace(_report(found, pairs, tally, data), files=files, seconds=time.monotonic() - began)


def _report(found: PairSet, pairs: Sequence[Pair], tally: "_Tally", data: Data) -> CheckReport:
    asked = [*(part.channels for part in data.sources(found.sources)), data.target_channels]
    prefixes = [*(source_prefix(number, found.sources) for number in range(1, found.sources + 1)), "target_"]
    decoded = any(side.count for side in tally.sides)
    reports: list[PartReport] = []
    odd: list[Problem] = []
    others: list[Problem] = []
    for place, side in enumerate(tally.sides):
        paths = [pair.refs[place].path for pair in pairs]
        channels, odd_files = _channels(side.name, prefixes[place], paths, side.channels, asked[place])
        kind, other_files = _types(side.name, paths, side.types)
        odd, others = [*odd, *odd_files], [*others, *other_files]
        reports.append(PartReport(channels, kind, side.report() if decoded else None))
    *sources, target = reports
    counts = [source.channels for source in sources]
    single = sources[0] if len(sources) == 1 else None
    sizes = tally.sizes
    problems = dict.fromkeys([*tally.problems, *odd, *others])
    troubled = {os.fspath(path) for path, _ in problems}
    return CheckReport(
        pairs=found,
        layout=found.layout,
        counts={split: len(pairs) for split, pairs in found.splits.items()},
        carved=found.carved,
        sizes={f"{height}x{width}": count for (height, width), count in sizes.most_common()},
        native_size=next(iter(sizes)) if len(sizes) == 1 else None,
        source_channels=None if None in counts else sum(filter(None, counts)),
        target_channels=target.channels,
        source_type=single.type if single else None,
        target_type=target.type,
        sources=single.values if single else None,
        targets=target.values,
        alignment=tally.alignment() if decoded else None,
        unmatched=found.unmatched,
        problems=tuple(problems),
        warnings=(*_duplicates(found, tally), *tally.warnings, *_shifted(pairs, tally)),
        fingerprint=found.fingerprint(),
        bad=frozenset(
            (split, pair.name)
            for split, inside in found.splits.items()
            for pair in inside
            if any(ref.file in troubled for ref in pair.refs)
        ),
        parts=() if single else tuple(sources),
    )


# ---- all pairs -----------------------------------------------------------------------------------------------

_Looks = dict[str, Look]  # file -> what is in it
_Offset = tuple[int, int] | None  # pixels (down, right)


def _looks(
    pairs: Sequence[Pair], decode: bool, findings: Findings, data: Data
) -> Iterator[tuple[Pair, _Looks, _Offset]]:
    """Each pair with a look at its files, in order; decoders leave the interpreter free, so threads share the work."""
    question = f"{'pixels' if decode else 'header'} by Pillow {version('pillow')}"
    counts = {data.source_channels, data.target_channels, *(part.channels for part in data.parts.values())}
    alpha = counts & {2, 4} != set()  # is a channel as any other
    if alpha:
        question += ", alpha"
    waiting: deque[tuple[Pair, _Looks, _Question, Future[tuple[_Looks, _Offset]] | None]] = deque()
    pool = ThreadPoolExecutor(THREADS)

    def answered() -> tuple[Pair, _Looks, _Offset]:
        pair, known, asked, future = waiting.popleft()
        if future is None:
            return pair, known, asked.offset
        new, offset = future.result()
        for file, found in new.items():
            findings.put(file, *asked.of_files[file], found.to_json())
        if decode:
            findings.put(pair.source.file, *asked.of_pair, list(offset) if offset else [])
        return pair, known | new, offset

    try:
        for pair in pairs:
            asked = _Question.about(pair, question)
            known = {
                file: found
                for file, what in asked.of_files.items()
                if (found := Look.from_json(findings.get(file, *what))) is not None
            }
            offset = findings.get(pair.source.file, *asked.of_pair) if decode else []
            complete = len(known) == len(asked.of_files) and _is_offset(offset)
            if complete:
                asked.offset = tuple(offset) or None
            future = None if complete else pool.submit(_look_at_pair, pair, known, decode, alpha)
            waiting.append((pair, known, asked, future))
            if len(waiting) > AHEAD:
                yield answered()
        while waiting:
            yield answered()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass
class _Question:
    """What is asked of the files of a pair, and of the pair: (question, stamp)."""

    of_files: dict[str, tuple[str, str | None]]
    of_pair: tuple[str, str | None]
    offset: _Offset = None

    @classmethod
    def about(cls, pair: Pair, question: str) -> "_Question":
        files = {ref.file: (f"{question}, halves" if ref.half else question, stamp(ref.file)) for ref in pair.refs}
        stamps = [stamped for _, stamped in files.values()]
        both = None if None in stamps else " ".join(map(str, stamps))
        return cls(files, (f"offset of {os.path.abspath(pair.target.file)} {pair.target.half}", both))


def _is_offset(answer: Any) -> bool:
    return isinstance(answer, list) and len(answer) in (0, 2) and all(isinstance(part, int) for part in answer)


def _look_at_pair(pair: Pair, known: _Looks, decode: bool, alpha: bool) -> tuple[_Looks, _Offset]:
    """The looks that are not known, and the target's offset. Of known files outlines are drawn anew."""
    looks, outlines = {}, {}
    for file, halved in {ref.file: ref.half is not None for ref in pair.refs}.items():
        if file in known and known[file].facts is None:
            continue  # it would be the same again
        looks[file], outlines[file] = _look(file, halved, decode, alpha)
    return looks, _offset(pair, known | looks, outlines) if decode else None


def _offset(pair: Pair, looks: _Looks, outlines: dict[str, Outlines]) -> _Offset:
    sides = [outlines.get(ref.file, {}).get(ref.half) for ref in (pair.source, pair.target)]
    source, target = (looks[ref.file].facts for ref in (pair.source, pair.target))
    if sides[0] is None or sides[1] is None or source is None or target is None or _other_size(source, target):
        return None
    cells = shift(sides[0], sides[1])
    cell = cell_size(source.height, source.width)
    return cells and (cells[0] * cell, cells[1] * cell)


class _SideTally:
    """What the images of one side, a source or the target, come to, in a few bytes for each pair."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.channels = array("L")  # of each pair, 0 where unknown
        self.types = array("B")  # place in TYPES, counted from 1
        self.low, self.high, self.count = float("inf"), float("-inf"), 0
        self.colours: Counter[str] | None = Counter()

    def add(self, part: Part) -> None:
        self.count += 1
        self.low, self.high = min(self.low, part.low), max(self.high, part.high)
        if part.colours is None or self.colours is None:
            self.colours = None
        else:
            self.colours.update(part.colours)
            self.colours = self.colours if len(self.colours) <= MOST_COLOURS else None

    def report(self) -> SideReport | None:
        if not self.count:
            return None
        return SideReport(self.low, self.high, None if self.colours is None else dict(self.colours.most_common()))


class _Tally:
    """What all looks come to, in a few bytes for each pair. With `holes`, NaN in a target is no defect."""

    def __init__(self, sources: int, *, holes: bool) -> None:
        self.holes = holes
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.sides = [_SideTally(name) for name in [*source_titles(sources), "target"]]
        self.source_digests, self.target_digests = array("Q"), array("Q")  # 0 where unknown or flat
        self.offsets: dict[int, tuple[int, int]] = {}  # place of the pair -> pixels (down, right)
        self.compared = 0
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def add(self, pair: Pair, looks: _Looks, offset: _Offset) -> None:
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
            if known and target and _other_size(known, target):
                self.problems.append(
                    Problem(
                        ref.path,
                        f"is {_size(known)} (HxW), but its target {pair.target.path} is {_size(target)}; "
                        f"the {'two ' if len(facts) == 2 else ''}images of a pair need one size",
                    )
                )

    def _add_parts(self, pair: Pair, looks: _Looks) -> None:
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
        across = (
            tuple(round(statistics.median(offset[axis] for offset in self.offsets.values())) for axis in (0, 1))
            if (self.offsets)
            else (0, 0)
        )
        return Alignment(len(self.offsets), self.compared, (across[0], across[1]))


def _digest(parts: Sequence[Part | None]) -> int:
    """64 bits of an image, or of several together; 0 where one is unknown or all are flat."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or all(part.flat for part in known):
        return 0
    return known[0].digest if len(known) == 1 else hash(tuple(part.digest for part in known)) & (2**64 - 1)


def _size(facts: ImageFacts) -> str:
    return f"{facts.height}x{facts.width}"


def _other_size(source: ImageFacts, target: ImageFacts) -> bool:
    return (source.height, source.width) != (target.height, target.width)


def _duplicates(found: PairSet, tally: _Tally) -> list[Problem]:
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


def _shifted(pairs: Sequence[Pair], tally: _Tally) -> list[Problem]:
    """Pairs whose edges lie clearly off each other, other than those of most pairs do."""
    alignment = tally.alignment()
    if not alignment.reliable:
        return []
    height, width = tally.sizes.most_common(1)[0][0]
    allowed = max(2 * cell_size(height, width), 0.03 * max(height, width))
    return [
        Problem(
            pairs[place].target.path,
            f"seems to lie {_offset_in_words(offset)} its source, "
            f"where most targets lie {_offset_in_words(alignment.median)} theirs",
        )
        for place, offset in tally.offsets.items()
        if max(abs(part - usual) for part, usual in zip(offset, alignment.median, strict=True)) > allowed
    ]


def _channels(
    side: str, prefix: str, paths: Sequence[Path], channels: Sequence[int], asked: int | None
) -> tuple[int | None, list[Problem]]:
    """The channels of one side, and the files that have others, unless they will be converted."""
    tally = Counter(filter(None, channels))
    if asked or not tally:
        return asked, []
    most, count = tally.most_common(1)[0]
    flag = f"--{prefix.replace('_', '-')}channels"
    reason = f"but {count} of {tally.total()} {_files_of(side)} have {most}; set {flag} 1 or 3 to convert"
    return most, [
        Problem(path, f"has {has} channel{'s' if has > 1 else ''}, {reason}")
        for path, has in zip(paths, channels, strict=True)
        if has not in (0, most)
    ]


def _types(side: str, paths: Sequence[Path], types: Sequence[int]) -> tuple[str | None, list[Problem]]:
    """The type of one side's values, and the files that have another."""
    tally = Counter(filter(None, types))
    if not tally:
        return None, []
    most, count = tally.most_common(1)[0]
    reason = f"but {count} of {tally.total()} {_files_of(side)} hold {TYPES[most - 1]}: save all in one type"
    return TYPES[most - 1], [
        Problem(path, f"holds {TYPES[has - 1]} values, {reason}")
        for path, has in zip(paths, types, strict=True)
        if has not in (0, most)
    ]


# ---- words -----------------------------------------------------------------------------------------------------


def visible(path: Path | str) -> str:
    """A path on one line: what would move the cursor, and what is no text, as escapes."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "surrogatepass").decode() for sign in str(path)
    )


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _pairs(count: int) -> str:
    return "1 pair is" if count == 1 else f"{count:,} pairs are"


def _plain(findings: Sequence[tuple[Path, str]]) -> list[dict[str, str]]:
    return [{"path": str(path), "reason": reason} for path, reason in findings]


def _sizes(sizes: dict[str, int], most: int = 5) -> str:
    """The most frequent sizes; of many, also the extremes."""
    shown = _tally(dict(list(sizes.items())[:most]))
    if len(sizes) <= most:
        return shown or "?"
    heights, widths = zip(*(map(int, size.split("x")) for size in sizes), strict=True)
    return (
        f"{shown} and {len(sizes) - most:,} others (HxW; height {min(heights)} to {max(heights)}, "
        f"width {min(widths)} to {max(widths)})"
    )


def _values(kind: str | None, side: SideReport | None) -> str:
    return f"{kind or '?'}{f' from {side.low:g} to {side.high:g}' if side else ''}"


def _files_of(side: str) -> str:
    """`sources`; `images of source 2`."""
    return f"images of {side}" if " " in side else f"{side}s"


def _colours(sides: Sequence[tuple[str, SideReport | None]], most: int = 8) -> list[str]:
    lines = []
    for name, side in sides:
        if side and side.colours:
            shown = " ".join(list(side.colours)[:most])
            more = f" and {len(side.colours) - most} more" if len(side.colours) > most else ""
            lines.append(
                f"colours      {_files_of(name)} have {len(side.colours)} in all, as label maps do: {shown}{more}"
            )
    return lines


def _alignment(alignment: Alignment) -> str:
    base = f"edges agree clearly in {alignment.clear:,} of {alignment.of:,} pairs"
    if not alignment.reliable:
        return f"{base}, too few to tell whether targets lie on their sources"
    return f"{base}; most targets lie {_offset_in_words(alignment.median)} their sources"


def _offset_in_words(offset: tuple[int, int]) -> str:
    down, right = offset
    words = [
        f"{abs(amount)} px {after if amount > 0 else before}"
        for amount, before, after in ((down, "above", "below"), (right, "left of", "right of"))
        if amount
    ]
    return " and ".join(words) or "on"


def _cut(findings: Sequence[tuple[Path, str]], each: int = 3, kinds: int = 12) -> list[str]:
    """One line for each, or, where they are many, the first few of each kind with the number of the others."""
    if len(findings) <= SHOWN:
        return [f"  {visible(path)}: {visible(reason)}" for path, reason in findings]
    groups: dict[str, list[tuple[Path, str]]] = {}
    for path, reason in findings:
        groups.setdefault(re.sub(r"/\S+|\S*\d\S*", "", reason)[:60], []).append((path, reason))
    ordered = sorted(groups.values(), key=len, reverse=True)
    lines = []
    for group in ordered[:kinds]:
        lines += [f"  {visible(path)}: {visible(reason)}" for path, reason in group[:each]]
        if len(group) > each:
            lines.append(f"    and {len(group) - each:,} more of this kind")
    if rest := sum(map(len, ordered[kinds:])):
        lines.append(f"  and {rest:,} more of other kinds")
    return [*lines, "  (--json lists all)"]
