"""The types of pairing: a reference to an image, a pair, an unmatched file, and the result of matching."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pix2pix.data.io.view import Half, View, as_view
from pix2pix.errors import DataError

IMAGE_SUFFIXES = frozenset(
    ".png .jpg .jpeg .jfif .bmp .webp .gif .avif .heic .heif .jp2 .j2k .tif .tiff .npy".split()  # noqa: SIM905
)
"""Suffixes of image files, in lower case; the content of a file decides how it is read."""

SPLITS = ("train", "val", "test")

NUMBERED = re.compile("source_[1-9][0-9]*")
"""Name of the folder or column of one of several sources."""


@dataclass(frozen=True, slots=True, init=False)
class ImageRef:
    """One image: a file, or a part of it, such as one half of a side-by-side file."""

    file: str
    """Path as text, which takes a tenth of the memory of a `Path`: there may be millions of pairs."""
    view: View

    def __init__(self, path: str | Path, part: View | Half | None = None) -> None:
        object.__setattr__(self, "file", os.fspath(path))
        object.__setattr__(self, "view", as_view(part))

    @property
    def half(self) -> Half | None:
        return self.view.half

    @property
    def whole(self) -> tuple[str, View]:
        """The file, and the view that both halves of a side-by-side image share."""
        return self.file, self.view.of_whole

    @property
    def path(self) -> Path:
        return Path(self.file)


@dataclass(frozen=True, slots=True)
class Pair:
    """Source and target. The name is unique in its split and safe as a relative path: no root, no `..`."""

    name: str
    source: ImageRef
    """The source, or the first of several."""
    target: ImageRef
    more: tuple[ImageRef, ...] = ()
    """The other sources in order, if there are several."""

    @property
    def sources(self) -> tuple[ImageRef, ...]:
        return (self.source, *self.more)

    @property
    def refs(self) -> tuple[ImageRef, ...]:
        """All sources, then the target."""
        return (self.source, *self.more, self.target)


class Unmatched(NamedTuple):
    """A file that belongs to no pair, or a manifest with a row that forms none, and the reason."""

    path: Path
    reason: str


class Ignored(NamedTuple):
    """A file or folder that is never read, and the reason."""

    path: Path
    reason: str


@dataclass(frozen=True)
class MatchedPairs:
    """The pairs of a data set by split, before a missing split is carved from `train`."""

    splits: dict[str, list[Pair]]
    unmatched: list[Unmatched]
    ignored: list[Ignored]
    """Files that are not images by their names, hidden ones, and folders that are not searched."""
    hint: str = ""
    """Another layout that the names suggest, for the user; the pairs do not depend on it."""


def order_sources(names: Iterable[str], where: str) -> list[str]:
    """Sort source_1, source_2, ... by number. Raises DataError for a gap."""
    ordered = sorted(names, key=lambda name: int(name.removeprefix("source_")))
    for number, name in enumerate(ordered, start=1):
        if name != f"source_{number}":
            raise DataError(f"{where}: has {name} but no source_{number}; number the sources from 1, without gaps")
    return ordered


def source_titles(count: int) -> list[str]:
    """Name the sources of a pair: `source`, or `source 1`, `source 2`, ..."""
    return ["source"] if count == 1 else [f"source {number}" for number in range(1, count + 1)]
