"""Which part of a file is one image: a half, a plane of a stack, some of the channels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pix2pix.errors import DataError
from pix2pix.text import format_count, format_list

Half = Literal["left", "right"]
Planes = tuple[tuple[str, int], ...]
"""Axis, such as Z or T, and length of each axis of planes, the slowest first; none for a single picture."""

CHANNEL_AXES = "CSE"
"""Axes whose positions are channels: channels, samples, wavelengths. Others are planes."""
UNNAMED_AXES = "IQ"
"""Pages of which the file does not say what they are: channels, unless they are asked for as pictures."""


@dataclass(frozen=True, slots=True)
class View:
    """The part of a file that is one image; by default all of it."""

    half: Half | None = None
    plane: int | None = None
    """Number of a plane of a stack, from 0."""
    stacked: bool = False
    """Whether the planes of a stack are channels of one image."""
    channels: tuple[str, ...] = ()
    """Channels by number, from 0, or by name; none for all."""
    axes: str = ""
    """Order of the axes of an array file, such as CYX; empty for the usual one."""
    stored: bool = False
    """Whether pixels are taken as stored, not turned upright by EXIF orientation."""

    @property
    def label(self) -> str:
        """Return what tells views of one file apart; only the half where it suffices, as before there were others."""
        others = (self.plane, self.stacked, self.channels, self.axes)
        text = str(self.half) + ("" if others == (None, False, (), "") else f" {others}")
        return text + " as stored" * self.stored

    @property
    def part(self) -> str:
        """Return which pixels of a file these are; how they are arranged is a setting."""
        return str(self.half) + (f" {self.plane} {self.channels}" if self.plane is not None or self.channels else "")

    @property
    def of_whole(self) -> "View":
        """The same view of the undivided picture."""
        return self if self.half is None else replace(self, half=None)


WHOLE = View()
_HALVES: dict[Half | None, View] = {None: WHOLE, "left": View("left"), "right": View("right")}


def as_view(part: View | Half | None) -> View:
    """Return the view of a half, or of the whole file for None."""
    return part if isinstance(part, View) else _HALVES[part]


def find_channels(chosen: Sequence[str], count: int, names: Sequence[str], path: Path) -> list[int]:
    """Return the numbers of chosen channels, of `count` with these names. Raises DataError."""
    known = {name: number for number, name in enumerate(names) if names.count(name) == 1}
    known |= {str(number): number for number in range(count) if str(number) not in known}
    unknown = [name for name in chosen if name not in known]
    if unknown:
        named = f", named {format_list(names)}" if names else ""
        has = f"has {format_count(count, 'channel')}, numbered from 0{named}"
        raise DataError(
            f"{path}: {has}, but not {format_list(unknown)}: choose others with --source-from, --target-from"
        )
    return [known[name] for name in chosen]


def count_planes(planes: Planes) -> int:
    """Return the number of planes; 1 for a single picture."""
    total = 1
    for _, length in planes:
        total *= length
    return total


def refuse_planes(path: Path, planes: Planes) -> DataError:
    """Return the error for a stack of which nobody said what its planes are."""
    each = " and ".join(f"{length} along {axis}" for axis, length in planes)
    return DataError(
        f"{path}: is a stack of planes ({each}): say what they are, --planes pictures (each plane is a picture) or "
        "--planes channels (all planes are the channels of one picture)"
    )
