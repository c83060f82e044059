"""A place as it is named in the settings in, the one layout that it has and its pairs by split out."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pix2pix.config import Data
from pix2pix.data.pairing.manifest import MANIFEST, read_manifest
from pix2pix.data.pairing.matching import Matched, loose_images, match_folders, match_halves, match_within
from pix2pix.data.pairing.pair import (
    NUMBERED,
    SPLITS,
    Found,
    Stray,
    direction_is_said,
    in_order,
    patterns_of,
)
from pix2pix.errors import ConfigError, DataError
from pix2pix.text import format_examples, format_list

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
_NEAR_SOURCE = re.compile("(?i)sources?[ _-]?[0-9]*")


def found_in(data: Data) -> Found:
    """All pairs of the place that `data` names. Raises DataError, ConfigError, or OSError for what cannot be opened."""
    if data.source is not None and data.target is not None:
        direction_is_said(data, "--source and --target")
        return _sources_and_target([Path(folder) for folder in data.source], Path(data.target), data)
    if data.path is None:
        raise ConfigError("no data is named: give DATA, a folder of image pairs, or --source DIR --target DIR")
    root = Path(data.path)
    if not root.exists():
        raise DataError(f"{root}: no such folder or manifest; expected {LAYOUTS}")
    if root.is_file():
        return read_manifest(root, data)
    return _folder(root, data)


def _folder(root: Path, data: Data) -> Found:
    """The one layout that a folder has; none or several are errors."""
    folders = _folders_in(root)
    _refuse_near_names(root, folders)
    if any("/" in pattern for pattern in patterns_of(data)):
        return _told_apart(root, folders, data)
    finders: dict[str, Callable[[], Found]] = {
        MANIFEST: lambda: read_manifest(root / MANIFEST, data),
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
        "source_1, source_2, ... and target": any(map(NUMBERED.fullmatch, folders)),
    }
    if not any(present.values()):  # a manifest may well lie beside them
        present["source_1, source_2, ... and target"] = {"source", "target"} <= folders
    layouts = [layout for layout in finders if present[layout]]
    if len(layouts) > 1:
        raise DataError(f"{root}: has several layouts at once ({', '.join(layouts)}); keep one of them")
    if layouts:
        return finders[layouts[0]]()
    if patterns_of(data):
        return _told_apart(root, folders, data)
    if loose_images(root):
        return _joined("side-by-side images in one folder", {"train": match_halves(root, data.direction, deep=False)})
    inside = f"it has the folders {format_examples(sorted(folders))}" if folders else "it has no images and no folders"
    raise DataError(f"{root}: no known layout of pairs, {inside}; expected {LAYOUTS}")


def _in_splits(root: Path, folders: set[str], data: Data) -> Found:
    """train, val and test, each with folders for the sides, with files told apart by name, or side by side."""
    present = [split for split in SPLITS if split in folders]
    sides = {split: _sides(root / split, _folders_in(root / split), data) for split in present}
    if not any(sides.values()):
        return _told_apart(root, folders, data) if patterns_of(data) else _side_by_side(root, present, data)
    first = next(filter(None, sides.values()))
    for split, names in sides.items():
        if names != first:
            raise DataError(f"{root / split}: expected the folders {format_list(first)}, as the other splits have them")
    matched = {split: match_folders([root / split / name for name in first], data) for split in present}
    loose = [
        Stray(path, f"lies beside {format_list(first)}") for split in present for path in loose_images(root / split)
    ]
    return _joined(f"folders {format_list(first)} in {format_list(present)}", matched, loose)


def _side_by_side(root: Path, present: list[str], data: Data) -> Found:
    matched = {split: match_halves(root / split, data.direction) for split in present}
    return _joined(f"side-by-side images in {format_list(present)}", matched)


def _told_apart(root: Path, folders: set[str], data: Data) -> Found:
    """Sources and targets in the same folders, which patterns tell apart."""
    direction_is_said(data, "the patterns")
    if data.source_pattern is None or data.target_pattern is None:
        raise ConfigError("sources and targets lie in one folder: give both --source-pattern and --target-pattern")
    present = [split for split in SPLITS if split in folders]
    places = {split: root / split for split in present} or {"train": root}
    matched = {split: match_within(place, data) for split, place in places.items()}
    return _joined(f"files told apart by name{f' in {format_list(present)}' if present else ''}", matched)


def _split_a_and_b(root: Path, folders: set[str], data: Data) -> Found:
    present = [split for split in SPLITS if {split + "A", split + "B"} & folders]
    matched = {split: match_folders([root / f"{split}A", root / f"{split}B"], data) for split in present}
    return _joined(f"folders {format_list([f'{split}{side}' for split in present for side in 'AB'])}", matched)


def _whole(root: Path, folders: set[str], data: Data) -> Found:
    """Folders for the sides, with the splits inside or with all of `train`."""
    names = _sides(root, folders, data)
    return _whole_folders(f"folders {format_list(names)}", [root / name for name in names], data)


def _sides(place: Path, folders: set[str], data: Data) -> list[str]:
    """The folders of a pair's images by their names: A and B, or the sources and the target; none where none is there.

    Raises DataError for a side that is missing, ConfigError for a direction where the names say it.
    """
    if one := folders & {"A", "B"}:
        if len(one) == 1:
            raise DataError(f"{place}: has a folder {min(one)} but no {min({'A', 'B'} - one)}; a pair needs both")
        return ["A", "B"]
    numbered = [name for name in folders if NUMBERED.fullmatch(name)]
    if not numbered and not {"source", "target"} <= folders:
        return []
    direction_is_said(data, "the folders' names")
    sources = in_order(numbered, str(place)) or ["source"]
    near = sorted(name for name in folders if _NEAR_SOURCE.fullmatch(name) and name not in sources)
    if near:
        rename = "rename it to source_N, counted from 1" if numbered else "keep one of the two"
        raise DataError(f"{place / near[0]}: not a known name beside {sources[0]}; {rename}")
    if "target" not in folders:
        raise DataError(f"{place}: has a folder {sources[0]} but no target; a pair needs both")
    return [*sources, "target"]


def _sources_and_target(sources: list[Path], target: Path, data: Data) -> Found:
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
    return _whole_folders(f"folders {format_list([str(folder) for folder in folders])}", folders, data)


def _whole_folders(layout: str, folders: Sequence[Path], data: Data) -> Found:
    """Two folders or more with the splits inside, or with all images of `train`."""
    inside = {folder: _folders_in(folder) for folder in folders}
    for folder, names in inside.items():
        _refuse_near_names(folder, names)
    present = [split for split in SPLITS if split in set().union(*inside.values())]
    if not present:
        return _joined(layout, {"train": match_folders(folders, data)})
    matched = {split: match_folders([folder / split for folder in folders], data) for split in present}
    loose = [
        Stray(path, "lies beside the folders of the splits") for folder in folders for path in loose_images(folder)
    ]
    return _joined(f"{layout} with {format_list(present)}", matched, loose)


def _joined(layout: str, matched: dict[str, Matched], loose: Sequence[Stray] = ()) -> Found:
    return Found(
        layout,
        {split: part.pairs for split, part in matched.items()},
        [*loose, *(stray for part in matched.values() for stray in part.strays)],
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


def _folders_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.is_dir()}
