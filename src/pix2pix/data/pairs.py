"""A folder or manifest in any known layout in, named pairs of image files by split out; opens no image."""

import csv
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

from pix2pix.config import Data, Direction
from pix2pix.data.patterns import Naming, flags, naming, plain_name, suggested, suggested_within
from pix2pix.errors import ConfigError, DataError

Half = Literal["left", "right"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".npy"})
"""What counts as an image by its name, in lower case; its content decides how it is read."""

SPLITS = ("train", "val", "test")
MANIFEST = "pairs.csv"
LAYOUTS = (
    "train|val|test/ with side-by-side images, A|B/train|val|test/, train|val|test/A|B/, trainA|trainB|valA|..., "
    "side-by-side images directly inside, any of these with source|target/ or source_1|source_2|...|target/ for A|B/, "
    f"{MANIFEST} with columns source,target[,split] or source_1,source_2,...,target[,split], or "
    "--source DIR [--source DIR ...] --target DIR"
)
"""The layouts that are understood, for error messages."""

_NEAR_SPLITS = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "testing": "test",
} | {split: split for split in SPLITS}


@dataclass(frozen=True, slots=True, init=False)
class ImageRef:
    """One image: a file, or one half of a side-by-side file."""

    file: str
    """Its path as text, a tenth of what a `Path` takes: there may be millions of pairs."""
    half: Half | None

    def __init__(self, path: str | Path, half: Half | None = None) -> None:
        object.__setattr__(self, "file", os.fspath(path))
        object.__setattr__(self, "half", half)

    @property
    def path(self) -> Path:
        return Path(self.file)


@dataclass(frozen=True, slots=True)
class Pair:
    """One example. The name is unique in its split and safe as a relative path: no root, no `..`."""

    name: str
    source: ImageRef
    """The only one, or the first of several."""
    target: ImageRef
    more: tuple[ImageRef, ...] = ()
    """The other sources, where there are several, in their order."""

    @property
    def sources(self) -> tuple[ImageRef, ...]:
        return (self.source, *self.more)

    @property
    def refs(self) -> tuple[ImageRef, ...]:
        """All sources, then the target."""
        return (self.source, *self.more, self.target)


