"""Tell side-by-side images from single ones: what is evident is taken, all else must be said with --layout."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pix2pix.data.checks.report import Problem
from pix2pix.data.io.arrays import ImageFacts
from pix2pix.data.pairing.patterns import pattern_flags, suggest_patterns_within
from pix2pix.errors import DataError
from pix2pix.text import format_count, format_examples

OF_SEVERAL_CHANNELS = {".tif", ".tiff", ".npy"}
"""Formats of measurements, in which three channels need not be colours."""


class SideBySideEvidence:
    """Count the files that are evidently two images side by side: 8-bit gray or RGB, twice as wide as high."""

    def __init__(self) -> None:
        self.evident = 0
        self._photos = self._with_channels = False
        self._kinds: Counter[str] = Counter()
        self._single: list[Problem] = []

    def add(self, path: Path, half: ImageFacts | None) -> None:
        """Count a file by the facts of one of its halves; None if it cannot be read."""
        if half is None:
            return
        is_measured = os.path.splitext(path.name)[1].lower() in OF_SEVERAL_CHANNELS
        is_picture = not is_measured and half.dtype == "uint8" and half.channels in (1, 3)
        if is_picture and half.width == half.height:
            self.evident += 1
            return
        self._photos |= is_picture
        self._with_channels |= is_measured and half.channels > 1
        kind = f"{half.height}x{2 * half.width} with {format_count(half.channels, 'channel')} of {half.dtype}"
        self._kinds[kind] += 1
        reason = f"is {kind}, and side-by-side images are expected to be 8-bit gray or RGB and twice as wide as high"
        self._single.append(Problem(path, f"{reason}; if it is one, give --layout side-by-side"))

    def problems(self, place: str) -> Iterable[Problem]:
        """Return the files that may be single images. Raises DataError, naming `place`, if they are the majority."""
        if len(self._single) <= self.evident:
            return self._single
        seen = format_examples(f"{count:,} of {kind}" for kind, count in self._kinds.most_common())
        raise DataError(
            f"{place}: its images may be single ones: {seen}; two images side by side are expected to be 8-bit gray or "
            f"RGB and twice as wide as high (HxW): give {self._describe_ways(place)}"
        )

    def _describe_ways(self, place: str) -> str:
        """Say what may be given for such images."""
        ways = ["--layout side-by-side if each holds a source and its target"]
        if patterns := suggest_patterns_within([str(problem.path) for problem in self._single]):
            ways.insert(0, f"{pattern_flags(patterns)}, or the two swapped, as the names suggest")
        if self._with_channels:
            ways.append("--source-from 0 --target-from 1 if these are channels of each file, by number or name")
        ways.append("--source DIR --target DIR if these lie in two folders")
        if self._photos:
            ways.append(f"`pix2pix data make {place} --kind edges --output DATA` to make pairs of photos")
        return f"{', '.join(ways[:-1])}, or {ways[-1]}"
