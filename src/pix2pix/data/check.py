"""A data set in, a report out: what is there, and everything that would stand in the way of training."""

import os
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pix2pix.config import Data
from pix2pix.data import images
from pix2pix.data.findings import Findings, cache_folder, stamp
from pix2pix.data.images import TYPES, ImageFacts, Values
from pix2pix.data.pairs import Half, Pair, PairSet, find_pairs
from pix2pix.errors import DataError

THREADS = max(1, min(4, os.cpu_count() or 1))
AHEAD = 8 * THREADS
"""Pairs that may wait for their turn in the report: memory stays bounded, and an interruption loses little."""
PROGRESS_SECONDS = 0.05


class Problem(NamedTuple):
    """A file that cannot be used as it is. The reason does not repeat the path."""

    path: Path
    reason: str


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
    """Channels of the sources: as set, or of most files; None if none can be read."""
    target_channels: int | None
    """The same for the targets."""
    source_type: str | None
    """Type of the sources' values, of most files; None if none can be read."""
    target_type: str | None
    """The same for the targets."""
    unmatched: tuple[Path, ...]
    """Images that belong to no pair."""
    problems: tuple[Problem, ...]
    """Everything wrong with single files, in the order of the pairs."""
    warnings: tuple[Problem, ...]
    """What can be trained on but deserves a look: images of one flat colour. Known only if decoded."""
    fingerprint: str
    """SHA-256 over names and byte sizes."""

    @property
    def ok(self) -> bool:
        """Whether every image is in a pair and can be used."""
        return not self.problems and not self.unmatched

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`, under the names of the fields."""
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
            "unmatched": [str(path) for path in self.unmatched],
            "problems": [{"path": str(path), "reason": reason} for path, reason in self.problems],
            "warnings": [{"path": str(path), "reason": reason} for path, reason in self.warnings],
            "fingerprint": self.fingerprint,
        }

    def to_text(self) -> str:
        """The report for a reader, with every problem on a line of its own."""
        carved = f" ({' and '.join(self.carved)} carved from train)" if self.carved else ""
        lines = [
            f"layout       {self.layout}",
            f"pairs        {_tally(self.counts)}{carved}",
            f"sizes        {_tally(self.sizes)}",
            f"channels     source {self.source_channels or '?'}, target {self.target_channels or '?'}",
            f"values       source {self.source_type or '?'}, target {self.target_type or '?'}",
            f"fingerprint  {self.fingerprint}",
            f"problems     {len(self.problems) or 'none'}",
            *(f"  {path}: {reason}" for path, reason in self.problems),
            f"warnings     {len(self.warnings) or 'none'}",
            *(f"  {path}: {reason}" for path, reason in self.warnings),
            f"unmatched    {len(self.unmatched) or 'none'}",
            *(f"  {path}: {reason}" for path, reason in self.pairs.strays),
        ]
        return "\n".join(lines)


def check(data: Data, *, decode: bool = True, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Look at every pair: decoded in full, or at headers only. Calls progress(done, total) now and then and at the end.

    What a file holds is remembered until it changes, so that a second look takes no longer than asking for its times;
    so is what an interrupted look has seen. Raises DataError or ConfigError only where no pairs are found at all;
    what is wrong with files is reported.
    """
    found = find_pairs(data)
    pairs = [pair for split in found.splits.values() for pair in split]
    tally, told = _Tally(), 0.0
    with Findings(cache_folder(data)) as findings:
        for done, (pair, looks) in enumerate(_looks(pairs, decode, findings, data), start=1):
            tally.add(pair, looks)
            if progress is not None and (done in (1, len(pairs)) or time.monotonic() - told > PROGRESS_SECONDS):
                told = time.monotonic()
                progress(done, len(pairs))
    return _report(found, pairs, tally, data)


def _report(found: PairSet, pairs: Sequence[Pair], tally: "_Tally", data: Data) -> CheckReport:
    source_channels, odd_sources = _channels("source", pairs, tally.source_channels, data.source_channels)
    target_channels, odd_targets = _channels("target", pairs, tally.target_channels, data.target_channels)
    source_type, other_sources = _types("source", pairs, tally.source_types)
    target_type, other_targets = _types("target", pairs, tally.target_types)
    sizes = tally.sizes
    return CheckReport(
        pairs=found,
        layout=found.layout,
        counts={split: len(pairs) for split, pairs in found.splits.items()},
        carved=found.carved,
        sizes={f"{height}x{width}": count for (height, width), count in sizes.most_common()},
        native_size=next(iter(sizes)) if len(sizes) == 1 else None,
        source_channels=source_channels,
        target_channels=target_channels,
        source_type=source_type,
        target_type=target_type,
        unmatched=found.unmatched,
        problems=tuple(dict.fromkeys([*tally.problems, *odd_sources, *odd_targets, *other_sources, *other_targets])),
        warnings=tuple(tally.warnings),
        fingerprint=found.fingerprint(),
    )


# ---- one file ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Look:
    """What is in one file: a fact about its content alone, whatever it is paired with."""

    facts: ImageFacts | None  # of the image, or of each half; None where it cannot be read
    problem: str | None
    flat: tuple[Half | None, ...]  # the parts of one flat colour; known only if decoded

    def to_json(self) -> list[Any]:
        facts = self.facts
        return [facts and [facts.height, facts.width, facts.channels, facts.dtype], self.problem, list(self.flat)]

    @classmethod
    def from_json(cls, values: Any) -> "_Look | None":
        """What `to_json` gave; None for anything else."""
        try:
            facts, problem, flat = values
            known = ImageFacts(int(facts[0]), int(facts[1]), int(facts[2]), str(facts[3])) if facts else None
            return cls(known, problem, tuple(flat))
        except (TypeError, ValueError, IndexError):
            return None


def _look(file: str, halved: bool, decode: bool, alpha: bool) -> _Look:
    path = Path(file)
    try:
        return _at_pixels(path, halved, alpha) if decode else _at_header(path, halved)
    except DataError as error:
        return _Look(None, str(error).removeprefix(f"{path}: "), ())


def _at_header(path: Path, halved: bool) -> _Look:
    """Raises DataError."""
    whole = images.probe(path)
    width = images.half_width(whole.width, path) if halved else whole.width
    return _Look(ImageFacts(whole.height, width, whole.channels, whole.dtype), None, ())


def _at_pixels(path: Path, halved: bool, alpha: bool) -> _Look:
    """Raises DataError."""
    whole = images.read(path, alpha=alpha)
    halves: tuple[Half, ...] = ("left", "right")
    parts: dict[Half | None, Values] = (
        {half: images.take_half(whole, half, path) for half in halves} if halved else {None: whole}
    )
    flat = tuple(part for part, pixels in parts.items() if _flat(pixels))
    height, width, channels = next(iter(parts.values())).shape
    return _Look(ImageFacts(height, width, channels, whole.dtype.name), None, flat)


def _flat(pixels: Values) -> bool:
    return bool((pixels == pixels[0, 0]).all())


def _size(facts: ImageFacts) -> str:
    return f"{facts.height}x{facts.width}"


# ---- all pairs -----------------------------------------------------------------------------------------------

_Looks = dict[str, _Look]  # file -> what is in it


def _looks(pairs: Sequence[Pair], decode: bool, findings: Findings, data: Data) -> Iterator[tuple[Pair, _Looks]]:
    """Each pair with a look at its files, in order; decoders leave the interpreter free, so threads share the work."""
    question = f"{'pixels' if decode else 'header'} by Pillow {version('pillow')}"
    alpha = {data.source_channels, data.target_channels} & {2, 4} != set()  # is a channel as any other
    if alpha:
        question += ", alpha"
    waiting: deque[tuple[Pair, _Looks, list[tuple[str, str, str | None, Future[_Look]]]]] = deque()
    pool = ThreadPoolExecutor(THREADS)

    def answered() -> tuple[Pair, _Looks]:
        pair, known, asked = waiting.popleft()
        for file, what, stamped, future in asked:
            known[file] = future.result()
            findings.put(file, what, stamped, known[file].to_json())
        return pair, known

    try:
        for pair in pairs:
            known: _Looks = {}
            asked = []
            for file, halved in {ref.file: ref.half is not None for ref in (pair.source, pair.target)}.items():
                what, stamped = f"{question}, halves" if halved else question, stamp(file)
                if (look := _Look.from_json(findings.get(file, what, stamped))) is not None:
                    known[file] = look
                else:
                    asked.append((file, what, stamped, pool.submit(_look, file, halved, decode, alpha)))
            waiting.append((pair, known, asked))
            if len(waiting) > AHEAD:
                yield answered()
        while waiting:
            yield answered()
    finally:
        pool.shutdown(cancel_futures=True)


class _Tally:
    """What all looks come to, in a few bytes for each pair."""

    def __init__(self) -> None:
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.source_channels, self.target_channels = array("L"), array("L")  # of each pair, 0 where unknown
        self.source_types, self.target_types = array("B"), array("B")  # place in TYPES, counted from 1
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def add(self, pair: Pair, looks: _Looks) -> None:
        """Count the next pair."""
        for file, look in looks.items():
            if look.problem is not None:
                self.problems.append(Problem(Path(file), look.problem))
            for part in look.flat:
                what = f"its {part} half is" if part else "is"
                self.warnings.append(Problem(Path(file), f"{what} one flat colour"))
        source, target = looks[pair.source.file].facts, looks[pair.target.file].facts
        self.source_channels.append(source.channels if source else 0)
        self.target_channels.append(target.channels if target else 0)
        self.source_types.append(TYPES.index(source.dtype) + 1 if source else 0)
        self.target_types.append(TYPES.index(target.dtype) + 1 if target else 0)
        if source:
            self.sizes[source.height, source.width] += 1
        if source and target and _size(source) != _size(target):
            self.problems.append(
                Problem(
                    pair.source.path,
                    f"is {_size(source)} (HxW), but its target {pair.target.path} is {_size(target)}; "
                    "the two images of a pair need one size",
                )
            )


def _channels(
    side: Literal["source", "target"], pairs: Sequence[Pair], channels: Sequence[int], asked: int | None
) -> tuple[int | None, list[Problem]]:
    """The channels of one side, and the files that have others, unless they will be converted."""
    tally = Counter(filter(None, channels))
    if asked or not tally:
        return asked, []
    most, count = tally.most_common(1)[0]
    reason = f"but {count} of {tally.total()} {side}s have {most}; set --{side}-channels 1 or 3 to convert"
    return most, [
        Problem(getattr(pair, side).path, f"has {has} channel{'s' if has > 1 else ''}, {reason}")
        for pair, has in zip(pairs, channels, strict=True)
        if has not in (0, most)
    ]


def _types(
    side: Literal["source", "target"], pairs: Sequence[Pair], types: Sequence[int]
) -> tuple[str | None, list[Problem]]:
    """The type of one side's values, and the files that have another."""
    tally = Counter(filter(None, types))
    if not tally:
        return None, []
    most, count = tally.most_common(1)[0]
    reason = f"but {count} of {tally.total()} {side}s hold {TYPES[most - 1]}: save all in one type"
    return TYPES[most - 1], [
        Problem(getattr(pair, side).path, f"holds {TYPES[has - 1]} values, {reason}")
        for pair, has in zip(pairs, types, strict=True)
        if has not in (0, most)
    ]


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
