"""Find the layout of a data set: which folders hold sources and which hold targets. Only folder names decide."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from pix2pix.config import Data
from pix2pix.data.io.view import Half
from pix2pix.data.pairing.image_files import image_names_in, list_unused
from pix2pix.data.pairing.manifest import MANIFEST, find_manifest, refuse_other_tables
from pix2pix.data.pairing.neighbours import (
    NeighbourFolders,
    find_channels,
    find_tools,
    find_words,
    is_directed,
    is_neighbour_name,
)
from pix2pix.data.pairing.pair import NUMBERED, SPLITS, Ignored, Unmatched, order_sources
from pix2pix.data.pairing.patterns import plain_name, suggest_patterns
from pix2pix.errors import ConfigError, DataError
from pix2pix.text import format_count, format_examples, format_list

LAYOUTS = (
    "train|val|test/ with side-by-side images, A|B/train|val|test/, train|val|test/A|B/, trainA|trainB|valA|..., "
    "side-by-side images directly inside, images|masks/ and other words for sides, folders of other tools "
    "(docs/migration.md), any of these with source|target/ or source_1|source_2|...|target/ for A|B/, "
    f"{MANIFEST} with columns source,target[,split] or source_1,source_2,...,target[,split], or "
    "--source DIR [--source DIR ...] --target DIR"
)
"""The known layouts, for error messages."""

_SIMILAR_SPLITS = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "testing": "test",
} | {split: split for split in SPLITS}
_SIMILAR_SOURCE = re.compile("(?i)sources?[ _-]?[0-9]*")

Side = TypeVar("Side")


@dataclass(frozen=True)
class Layout:
    """Where the images of each split are, and how sources are distinguished from targets."""

    kind: Literal["halves", "folders", "patterns", "manifest"]
    """Halves of each image, a folder for each side, patterns of names within one folder, or rows of a manifest."""
    description: str
    """The layout in words."""
    splits: Mapping[str, tuple[Path, ...]]
    """Folders of each split: of the sources and then of the target for `folders`, else one; none for a manifest."""
    manifest: Path | None = None
    patterns: tuple[str | None, ...] = ()
    """Patterns of names for each source and then the target, for `folders` and `patterns`."""
    halves: tuple[Half, Half] = ("left", "right")
    """Halves of the source and of the target, for `halves`."""
    recursive: bool = True
    """Whether images in subfolders count."""
    unmatched: tuple[Unmatched, ...] = ()
    """Images beside the folders of the sides or of the splits."""
    ignored: tuple[Ignored, ...] = ()
    """What other tools keep beside these folders."""
    is_asked: bool = False
    """Whether the user says that images are side by side."""


def find_layout(data: Data) -> Layout:
    """Find the layout of the folder or manifest that `data` names. Raises DataError, ConfigError or OSError."""
    if data.layout != "auto" and (data.source is not None or (data.path is not None and Path(data.path).is_file())):
        raise ConfigError("--layout side-by-side is for a folder of such images: leave it out beside named files")
    if data.source is not None and data.target is not None:
        return _named_folders([Path(folder) for folder in data.source], Path(data.target), data)
    if data.path is None:
        raise ConfigError("no data is named: give DATA, a folder of image pairs, or --source DIR --target DIR")
    root = Path(data.path)
    if not root.exists():
        raise DataError(f"{root}: no such folder or manifest; expected a folder of image pairs, or a {MANIFEST}")
    if root.is_file():
        return _manifest(root, data)
    found = _layout_of_folder(root, data)
    places = {place for folders in found.splits.values() for place in folders}
    known = {path for path, _ in (*found.ignored, *found.unmatched)}
    return replace(found, ignored=(*found.ignored, *list_unused(root, places, known)))


def _layout_of_folder(root: Path, data: Data) -> Layout:
    """Find the one layout of a folder; none or several are errors."""
    folders = _folders_in(root)
    tools, manifest = find_tools(folders), find_manifest(root)
    _refuse_similar_names(root, folders.difference(*(tool.names for tool in tools)))
    patterns = _given_patterns(data)
    if data.layout == "side-by-side":
        return replace(_side_by_side(root, folders, data), is_asked=True)
    if any("/" in pattern for pattern in patterns):
        return _patterns(root, folders, data)
    numbered = any(map(NUMBERED.fullmatch, folders))
    candidates: dict[str, tuple[bool, Callable[[], Layout]]] = {
        MANIFEST: (manifest is not None, lambda: _manifest(manifest or root / MANIFEST, data)),
        "train, val and test": (bool(folders.intersection(SPLITS)), lambda: _splits_first(root, folders, data)),
        "A and B": (bool(folders & {"A", "B"}), lambda: _sides_first(root, folders, data)),
        "trainA and trainB": (bool(_split_sides(folders)), lambda: _split_a_and_b(root, folders, data)),
        "source_1, source_2, ... and target": (numbered, lambda: _sides_first(root, folders, data)),
    }
    for tool in tools:
        candidates[format_list(tool.splits["train"])] = (True, partial(_of_tool, root, tool, data))
    present = [name for name, (is_present, _) in candidates.items() if is_present]
    if len(present) > 1:
        listed = f"give {root / MANIFEST} as DATA for the pairs that it lists, " if MANIFEST in present else ""
        raise DataError(
            f"{root}: has several layouts at once ({', '.join(present)}); {listed}keep one of them, or name the "
            "folders with --source DIR --target DIR"
        )
    if present:
        return candidates[present[0]][1]()
    if {"source", "target"} <= folders or find_words(folders):  # last: a manifest may lie beside these folders
        return _sides_first(root, folders, data)
    if patterns:
        return _patterns(root, folders, data)
    refuse_other_tables(root)
    if image_names_in(root):
        return _side_by_side(root, folders, data)
    inside = f"it has the folders {format_examples(sorted(folders))}" if folders else "it has no images and no folders"
    raise DataError(f"{root}: no known layout of pairs, {inside}{_suggest_sides(root, folders)}; expected {LAYOUTS}")


def _suggest_sides(root: Path, folders: set[str]) -> str:
    """Say what to type where two folders alone hold images that may be pairs; empty elsewhere."""
    with_images = [name for name in sorted(folders) if image_names_in(root / name)]
    if len(with_images) != 2:
        return ""
    sides = [root / name for name in with_images]
    files = [image_names_in(side) for side in sides]
    if not ({*map(plain_name, files[0])} & {*map(plain_name, files[1])} or suggest_patterns(*files)):
        return ""
    return f"; if these are the sides, give --source {sides[0]} --target {sides[1]}, or the two swapped"


# ---- each layout -----------------------------------------------------------------------------------------------


def _manifest(path: Path, data: Data) -> Layout:
    _refuse_direction(data, f"the columns of {path}")
    if _given_patterns(data):
        raise ConfigError(f"{path}: a manifest names each file; leave --source-pattern and --target-pattern out")
    return Layout("manifest", f"manifest {path.name}", {}, manifest=path)


def _splits_first(root: Path, folders: set[str], data: Data) -> Layout:
    """Make the layout train|val|test/, each with folders of the sides, name patterns, or side-by-side images."""
    present = [split for split in SPLITS if split in folders]
    sides = {split: _sides(root / split, _folders_in(root / split), data) for split in present}
    if not any(sides.values()):
        return _patterns(root, folders, data) if _given_patterns(data) else _side_by_side(root, folders, data)
    first = next(filter(None, sides.values()))
    for split, names in sides.items():
        if names != first:
            raise DataError(f"{root / split}: expected the folders {format_list(first)}, as the other splits have them")
    return _folders(
        f"{_describe_sides(first, data)} in {format_list(present)}",
        {split: [root / split / name for name in first] for split in present},
        data,
        _loose_images([root / split for split in present], f"lies beside {format_list(first)}"),
    )


def _sides_first(root: Path, folders: set[str], data: Data) -> Layout:
    """Make the layout A|B/ or source|target/, with the splits inside or without splits."""
    names = _sides(root, folders, data)
    found = _splits_inside(_describe_sides(names, data), [root / name for name in names], data)
    if (names[0], names[-1]) not in find_words(names):
        return found
    return replace(found, unmatched=(*found.unmatched, *_loose_images([root], f"lies beside {format_list(names)}")))


def _describe_sides(names: Sequence[str], data: Data) -> str:
    """Return `folders A and B`; of names that do not say it, also which is the source."""
    roles = "" if names == ["A", "B"] or names[-1] == "target" else " (source {}, target {})"
    return f"folders {format_list(names)}{roles.format(*in_direction(names, data))}"


def _of_tool(root: Path, tool: NeighbourFolders, data: Data) -> Layout:
    """Make the layout of another tool's folders. Those of nnU-Net may hold several channels, each a source."""
    if tool.is_directed:
        _refuse_direction(data, "the folders' names")
    train = tool.splits["train"]
    channels = find_channels(image_names_in(root / train[0])) if tool.tool == "nnU-Net" else []
    if len(channels) > 1:
        _refuse_direction(data, f"the channels in {root / train[0]}")
    count = max(1, len(channels))
    places = {split: [root / a] * count + [root / b] for split, (a, b) in tool.splits.items()}
    several = f" (channels {format_list(channels)})" if channels else ""
    source, target = in_direction((f"{train[0]}{several}", train[1]), data)
    found = _folders(f"folders of {tool.tool}: source {source}, target {target}", places, data)
    if channels and not _given_patterns(data):
        patterns: list[str | None] = [f"{{id}}_{channel}" for channel in channels]
        found = replace(found, patterns=in_direction([*patterns, None], data))
    alone = (Ignored(root / name, f"without a partner folder ({other})") for name, other in tool.alone.items())
    beside = (
        Ignored(path, f"beside the folders of {tool.tool}")
        for path in sorted(root.iterdir())
        if tool.beside.fullmatch(path.name) and path.name not in tool.names
    )
    return replace(found, ignored=(*alone, *beside))


