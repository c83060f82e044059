"""The report of a check, as a value, as JSON and as text."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix.config import Data
from pix2pix.data.checks.values import SideValues
from pix2pix.data.pairing.image_files import describe_ignored
from pix2pix.data.pairing.pair import Unmatched, source_titles
from pix2pix.data.pairing.pairs import PairSet, same_data
from pix2pix.data.pairing.two_sizes import Factor, describe_factor
from pix2pix.text import escape_unprintable, format_count, format_counts, format_examples, format_list

MAX_LINES = 30
"""The text lists up to this many problems of one heading in full; of more, OF_EACH_KIND of MOST_KINDS kinds."""
OF_EACH_KIND, MOST_KINDS = 3, 12
MOST_SIZES, MOST_COLOURS = 5, 8
"""Sizes and colours that the text lists."""


class Problem(NamedTuple):
    """A file and what is wrong with it. The reason does not repeat the path."""

    path: Path
    reason: str


@dataclass(frozen=True)
class ValueReport:
    """Values of all readable images of one side."""

    low: float
    """The least value."""
    high: float
    """The greatest value."""
    colours: dict[str, int] | None
    """Colour, as hexadecimal digits -> number of images with it, most first; None unless all look like label maps."""


@dataclass(frozen=True)
class SourceReport:
    """Content of the files of one source, or of the target. A fact is None if no file can be read."""

    channels: int | None
    """Channels: as set, or those of most files."""
    type: str | None
    """Type of the values in most files."""
    values: ValueReport | None
    """None unless the files were decoded."""


@dataclass(frozen=True)
class Alignment:
    """Offset of targets from their sources in pixels (down, right), by the correlation of their edges."""

    clear: int
    """Number of pairs whose edges agree clearly."""
    of: int
    """Number of pairs that could be compared."""
    median: tuple[int, int]
    """Median offset of the clear pairs."""

    @property
    def reliable(self) -> bool:
        """Whether enough pairs were clear to draw a conclusion."""
        return self.clear >= max(5, self.of / 10)


@dataclass(frozen=True)
class CheckReport:
    """Content and problems of a data set."""

    pairs: PairSet
    """The pairs that were inspected."""
    layout: str
    """The layout in words."""
    counts: dict[str, int]
    """Number of pairs in each split."""
    carved: tuple[str, ...]
    """Splits that were taken out of `train`, because the data have no folder for them."""
    sizes: dict[str, int]
    """Size of the source, of the target if sources are resized, `HxW` -> number of pairs, most frequent first."""
    native_size: tuple[int, int] | None
    """(height, width) if there is only one such size."""
    source_channels: int | None
    """Channels of all sources together: as set, or those of most files; None if no file can be read."""
    target_channels: int | None
    """The same for the targets."""
    source_type: str | None
    """Type of the values in most source files; None if no file can be read, or if there are several sources."""
    target_type: str | None
    """The same for the targets."""
    sources: ValueReport | None
    """Values of the sources; None unless decoded, or if there are several sources."""
    targets: ValueReport | None
    """The same for the targets."""
    alignment: Alignment | None
    """Offset of targets from their sources; None unless decoded."""
    unmatched: tuple[Unmatched, ...]
    """Images and rows of a manifest that belong to no pair, each with the reason."""
    problems: tuple[Problem, ...]
    """Everything wrong with single files, in the order of the pairs."""
    warnings: tuple[Problem, ...]
    """Possible mistakes that training accepts: flat images, duplicates, shifted pairs. Known only if decoded."""
    fingerprint: str
    """SHA-256 of splits, names and contents of files (sizes unless decoded), as `PairSet.fingerprint`."""
    bad: frozenset[tuple[str, str]]
    """(split, name) of the pairs that have problems."""
    each_source: tuple[SourceReport, ...] = ()
    """The report of each source if there are several."""
    factor: Factor | None = None
    """Size of the targets over that of their (first) sources; None if the pairs have several such factors."""
    notes: tuple[str, ...] = ()
    """What is to be said about the values of each side; known only if decoded."""
    values: tuple[SideValues, ...] = field(default=(), repr=False)
    """The values of each side, the target last; known only if decoded."""
    files: int = 0
    """Number of files inspected."""
    contents: Mapping[str, str] | None = field(default=None, repr=False)
    """File -> hash of its bytes; None unless decoded."""
    data: Data = field(default_factory=Data, repr=False, compare=False)
    """The settings by which the pairs were found."""
    seconds: float = field(default=0.0, compare=False)
    """Duration of the check."""

    @property
    def ok(self) -> bool:
        """Whether every image is in a pair and can be used."""
        return not self.problems and not self.unmatched

    @property
    def left_out(self) -> tuple[Problem, ...]:
        """What --skip-bad leaves out, with the reasons: files with problems, and unmatched files and rows."""
        return (*self.problems, *(Problem(path, reason) for path, reason in self.unmatched))

    def without_bad(self, known: Collection[str] = ()) -> "CheckReport":
        """Return the report for the pairs that can be used. Missing splits are carved from these.

        `known` are fingerprints of data that a training has taken: if one is that of the usable pairs in the splits
        which all pairs had together, as earlier versions carved them, these splits stay. Raises DataError.
        """
        splits = {
            split: tuple(pair for pair in pairs if (split, pair.name) not in self.bad)
            for split, pairs in self.pairs.splits.items()
        }
        kept = replace(self.pairs, splits={split: pairs for split, pairs in splits.items() if pairs}, unmatched=())
        if self.bad and self.pairs.carved:
            as_before = kept.fingerprint(self.contents)
            if not any(same_data(as_before, one) for one in known):
                kept = kept.carved_anew(self.data)
        counts = {split: len(pairs) for split, pairs in kept.splits.items()}
        fingerprint = kept.fingerprint(self.contents)
        return replace(
            self, pairs=kept, counts=counts, unmatched=(), problems=(), bad=frozenset(), fingerprint=fingerprint
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`, under the names of the fields."""
        alignment = self.alignment
        return {
            "ok": self.ok,
            "layout": self.layout,
            "counts": self.counts,
            "carved": list(self.carved),
            "sizes": self.sizes,
            "native_size": list(self.native_size) if self.native_size else None,
            "factor": list(self.factor) if self.factor else None,
            "source_channels": self.source_channels,
            "target_channels": self.target_channels,
            "source_type": self.source_type,
            "target_type": self.target_type,
            "sources": vars(self.sources) if self.sources else None,
            "targets": vars(self.targets) if self.targets else None,
            "each_source": [
                vars(one) | {"values": vars(one.values) if one.values else None} for one in self.each_source
            ],
            "alignment": vars(alignment) | {"reliable": alignment.reliable} if alignment else None,
            "unusable_pairs": len(self.bad),
            "unmatched": _problems_to_json(self.unmatched),
            "problems": _problems_to_json(self.problems),
            "warnings": _problems_to_json(self.warnings),
            "ignored": [str(path) for path, _ in self.pairs.ignored],
            "ignored_reasons": dict(Counter(reason for _, reason in self.pairs.ignored)),
            "hint": self.pairs.hint,
            "notes": list(self.notes),
            "fingerprint": self.fingerprint,
            "files": self.files,
            "seconds": round(self.seconds, 3),
        }

    def _sides(self) -> list[tuple[str, int | None, str | None, ValueReport | None]]:
        """Return (name, channels, type, values) of each side; with several sources the names end in a colon."""
        sources = self.each_source or (SourceReport(self.source_channels, self.source_type, self.sources),)
        names = [title if len(sources) == 1 else f"{title}:" for title in source_titles(len(sources))]
        return [
            *((name, one.channels, one.type, one.values) for name, one in zip(names, sources, strict=True)),
            ("target" if len(sources) == 1 else "target:", self.target_channels, self.target_type, self.targets),
        ]

    def _resizing(self) -> str:
        """Say that sources are resized to the sizes of their targets, if they are."""
        if not self.data.resize_source or self.factor == (1.0, 1.0):
            return ""
        how = "by several factors" if self.factor is None else f"each is {describe_factor(self.factor)}"
        return f" (of the targets; sources are resized to them, {how})"

    def to_text(self) -> str:
        """Return the report as text: content, problems, unmatched files, warnings. Long lists are shortened."""
        carved, unknown = f" ({format_list(self.carved)} taken from train)" if self.carved else "", "?"
        values = ", ".join(f"{name} {_describe_values(kind, side)}" for name, _, kind, side in self._sides())
        unusable = f", {_count_pairs(len(self.bad))} unusable" if self.problems else ""
        lines = [
            f"layout       {self.layout}",
            f"pairs        {format_counts(self.counts)}{carved}",
            f"sizes        {_describe_sizes(self.sizes)}{self._resizing()}",
            f"channels     {', '.join(f'{name} {channels or unknown}' for name, channels, _, _ in self._sides())}",
            f"values       {values}",
            *(f"note         {note}" for note in self.notes),
            *_colour_lines([(name.strip(":"), side) for name, _, _, side in self._sides()]),
            *([f"alignment    {_describe_alignment(self.alignment)}"] if self.alignment else []),
            f"fingerprint  {self.fingerprint[:25]}... (whole in --json)",
            *([f"hint         {self.pairs.hint}"] if self.pairs.hint else []),
            f"problems     {len(self.problems) or 'none'}{unusable}",
            *_list_problems(self.problems),
            f"unmatched    {len(self.unmatched) or 'none'}",
            *_list_problems(self.unmatched),
            f"warnings     {len(self.warnings) or 'none'}",
            *_list_problems(self.warnings),
        ]
        lines += [f"ignored      {line}" for line in describe_ignored(self.pairs.ignored)]
        each = 1000 * self.seconds / max(1, self.files)
        lines.append(f"inspected    {self.files:,} files in {self.seconds:.1f} s, {each:.3g} s per 1,000 files")
        return "\n".join(lines)


