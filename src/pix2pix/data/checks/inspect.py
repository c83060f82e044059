"""One file in, what is in it out: sizes, values, colours, a hash of its pixels; and how far a target is shifted."""

import math
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array as Values
from pix2pix.data.io.arrays import ImageFacts, half_width, take_half
from pix2pix.data.pairing.pair import Half
from pix2pix.errors import DataError

MOST_COLOURS, MOST_GRAYS = 256, 32
"""An image of more colours, or shades of gray, is no label map."""
COUNTED = 2**22
"""Pixels whose colours are counted together."""
OUTLINE = 128
"""Side in cells at which the source and the target are laid over each other."""
CLEAR = 9.0
"""A shift counts if its agreement stands out by this many standard deviations over that of all others."""

Outlines = dict[Half | None, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Part:
    """A decoded image: a whole file or one half of it."""

    half: Half | None
    digest: int  # 64 bits of its size, type and pixels
    low: float  # of the finite values
    high: float
    nan: int  # how many values are not a number
    infinite: int
    flat: bool
    colours: tuple[str, ...] | None  # as hexadecimal digits of its channels; None if too many for a label map


@dataclass(frozen=True, slots=True)
class Look:
    """What is in one file: a fact about its content alone, whatever it is paired with."""

    facts: ImageFacts | None  # of the image, or of each half; None where it cannot be read
    problem: str | None
    parts: tuple[Part, ...] = ()  # known only if decoded

    def part(self, half: Half | None) -> Part | None:
        return next((part for part in self.parts if part.half == half), None)

    def to_json(self) -> list[Any]:
        facts = self.facts
        known = facts and [facts.height, facts.width, facts.channels, facts.dtype]
        parts = [
            [part.half, part.digest, part.low, part.high, part.nan, part.infinite, part.flat, part.colours]
            for part in self.parts
        ]
        return [known, self.problem, parts]

    @classmethod
    def from_json(cls, values: Any) -> "Look | None":
        """What `to_json` gave; None for anything else."""
        try:
            facts, problem, parts = values
            known = ImageFacts(int(facts[0]), int(facts[1]), int(facts[2]), str(facts[3])) if facts else None
            return cls(known, problem, tuple(_part(*part) for part in parts))
        except (TypeError, ValueError, IndexError):
            return None


def _part(
    half: Half | None, digest: int, low: float, high: float, nan: int, infinite: int, flat: bool, colours: Any
) -> Part:
    named = None if colours is None else tuple(map(str, colours))
    return Part(half, int(digest), float(low), float(high), int(nan), int(infinite), bool(flat), named)


def look(file: str, halved: bool, decode: bool, alpha: bool) -> tuple[Look, Outlines]:
    """What is in a file, by its pixels or its header; and, if decoded, the outlines of its parts."""
    path = Path(file)
    try:
        return _at_pixels(path, halved, alpha) if decode else (_at_header(path, halved), {})
    except DataError as error:
        return Look(None, str(error).removeprefix(f"{path}: ")), {}


def _at_header(path: Path, halved: bool) -> Look:
    """Raises DataError."""
    whole = images.probe(path)
    width = half_width(whole.width, path) if halved else whole.width
    return Look(ImageFacts(whole.height, width, whole.channels, whole.dtype), None)


def _at_pixels(path: Path, halved: bool, alpha: bool) -> tuple[Look, Outlines]:
    """Raises DataError."""
    whole = images.read(path, alpha=alpha)
    halves: tuple[Half, ...] = ("left", "right")
    parts: dict[Half | None, Values] = (
        {half: take_half(whole, half, path) for half in halves} if halved else {None: whole}
    )
    height, width, channels = next(iter(parts.values())).shape
    facts = ImageFacts(height, width, channels, whole.dtype.name)
    seen = tuple(_seen(half, values) for half, values in parts.items())
    return Look(facts, None, seen), {half: outline(values) for half, values in parts.items()}


def _seen(half: Half | None, values: Values) -> Part:
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
    return Part(half, int.from_bytes(digest.digest(), "big"), low, high, nan, infinite, flat, _colours(values))


def _colours(values: Values) -> tuple[str, ...] | None:
    """The colours of what may be a label map."""
    channels = values.shape[2]
    if values.dtype != np.uint8 or channels not in (1, 3):
        return None
    most = MOST_GRAYS if channels == 1 else MOST_COLOURS
    step = max(1, math.isqrt(values.shape[0] * values.shape[1] // 4096))
    rows = max(1, COUNTED // values.shape[1])  # at a time, as their codes take four times their memory and more
    parts = (values[top : top + rows] for top in range(0, len(values), rows))
    found: set[int] = set()
    for sample in chain([values[::step, ::step]], parts):  # a photo is known by a few of its pixels
        codes = sample.astype(np.uint32) @ np.array([1] if channels == 1 else [1 << 16, 1 << 8, 1], np.uint32)
        found.update(np.unique(codes).tolist())
        if len(found) > most:
            return None
    return tuple(f"{code:0{2 * channels}x}" for code in sorted(found))


# ---- source against target ---------------------------------------------------------------------------------------


def outline(values: Values) -> NDArray[np.float32]:
    """(H, W, C) -> strength of edges, (h, w) with the longer side at OUTLINE cells at most."""
    step = cell_size(*values.shape[:2])
    thin = max(1, step // 4)  # of a large image not every pixel is needed
    some = values[::thin, ::thin].astype(np.float64)
    gray = np.nan_to_num(some, copy=False, posinf=0, neginf=0).mean(axis=2)
    block = step // thin
    height, width = gray.shape[0] // block, gray.shape[1] // block
    if min(height, width) < 2:
        return np.zeros((1, 1), np.float32)
    cells = gray[: height * block, : width * block].reshape(height, block, width, block).mean(axis=(1, 3))
    edges = np.hypot(*np.gradient(cells))
    return (edges / max(float(edges.max()), 1e-300)).astype(np.float32)


def cell_size(height: int, width: int) -> int:
    """Pixels that a cell of the outline is wide; beyond four, a multiple of what is passed over."""
    step = max(1, math.ceil(max(height, width) / OUTLINE))
    return step if step < 8 else step // 4 * 4 + (4 if step % 4 else 0)


def shift(source: NDArray[np.float32], target: NDArray[np.float32]) -> tuple[int, int] | None:
    """Cells (down, right) by which the target's edges lie off the source's, by phase correlation; None if unclear."""
    if source.shape != target.shape or min(source.shape) < 16:
        return None
    height, width = source.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    spectra = [np.fft.rfft2((side - side.mean()) * window) for side in (source, target)]
    cross = spectra[1] * spectra[0].conj()
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    soft = np.exp(-((down**2 + across**2) / 0.04))  # the finest detail differs between kinds of pictures
    agreement = np.fft.irfft2(cross / (np.abs(cross) + 1e-12) * soft, (height, width))
    spread = float(agreement.std())
    if spread == 0 or (float(agreement.max()) - float(agreement.mean())) / spread < CLEAR:
        return None
    at, beside = divmod(int(agreement.argmax()), width)
    return at - height * (at > height // 2), beside - width * (beside > width // 2)
