"""The folders of one split in, its pairs by name and what has no partner out; order never makes a pair."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pix2pix.config import Data
from pix2pix.config.fields import Direction
from pix2pix.data.pairing.pair import IMAGE_SUFFIXES, ImageRef, Pair, Stray, patterns_of
from pix2pix.data.pairing.patterns import ID, Naming, flags, naming, plain_name, suggested, suggested_within
from pix2pix.errors import ConfigError, DataError
from pix2pix.text import format_count, format_examples, format_list


@dataclass(frozen=True)
class Matched:
    """What one split's folders hold."""

    pairs: list[Pair]
    strays: list[Stray]
    passed_over: list[Path]
    hint: str = ""


@dataclass(frozen=True)
class _Names:
    """The images of one folder by the name of their pair, and what has none of its own."""

    files: dict[str, str]
    strays: list[Stray]


def match_halves(folder: Path, direction: Direction, *, deep: bool = True) -> Matched:
    """Side-by-side files below a folder, or in it alone: beside loose images there may be a run's pictures."""
    passed: list[Path] = []
    files = _all_images(folder, passed, deep=deep)
    _refuse_twins(folder, files)
    names, patterns = _named(folder, files, plain_name), suggested_within(files)
    hint = (
        f"taken as side-by-side images, but their names suggest pairs of files: {flags(patterns)}, or the other way "
        "round, would make them so"
        if patterns
        else ""
    )
    pairs = [
        _pair(name, [ImageRef(path, "left"), ImageRef(path, "right")], direction) for name, path in names.files.items()
    ]
    return Matched(pairs, names.strays, passed, hint)


def _refuse_twins(folder: Path, files: Sequence[str]) -> None:
    """Two folders whose names go together are the sides of pairs, rather than full of side-by-side images."""
    inside: dict[str, list[str]] = {}
    for file in files:
        first, _, rest = file.replace(os.sep, "/").partition("/")
        inside.setdefault(first if rest else "", []).append(rest)
    if len(inside) != 2 or "" in inside or min(map(len, inside.values())) < 2:
        return
    (one, ones), (other, others) = sorted(inside.items())
    alike = set(map(plain_name, ones)) == set(map(plain_name, others))
    patterns = (ID, ID) if alike else suggested(ones, others)
    if patterns is not None and (alike or patterns[0] != patterns[1]):  # two kinds may both be numbered
        sides = flags((f"{one}/{patterns[0]}", f"{other}/{patterns[1]}"))
        rename = "rename the folders to source and target, or say " if alike else "say "
        raise DataError(
            f"{folder}: the files of its folders {one} and {other} go together by name, as the two sides of pairs do: "
            f"{rename}{sides} or the other way round; if they are side-by-side images, put them into one folder"
        )


def match_folders(folders: Sequence[Path], data: Data) -> Matched:
    """Pairs of equal names in two folders or more, and the images without a partner; target last, or A and B."""
    for folder in folders:
        if not folder.is_dir():
            other = next(path for path in folders if path != folder)
            raise DataError(f"{other}: has no partner folder {folder}; a pair needs {_all_of(folders)}")
    passed: list[Path] = []
    patterns: list[str | None] = [*_source_patterns(data, len(folders) - 1), data.target_pattern]
    patterns = patterns if data.direction == "AtoB" else patterns[::-1]
    files = [_all_images(folder, passed) for folder in folders]
    named = [
        _named(folder, inside, naming(pattern, IMAGE_SUFFIXES), f"does not fit the pattern {pattern}")
        for folder, inside, pattern in zip(folders, files, patterns, strict=True)
    ]
    if not set.intersection(*(set(names.files) for names in named)):
        if not patterns_of(data) and (doubled := [stray for names in named for stray in names.strays]):
            raise DataError(f"{doubled[0].path}: {doubled[0].reason}")
        raise DataError(_nothing_in_common(folders, files, named, data))
    pairs, strays = _partners(named, list(map(str, folders)), data.direction)
    return Matched(pairs, strays, passed)


def _nothing_in_common(folders: Sequence[Path], files: Sequence[list[str]], named: Sequence[_Names], data: Data) -> str:
    """Of the first folder and one in which its names find no partner, or of all of them."""
    lonely = (at for at in range(1, len(named)) if not named[0].files.keys() & named[at].files.keys())
    at = next(lonely, None)
    if at is None:
        return f"{format_list([str(folder) for folder in folders])}: no name of an image is in all of them"
    hint = suggested(*(files if data.direction == "AtoB" else files[::-1])) if len(folders) == 2 else None
    try_it = f", or try {flags(hint)}" if hint else ", or a --source-pattern for each source" * (len(folders) > 2)
    return (
        f"{folders[0]} and {folders[at]}: no image of one has the name of one of the other "
        f"({format_examples(named[0].files or files[0])} against {format_examples(named[at].files or files[at])}); "
        f"give the {'two ' if len(folders) == 2 else ''}images of a pair the same name{try_it}"
    )