class Stray(NamedTuple):
    """A file that belongs to no pair, or a manifest with a row that makes none, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class PairSet:
    """All pairs of a data set by split, each split in natural order of names (2 before 10)."""

    splits: dict[str, tuple[Pair, ...]]
    """`train`, `val`, `test`: those that exist or were carved, never an empty one."""
    carved: tuple[str, ...]
    """Splits that were taken out of `train`, as there was no folder of theirs."""
    layout: str
    """How the files lie, for humans."""
    strays: tuple[Stray, ...] = ()
    """Images that belong to no pair, and rows of a manifest that make none."""
    passed_over: tuple[Path, ...] = ()
    """Files among the images that are none by their names, and linked folders: never read."""
    hint: str = ""
    """What else the names suggest; it changes nothing."""

    @property
    def unmatched(self) -> tuple[Path, ...]:
        """The paths of the strays."""
        return tuple(path for path, _ in self.strays)

    @property
    def sources(self) -> int:
        """How many each pair has."""
        return next((len(pair.sources) for pairs in self.splits.values() for pair in pairs), 1)

    def fingerprint(self) -> str:
        """SHA-256 over splits, names, file names and byte sizes: it changes when the data set does."""
        digest = hashlib.sha256()
        for split, pairs in sorted(self.splits.items()):
            for pair in sorted(pairs, key=lambda pair: pair.name):
                sizes = {file: _size(file) for file in dict.fromkeys(ref.file for ref in pair.refs)}
                sides = [f"{sizes[ref.file]}:{ref.half}:{os.path.basename(ref.file)}" for ref in pair.refs]
                digest.update(_bytes("\0".join([split, pair.name, *sides]) + "\n"))
        return digest.hexdigest()


def find_pairs(data: Data) -> PairSet:
    """The pairs that `data` names, missing splits carved from `train`. Raises DataError or ConfigError."""
    try:
        found = _found(data)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check the permissions") from None
    splits, carved = _carved({split: pairs for split, pairs in found.splits.items() if pairs}, data)
    ordered = {split: tuple(sorted(splits[split], key=_natural)) for split in SPLITS if split in splits}
    if not any(found.splits.values()) and found.strays:
        path, reason = sorted(found.strays)[0]
        raise DataError(f"{path}: {reason}; it leaves no pair at all")
    return PairSet(
        ordered, carved, found.layout, tuple(sorted(found.strays)), tuple(sorted(found.passed_over)), found.hint
    )


def describe_unmatched(pairs: PairSet) -> str:
    """One sentence on what belongs to no pair, with the first reason; empty if there is nothing."""
    count = len(pairs.strays)
    if not count:
        return ""
    subject = "1 image belongs" if count == 1 else f"{count} images belong"
    return f"{subject} to no pair: {_examples(map(str, pairs.unmatched))} (the first {pairs.strays[0].reason})"


# ---- layouts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    layout: str
    splits: dict[str, list[Pair]]
    strays: list[Stray]
    passed_over: list[Path]
    hint: str = ""


@dataclass(frozen=True)
class _Names:
    """The images of one folder by the name of their pair, and what has none of its own."""

    files: dict[str, str]
    strays: list[Stray]


def _found(data: Data) -> _Found:
    if data.source is not None and data.target is not None:
        _direction_is_said(data, "--source and --target")
        return _sources_and_target([Path(folder) for folder in data.source], Path(data.target), data)
    if data.path is None:
        raise ConfigError("no data is named: give DATA, a folder of image pairs, or --source DIR --target DIR")
    root = Path(data.path)
    if not root.exists():
        raise DataError(f"{root}: no such folder or manifest; expected {LAYOUTS}")
    if root.is_file():
        return _manifest(root, data)
    return _folder(root, data)


def _folder(root: Path, data: Data) -> _Found:
    """The one layout that a folder has; none or several are errors."""
    folders = _folders_in(root)
    _refuse_near_names(root, folders)
    if any("/" in pattern for pattern in _patterns(data)):
        return _told_apart(root, folders, data)
    finders: dict[str, Callable[[], _Found]] = {
        MANIFEST: lambda: _manifest(root / MANIFEST, data),
        "train, val and test": lambda: _in_splits(root, folders, data),
        "A and B": lambda: _whole(root, folders, data),
        "trainA and trainB": lambda: _split_a_and_b(root, folders, data),
        "source_1, source_2, ... and target": lambda: _whole(root, folders, data),
    }
    present = {
        MANIFEST: (root / MANIFEST).exists(),
        "train, val and test": bool(folders.intersection(SPLITS)),
        "A and B": bool(folders & {"A", "B"}),
        "trainA and trainB": any(split + side in folders for split in SPLITS for side in "AB"),
        "source_1, source_2, ... and target": any(map(_NUMBERED.fullmatch, folders)),
    }
    if not any(present.values()):  # a manifest may well lie beside them
        present["source_1, source_2, ... and target"] = {"source", "target"} <= folders
    layouts = [layout for layout in finders if present[layout]]
    if len(layouts) > 1:
        raise DataError(f"{root}: has several layouts at once ({', '.join(layouts)}); keep one of them")
    if layouts:
        return finders[layouts[0]]()
    if _patterns(data):
        return _told_apart(root, folders, data)
    if _loose_images(root):
        return _joined("side-by-side images in one folder", {"train": _halves(root, data.direction, deep=False)})
    inside = f"it has the folders {_examples(sorted(folders))}" if folders else "it has no images and no folders"
    raise DataError(f"{root}: no known layout of pairs, {inside}; expected {LAYOUTS}")


def _in_splits(root: Path, folders: set[str], data: Data) -> _Found:
    """train, val and test, each with folders for the sides, with files told apart by name, or side by side."""
    present = [split for split in SPLITS if split in folders]
    sides = {split: _sides(root / split, _folders_in(root / split), data) for split in present}
    if not any(sides.values()):
        return _told_apart(root, folders, data) if _patterns(data) else _side_by_side(root, present, data)
    first = next(filter(None, sides.values()))
    for split, names in sides.items():
        if names != first:
            raise DataError(f"{root / split}: expected the folders {_listed(first)}, as the other splits have them")
    matched = {split: _matched([root / split / name for name in first], data) for split in present}
    loose = [Stray(path, f"lies beside {_listed(first)}") for split in present for path in _loose_images(root / split)]
    found = _joined(f"folders {_listed(first)} in {_listed(present)}", matched)
    return _Found(found.layout, found.splits, loose + found.strays, found.passed_over)


def _side_by_side(root: Path, present: list[str], data: Data) -> _Found:
    matched = {split: _halves(root / split, data.direction) for split in present}
    return _joined(f"side-by-side images in {_listed(present)}", matched)


def _told_apart(root: Path, folders: set[str], data: Data) -> _Found:
    """Sources and targets in the same folders, which patterns tell apart."""
    _direction_is_said(data, "the patterns")
    if data.source_pattern is None or data.target_pattern is None:
        raise ConfigError("sources and targets lie in one folder: give both --source-pattern and --target-pattern")
    present = [split for split in SPLITS if split in folders]
    places = {split: root / split for split in present} or {"train": root}
    matched = {split: _matched_within(place, data) for split, place in places.items()}
    return _joined(f"files told apart by name{f' in {_listed(present)}' if present else ''}", matched)


def _split_a_and_b(root: Path, folders: set[str], data: Data) -> _Found:
    present = [split for split in SPLITS if {split + "A", split + "B"} & folders]
    matched = {split: _matched([root / f"{split}A", root / f"{split}B"], data) for split in present}
    return _joined(f"folders {_listed([f'{split}{side}' for split in present for side in 'AB'])}", matched)


def _whole(root: Path, folders: set[str], data: Data) -> _Found:
    """Folders for the sides, with the splits inside or with all of `train`."""
    names = _sides(root, folders, data)
    return _whole_folders(f"folders {_listed(names)}", [root / name for name in names], data)


def _sides(place: Path, folders: set[str], data: Data) -> list[str]:
    """The folders of a pair's images by their names: A and B, or the sources and the target; none where none is there.

    Raises DataError for a side that is missing, ConfigError for a direction where the names say it.
    """
    if one := folders & {"A", "B"}:
        if len(one) == 1:
            raise DataError(f"{place}: has a folder {min(one)} but no {min({'A', 'B'} - one)}; a pair needs both")
        return ["A", "B"]
    numbered = [name for name in folders if _NUMBERED.fullmatch(name)]
    if not numbered and not {"source", "target"} <= folders:
        return []
    _direction_is_said(data, "the folders' names")
    sources = _in_order(numbered, str(place)) or ["source"]
    near = sorted(name for name in folders if _NEAR_SOURCE.fullmatch(name) and name not in sources)
    if near:
        rename = "rename it to source_N, counted from 1" if numbered else "keep one of the two"
        raise DataError(f"{place / near[0]}: not a known name beside {sources[0]}; {rename}")
    if "target" not in folders:
        raise DataError(f"{place}: has a folder {sources[0]} but no target; a pair needs both")
    return [*sources, "target"]


_NUMBERED, _NEAR_SOURCE = re.compile("source_[1-9][0-9]*"), re.compile("(?i)sources?[ _-]?[0-9]*")


def _in_order(names: Iterable[str], where: str) -> list[str]:
    """source_1, source_2, ... as far as they go. Raises DataError for a gap."""
    ordered = sorted(names, key=lambda name: int(name.removeprefix("source_")))
    for number, name in enumerate(ordered, start=1):
        if name != f"source_{number}":
            raise DataError(f"{where}: has {name} but no source_{number}; number the sources from 1, without gaps")
    return ordered


def _sources_and_target(sources: list[Path], target: Path, data: Data) -> _Found:
    """Folders that are named one by one."""
    folders, known = [*sources, target], set()
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: {'no' if folder.exists() else 'no such'} folder; expected one of images")
        if folder.resolve() in known:
            raise ConfigError(
                f"{'' if len(folders) == 2 else 'two of '}--source and --target are one folder, {folder}: give two, or "
                "the folder as DATA with --source-pattern and --target-pattern"
            )
        known.add(folder.resolve())
    return _whole_folders(f"folders {_listed([str(folder) for folder in folders])}", folders, data)


def _whole_folders(layout: str, folders: Sequence[Path], data: Data) -> _Found:
    """Two folders or more with the splits inside, or with all images of `train`."""
    inside = {folder: _folders_in(folder) for folder in folders}
    for folder, names in inside.items():
        _refuse_near_names(folder, names)
    present = [split for split in SPLITS if split in set().union(*inside.values())]
    if not present:
        return _joined(layout, {"train": _matched(folders, data)})
    matched = {split: _matched([folder / split for folder in folders], data) for split in present}
    loose = [
        Stray(path, "lies beside the folders of the splits") for folder in folders for path in _loose_images(folder)
    ]
    found = _joined(f"{layout} with {_listed(present)}", matched)
    return _Found(found.layout, found.splits, loose + found.strays, found.passed_over)


@dataclass(frozen=True)
class _Matched:
    """What one split's folders hold."""

    pairs: list[Pair]
    strays: list[Stray]
    passed_over: list[Path]
    hint: str = ""


