"""Check a data set: report its content, and every problem that prevents training."""

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pix2pix.config import Data, SourceSettings, source_prefix
from pix2pix.config.fields import MaskValue
from pix2pix.data.checks.report import CheckReport, Problem, SourceReport
from pix2pix.data.checks.scan import THREADS, scan_pairs
from pix2pix.data.checks.stray_classes import describe_stray_classes
from pix2pix.data.checks.summary import (
    SideSummary,
    Summary,
    find_duplicates,
    find_misaligned,
    find_other_channels,
    find_other_types,
)
from pix2pix.data.checks.values import SideValues, describe_values, side_settings
from pix2pix.data.encoding.measure import label_name
from pix2pix.data.encoding.nodata import find_other_tags, find_tags, with_tags
from pix2pix.data.io.file_facts import FileFacts, cache_folder, hash_contents
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import PairSet, find_pairs, same_data
from pix2pix.errors import DataError
from pix2pix.system.progress import OnProgress

PROGRESS_SECONDS = 0.05
LEAST_VALUES = 10_000
"""Of label maps with fewer values in all, no class is said to be rare."""


def check(
    data: Data, *, decode: bool = True, progress: OnProgress | None = None, known: Collection[str] = ()
) -> CheckReport:
    """Inspect every pair: decoded in full, or by headers only. Calls progress(done, total) from time to time.

    Facts about a file are remembered until the file changes, even if the check is interrupted. `known` are fingerprints
    of data that a training has taken: of these, images need not be evidently side by side. Problems of files are
    reported, not raised: DataError and ConfigError mean that no pairs were found, or that images may be single ones.
    """
    began = time.monotonic()
    found = find_pairs(data)
    pairs = [pair for split in found.splits.values() for pair in split]
    data.source_settings(found.sources)  # raises for settings of another number of sources
    tags = find_tags(data, pairs) if decode and pairs else ()
    tagged = with_tags(data, tags) if tags else data
    filled = {n for n, part in enumerate(tagged.source_settings(found.sources), start=1) if part.nodata is not None}
    summary = Summary(found.sources, unknown=tagged.mask_value, filled=filled, resize=data.resize_source)
    shown = 0.0
    with FileFacts(cache_folder(data)) as facts:
        for done, (pair, inspections, offset) in enumerate(scan_pairs(pairs, data, facts, decode=decode), start=1):
            summary.add(pair, inspections, offset)
            if progress is not None and (done in (1, len(pairs)) or time.monotonic() - shown > PROGRESS_SECONDS):
                shown = time.monotonic()
                progress(done, len(pairs))
        contents = hash_contents(found.files(), facts, THREADS) if decode else None
    summary.problems += summary.turned.mismatched
    summary.warnings += [] if data.exif == "apply" else summary.turned.agreeing
    of_all: dict[str, Any] = {"contents": contents, "fingerprint": found.fingerprint(contents), "data": data}
    report = replace(_make_report(found, pairs, summary, data), **of_all)
    if not _is_known(report, known):
        summary.problems += _find_doubts(summary, data)
        summary.problems += (Problem(path, reason) for path, reason in find_other_tags(data, tags)) if tags else ()
        report = replace(_make_report(found, pairs, summary, data), **of_all)
    if decode:
        report = _with_values(report, summary, data, tagged)
    return replace(report, files=len(found.files()), seconds=time.monotonic() - began)


def _is_known(report: CheckReport, known: Collection[str]) -> bool:
    """Return whether a training has taken these pairs, or with --skip-bad those without problems."""
    taken = [report.fingerprint]
    if known and report.data.skip_bad:
        with suppress(DataError):
            taken.append(report.without_bad(known).fingerprint)
    return any(same_data(one, other) for one in taken for other in known)


def _find_doubts(summary: Summary, data: Data) -> list[Problem]:
    """Return what must be said by a setting, unless a training has taken it. Raises DataError for single images."""
    single = summary.side_by_side.problems(str(data.path)) if data.layout == "auto" else ()
    return [*single, *([] if data.exif == "apply" else summary.turned.doubtful)]


def _with_values(report: CheckReport, summary: Summary, data: Data, tagged: Data) -> CheckReport:
    """Add notes on the values of each side; pixels without data do not count for its least and greatest value."""
    sources = len(summary.sides) - 1
    types = [*([one.type for one in report.each_source] or [report.source_type]), report.target_type]
    given = side_settings(data, sources)
    sides = []
    for number, (side, dtype) in enumerate(zip(summary.sides, types, strict=True)):
        prefix, settings, nodata = side_settings(tagged, sources)[number]
        if side.ends is not None and dtype is not None:
            facts = side.values_count, side.not_finite, side.transparent
            is_tag = nodata != given[number][2]
            sides.append(SideValues(side.name, prefix, dtype, settings, nodata, is_tag, *side.ends, *facts))
    notes = [note for side in sides for note in describe_values(side)]
    if not report.problems:
        for side, (_, settings, nodata) in zip(summary.sides, given, strict=True):
            notes += _describe_stray(side, settings, nodata)
    return replace(report, notes=tuple(notes), values=tuple(sides))


def _describe_stray(side: SideSummary, settings: SourceSettings, nodata: MaskValue | None) -> Iterator[str]:
    """Yield a note on classes that hardly a pixel has, where the classes are those found in the files."""
    if settings.kind != "labels" or settings.labels is not None or side.colours is None:
        return
    classes = side.colour_files.in_few()
    classes.pop("" if nodata is None else label_name(nodata), None)
    if side.values_count >= LEAST_VALUES:
        yield from describe_stray_classes(side.name, classes)


def _make_report(found: PairSet, pairs: Sequence[Pair], summary: Summary, data: Data) -> CheckReport:
    decoded = any(side.count for side in summary.sides)
    (*sources, target), side_problems = _report_sides(found, pairs, summary, data, decoded)
    counts = [source.channels for source in sources]
    single = sources[0] if len(sources) == 1 else None
    sizes = summary.sizes
    problems = dict.fromkeys([*summary.problems, *summary.size_problems(), *side_problems])
    bad_files = {os.fspath(path) for path, _ in problems}
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
        alignment=summary.alignment() if decoded else None,
        unmatched=found.unmatched,
        problems=tuple(problems),
        warnings=(*find_duplicates(found, summary), *summary.warnings, *find_misaligned(pairs, summary)),
        fingerprint="",
        bad=frozenset(
            (split, pair.name)
            for split, inside in found.splits.items()
            for pair in inside
            if any(ref.file in bad_files for ref in pair.refs)
        ),
        each_source=() if single else tuple(sources),
        factor=summary.factor(),
    )


def _report_sides(
    found: PairSet, pairs: Sequence[Pair], summary: Summary, data: Data, decoded: bool
) -> tuple[list[SourceReport], list[Problem]]:
    """Return the reports of the sources and then the target, and the files that differ from most of their side."""
    expected = [*(one.channels for one in data.source_settings(found.sources)), data.target_channels]
    prefixes = [*(source_prefix(number, found.sources) for number in range(1, found.sources + 1)), "target_"]
    reports: list[SourceReport] = []
    by_channels: list[Problem] = []
    by_type: list[Problem] = []
    for number, side in enumerate(summary.sides):
        paths = [pair.refs[number].path for pair in pairs]
        channels, problems = find_other_channels(side, prefixes[number], paths, expected[number])
        by_channels += problems
        value_type, problems = find_other_types(side, paths)
        by_type += problems
        reports.append(SourceReport(channels, value_type, side.values() if decoded else None))
    return reports, by_channels + by_type