# ---- words -----------------------------------------------------------------------------------------------------


def _count_pairs(count: int) -> str:
    return "1 pair is" if count == 1 else f"{count:,} pairs are"


def _problems_to_json(problems: Sequence[tuple[Path, str]]) -> list[dict[str, str]]:
    return [{"path": str(path), "reason": reason} for path, reason in problems]


def _describe_sizes(sizes: dict[str, int]) -> str:
    """Return the most frequent sizes; of many, also the extremes."""
    shown = format_counts(dict(list(sizes.items())[:MOST_SIZES]))
    if len(sizes) <= MOST_SIZES:
        return shown or "?"
    heights, widths = zip(*(map(int, size.split("x")) for size in sizes), strict=True)
    return (
        f"{shown} and {len(sizes) - MOST_SIZES:,} others (HxW; height {min(heights)} to {max(heights)}, "
        f"width {min(widths)} to {max(widths)})"
    )


def _describe_values(kind: str | None, side: ValueReport | None) -> str:
    return f"{kind or '?'}{f' from {side.low:g} to {side.high:g}' if side else ''}"


def name_images(side: str) -> str:
    """Return `sources`, or `images of source 2`."""
    return f"images of {side}" if " " in side else f"{side}s"


def _colour_lines(sides: Sequence[tuple[str, ValueReport | None]]) -> list[str]:
    lines = []
    for name, side in sides:
        if side and side.colours:
            shown = format_examples(side.colours, MOST_COLOURS)
            count = format_count(len(side.colours), "colour")
            lines.append(f"colours      {name_images(name)} have {count} as label maps do: {shown}")
    return lines