def _joined(layout: str, matched: dict[str, _Matched]) -> _Found:
    return _Found(
        layout,
        {split: part.pairs for split, part in matched.items()},
        [stray for part in matched.values() for stray in part.strays],
        [path for part in matched.values() for path in part.passed_over],
        next((part.hint for part in matched.values() if part.hint), ""),
    )


def _refuse_near_names(root: Path, folders: set[str]) -> None:
    """A folder `valid` or `Train` would be passed over while a split is carved: better to ask."""
    exact = {*SPLITS, *(split + side for split in SPLITS for side in "AB")}
    for name in sorted(folders - exact):
        plain = re.sub(r"[^a-z]", "", name.lower())
        for stem, side in ((plain, ""), (plain[:-1], plain[-1:].upper())):
            if stem in _NEAR_SPLITS and side in ("", "A", "B"):
                raise DataError(f"{root / name}: not a known split; rename it to {_NEAR_SPLITS[stem]}{side}")


# ---- pairs of one split ------------------------------------------------------------------------------------


def _halves(folder: Path, direction: Direction, *, deep: bool = True) -> _Matched:
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
    return _Matched(pairs, names.strays, passed, hint)


def _refuse_twins(folder: Path, files: Sequence[str]) -> None:
    """Two folders with files of the same names are the sides of pairs, rather than full of side-by-side images."""
    names: dict[str, set[str]] = {}
    for file in files:
        first, _, rest = plain_name(file).partition("/")
        names.setdefault(first if rest else "", set()).add(rest)
    if len(names) == 2 and "" not in names:
        (one, ones), (other, others) = sorted(names.items())
        if min(len(ones), len(others)) > 1 and ones == others:
            raise DataError(
                f"{folder}: its folders {one} and {other} hold files of the same names, as the two sides of pairs do: "
                f'rename the folders to source and target, or say --source-pattern "{one}/{{id}}" --target-pattern '
                f'"{other}/{{id}}" or the other way round; if they are side-by-side images, put them into one folder'
            )


