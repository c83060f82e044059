"""A data set in, a report out: what is there, and everything that would stand in the way of training."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix.config import Data
from pix2pix.data import images
from pix2pix.data.images import ImageFacts, Pixels
from pix2pix.data.pairs import ImageRef, Pair, PairSet, find_pairs
from pix2pix.errors import DataError

THREADS = max(1, min(4, os.cpu_count() or 1))


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
            f"fingerprint  {self.fingerprint}",
            f"problems     {len(self.problems) or 'none'}",
            *(f"  {path}: {reason}" for path, reason in self.problems),
            f"warnings     {len(self.warnings) or 'none'}",
            *(f"  {path}: {reason}" for path, reason in self.warnings),
            f"unmatched    {len(self.unmatched) or 'none'}",
            *(f"  {path}" for path in self.unmatched),
        ]
        return "\n".join(lines)


def check(data: Data, *, decode: bool = True, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Look at every pair: decoded in full, or at headers only. Calls progress(done, total).

    Raises DataError or ConfigError only where no pairs are found at all; what is wrong with files is reported.
    """
    found = find_pairs(data)
    pairs = [pair for split in found.splits.values() for pair in split]
    looks = []
    for look in _looks(pairs, decode):
        looks.append(look)
        if progress is not None:
            progress(len(looks), len(pairs))
    return _report(found, looks, data)


def _report(found: PairSet, looks: Sequence["_Look"], data: Data) -> CheckReport:
    sources = [(look.pair.source.path, look.source) for look in looks if look.source]
    targets = [(look.pair.target.path, look.target) for look in looks if look.target]
    source_channels, odd_sources = _channels("source", sources, data.source_channels)
    target_channels, odd_targets = _channels("target", targets, data.target_channels)
    sizes = Counter((facts.height, facts.width) for _, facts in sources)
    problems = [problem for look in looks for problem in look.problems]
    return CheckReport(
        pairs=found,
        layout=found.layout,
        counts={split: len(pairs) for split, pairs in found.splits.items()},
        carved=found.carved,
        sizes={f"{height}x{width}": count for (height, width), count in sizes.most_common()},
        native_size=next(iter(sizes)) if len(sizes) == 1 else None,
        source_channels=source_channels,
        target_channels=target_channels,
        unmatched=found.unmatched,
        problems=tuple(dict.fromkeys([*problems, *odd_sources, *odd_targets])),
        warnings=tuple(warning for look in looks for warning in look.warnings),
        fingerprint=found.fingerprint(),
    )


# ---- one pair ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    pair: Pair
    source: ImageFacts | None  # None where it cannot be read
    target: ImageFacts | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def _looks(pairs: Sequence[Pair], decode: bool) -> Iterator[_Look]:
    """A look at each pair, in order; decoders leave the interpreter free, so threads share the work."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        yield from pool.map(partial(_look, decode=decode), pairs)
    finally:
        pool.shutdown(cancel_futures=True)


def _look(pair: Pair, decode: bool) -> _Look:
    facts: dict[ImageRef, ImageFacts] = {}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    refs = (pair.source, pair.target)
    for path in dict.fromkeys(ref.path for ref in refs):
        try:
            of_file = _decoded if decode else _headers
            facts |= of_file(path, [ref for ref in refs if ref.path == path], warnings)
        except DataError as error:
            problems.append(Problem(path, str(error).removeprefix(f"{path}: ")))
    source, target = facts.get(pair.source), facts.get(pair.target)
    if source and target and _size(source) != _size(target):
        problems.append(
            Problem(
                pair.source.path,
                f"is {_size(source)} (HxW), but its target {pair.target.path} is {_size(target)}; "
                "the two images of a pair need one size",
            )
        )
    return _Look(pair, source, target, tuple(problems), tuple(warnings))


def _headers(path: Path, refs: list[ImageRef], _: list[Problem]) -> dict[ImageRef, ImageFacts]:
    """The facts of a file's one or two images from its header. Raises DataError."""
    whole = images.probe(path)
    return {
        ref: whole
        if ref.half is None
        else ImageFacts(whole.height, images.half_width(whole.width, path), whole.channels)
        for ref in refs
    }


def _decoded(path: Path, refs: list[ImageRef], warnings: list[Problem]) -> dict[ImageRef, ImageFacts]:
    """The same from its pixels, which are also looked at. Raises DataError."""
    whole = images.read(path)
    facts = {}
    for ref in refs:
        pixels = whole if ref.half is None else images.take_half(whole, ref.half, path)
        facts[ref] = ImageFacts(*pixels.shape)
        if _flat(pixels):
            what = f"its {ref.half} half is" if ref.half else "is"
            warnings.append(Problem(path, f"{what} one flat colour"))
    return facts


def _flat(pixels: Pixels) -> bool:
    return bool((pixels == pixels[0, 0]).all())


def _size(facts: ImageFacts) -> str:
    return f"{facts.height}x{facts.width}"


# ---- all pairs -----------------------------------------------------------------------------------------------


def _channels(
    side: str, files: Sequence[tuple[Path, ImageFacts]], asked: int | None
) -> tuple[int | None, list[Problem]]:
    """The channels of one side, and the files that have others, unless they will be converted."""
    if asked or not files:
        return asked, []
    tally = Counter(facts.channels for _, facts in files)
    most, count = tally.most_common(1)[0]
    reason = f"but {count} of {len(files)} {side}s have {most}; set --{side}-channels 1 or 3 to convert"
    return most, [
        Problem(path, f"has {facts.channels} channel{'s' if facts.channels > 1 else ''}, {reason}")
        for path, facts in files
        if facts.channels != most
    ]


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
