"""Read the pixels of an OME-Zarr image: all of them, or by rows; its chunks are regular files below its folder."""

import itertools
import math
import os
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pix2pix.data.io.arrays import Array, unreadable
from pix2pix.data.io.bounded_codecs import bounded_codecs, with_overhead
from pix2pix.data.io.high_depth import Header, checked_type, to_native
from pix2pix.data.io.ngff import METADATA, StoredImage, read_image
from pix2pix.data.io.surroundings import Surroundings
from pix2pix.errors import DataError
from pix2pix.system.folders import list_files

T = TypeVar("T")

TOGETHER = 2**25
"""Bytes of chunks that are decoded or encoded at the same time; one chunk at least."""
CHUNKS_TOGETHER = 2**12
"""Chunks that zarr prepares at once, or one row of chunks; each takes some thousand bytes."""
MICROMETRES = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "centimeter": "cm", "meter": "m"}
"""Unit of an axis -> as TIFF writes it."""


def read_zarr_header(path: Path) -> Header:
    """Read the header of an OME-Zarr image. Raises DataError."""
    image = read_image(path)
    height, _, _ = image.sizes
    return Header(
        path,
        image.sizes,
        checked_type(path, image.dtype),
        lambda _: open_rows(image)(0, height),
        names=image.names,
        segment=2 * image.chunk_bytes,  # as in the file, and decoded
    )


def read_surroundings(path: Path) -> Surroundings:
    """Read the axes of an image, and its size of pixels as a TIFF states it. Raises DataError."""
    image = read_image(path)
    known = {axis.name: axis for axis in image.axes}
    unit = MICROMETRES.get(known["x"].unit)
    found = Surroundings(axes=image.axes, ngff=image.version, channel_names=image.names)
    if unit is None or known["y"].unit != known["x"].unit:
        return found
    z = known["z"].scale if "z" in known and known["z"].unit == known["x"].unit else None
    return Surroundings(
        **{**vars(found), "kind": "ome", "voxel": (z, known["y"].scale, known["x"].scale), "unit": unit}
    )


def open_rows(image: StoredImage) -> Callable[[int, int], Array]:
    """Return a function that reads rows from one number to another, (rows, W, C). Raises DataError, or anything."""
    from zarr.api.asynchronous import open_array
    from zarr.storage import LocalStore

    with bounded_codecs(image.chunk_bytes):
        array = run_quietly(open_array(store=LocalStore(image.array, read_only=True), mode="r"), image.chunk_bytes)
    if array.shape != image.shape:
        raise unreadable(image.path, "its metadata changed while it was read")
    _check_files(image, array.shards or array.chunks)
    step = image.chunk[-2] * max(1, CHUNKS_TOGETHER // image.chunks_of_a_row)

    def read(top: int, bottom: int) -> Array:
        _, width, channels = image.sizes
        values = np.empty((bottom - top, width, channels), checked_type(image.path, image.dtype))
        for start in range(top // step * step, bottom, step):
            first, last = max(top, start), min(bottom, start + step)
            values[first - top : last - top] = _read_rows(image, array, first, last)
        return values

    return read


def _read_rows(image: StoredImage, array: Any, top: int, bottom: int) -> Array:
    """Read rows at once. Raises DataError that names the file of a damaged chunk, or anything."""
    at = {"y": slice(top, bottom), "x": slice(None), "c": slice(None)}
    index = tuple(at.get(letter, 0) for letter in image.letters)
    try:
        values = np.asarray(run_quietly(array.getitem(index), image.chunk_bytes))
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged chunks raise nearly anything
        raise unreadable(_find_damaged(image, array, top, bottom), error) from None
    return to_native(image.path, np.moveaxis(values, 0, 2) if "c" in image.letters else values[..., None])


def _find_damaged(image: StoredImage, array: Any, top: int, bottom: int) -> Path:
    """Return the first file of chunks in some rows that cannot be decoded alone; the image if each can."""
    sides = array.shards or array.chunks
    spans = [(0, size) for size in image.shape]
    spans[-2] = top, bottom
    numbers = [range(low // side, -(-high // side)) for (low, high), side in zip(spans, sides, strict=True)]
    for number in itertools.product(*numbers):
        index = tuple(
            slice(max(low, n * side), min(high, (n + 1) * side))
            for (low, high), n, side in zip(spans, number, sides, strict=True)
        )
        try:
            run_quietly(array.getitem(index), image.chunk_bytes)
        except Exception:  # as above
            return image.array / str(array.metadata.encode_chunk_key(number))
    return image.path


def open_bands(image: StoredImage, channels: Sequence[int] | None, most: int) -> Callable[[int, int], Array] | None:
    """Return a function as `open_rows` that keeps a row of chunks; None if one chunk takes more than `most` bytes.

    A row of chunks that takes more than `most` bytes is not kept: its chunks are decoded at each read. `channels` are
    those to take by number; None for all.
    """
    if image.chunk_bytes > most:
        return None
    height, width, count = image.sizes
    rows, step = open_rows(image), image.chunk[-2]

    def take(top: int, bottom: int) -> Array:
        values = rows(top, bottom)
        return values if channels is None else np.ascontiguousarray(values[..., channels])

    if min(step, height) * width * count * image.dtype.itemsize > most:
        return take
    decode = lru_cache(maxsize=1)(lambda number: take(number * step, min(height, (number + 1) * step)))

    def read(top: int, bottom: int) -> Array:
        first = top // step * step
        found = np.concatenate([decode(number) for number in range(top // step, -(-bottom // step))])
        return found[top - first : bottom - first]

    return read


def run_quietly(work: Coroutine[Any, Any, T], chunk_bytes: int) -> T:
    """Run a coroutine of zarr on few chunks at the same time, so that they take little memory.

    The loop is one of its own, in a thread since the caller may run in one. In the loop that zarr keeps an error leaves
    tasks behind, about which Python would complain when the process ends.
    """
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    import zarr

    async def run() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        return await work

    together = max(1, min(8, TOGETHER // chunk_bytes))
    # Chunks of one value are written too, so that a copy that lacks some can be told from the whole.
    settings = {"async.concurrency": together, "array.write_empty_chunks": True}
    with zarr.config.set(settings), ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()


def _check_files(image: StoredImage, shape: Sequence[int]) -> None:
    """Raise DataError for links, devices and too large files among the chunks, and for an array without any chunk.

    `shape` is that of what one file holds.
    """
    try:
        files = [(name, facts) for name, facts in list_files(image.array) if name not in METADATA]
    except OSError as error:
        raise unreadable(image.path, f"{os.path.relpath(error.filename, image.path)} {error.strerror}") from None
    if not files:
        raise DataError(f"{image.path}: has metadata but no chunk of pixels: copy it again")
    most = 2 * with_overhead(math.prod(shape) * image.dtype.itemsize) + 2**20  # a shard also has a table of its chunks
    for name, facts in files:
        if facts.st_size > most:
            reason = f"it has {facts.st_size:,} bytes, expected at most {most:,} for chunks of this shape"
            raise unreadable(image.array / name, reason)
