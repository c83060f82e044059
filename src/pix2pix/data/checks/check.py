"""A data set in, a report out: what is there, and everything that would stand in the way of training."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from pix2pix.config import Data, source_prefix
from pix2pix.data.checks.inspect import Look, Outlines, cell_size, look, shift
from pix2pix.data.checks.report import CheckReport, PartReport, Problem
from pix2pix.data.checks.summary import Looks, Offset, Tally, channels_of, duplicates, other_size, shifted, types_of
from pix2pix.data.io.file_facts import Findings, cache_folder, stamp
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import PairSet, find_pairs
from pix2pix.system.hardware import usable_cores

THREADS = min(4, usable_cores())
AHEAD = 8 * THREADS
"""Pairs that may wait for their turn in the report: memory stays bounded, and an interruption loses little."""
PROGRESS_SECONDS = 0.05
_look = look


def check(data: Data, *, decode: bool = True, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Look at every pair: decoded in full, or at headers only. Calls progress(done, total) now and then and at the end.

    What a file holds is remembered until it changes, so that a second look takes no longer than asking for its times;
    so is what an interrupted look has seen. Raises DataError or ConfigError only where no pairs are found at all;
    what is wrong with files is reported.
    """
    began = time.monotonic()
    found = find_pairs(data)
    pairs = [pair for split in found.splits.values() for pair in split]
    data.source_settings(found.sources)  # refuses settings of another number of them
    tally, told = Tally(found.sources, holes=data.mask_value == "nan"), 0.0
    with Findings(cache_folder(data)) as findings:
        for done, (pair, looks, offset) in enumerate(_looks(pairs, decode, findings, data), start=1):
            tally.add(pair, looks, offset)
            if progress is not None and (done in (1, len(pairs)) or time.monotonic() - told > PROGRESS_SECONDS):
                told = time.monotonic()
                progress(done, len(pairs))
    files = len({ref.file for pair in pairs for ref in pair.refs})
    return replace(_report(found, pairs, tally, data), files=files, seconds=time.monotonic() - began)


def _report(found: PairSet, pairs: Sequence[Pair], tally: Tally, data: Data) -> CheckReport:
    asked = [*(part.channels for part in data.source_settings(found.sources)), data.target_channels]
    prefixes = [*(source_prefix(number, found.sources) for number in range(1, found.sources + 1)), "target_"]
    decoded = any(side.count for side in tally.sides)
    reports: list[PartReport] = []
    odd: list[Problem] = []
    others: list[Problem] = []
    for place, side in enumerate(tally.sides):
        paths = [pair.refs[place].path for pair in pairs]
        channels, odd_files = channels_of(side.name, prefixes[place], paths, side.channels, asked[place])
        kind, other_files = types_of(side.name, paths, side.types)
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
        warnings=(*duplicates(found, tally), *tally.warnings, *shifted(pairs, tally)),
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


def _looks(pairs: Sequence[Pair], decode: bool, findings: Findings, data: Data) -> Iterator[tuple[Pair, Looks, Offset]]:
    """Each pair with a look at its files, in order; decoders leave the interpreter free, so threads share the work."""
    question = f"{'pixels' if decode else 'header'} by Pillow {version('pillow')}"
    counts = {data.source_channels, data.target_channels, *(part.channels for part in data.sources.values())}
    alpha = counts & {2, 4} != set()  # is a channel as any other
    if alpha:
        question += ", alpha"
    waiting: deque[tuple[Pair, Looks, _Question, Future[tuple[Looks, Offset]] | None]] = deque()
    pool = ThreadPoolExecutor(THREADS)

    def answered() -> tuple[Pair, Looks, Offset]:
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
    offset: Offset = None

    @classmethod
    def about(cls, pair: Pair, question: str) -> "_Question":
        files = {ref.file: (f"{question}, halves" if ref.half else question, stamp(ref.file)) for ref in pair.refs}
        stamps = [stamped for _, stamped in files.values()]
        both = None if None in stamps else " ".join(map(str, stamps))
        return cls(files, (f"offset of {os.path.abspath(pair.target.file)} {pair.target.half}", both))


def _is_offset(answer: Any) -> bool:
    return isinstance(answer, list) and len(answer) in (0, 2) and all(isinstance(part, int) for part in answer)


def _look_at_pair(pair: Pair, known: Looks, decode: bool, alpha: bool) -> tuple[Looks, Offset]:
    """The looks that are not known, and the target's offset. Of known files outlines are drawn anew."""
    looks, outlines = {}, {}
    for file, halved in {ref.file: ref.half is not None for ref in pair.refs}.items():
        if file in known and known[file].facts is None:
            continue  # it would be the same again
        looks[file], outlines[file] = _look(file, halved, decode, alpha)
    return looks, _offset(pair, known | looks, outlines) if decode else None


def _offset(pair: Pair, looks: Looks, outlines: dict[str, Outlines]) -> Offset:
    sides = [outlines.get(ref.file, {}).get(ref.half) for ref in (pair.source, pair.target)]
    source, target = (looks[ref.file].facts for ref in (pair.source, pair.target))
    if sides[0] is None or sides[1] is None or source is None or target is None or other_size(source, target):
        return None
    cells = shift(sides[0], sides[1])
    cell = cell_size(source.height, source.width)
    return cells and (cells[0] * cell, cells[1] * cell)
