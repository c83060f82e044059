"""Inspect one image file: size, value range, colours, hash of the pixels, edge maps."""

from dataclasses import astuple, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from pix2pix.config.fields import MaskValue
from pix2pix.data.checks.alignment import EdgeMap, edge_map
from pix2pix.data.checks.label_maps import list_colours
from pix2pix.data.checks.values import End
from pix2pix.data.encoding.labels import without_alpha
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array, ImageFacts, half_width, take_half
from pix2pix.data.io.limits import MemoryShortError
from pix2pix.data.io.newer_formats import ReaderMissingError
from pix2pix.data.io.orientation import find_orientation
from pix2pix.data.io.view import Half, View
from pix2pix.errors import DataError

COPIES = 2
"""Copies of the values that measuring takes at its peak: the finite ones, and where they are."""

EdgeMaps = dict[Half | None, EdgeMap]
"""Of the whole file (None), or of each half."""


@dataclass(frozen=True, slots=True)
class ImageStats:
    """Statistics of a decoded image: a whole file or one half of it."""

    half: Half | None
    digest: int  # 64 bits of its size, type and pixels
    low: float  # of the finite values
    high: float
    nan: int  # how many values are not a number
    infinite: int
    flat: bool
    colours: tuple[str, ...] | None  # as hexadecimal digits of its channels; None if it is no label map
    lowest: End  # of the finite values
    highest: End
    count: int  # of values
    transparent: bool = False

    def is_only(self, value: MaskValue) -> bool:
        """Return whether all values are this one, or all pixels of a label map have this colour."""
        if value == "nan":
            return self.nan == self.count
        if isinstance(value, str):
            return self.flat and self.colours == (value.removeprefix("#"),)
        is_number = self.colours is None or all(len(colour) == 2 for colour in self.colours)
        one_value = self.low == self.high and not (self.nan or self.infinite)
        return is_number and one_value and np.float32(self.low) == np.float32(value)


@dataclass(frozen=True, slots=True)
class FileInspection:
    """Facts about one file, independent of its pair."""

    facts: ImageFacts | None  # of the image, or of each half; None if it cannot be read
    problem: str | None
    images: tuple[ImageStats, ...] = ()  # known only if decoded
    orientation: int = 1  # by which facts and images are turned: 1 for a view as stored
    passing: bool = False  # whether the problem may be gone the next time, so that it is not remembered

    def image(self, half: Half | None) -> ImageStats | None:
        return next((image for image in self.images if image.half == half), None)

    def to_json(self) -> list[Any]:
        images = [astuple(image) for image in self.images]
        return [self.facts and astuple(self.facts), self.problem, images, self.orientation]

    @classmethod
    def from_json(cls, values: Any) -> "FileInspection | None":
        """Read the values of `to_json`; return None for anything else."""
        try:
            facts, problem, images, orientation = values
            known = ImageFacts(int(facts[0]), int(facts[1]), int(facts[2]), str(facts[3])) if facts else None
            return cls(known, problem, tuple(_image_from_json(*image) for image in images), int(orientation))
        except (TypeError, ValueError, IndexError):
            return None


def _image_from_json(
    half: Half | None,
    digest: int,
    low: float,
    high: float,
    nan: int,
    infinite: int,
    flat: bool,
    colours: Any,
    *others: Any,
) -> ImageStats:
    named = None if colours is None else tuple(map(str, colours))
    lowest, highest, count, transparent = others
    return ImageStats(
        half,
        int(digest),
        float(low),
        float(high),
        int(nan),
        int(infinite),
        bool(flat),
        named,
        _end_from_json(*lowest),
        _end_from_json(*highest),
        int(count),
        bool(transparent),
    )


def _end_from_json(value: float, times: int, near: float | None) -> End:
    return End(float(value), int(times), None if near is None else float(near))


def inspect_file(
    file: str, view: View, halved: bool, decode: bool, alpha: bool, drop_alpha: bool = False
) -> tuple[FileInspection, EdgeMaps]:
    """Inspect a view of a file, or its two halves: the pixels and their edge maps if `decode`, else the header only.

    With `alpha` an alpha channel is a channel. With `drop_alpha`, for label maps, it is ignored; otherwise it must be
    opaque.
    """
    path = Path(file)
    try:
        found, edges = (
            _inspect_pixels(path, view, halved, alpha, drop_alpha)
            if decode
            else (_inspect_header(path, view, halved), {})
        )
        return replace(found, orientation=1 if view.stored else find_orientation(path)), edges
    except DataError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return FileInspection(None, reason, passing=isinstance(error, MemoryShortError | ReaderMissingError)), {}


def _inspect_header(path: Path, view: View, halved: bool) -> FileInspection:
    """Read the facts in the header of an image, or of a half. Raises DataError."""
    facts = images.probe(path, view)
    return FileInspection(replace(facts, width=half_width(facts.width, path)) if halved else facts, None)


def _inspect_pixels(
    path: Path, view: View, halved: bool, alpha: bool, drop_alpha: bool
) -> tuple[FileInspection, EdgeMaps]:
    """Measure an image, or both halves of it. Raises DataError."""
    halves: tuple[Half, ...] = ("left", "right")
    with images.reading(path, view, alpha=alpha or drop_alpha, copies=COPIES) as read:
        whole = without_alpha(read) if drop_alpha else read
        transparent = whole.shape != read.shape and bool(read[..., -1].min() < np.iinfo(read.dtype).max)
        parts: dict[Half | None, Array] = (
            {half: take_half(whole, half, path) for half in halves} if halved else {None: whole}
        )
        height, width, channels = next(iter(parts.values())).shape
        stats = tuple(
            replace(_measure(half, values, declared=drop_alpha), transparent=transparent)
            for half, values in parts.items()
        )
        facts = ImageFacts(height, width, channels, whole.dtype.name)
        return FileInspection(facts, None, stats), {half: edge_map(values) for half, values in parts.items()}


def _measure(half: Half | None, values: Array, *, declared: bool) -> ImageStats:
    nan = infinite = 0
    finite = values
    if values.dtype.kind == "f":
        is_finite = np.isfinite(values)
        if not is_finite.all():
            nan, finite = int(np.isnan(values).sum()), values[is_finite]
            infinite = values.size - finite.size - nan
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    flat = not (nan or infinite) and bool((values.min(axis=(0, 1)) == values.max(axis=(0, 1))).all())
    digest = blake2b(f"{values.shape}{values.dtype}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(values).data)
    code = int.from_bytes(digest.digest(), "big")
    ends = (_measure_end(finite, low, 1), _measure_end(finite, high, -1))
    colours = list_colours(values, declared=declared)
    return ImageStats(half, code, low, high, nan, infinite, flat, colours, *ends, values.size)


def _measure_end(finite: Array, value: float, sign: int) -> End:
    """Count the least (`sign` 1) or greatest (-1) value, and find the next one. Photos of 8 bits are not examined."""
    if not finite.size or (finite.dtype == np.uint8 and finite.shape[-1] != 1):
        return End(value, 0, None)
    others = finite[finite != finite.dtype.type(value)]
    near = (others.min() if sign > 0 else others.max()) if others.size else None
    return End(value, finite.size - others.size, None if near is None else float(near))