def _side_by_side(root: Path, folders: set[str], data: Data) -> Layout:
    """Make the layout of side-by-side images, in folders of the splits or directly in one folder."""
    if _given_patterns(data):
        raise ConfigError("--layout side-by-side needs no patterns: leave --source-pattern and --target-pattern out")
    present = [split for split in SPLITS if split in folders]
    if not present:
        return _halves("side-by-side images in one folder", {"train": root}, data, recursive=False)
    places = {split: root / split for split in present}
    return _halves(f"side-by-side images in {format_list(present)}", places, data)


def _split_a_and_b(root: Path, folders: set[str], data: Data) -> Layout:
    present = [split for split in SPLITS if {split + "A", split + "B"} & folders]
    names = [split + side for split in present for side in "AB"]
    places = {split: [root / f"{split}A", root / f"{split}B"] for split in present}
    return _folders(f"folders {format_list(names)}", places, data)


def _named_folders(sources: list[Path], target: Path, data: Data) -> Layout:
    """Make the layout of the folders that --source and --target name."""
    _refuse_direction(data, "--source and --target")
    folders, known = [*sources, target], set()
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: {'no' if folder.exists() else 'no such'} folder; expected a folder of images")
        if folder.resolve() in known:
            raise ConfigError(
                f"{'' if len(folders) == 2 else 'two of '}--source and --target are one folder, {folder}: give two, or "
                "the folder as DATA with --source-pattern and --target-pattern"
            )
        known.add(folder.resolve())
    return _splits_inside(f"folders {format_list(folders)}", folders, data)