def _describe_alignment(alignment: Alignment) -> str:
    base = f"edges agree clearly in {alignment.clear:,} of {alignment.of:,} pairs"
    if not alignment.reliable:
        return f"{base}, too few to judge the alignment"
    return f"{base}; most targets lie {describe_offset(alignment.median)} their sources"


def describe_offset(offset: tuple[int, int]) -> str:
    """Return `3 px below and 1 px left of`, or `on`."""
    down, right = offset
    words = [
        f"{abs(amount)} px {after if amount > 0 else before}"
        for amount, before, after in ((down, "above", "below"), (right, "left of", "right of"))
        if amount
    ]
    return " and ".join(words) or "on"


def _list_problems(problems: Sequence[tuple[Path, str]]) -> list[str]:
    """Return one line for each problem; of many, the first few of each kind and the number of the others.

    A reason that several files share stands once.
    """
    if len(problems) <= MAX_LINES:
        return list(_list_by_reason(problems))
    groups: dict[str, list[tuple[Path, str]]] = {}
    for path, reason in problems:
        groups.setdefault(re.sub(r"/\S+|\S*\d\S*", "", reason)[:60], []).append((path, reason))
    ordered = sorted(groups.values(), key=len, reverse=True)
    lines = []
    for group in ordered[:MOST_KINDS]:
        lines += [
            f"  {escape_unprintable(path)}: {escape_unprintable(reason)}" for path, reason in group[:OF_EACH_KIND]
        ]
        if len(group) > OF_EACH_KIND:
            lines.append(f"    and {len(group) - OF_EACH_KIND:,} more of this kind")
    if rest := sum(map(len, ordered[MOST_KINDS:])):
        lines.append(f"  and {rest:,} more of other kinds")
    return [*lines, "  (--json lists all of them)"]


def _list_by_reason(problems: Sequence[tuple[Path, str]]) -> Iterator[str]:
    """Yield each reason with its first file, then the other files with it, or with it but for a file that it names."""
    groups: dict[str, list[tuple[Path, str]]] = {}
    for path, reason in problems:
        groups.setdefault(re.sub(r"\S*/\S+", "", reason), []).append((path, reason))
    for (path, reason), *others in groups.values():
        yield f"  {escape_unprintable(path)}: {escape_unprintable(reason)}"
        if others:
            names = ", ".join(escape_unprintable(path) for path, _ in others)
            yield f"    and {len(others):,} more: {names}"
