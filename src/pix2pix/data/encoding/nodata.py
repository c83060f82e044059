"""Pixels without data: the value that marks them, from settings or from the GDAL_NODATA tag of the files."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.config import Data, source_prefix
from pix2pix.config.fields import LARGEST_FLOAT, MaskValue
from pix2pix.data.encoding.ranges import type_bounds
from pix2pix.data.io import images
from pix2pix.data.io.file_facts import FileFacts, cache_folder, file_stamp
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.errors import DataError

Array = NDArray[Any]
Tags = dict[MaskValue, list[Path]]
"""Value in the tag GDAL_NODATA -> the files of a side that have it; files without a tag are left out."""


def find_holes(values: Array, nodata: MaskValue | None) -> NDArray[np.bool_] | None:
    """Return where a source has no data: the value `nodata`, NaN and infinity; None without `nodata`."""
    if nodata is None:
        return None
    holes = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, np.bool_)
    return holes if isinstance(nodata, str) else holes | (values == nodata)


def describe_only_unknown(value: MaskValue) -> str:
    """Say what is wrong with a target that has no other value than that of unknown pixels."""
    return f"holds only {_plain(value)}, which marks unknown pixels, so there is nothing to learn: remove the pair"


def find_tags(data: Data, pairs: Sequence[Pair]) -> tuple[Tags, ...]:
    """Read the tags of all files of each side, the sources before the target; none of a side whose value is set.

    Of 8-bit images the tag is not taken: it often names black or white, which photos have too. What a tag says is
    remembered until its file changes.
    """
    sides = [
        {ref.file: ref for ref in (pair.refs[at] for pair in pairs) if _may_have_tag(ref)} if flag else {}
        for at, flag in enumerate(_open_flags(data, len(pairs[0].sources)))
    ]
    found: tuple[Tags, ...] = tuple({} for _ in sides)
    if not any(sides):
        return found
    with FileFacts(cache_folder(data)) as facts:
        for refs, tags in zip(sides, found, strict=True):
            labels = tags is found[-1] and data.target_kind == "labels"
            for ref in refs.values():
                if (value := _recall_tag(ref, facts, labels=labels)) is not None:
                    tags.setdefault(value, []).append(ref.path)
    return found


def with_tags(data: Data, tags: Sequence[Tags], *, first: bool = False) -> Data:
    """Take `nodata` and `mask_value` that are not set from the tags: that of most files of each side, or the first."""
    *of_sources, of_target = tags
    settings, update = data.source_settings(len(of_sources)), dict[str, Any]()
    for number, (part, found) in enumerate(zip(settings, of_sources, strict=True), start=1):
        if not found:
            continue
        value = _choose(found, first)
        if len(settings) == 1:
            update["nodata"] = value
        else:
            others = update.get("sources", data.sources)
            update["sources"] = {**others, str(number): part.model_copy(update={"nodata": value})}
    if of_target:
        update["mask_value"] = _choose(of_target, first)
    return data.model_copy(update=update) if update else data


def find_other_tags(data: Data, tags: Sequence[Tags]) -> Iterator[tuple[Path, str]]:
    """Yield the files whose tag says another value than that of most files of their side, with the reason."""
    for found, flag in zip(tags, _open_flags(data, len(tags) - 1), strict=True):
        usual = _choose(found, False) if found else None
        for value, paths in found.items():
            if usual is not None and value != usual:
                reason = (
                    f"its tag GDAL_NODATA says {_plain(value)}, but that of {found[usual][0]} says {_plain(usual)}: "
                    f"mark pixels without data by one value in all files, and give it, as in {flag}={_plain(usual)}"
                )
                yield from ((path, reason) for path in paths)


def _choose(tags: Tags, first: bool) -> MaskValue:
    return next(iter(tags)) if first else max(tags, key=lambda value: len(tags[value]))


def _open_flags(data: Data, sources: int) -> list[str]:
    """Return the flag of each side whose value may be taken from tags, the target last; empty for the others."""
    flags = [
        f"--{source_prefix(number, sources).removeprefix('source_')}nodata"
        if part.nodata is None and part.kind == "image"
        else ""
        for number, part in enumerate(data.source_settings(sources), start=1)
    ]
    return [*flags, "--mask-value" if data.mask_value is None else ""]


def _plain(value: MaskValue) -> str:
    return value if isinstance(value, str) else f"{value:.9g}"


def _may_have_tag(ref: ImageRef) -> bool:
    return ref.file.lower().endswith((".tif", ".tiff"))


def _recall_tag(ref: ImageRef, facts: FileFacts, *, labels: bool) -> MaskValue | None:
    """Return what `read_tag` does, from known facts if the file has not changed."""
    question, stamp = f"GDAL_NODATA{' of labels' * labels} of {ref.view.label}", file_stamp(ref.file)
    known = facts.get(ref.file, question, stamp)
    if not isinstance(known, list):
        value = read_tag(ref, labels=labels)
        known = [] if value is None else [value]
        facts.put(ref.file, question, stamp, known)
    return known[0] if known else None


def read_tag(ref: ImageRef, *, labels: bool = False) -> MaskValue | None:
    """Return the value in the GDAL_NODATA tag of a file; None without one, for 8 bits, and if no pixel can have it."""
    if not _may_have_tag(ref):
        return None
    try:
        value = float(images.read_surroundings(ref.path).nodata)
        facts = images.probe(ref.path, ref.view)
    except (ValueError, DataError):
        return None
    bounds = type_bounds(facts.dtype)
    if facts.dtype == "uint8" and not (labels and facts.channels == 1):
        return None
    if math.isnan(value):
        return "nan" if bounds is None else None
    low, high = bounds or (-LARGEST_FLOAT, LARGEST_FLOAT)
    return value if low <= value <= high and (bounds is None or value.is_integer()) else None
