"""Match the images of a layout to pairs by name, never by order; report unmatched and ignored files."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pix2pix.data.pairing.image_files import list_images
from pix2pix.data.pairing.layouts import Layout
from pix2pix.data.pairing.manifest import read_manifest
from pix2pix.data.pairing.pair import IMAGE_SUFFIXES, Ignored, ImageRef, MatchedPairs, Pair, Unmatched
from pix2pix.data.pairing.patterns import (
    ID,
    Naming,
    compile_pattern,
    pattern_flags,
    plain_name,
    suggest_patterns,
    suggest_patterns_within,
)
from pix2pix.errors import DataError
from pix2pix.text import format_examples, format_list


@dataclass(frozen=True)
class _NamedImages:
    """The images of one side by pair name, and the images that cannot be named."""

    files: dict[str, str]
    unmatched: list[Unmatched]


class _MatchedSplit(NamedTuple):
    """The pairs of one split, and the other files in its folders."""

    pairs: list[Pair]
    unmatched: list[Unmatched]
    ignored: list[Ignored]
    hint: str = ""


def match_layout(layout: Layout) -> MatchedPairs:
    """Match the images of every split. Raises DataError where a split has no pairs, or OSError."""
    if layout.manifest is not None:
        return read_manifest(layout.manifest)
    match = {"halves": _match_halves, "folders": _match_folders, "patterns": _match_patterns}[layout.kind]
    matched = {split: match(layout, folders) for split, folders in layout.splits.items()}
    return MatchedPairs(
        {split: one.pairs for split, one in matched.items()},
        [*layout.unmatched, *(unmatched for one in matched.values() for unmatched in one.unmatched)],
        [*layout.ignored, *(ignored for one in matched.values() for ignored in one.ignored)],
        next((one.hint for one in matched.values() if one.hint), ""),
    )


def _match_halves(layout: Layout, folders: Sequence[Path]) -> _MatchedSplit:
    """Make a pair of each side-by-side image."""
    (folder,) = folders
    files, ignored = list_images(folder, recursive=layout.recursive)
    if not layout.is_asked:
        _refuse_folders_of_sides(folder, files)
    named, patterns = _name_images(folder, files, plain_name), suggest_patterns_within(files)
    hint = (
        "read as side-by-side images, but the names suggest separate files for source and target: if so, give "
        f"{pattern_flags(patterns)}, or swap the two"
        if patterns and not layout.is_asked
        else ""
    )
    pairs = [_make_pair(name, [ImageRef(file, half) for half in layout.halves]) for name, file in named.files.items()]
    return _MatchedSplit(pairs, named.unmatched, ignored, hint)


def _match_folders(layout: Layout, folders: Sequence[Path]) -> _MatchedSplit:
    """Match equal names in the folders of the sources and the target."""
    once = {folder: list_images(folder) for folder in dict.fromkeys(folders)}  # one may hold several sources
    listed = [once[folder] for folder in folders]
    named = [
        _name_images(folder, files, compile_pattern(pattern, IMAGE_SUFFIXES), f"does not fit the pattern {pattern}")
        for folder, (files, _), pattern in zip(folders, listed, layout.patterns, strict=True)
    ]
    fitting = {Path(file) for images in named for file in images.files.values()}
    named = [replace(one, unmatched=[each for each in one.unmatched if each.path not in fitting]) for one in named]
    if not _shared_names(named):
        ambiguous = [unmatched for images in named for unmatched in images.unmatched]
        if ambiguous and not any(layout.patterns):
            raise DataError(f"{ambiguous[0].path}: {ambiguous[0].reason}")
        raise DataError(_describe_nothing_shared(folders, [files for files, _ in listed], named))
    pairs, unmatched = _match_names(named, list(map(str, folders)))
    return _MatchedSplit(pairs, list(dict.fromkeys(unmatched)), [one for _, found in once.values() for one in found])


def _match_patterns(layout: Layout, folders: Sequence[Path]) -> _MatchedSplit:
    """Match the files of one folder, where each source and the target have a pattern of their own."""
    (folder,) = folders
    files, ignored = list_images(folder)
    patterns = [pattern for pattern in layout.patterns if pattern is not None]
    namings = [compile_pattern(pattern, IMAGE_SUFFIXES) for pattern in patterns]
    fitting: dict[tuple[int, ...], list[str]] = {}
    for file in files:
        fitting.setdefault(tuple(n for n, name in enumerate(namings) if name(file) is not None), []).append(file)
    several, none = ("both patterns", "neither pattern") if len(patterns) == 2 else ("several patterns", "no pattern")
    ambiguous = [
        Unmatched(folder / file, f"fits {several if fits else none}")
        for fits, others in fitting.items()
        if len(fits) != 1
        for file in others
    ]
    named = [_name_images(folder, fitting.get((n,), []), naming) for n, naming in enumerate(namings)]
    if not _shared_names(named):
        hint = suggest_patterns_within(files) if len(patterns) == 2 else None
        counts = ", ".join(
            f"{len(images.files)} fit {pattern}" for images, pattern in zip(named, patterns, strict=True)
        )
        raise DataError(
            f"{folder}: no files fit {' and '.join(patterns)} with one name in place of {{id}} "
            f"({counts}, of {format_examples(files)})"
            f"{f'; try {pattern_flags(hint)}, or swap the two' if hint else ''}"
        )
    pairs, unmatched = _match_names(named, patterns)
    return _MatchedSplit(pairs, ambiguous + unmatched, ignored)


# ---- by name -----------------------------------------------------------------------------------------------------


def _name_images(folder: Path, files: Iterable[str], naming: Naming, unfit: str = "") -> _NamedImages:
    """Name the files below `folder`. Files that share a name are all unmatched: any of them may be the right one."""
    named: dict[str, list[str]] = {}
    unmatched = []
    for relative in files:
        name = naming(relative)
        if name is None:
            unmatched.append(Unmatched(folder / relative, unfit))
        else:
            named.setdefault(name, []).append(os.path.join(folder, relative))
    for name, same in named.items():
        for file in same if len(same) > 1 else ():
            others = ", ".join(other for other in same if other != file)
            reason = f"has the same name, {name}, as {others}; pairs are matched by name: keep one"
            unmatched.append(Unmatched(Path(file), reason))
    return _NamedImages({name: same[0] for name, same in named.items() if len(same) == 1}, unmatched)


def _shared_names(named: Sequence[_NamedImages]) -> set[str]:
    return set.intersection(*(set(images.files) for images in named))


def _match_names(named: Sequence[_NamedImages], places: Sequence[str]) -> tuple[list[Pair], list[Unmatched]]:
    """Make pairs of equal names. An unmatched image names the folder or pattern in which it has no partner."""
    shared = _shared_names(named)
    pairs = [_make_pair(name, [ImageRef(images.files[name]) for images in named]) for name in shared]
    unmatched = [one for images in named for one in images.unmatched]
    for images in named:
        for name, file in images.files.items():
            if name not in shared:
                missing = next(place for other, place in zip(named, places, strict=True) if name not in other.files)
                unmatched.append(Unmatched(Path(file), f"has no partner {name} in {missing}"))
    return pairs, unmatched


def _make_pair(name: str, refs: Sequence[ImageRef]) -> Pair:
    """Make a pair from its sources followed by its target."""
    first, *more, target = refs
    return Pair(name, first, target, tuple(more))


# ---- errors ------------------------------------------------------------------------------------------------------


def _refuse_folders_of_sides(folder: Path, files: Sequence[str]) -> None:
    """Raise DataError if side-by-side images lie in two subfolders with equal names: these are the sides of pairs."""
    inside: dict[str, list[str]] = {}
    for file in files:
        first, _, rest = file.replace(os.sep, "/").partition("/")
        inside.setdefault(first if rest else "", []).append(rest)
    if len(inside) != 2 or "" in inside or min(map(len, inside.values())) < 2:
        return
    (one, ones), (other, others) = sorted(inside.items())
    alike = set(map(plain_name, ones)) == set(map(plain_name, others))
    patterns = (ID, ID) if alike else suggest_patterns(ones, others)
    if patterns is not None and (alike or patterns[0] != patterns[1]):  # two kinds may both be numbered
        sides = pattern_flags((f"{one}/{patterns[0]}", f"{other}/{patterns[1]}"))
        rename = "rename the folders to source and target, or give " if alike else "give "
        raise DataError(
            f"{folder}: the names in {one} and {other} match, as those of sources and targets do: {rename}{sides}, or "
            "swap the two; if they are side-by-side images, put them into one folder"
        )


def _describe_nothing_shared(folders: Sequence[Path], files: Sequence[list[str]], named: Sequence[_NamedImages]) -> str:
    """Name two folders that share no image name; if any two share one, name all folders."""
    other = next((at for at in range(1, len(named)) if not _shared_names([named[0], named[at]])), None)
    if other is None:
        return f"{format_list(folders)}: no image name occurs in all of them"
    two = len(folders) == 2
    hint = suggest_patterns(*files) if two else None
    try_it = f", or try {pattern_flags(hint)}" if hint else "" if two else ", or a --source-pattern for each source"
    return (
        f"{folders[0]} and {folders[other]}: no image name occurs in both "
        f"({format_examples(named[0].files or files[0])} against {format_examples(named[other].files or files[other])})"
        f"; give the {'two ' if two else ''}images of a pair the same name{try_it}"
    )