def _splits_inside(description: str, folders: Sequence[Path], data: Data) -> Layout:
    """Make the layout of side folders that contain split folders, or training images only."""
    inside = {folder: _folders_in(folder) for folder in folders}
    for folder, names in inside.items():
        _refuse_similar_names(folder, names)
    present = [split for split in SPLITS if split in set().union(*inside.values())]
    if not present:
        return _folders(description, {"train": folders}, data)
    return _folders(
        f"{description} with {format_list(present)}",
        {split: [folder / split for folder in folders] for split in present},
        data,
        _loose_images(folders, "lies beside the folders of the splits"),
    )


def _patterns(root: Path, folders: set[str], data: Data) -> Layout:
    """Make the layout of sources and targets in the same folders, distinguished by name patterns."""
    _refuse_direction(data, "the patterns")
    if data.source_pattern is None or data.target_pattern is None:
        raise ConfigError("sources and targets lie in one folder: give both --source-pattern and --target-pattern")
    present = [split for split in SPLITS if split in folders]
    places = {split: (root / split,) for split in present} or {"train": (root,)}
    description = f"files matched by patterns{f' in {format_list(present)}' if present else ''}"
    return Layout("patterns", description, places, patterns=(*data.source_pattern, data.target_pattern))


def _folders(
    description: str,
    places: Mapping[str, Sequence[Path]],
    data: Data,
    unmatched: tuple[Unmatched, ...] = (),
) -> Layout:
    """Make a layout of one folder for each side and split; `places` has A before B, or sources before the target."""
    for folders in places.values():
        for folder in folders:
            if not folder.is_dir():
                other = next(path for path in folders if path != folder)
                needed = "both" if len(folders) == 2 else f"all of its {len(folders)} images"
                raise DataError(f"{other}: has no partner folder {folder}; a pair needs {needed}")
    splits = {split: in_direction(folders, data) for split, folders in places.items()}
    sources = len(next(iter(splits.values()))) - 1
    patterns = (*_source_patterns(data, sources), data.target_pattern)
    return Layout("folders", description, splits, patterns=patterns, unmatched=unmatched)


def _halves(description: str, places: Mapping[str, Path], data: Data, *, recursive: bool = True) -> Layout:
    """Make a layout of side-by-side images; A is the left half."""
    left_and_right: tuple[Half, Half] = ("left", "right")
    source, target = in_direction(left_and_right, data)
    splits = {split: (folder,) for split, folder in places.items()}
    return Layout("halves", description, splits, halves=(source, target), recursive=recursive)