def _matched(folders: Sequence[Path], data: Data) -> _Matched:
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
        if not _patterns(data) and (doubled := [stray for names in named for stray in names.strays]):
            raise DataError(f"{doubled[0].path}: {doubled[0].reason}")
        raise DataError(_nothing_in_common(folders, files, named, data))
    pairs, strays = _partners(named, list(map(str, folders)), data.direction)
    return _Matched(pairs, strays, passed)


def _nothing_in_common(folders: Sequence[Path], files: Sequence[list[str]], named: Sequence[_Names], data: Data) -> str:
    """Of the first folder and one in which its names find no partner, or of all of them."""
    lonely = (at for at in range(1, len(named)) if not named[0].files.keys() & named[at].files.keys())
    at = next(lonely, None)
    if at is None:
        return f"{_listed([str(folder) for folder in folders])}: no name of an image is in all of them"
    hint = suggested(*(files if data.direction == "AtoB" else files[::-1])) if len(folders) == 2 else None
    try_it = f", or try {flags(hint)}" if hint else ", or a --source-pattern for each source" * (len(folders) > 2)
    return (
        f"{folders[0]} and {folders[at]}: no image of one has the name of one of the other "
        f"({_examples(named[0].files or files[0])} against {_examples(named[at].files or files[at])}); "
        f"give the {'two ' if len(folders) == 2 else ''}images of a pair the same name{try_it}"
    )


