"""Write an OME-Zarr image by rows into a folder, with a pyramid of halved levels that are made on the way.

Level n + 1 is made of squares of 2x2 pixels of level n: their mean, or the first of them for label maps. So all levels
together hold few rows of chunks in memory.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix2pix.data.io.arrays import Array, ImageFacts
from pix2pix.data.io.surroundings import NOTHING, StoreAxis, Surroundings
from pix2pix.data.io.zarr_reader import run_quietly

CHUNK = 512
"""Side of a chunk, which holds one channel; the last level fits into one."""
STRIP = 32
"""Rows that are halved at once, an even number."""
COLOURS = {1: ("FFFFFF",), 3: ("FF0000", "00FF00", "0000FF")}


def write_zarr(
    folder: Path,
    facts: ImageFacts,
    rows: Iterable[Array],
    surroundings: Surroundings = NOTHING,
    *,
    labels: bool = False,
) -> None:
    """Write arrays (rows, W, C), which together have the size in `facts`, into an empty folder.

    The axes and the version are those of the surroundings. Raises OSError, and whatever `rows` raises.
    """
    import zarr
    from zarr.storage import LocalStore

    axes = output_axes(surroundings.axes, facts.channels)
    version = 3 if surroundings.ngff in ("", "0.5") else 2
    group = zarr.create_group(LocalStore(folder), zarr_format=version)
    sizes = [facts.size]
    while max(sizes[-1]) > CHUNK:
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    arrays = [_create(group, str(number), axes, size, facts, version) for number, size in enumerate(sizes)]
    first = below = None
    for array in reversed(arrays):
        below = _Level(array, axes, facts, below, labels=labels)
    first = below
    assert first is not None
    low, high = math.inf, -math.inf
    for part in rows:
        low, high = min(low, float(np.min(part))), max(high, float(np.max(part)))
        first.add(part)
    first.finish()
    shown = _bounds(facts.dtype, low, high)
    ome = describe(axes, len(sizes), facts.channels, surroundings, shown, labels=labels)
    group.attrs.update({"ome": {"version": "0.5", **ome}} if version == 3 else _with_version(ome))


def output_axes(axes: Sequence[StoreAxis], channels: int) -> tuple[StoreAxis, ...]:
    """Return the axes of an output: those of its source, with one for channels if there are several."""
    known = tuple(axes) or (StoreAxis("y", "space"), StoreAxis("x", "space"))
    if channels == 1 or any(axis.name == "c" for axis in known):
        return known
    at = int(known[0].name == "t")
    return (*known[:at], StoreAxis("c", "channel"), *known[at:])


def describe(
    axes: Sequence[StoreAxis],
    levels: int,
    channels: int,
    surroundings: Surroundings,
    shown: tuple[float, float],
    *,
    labels: bool,
) -> dict[str, Any]:
    """Return the metadata of OME: axes, levels with the size and the place of their pixels, channels."""
    listed = [{"name": a.name, "type": a.kind} | ({"unit": a.unit} if a.unit else {}) for a in axes]
    datasets = []
    for number in range(levels):
        factors = [2**number if axis.name in "yx" else 1 for axis in axes]
        # The first pixel of a mean of n lies (n - 1) / 2 pixels further; the first of n lies where it was.
        moved = [0.0 if labels else axis.scale * (factor - 1) / 2 for axis, factor in zip(axes, factors, strict=True)]
        scale = [axis.scale * factor for axis, factor in zip(axes, factors, strict=True)]
        translation = [axis.translation + by for axis, by in zip(axes, moved, strict=True)]
        changes: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if any(translation):
            changes.append({"type": "translation", "translation": translation})
        datasets.append({"path": str(number), "coordinateTransformations": changes})
    multiscale = {"axes": listed, "datasets": datasets, "type": "nearest" if labels else "mean"}
    names = surroundings.channel_names
    if len(names) != channels:
        names = ("red", "green", "blue") if channels == 3 else tuple(map(str, range(channels)))
    colours = COLOURS.get(channels, ("FFFFFF",) * channels)
    low, high = shown
    window = {"min": low, "max": high, "start": low, "end": high}
    shown_as = [
        {"label": name, "color": colour, "window": window, "active": True}
        for name, colour in zip(names, colours, strict=True)
    ]
    return {"multiscales": [multiscale], "omero": {"channels": shown_as}}


def _with_version(ome: dict[str, Any]) -> dict[str, Any]:
    (multiscale,) = ome["multiscales"]
    return {"multiscales": [{"version": "0.4", **multiscale}], "omero": ome["omero"]}


def _bounds(dtype: str, low: float, high: float) -> tuple[float, float]:
    """Return the values that viewers show as black and as white: those of 8 bits, else the extremes of the pixels."""
    if dtype == "uint8":
        return 0.0, 255.0
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else (0.0, 1.0)


def _create(
    group: Any, name: str, axes: Sequence[StoreAxis], size: tuple[int, int], facts: ImageFacts, version: int
) -> Any:
    """Create the array of one level, and open it."""
    from zarr.api.asynchronous import open_array

    lengths = {"y": size[0], "x": size[1], "c": facts.channels}
    shape = tuple(lengths.get(axis.name, 1) for axis in axes)
    options: dict[str, Any] = {
        "chunks": tuple(min(CHUNK, n) if a.name in "yx" else 1 for a, n in zip(axes, shape, strict=True))
    }
    if version == 3:
        from zarr.codecs import BloscCodec

        options |= {"compressors": BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")}
        options |= {"dimension_names": [axis.name for axis in axes]}
    else:
        from numcodecs import Blosc

        options |= {"compressors": Blosc("zstd", 3, Blosc.SHUFFLE)}
        options |= {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    group.create_array(name, shape=shape, dtype=facts.dtype, fill_value=0, **options)
    return run_quietly(open_array(store=group.store, path=name, mode="r+"), CHUNK)


class _Level:
    """One level of the pyramid: takes rows, writes whole rows of chunks, and gives the next level half as many."""

    def __init__(
        self, array: Any, axes: Sequence[StoreAxis], facts: ImageFacts, below: "_Level | None", *, labels: bool
    ) -> None:
        self._array, self._axes, self._below, self._labels = array, "".join(axis.name for axis in axes), below, labels
        self._band = np.empty((min(CHUNK, array.shape[-2]), array.shape[-1], facts.channels), facts.dtype)
        self._held = self._top = 0

    def add(self, rows: Array) -> None:
        """Take rows (rows, W, C)."""
        while len(rows):
            part = rows[: len(self._band) - self._held]
            self._band[self._held : self._held + len(part)] = part
            self._held += len(part)
            rows = rows[len(part) :]
            if self._held == len(self._band):
                self._write(self._band)
                self._held = 0

    def finish(self) -> None:
        """Write what is left, here and below."""
        if self._held:
            self._write(self._band[: self._held])
        if self._below is not None:
            self._below.finish()

    def _write(self, rows: Array) -> None:
        at = {"y": slice(self._top, self._top + len(rows))}
        values = np.moveaxis(rows, 2, 0) if "c" in self._axes else rows[..., 0]
        index = tuple(at.get(axis, slice(None) if axis in "cx" else 0) for axis in self._axes)
        run_quietly(self._array.setitem(index, values), CHUNK * CHUNK * rows.dtype.itemsize)
        self._top += len(rows)
        if self._below is not None:
            halve = _first_of_four if self._labels else _mean_of_four
            for top in range(0, len(rows), STRIP):
                self._below.add(halve(rows[top : top + STRIP]))


def _first_of_four(rows: Array) -> Array:
    return np.ascontiguousarray(rows[::2, ::2])


def _mean_of_four(rows: Array) -> Array:
    """Return the mean of squares of 2x2 pixels of (rows, W, C), in their type; at odd ends of what there is."""
    height, width, _ = rows.shape
    padded = np.pad(rows, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if height % 2 or width % 2 else rows
    down: Array = padded[::2].astype(np.float32 if rows.dtype.kind == "f" else np.int32)
    down += padded[1::2]
    total: Array = down[:, ::2] + down[:, 1::2]
    return (total * np.float32(0.25) if rows.dtype.kind == "f" else (total + 2) // 4).astype(rows.dtype)