# ---- rules ------------------------------------------------------------------------------------------------------


def in_direction(a_and_b: Sequence[Side], data: Data) -> tuple[Side, ...]:
    """Return A and B as source and target, by `data.direction`. No other function assigns these roles."""
    return tuple(a_and_b) if data.direction == "AtoB" else tuple(a_and_b[::-1])


def _refuse_direction(data: Data, where: str) -> None:
    """Raise ConfigError if a direction is set although the names already say which side is the source."""
    if data.direction != "AtoB":
        raise ConfigError(f"data.direction: {where} already say which side is the source; leave --direction out")


def _given_patterns(data: Data) -> list[str]:
    """Return the patterns that are set, those of the sources first."""
    return [*(data.source_pattern or ()), *([] if data.target_pattern is None else [data.target_pattern])]


def _source_patterns(data: Data, count: int) -> tuple[str | None, ...]:
    """Return one pattern for each source of a pair. Raises ConfigError for another number of patterns."""
    patterns = data.source_pattern or (None,)
    if len(patterns) not in (1, count):
        raise ConfigError(
            f"--source-pattern is given {len(patterns)} times, and each pair has {format_count(count, 'source')}"
        )
    return patterns * (count if len(patterns) == 1 else 1)


def _sides(place: Path, folders: set[str], data: Data) -> list[str]:
    """Return the folder names of a pair's images: A and B, or the sources and the target. Empty if there are none.

    Raises DataError for a missing side, ConfigError for a direction that the names already determine.
    """
    if one := folders & {"A", "B"}:
        if len(one) == 1:
            raise DataError(f"{place}: has a folder {min(one)} but no {min({'A', 'B'} - one)}; a pair needs both")
        return ["A", "B"]
    numbered = [name for name in folders if NUMBERED.fullmatch(name)]
    if not numbered and not {"source", "target"} <= folders:
        return _sides_by_words(place, folders, data)
    _refuse_direction(data, "the folders' names")
    sources = order_sources(numbered, str(place)) or ["source"]
    similar = sorted(name for name in folders if _SIMILAR_SOURCE.fullmatch(name) and name not in sources)
    if similar:
        rename = "rename it to source_N, counted from 1" if numbered else "keep one of the two"
        raise DataError(f"{place / similar[0]}: not a known name beside {sources[0]}; {rename}")
    if "target" not in folders:
        raise DataError(f"{place}: has a folder {sources[0]} but no target; a pair needs both")
    return [*sources, "target"]


def _sides_by_words(place: Path, folders: set[str], data: Data) -> list[str]:
    """Return folders such as images and masks; empty if there are none. Raises DataError for several such pairs."""
    found = find_words(folders)
    if len(found) > 1:
        known = ", ".join(f"--source {place / source} --target {place / target}" for source, target in found)
        raise DataError(f"{place}: several folders may be sides of pairs; say which they are: {known}")
    if found and is_directed(found[0]):
        _refuse_direction(data, "the folders' names")
    return list(found[0]) if found else []


def _split_sides(folders: set[str]) -> set[str]:
    """Return the folders named trainA, trainB, valA, ..."""
    return folders & {split + side for split in SPLITS for side in "AB"}


def is_layout_name(name: str) -> bool:
    """Return whether a folder of this name in the data folder could be read as a split or a side."""
    plain = re.sub(r"[^a-z]", "", name.lower())
    return (
        plain in ("a", "b", "target")
        or plain[:-1] in _SIMILAR_SPLITS
        or plain in _SIMILAR_SPLITS
        or (_SIMILAR_SOURCE.fullmatch(name) is not None)
        or is_neighbour_name(name)
    )


def _refuse_similar_names(root: Path, folders: set[str]) -> None:
    """Raise DataError for a folder such as `valid` or `Train`, which would be ignored while a split is carved."""
    for name in sorted(folders - set(SPLITS) - _split_sides(folders)):
        plain = re.sub(r"[^a-z]", "", name.lower())
        for stem, side in ((plain, ""), (plain[:-1], plain[-1:].upper())):
            if stem in _SIMILAR_SPLITS and side in ("", "A", "B"):
                raise DataError(f"{root / name}: not a known split; rename it to {_SIMILAR_SPLITS[stem]}{side}")


def _loose_images(folders: Sequence[Path], reason: str) -> tuple[Unmatched, ...]:
    """Return the images directly in these folders: they belong to no pair."""
    return tuple(Unmatched(folder / name, reason) for folder in folders for name in image_names_in(folder))


def _folders_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.is_dir()}