def _matched_within(folder: Path, data: Data) -> _Matched:
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
            f"({counts}, of {_examples(files)})"
            f"{f'; try {flags(hint)}, or the other way round' if hint else ''}"
        )
    pairs, lonely = _partners(named, patterns, "AtoB")
    return _Matched(pairs, strays + lonely, passed)


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


def _loose_images(folder: Path) -> list[Path]:
    return [folder / name for name in _loose_names(folder)]


def _loose_names(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if _is_image_name(name)]


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


# ---- the manifest ------------------------------------------------------------------------------------------


def _manifest(path: Path, data: Data) -> _Found:
    """Rows that make pairs, and a stray for each that does not."""
    _direction_is_said(data, f"the columns of {path}")
    if _patterns(data):
        raise ConfigError(f"{path}: a manifest names each file; leave --source-pattern and --target-pattern out")
    rows: dict[tuple[str, str], list[tuple[int, Pair]]] = {}
    strays = []
    for line, row in _rows(path):
        try:
            split, pair = _row(path, row)
            rows.setdefault((split, pair.name), []).append((line, pair))
        except DataError as error:
            strays.append(Stray(path, f"line {line}: {error}"))
    splits: dict[str, list[Pair]] = {}
    for (split, name), same in rows.items():
        if len(same) > 1:
            lines = _listed([str(line) for line, _ in same])
            strays.append(Stray(path, f"lines {lines}: two sources of one name, {name}; keep one"))
        else:
            splits.setdefault(split, []).append(same[0][1])
    if not rows and not strays:
        raise DataError(f"{path}: no rows; expected a pair in each, under the header source,target[,split]")
    return _Found(f"manifest {path.name}", splits, strays, [])


def _row(manifest: Path, row: dict[str, str]) -> tuple[str, Pair]:
    """Raises DataError that speaks of the row alone."""
    if None in row or not all(row.values()):
        raise DataError(f"expected one value for each of {[column for column in row if column]}")
    split = row.get("split", "train")
    if split not in SPLITS:
        raise DataError(f"split is {split!r}, expected train, val or test")
    columns = [*_source_columns(row, ""), "target"]
    first, *more, target = (ImageRef(_manifest_file(manifest, column, row[column])) for column in columns)
    parts = [part for part in Path(row[columns[0]]).parts if part not in (os.sep, "..")]
    if not parts:
        raise DataError(f"{columns[0]} {row[columns[0]]!r} is a folder, expected an image")
    name = plain_name(os.path.join(*parts))
    return split, Pair(name, first, target, tuple(more))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> text) of each row; the header has exactly the known columns. Raises DataError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            known = [*_source_columns(columns, f"{path}: the header"), "target"]
            if sorted(columns) not in (sorted(known), sorted([*known, "split"])):
                raise DataError(f"{path}: the header is {','.join(columns)!r}, expected {_HEADER}")
            for row in reader:
                yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a CSV file in UTF-8 ({error}); expected {_HEADER}") from None
    except csv.Error as error:
        raise DataError(f"{path}: no CSV file after line {reader.line_num} ({error}); expected {_HEADER}") from None


