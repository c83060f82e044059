"""A folder or manifest in any known layout in, named pairs of image files by split out; opens no image."""

import csv
import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from pix2pix.config import Data, Direction
from pix2pix.errors import ConfigError, DataError

Half = Literal["left", "right"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".npy"})
"""What counts as an image by its name, in lower case; its content decides how it is read."""

SPLITS = ("train", "val", "test")
MANIFEST = "pairs.csv"
LAYOUTS = (
    "train|val|test/ with side-by-side images, A|B/train|val|test/, trainA|trainB|valA|..., side-by-side "
    f"images directly inside, {MANIFEST} with columns source,target[,split], or --source DIR --target DIR"
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
    target: ImageRef


@dataclass(frozen=True)
class PairSet:
    """All pairs of a data set by split, each split in natural order of names (2 before 10)."""

    splits: dict[str, tuple[Pair, ...]]
    """`train`, `val`, `test`: those that exist or were carved, never an empty one."""
    carved: tuple[str, ...]
    """Splits that were taken out of `train`, as there was no folder of theirs."""
    layout: str
    """How the files lie, for humans."""
    unmatched: tuple[Path, ...]
    """Images that belong to no pair."""

    def fingerprint(self) -> str:
        """SHA-256 over splits, names, file names and byte sizes: it changes when the data set does."""
        digest = hashlib.sha256()
        for split, pairs in sorted(self.splits.items()):
            for pair in sorted(pairs, key=lambda pair: pair.name):
                source, target = pair.source, pair.target
                size = _size(source.file)
                sides = [
                    f"{size}:{source.half}:{os.path.basename(source.file)}",
                    f"{size if target.file == source.file else _size(target.file)}:{target.half}:"
                    f"{os.path.basename(target.file)}",
                ]
                digest.update(_bytes("\0".join([split, pair.name, *sides]) + "\n"))
        return digest.hexdigest()


def find_pairs(data: Data) -> PairSet:
    """The pairs that `data` names, missing splits carved from `train`. Raises DataError or ConfigError."""
    try:
        found = _found(data)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check the permissions") from None
    splits, carved = _carved(found.splits, data)
    ordered = {split: tuple(sorted(splits[split], key=_natural)) for split in SPLITS if split in splits}
    return PairSet(ordered, carved, found.layout, tuple(sorted(found.unmatched)))


def describe_unmatched(pairs: PairSet) -> str:
    """One sentence on the images that belong to no pair; empty if there are none."""
    count = len(pairs.unmatched)
    if not count:
        return ""
    subject = "1 image belongs" if count == 1 else f"{count} images belong"
    return f"{subject} to no pair: {_examples(map(str, pairs.unmatched))}"


# ---- layouts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    layout: str
    splits: dict[str, list[Pair]]
    unmatched: list[Path]


def _found(data: Data) -> _Found:
    if data.source is not None and data.target is not None:
        _direction_is_said(data, "--source and --target")
        return _source_and_target(Path(data.source), Path(data.target))
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
    folders = {entry.name for entry in root.iterdir() if entry.is_dir()}
    _refuse_near_names(root, folders)
    finders: dict[str, Callable[[], _Found]] = {
        MANIFEST: lambda: _manifest(root / MANIFEST, data),
        "side-by-side splits": lambda: _side_by_side(root, folders, data.direction),
        "A and B": lambda: _a_and_b(root, folders, data.direction),
        "trainA and trainB": lambda: _split_a_and_b(root, folders, data.direction),
    }
    present = {
        MANIFEST: (root / MANIFEST).exists(),
        "side-by-side splits": bool(folders.intersection(SPLITS)),
        "A and B": bool(folders & {"A", "B"}),
        "trainA and trainB": any(split + side in folders for split in SPLITS for side in "AB"),
    }
    layouts = [layout for layout in finders if present[layout]]
    if len(layouts) > 1:
        raise DataError(f"{root}: has several layouts at once ({', '.join(layouts)}); keep one of them")
    if layouts:
        return finders[layouts[0]]()
    if _loose_images(root):
        pairs = _halves(root, data.direction, deep=False)
        return _Found("side-by-side images in one folder", {"train": pairs}, [])
    inside = f"it has the folders {_examples(sorted(folders))}" if folders else "it has no images and no folders"
    raise DataError(f"{root}: no known layout of pairs, {inside}; expected {LAYOUTS}")


def _side_by_side(root: Path, folders: set[str], direction: Direction) -> _Found:
    present = [split for split in SPLITS if split in folders]
    splits = {split: _halves(root / split, direction) for split in present}
    return _Found(f"side-by-side images in {_listed(present)}", splits, [])


def _a_and_b(root: Path, folders: set[str], direction: Direction) -> _Found:
    for side in "AB":
        if side not in folders:
            raise DataError(f"{root}: has a folder {'AB'.replace(side, '')} but no {side}; a pair needs both")
    return _two_folders("folders A and B", root / "A", root / "B", direction)


def _split_a_and_b(root: Path, folders: set[str], direction: Direction) -> _Found:
    present = [split for split in SPLITS if {split + "A", split + "B"} & folders]
    matched = {split: _matched(root / f"{split}A", root / f"{split}B", direction) for split in present}
    layout = f"folders {_listed([f'{split}{side}' for split in present for side in 'AB'])}"
    return _joined(layout, matched, [])


def _source_and_target(source: Path, target: Path) -> _Found:
    for folder in (source, target):
        if not folder.is_dir():
            raise DataError(f"{folder}: {'no' if folder.exists() else 'no such'} folder; expected one of images")
    if source.resolve() == target.resolve():
        raise ConfigError(f"--source and --target are one folder, {source}: give two")
    return _two_folders(f"folders {source} and {target}", source, target, "AtoB")


def _two_folders(layout: str, a: Path, b: Path, direction: Direction) -> _Found:
    """Two folders with the splits inside, or with all images of `train`."""
    inside = {folder: {entry.name for entry in folder.iterdir() if entry.is_dir()} for folder in (a, b)}
    for folder, folders in inside.items():
        _refuse_near_names(folder, folders)
    present = [split for split in SPLITS if split in inside[a] | inside[b]]
    if not present:
        return _joined(layout, {"train": _matched(a, b, direction)}, [])
    matched = {split: _matched(a / split, b / split, direction) for split in present}
    return _joined(f"{layout} with {_listed(present)}", matched, _loose_images(a) + _loose_images(b))


def _joined(layout: str, matched: dict[str, tuple[list[Pair], list[Path]]], loose: list[Path]) -> _Found:
    splits = {split: pairs for split, (pairs, _) in matched.items()}
    return _Found(layout, splits, loose + [path for _, unmatched in matched.values() for path in unmatched])


def _refuse_near_names(root: Path, folders: set[str]) -> None:
    """A folder `valid` or `Train` would be passed over while a split is carved: better to ask."""
    exact = {*SPLITS, *(split + side for split in SPLITS for side in "AB")}
    for name in sorted(folders - exact):
        plain = re.sub(r"[^a-z]", "", name.lower())
        for stem, side in ((plain, ""), (plain[:-1], plain[-1:].upper())):
            if stem in _NEAR_SPLITS and side in ("", "A", "B"):
                raise DataError(f"{root / name}: not a known split; rename it to {_NEAR_SPLITS[stem]}{side}")


# ---- pairs of one split ------------------------------------------------------------------------------------


def _halves(folder: Path, direction: Direction, *, deep: bool = True) -> list[Pair]:
    """Side-by-side files below a folder, or in it alone: beside loose images there may be a run's pictures."""
    return [
        _pair(name, ImageRef(path, "left"), ImageRef(path, "right"), direction)
        for name, path in _named_images(folder, deep=deep).items()
    ]


def _matched(a: Path, b: Path, direction: Direction) -> tuple[list[Pair], list[Path]]:
    """Pairs of equal names in two folders, and the images without a partner."""
    for folder, other in ((a, b), (b, a)):
        if not folder.is_dir():
            raise DataError(f"{other}: has no partner folder {folder}; a pair needs both")
    named_a, named_b = _named_images(a), _named_images(b)
    both = named_a.keys() & named_b.keys()
    if not both:
        raise DataError(
            f"{a} and {b}: no image of one has the name of one of the other ({_examples(named_a)} "
            f"against {_examples(named_b)}); give the two images of a pair the same name"
        )
    pairs = [_pair(name, ImageRef(named_a[name]), ImageRef(named_b[name]), direction) for name in both]
    return pairs, [Path(named[name]) for named in (named_a, named_b) for name in named if name not in both]


def _pair(name: str, a: ImageRef, b: ImageRef, direction: Direction) -> Pair:
    """The one place where A and B become source and target."""
    source, target = (a, b) if direction == "AtoB" else (b, a)
    return Pair(name, source, target)


def _named_images(folder: Path, *, deep: bool = True) -> dict[str, str]:
    """Name -> file; the name is the path below `folder` without suffix, in NFC as systems differ."""
    named: dict[str, str] = {}
    for relative in _images(folder) if deep else _loose_names(folder):
        name, file = _name(relative), os.path.join(folder, relative)
        if name in named:
            raise DataError(f"{named[name]} and {file}: two images of one name; pairs go by name, so keep one")
        named[name] = file
    if not named:
        raise DataError(f"{folder}: no images; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return named


def _images(folder: Path) -> Iterator[str]:
    """Whatever bears an image's name, at any depth; linked folders, which may lead in circles, stay shut."""
    for place, folders, files in os.walk(folder, onerror=_raise):
        posing = [name for name in folders if _is_image_name(name)]  # reported by name when it is read
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


def _name(relative: str) -> str:
    return unicodedata.normalize("NFC", os.path.splitext(relative)[0].replace(os.sep, "/"))


# ---- the manifest ------------------------------------------------------------------------------------------


def _manifest(path: Path, data: Data) -> _Found:
    _direction_is_said(data, f"the columns of {path}")
    splits: dict[str, list[Pair]] = {}
    lines: dict[tuple[str, str], int] = {}
    for line, row in _rows(path):
        split = row.get("split", "train")
        if split not in SPLITS:
            raise DataError(f"{path}, line {line}: split is {split!r}, expected train, val or test")
        source, target = (_manifest_file(path, line, column, row[column]) for column in ("source", "target"))
        name = _name(os.path.join(*(part for part in Path(row["source"]).parts if part not in (os.sep, ".."))))
        first = lines.setdefault((split, name), line)
        if first != line:
            raise DataError(f"{path}, lines {first} and {line}: two sources of one name, {name}; keep one")
        splits.setdefault(split, []).append(Pair(name, ImageRef(source), ImageRef(target)))
    if not splits:
        raise DataError(f"{path}: no rows; expected a pair in each, under the header source,target[,split]")
    return _Found(f"manifest {path.name}", splits, [])


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> text) of each row, with exactly the known columns and nothing empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            if sorted(columns) not in (["source", "target"], ["source", "split", "target"]):
                raise DataError(f"{path}: the header is {','.join(columns)!r}, expected source,target[,split]")
            for row in reader:
                if None in row or not all(row.values()):
                    raise DataError(f"{path}, line {reader.line_num}: expected one value for each of {columns}")
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8 ({error}); expected source,target[,split]") from None


def _manifest_file(manifest: Path, line: int, column: str, text: str) -> Path:
    path = manifest.parent / text
    if not path.is_file():
        raise DataError(f"{manifest}, line {line}: {column} {path} is no file; paths are relative to the manifest")
    return path


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


def _raise(error: OSError) -> NoReturn:
    raise error