def match_within(folder: Path, data: Data) -> Matched:
    """Pairs of equal names in one folder, where each source and the target have a pattern of their own."""
    assert data.source_pattern is not None
    assert data.target_pattern is not None
    passed: list[Path] = []
    files = _all_images(folder, passed)
    patterns = [*data.source_pattern, data.target_pattern]
    namings = [naming(pattern, IMAGE_SUFFIXES) for pattern in patterns]
    sides: dict[tuple[int, ...], list[str]] = {}
    for file in files:
        sides.setdefault(tuple(n for n, name_of in enumerate(namings) if name_of(file) is not None), []).append(file)
    several, none = ("both patterns", "neither pattern") if len(patterns) == 2 else ("several patterns", "no pattern")
    strays = [
        Stray(folder / file, f"fits {several if fits else none}")
        for fits, strangers in sides.items()
        if len(fits) != 1
        for file in strangers
    ]
    named = [_named(folder, sides.get((n,), []), name_of) for n, name_of in enumerate(namings)]
    if not set.intersection(*(set(names.files) for names in named)):
        hint = suggested_within(files) if len(patterns) == 2 else None
        counts = ", ".join(f"{len(names.files)} fit {pattern}" for names, pattern in zip(named, patterns, strict=True))
        raise DataError(
            f"{folder}: no files fit {' and '.join(patterns)} with one name in place of {{id}} "
            f"({counts}, of {format_examples(files)})"
            f"{f'; try {flags(hint)}, or the other way round' if hint else ''}"
        )
    pairs, lonely = _partners(named, patterns, "AtoB")
    return Matched(pairs, strays + lonely, passed)


def _partners(named: Sequence[_Names], places: Sequence[str], direction: Direction) -> tuple[list[Pair], list[Stray]]:
    """Pairs of equal names, and what lacks a partner, which would be in another of the places."""
    shared = set.intersection(*(set(names.files) for names in named))
    pairs = [_pair(name, [ImageRef(names.files[name]) for names in named], direction) for name in shared]
    lonely = [
        Stray(Path(file), f"has no partner {name} in {where}")
        for names in named
        for name, file in names.files.items()
        if name not in shared
        for where in [next(place for other, place in zip(named, places, strict=True) if name not in other.files)]
    ]
    return pairs, [stray for names in named for stray in names.strays] + lonely


def _pair(name: str, refs: Sequence[ImageRef], direction: Direction) -> Pair:
    """The one place where A and B become source and target; of several sources the target is the last."""
    first, *more, target = refs if direction == "AtoB" else refs[::-1]
    return Pair(name, first, target, tuple(more))


def _named(folder: Path, files: Iterable[str], name_of: Naming, unfit: str = "") -> _Names:
    """Files below `folder` by the names of their pairs; of two with one name neither is taken: either may be right."""
    named: dict[str, list[str]] = {}
    strays = []
    for relative in files:
        name = name_of(relative)
        if name is None:
            strays.append(Stray(folder / relative, unfit))
        else:
            named.setdefault(name, []).append(os.path.join(folder, relative))
    for name, same in named.items():
        for file in same if len(same) > 1 else ():
            others = ", ".join(other for other in same if other != file)
            strays.append(Stray(Path(file), f"has one name, {name}, with {others}; pairs go by name, so keep one"))
    return _Names({name: same[0] for name, same in named.items() if len(same) == 1}, strays)


def _source_patterns(data: Data, count: int) -> list[str | None]:
    """One for each source of a pair. Raises ConfigError for another number of them."""
    patterns = data.source_pattern or (None,)
    if len(patterns) not in (1, count):
        raise ConfigError(
            f"--source-pattern is given {len(patterns)} times, and each pair has {format_count(count, 'source')}"
        )
    return list(patterns) * (count if len(patterns) == 1 else 1)


def _all_of(folders: Sequence[Path]) -> str:
    return "both" if len(folders) == 2 else f"all of its {len(folders)} images"


# ---- files by their names ----------------------------------------------------------------------------------------


def _all_images(folder: Path, passed: list[Path], *, deep: bool = True) -> list[str]:
    """Images below a folder by their names, relative to it; what else there is joins `passed`. Raises DataError."""
    files = list(_images(folder, passed) if deep else _loose_names(folder))
    if not files:
        raise DataError(f"{folder}: no images; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return files


def _images(folder: Path, passed: list[Path]) -> Iterator[str]:
    """Whatever bears an image's name, at any depth; linked folders, which may lead in circles, stay shut."""
    for place, folders, files in os.walk(folder, onerror=_raise):
        posing = [name for name in folders if _is_image_name(name)]  # reported by name when it is read
        shut = {name for name in folders if name.startswith(".") or os.path.islink(os.path.join(place, name))}
        passed += (Path(place, name) for name in shut.difference(posing))
        passed += (Path(place, name) for name in files if not _is_image_name(name))
        folders[:] = [name for name in folders if name not in posing and not name.startswith(".")]
        below = os.path.relpath(place, folder)
        names = (name for name in sorted(files + posing) if _is_image_name(name))
        yield from names if below == os.curdir else (os.path.join(below, name) for name in names)


def loose_images(folder: Path) -> list[Path]:
    return [folder / name for name in _loose_names(folder)]


def _loose_names(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if _is_image_name(name)]


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _raise(error: OSError) -> NoReturn:
    raise error