_HEADER = "source,target[,split] or source_1,source_2,...,target[,split]"


def _source_columns(columns: Iterable[str], where: str) -> list[str]:
    """`source`, or as many as are numbered, in their order. Raises DataError for both, and for gaps."""
    columns = list(columns)
    numbered = [column for column in columns if column is not None and _NUMBERED.fullmatch(column)]
    if numbered and "source" in columns:
        raise DataError(f"{where} has source and {numbered[0]}; name the sources source_1, source_2, ... or one source")
    return _in_order(dict.fromkeys(numbered), where) or ["source"]


def _manifest_file(manifest: Path, column: str, text: str) -> Path:
    path = manifest.parent / text
    try:
        known = path.is_file() or path.exists()  # what is no regular file is reported when it is read
    except (OSError, ValueError):
        known = False
    if not known:
        raise DataError(f"{column} {path} is no file; paths are relative to the manifest")
    return path


def _patterns(data: Data) -> list[str]:
    return [*(data.source_pattern or ()), *([] if data.target_pattern is None else [data.target_pattern])]


def _source_patterns(data: Data, count: int) -> list[str | None]:
    """One for each source of a pair. Raises ConfigError for another number of them."""
    patterns = data.source_pattern or (None,)
    if len(patterns) not in (1, count):
        sources = "1 source" if count == 1 else f"{count} sources"
        raise ConfigError(f"--source-pattern is given {len(patterns)} times, and each pair has {sources}")
    return list(patterns) * (count if len(patterns) == 1 else 1)


def _all_of(folders: Sequence[Path]) -> str:
    return "both" if len(folders) == 2 else f"all of its {len(folders)} images"


def _direction_is_said(data: Data, where: str) -> None:
    if data.direction != "AtoB":
        raise ConfigError(f"data.direction: {where} already say which side is the source; leave --direction out")


# ---- splits ------------------------------------------------------------------------------------------------


def _carved(splits: dict[str, list[Pair]], data: Data) -> tuple[dict[str, list[Pair]], tuple[str, ...]]:
    """`test`, then `val`, out of `train` where missing; name and seed decide a pair's turn."""
    splits = dict(splits)
    count = len(splits.get("train", []))
    carved = []
    for split, fraction in (("test", data.test_fraction), ("val", data.val_fraction)):
        taken = share(fraction, count)
        if split in splits or not taken:
            continue
        if taken >= len(splits["train"]):
            raise DataError(f"{count} pairs of train are too few to carve {split} from: lower data.{split}_fraction")
        turns = sorted(splits["train"], key=lambda pair: turn(pair.name, data.split_seed))
        splits[split], splits["train"] = turns[:taken], turns[taken:]
        carved.append(split)
    return splits, tuple(split for split in SPLITS if split in carved)


def share(fraction: float, count: int) -> int:
    """How many of `count` pairs a carved split takes: at least one where there are three."""
    return max(round(fraction * count), 1 if fraction > 0 and count >= 3 else 0)


def turn(name: str, seed: int) -> bytes:
    """Pairs are carved in the order of this key."""
    return hashlib.sha256(_bytes(f"{seed}:{name}")).digest()


_NUMBERS = re.compile(r"([0-9]+)")


def _natural(pair: Pair) -> tuple[list[str | int], str]:
    """Text and numbers alternate, so that equal places compare alike: 2 before 10."""
    parts = _NUMBERS.split(pair.name)
    return [int(part) if odd % 2 else part for odd, part in enumerate(parts)], pair.name


# ---- words -------------------------------------------------------------------------------------------------


def _size(file: str) -> int:
    """Bytes; -1 for what cannot be looked at, which whoever reads it will report."""
    try:
        return os.stat(file).st_size
    except OSError:
        return -1


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # file names need not be Unicode


def _examples(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _folders_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.is_dir()}


def _raise(error: OSError) -> NoReturn:
    raise error
