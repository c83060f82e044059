"""Plan the pairs of a folder of photos: the name and the split of each."""

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix2pix.config import Make
from pix2pix.data.encoding.background import parse_colour
from pix2pix.data.pairing.image_files import describe_ignored, walk_images
from pix2pix.data.pairing.pair import IMAGE_SUFFIXES, Ignored
from pix2pix.data.pairing.pairs import carved_count, carving_key
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.folded_names import find_folded

SETTINGS_OF_KIND = {"edges": {"sigma", "low", "high"}, "gray": set[str](), "lowres": {"factor"}, "mask": {"holes"}}
"""Kind -> settings that only this kind has."""


@dataclass(frozen=True)
class Task:
    """One photo, and the pair to make from it."""

    photo: Path
    name: str
    """Path below A/SPLIT and B/SPLIT, without suffix."""
    split: str

    def files(self, root: Path) -> tuple[Path, Path]:
        """Return the files of its source and its target."""
        source, target = (root / side / self.split / f"{self.name}.png" for side in "AB")
        return source, target


EDGE_DETECTOR = "scikit-image"
"""Recorded with sets of edges; version 0.1 had a detector of its own, whose edges must not be mixed with these."""


@dataclass(frozen=True)
class Plan:
    """All pairs to make."""

    tasks: list[Task]
    description: dict[str, Any]
    """Content of make.json: the relevant settings, the number of photos and a hash of their names."""
    ignored: tuple[Ignored, ...]
    """Files that are not images by their names."""


def plan_pairs(photos: Path, settings: Make) -> Plan:
    """Name the pair of each photo and assign its split. Raises ConfigError or DataError."""
    found, ignored = _find_photos(photos)
    if not found:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        seen = "".join(f"; {line}" for line in describe_ignored(ignored))
        raise DataError(f"{photos}: no photos; expected files ending in {suffixes}, at any depth{seen}")
    named = _name_photos(photos, found)
    order = sorted(named, key=lambda name: carving_key(name, settings.seed))
    test, val = (carved_count(fraction, len(order)) for fraction in (settings.test_fraction, settings.val_fraction))
    if test + val >= len(order):
        raise ConfigError(f"--val-fraction and --test-fraction leave none of the {len(order)} photos to train on")
    splits = dict(zip(order, ["test"] * test + ["val"] * val + ["train"] * (len(order) - test - val), strict=True))
    of_other_kinds = set().union(*SETTINGS_OF_KIND.values()) - SETTINGS_OF_KIND[settings.kind]
    unset = {"background"} if settings.background is None else set()  # sets of older versions have none
    description = {
        "settings": settings.model_dump(mode="json", exclude=of_other_kinds | unset),
        "photos": len(named),
        "names": hashlib.sha256("\0".join(sorted(named)).encode(errors="surrogateescape")).hexdigest(),
    }
    if settings.kind == "edges":
        description["detector"] = EDGE_DETECTOR
    tasks = [Task(path, name, splits[name]) for name, path in named.items()]
    return Plan(tasks, description, ignored)


def refuse_settings(settings: Make) -> None:
    """Raise ConfigError for settings that contradict each other or have no effect."""
    for kind, names in SETTINGS_OF_KIND.items():
        for name in sorted(names & settings.model_fields_set):
            if kind != settings.kind:
                raise ConfigError(f"--{name} is a setting of --kind {kind}, not of {settings.kind}: leave it out")
    if settings.background is not None:
        parse_colour(settings.background)
    if settings.low > settings.high:
        raise ConfigError(f"--low {settings.low} is above --high {settings.high}: lower --low or raise --high")
    if settings.kind == "gray" and settings.channels == 1:
        raise ConfigError("--kind gray with --channels 1 would give the same image twice: leave --channels out")
    if settings.val_fraction + settings.test_fraction >= 1:
        raise ConfigError("--val-fraction and --test-fraction leave nothing to train on: their sum must be below 1")


def refuse_nested(photos: Path, output: Path) -> None:
    """Raise ConfigError if one of the folders lies inside the other."""
    if output.name in ("", ".."):
        raise ConfigError(f"--output {output}: expected the name of a folder to create")
    inner, outer = photos.resolve(), output.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise ConfigError(
            f"--output {output} and the photos, {photos}, are nested: choose an --output outside the photos"
        )


def refuse_one_file(tasks: Iterable[Task], output: Path) -> None:
    """Raise DataError for two photos whose pairs would be one file in a folder that ignores upper and lower case."""
    photos = {f"{task.split}/{task.name}": task.photo for task in tasks}
    if one_file := find_folded(photos, output):
        first, second = (photos[name] for name in one_file)
        raise DataError(
            f"{first} and {second}: their pairs would be one file in {output}; rename one photo, or give an --output "
            "on a disk that tells them apart"
        )


def _find_photos(root: Path) -> tuple[list[Path], tuple[Ignored, ...]]:
    """Return the images at any depth, by their names, and what is ignored."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected a folder of photos")
    ignored: list[Ignored] = []
    return [root / name for name in walk_images(root, ignored)], tuple(sorted(ignored))


def _name_photos(root: Path, found: list[Path]) -> dict[str, Path]:
    """Name each photo by its path without suffix; with suffix if photos differ in nothing else. Raises DataError."""
    by_stem: dict[str, list[Path]] = {}
    for path in found:
        stem = unicodedata.normalize("NFC", path.relative_to(root).with_suffix("").as_posix())
        by_stem.setdefault(stem, []).append(path)
    named: dict[str, Path] = {}
    for stem, paths in by_stem.items():
        for path in paths:
            name = stem if len(paths) == 1 else f"{stem}{path.suffix}"
            if name in named or (name != stem and name in by_stem):
                other = named[name] if name in named else by_stem[name][0]
                raise DataError(f"{other} and {path}: both pairs would have the name {name}; rename one photo")
            named[name] = path
    return named
