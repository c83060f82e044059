"""One example, and what was found of many: the words that layouts, manifests and names share."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pix2pix.config import Data
from pix2pix.errors import ConfigError, DataError

Half = Literal["left", "right"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".npy"})
"""What counts as an image by its name, in lower case; its content decides how it is read."""

SPLITS = ("train", "val", "test")

NUMBERED = re.compile("source_[1-9][0-9]*")
"""A folder, or a column, of one of several sources."""


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
class Found:
    """What a place holds, before a missing split is carved."""

    layout: str
    """How the files lie, for humans."""
    splits: dict[str, list[Pair]]
    strays: list[Stray]
    passed_over: list[Path]
    """Files among the images that are none by their names, and linked folders."""
    hint: str = ""


# ---- rules that all layouts share ------------------------------------------------------------------------------


def in_order(names: Iterable[str], where: str) -> list[str]:
    """source_1, source_2, ... as far as they go. Raises DataError for a gap."""
    ordered = sorted(names, key=lambda name: int(name.removeprefix("source_")))
    for number, name in enumerate(ordered, start=1):
        if name != f"source_{number}":
            raise DataError(f"{where}: has {name} but no source_{number}; number the sources from 1, without gaps")
    return ordered


def patterns_of(data: Data) -> list[str]:
    """Those of the sources, then the target's, as far as they are given."""
    return [*(data.source_pattern or ()), *([] if data.target_pattern is None else [data.target_pattern])]


def direction_is_said(data: Data, where: str) -> None:
    """Raises ConfigError for a direction where the names of files, folders or columns say it."""
    if data.direction != "AtoB":
        raise ConfigError(f"data.direction: {where} already say which side is the source; leave --direction out")


def source_titles(count: int) -> list[str]:
    """Name the sources of a pair: `source`, or `source 1`, `source 2`, ..."""
    return ["source"] if count == 1 else [f"source {number}" for number in range(1, count + 1)]
