"""Inspect the files and the alignment of all pairs in threads; results are remembered between runs."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from pix2pix.config import Data
from pix2pix.data.checks.alignment import cell_size, find_offset
from pix2pix.data.checks.inspect import EdgeMaps, FileInspection, inspect_file
from pix2pix.data.io.file_facts import FileFacts, file_stamp
from pix2pix.data.io.view import WHOLE, View
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.system.hardware import usable_cores

THREADS = min(4, usable_cores())
MAX_WAITING = 8 * THREADS
"""Largest number of pairs inspected ahead, which limits the memory and the loss after an interruption."""

Whole = tuple[str, View]
"""A file, and the view of it that is inspected: both halves of a side-by-side image are inspected together."""
Inspections = dict[Whole, FileInspection]
Offset = tuple[int, int] | None
"""Offset of a target from its source in pixels, (down, right); None unless their edges agree clearly."""


@dataclass
class _Query:
    """Keys of the remembered facts of a pair: (question, stamp) of each file and of the offset."""

    files: dict[Whole, tuple[str, str | None]]
    offset: tuple[str, str | None]

    @classmethod
    def of(cls, pair: Pair, question: str, opaque: frozenset[str]) -> "_Query":
        files = {
            ref.whole: (
                f"{question}{_describe(ref)}{', halves' if ref.half else ''}{', is labels' * (ref.file in opaque)}",
                file_stamp(ref.file),
            )
            for ref in pair.refs
        }
        stamps = [stamp for _, stamp in files.values()]
        joined = None if None in stamps else " ".join(map(str, stamps))
        return cls(files, (f"offset of edges of {os.path.abspath(pair.target.file)} {_sides(pair)}", joined))


def _describe(ref: ImageRef) -> str:
    """Return what tells a view from that of the whole file in a question; as before there were views, if it can."""
    view = ref.view.of_whole
    return "" if view == WHOLE else f" of {view.label}"


def _sides(pair: Pair) -> str:
    source, target = pair.source, pair.target
    plain = source.view.of_whole == target.view.of_whole == WHOLE
    return str(target.half) if plain else f"{source.view.label} {target.view.label}"


@dataclass
class _Waiting:
    pair: Pair
    query: _Query
    known: Inspections
    offset: Offset
    future: Future[tuple[Inspections, Offset]] | None
    """The inspection in progress; None if everything is known."""


def scan_pairs(
    pairs: Sequence[Pair], data: Data, facts: FileFacts, *, decode: bool
) -> Iterator[tuple[Pair, Inspections, Offset]]:
    """Inspect the files of each pair, in order. Threads help, since decoders release the interpreter lock."""
    counts = {data.source_channels, data.target_channels, *(one.channels for one in data.sources.values())}
    alpha = counts & {2, 4} != set()  # then alpha counts as a channel
    labels = [part.kind == "labels" for part in (*data.source_settings(len(pairs[0].sources)), data.target_settings)]
    what = "pixels, areas, ends" if decode else "header"
    question = f"{what} and EXIF by Pillow {version('pillow')}{', alpha' if alpha else ''}"
    waiting: deque[_Waiting] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for pair in pairs:
            opaque = frozenset(ref.file for ref, is_label in zip(pair.refs, labels, strict=True) if is_label)
            query = _Query.of(pair, question, opaque)
            remembered = {
                whole: FileInspection.from_json(facts.get(whole[0], *key)) for whole, key in query.files.items()
            }
            known = {whole: inspection for whole, inspection in remembered.items() if inspection is not None}
            offset = facts.get(pair.source.file, *query.offset) if decode else []
            complete = len(known) == len(query.files) and _is_offset(offset)
            future = None if complete else pool.submit(_inspect_pair, pair, known, decode, alpha, opaque)
            waiting.append(_Waiting(pair, query, known, tuple(offset) or None if complete else None, future))
            if len(waiting) > MAX_WAITING:
                yield _finish(waiting.popleft(), facts, decode)
        while waiting:
            yield _finish(waiting.popleft(), facts, decode)
    finally:
        pool.shutdown(cancel_futures=True)


def _finish(one: _Waiting, facts: FileFacts, decode: bool) -> tuple[Pair, Inspections, Offset]:
    """Wait for the inspection of a pair, and store the new facts."""
    if one.future is None:
        return one.pair, one.known, one.offset
    new, offset = one.future.result()
    for whole, inspection in new.items():
        if not inspection.passing:
            facts.put(whole[0], *one.query.files[whole], inspection.to_json())
    if decode:
        facts.put(one.pair.source.file, *one.query.offset, list(offset) if offset else [])
    return one.pair, one.known | new, offset


def _is_offset(answer: Any) -> bool:
    return isinstance(answer, list) and len(answer) in (0, 2) and all(isinstance(part, int) for part in answer)


def _inspect_pair(
    pair: Pair, known: Inspections, decode: bool, alpha: bool, opaque: frozenset[str]
) -> tuple[Inspections, Offset]:
    """Inspect the files of a pair. Known files are read again for their edge maps, unless they are unreadable.

    `opaque` are label maps, whose alpha channel is ignored.
    """
    new: Inspections = {}
    edges: dict[Whole, EdgeMaps] = {}
    for whole, halved in {ref.whole: ref.half is not None for ref in pair.refs}.items():
        if whole not in known or known[whole].facts is not None:
            new[whole], edges[whole] = inspect_file(*whole, halved, decode, alpha, whole[0] in opaque)
    return new, _measure_offset(pair, known | new, edges) if decode else None


def _measure_offset(pair: Pair, inspections: Inspections, edges: dict[Whole, EdgeMaps]) -> Offset:
    maps = [edges.get(ref.whole, {}).get(ref.half) for ref in (pair.source, pair.target)]
    source, target = (inspections[ref.whole].facts for ref in (pair.source, pair.target))
    if maps[0] is None or maps[1] is None or source is None or target is None or source.size != target.size:
        return None
    cells, cell = find_offset(maps[0], maps[1]), cell_size(*source.size)
    return cells and (cells[0] * cell, cells[1] * cell)
