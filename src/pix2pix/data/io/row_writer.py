"""Write an image by rows, for images that do not fit into memory: arrays (rows, W, C) to TIFF, .npy or OME-Zarr."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array, ImageFacts, Pixels
from pix2pix.data.io.ngff import SUFFIX
from pix2pix.data.io.surroundings import NOTHING, Surroundings
from pix2pix.data.io.tiff_writer import container_options, write_options, written_kind

TILE = 256
"""Side of the tiles of a TIFF."""
SUFFIXES = (".tif", ".tiff", ".npy", SUFFIX)
"""Suffixes, in lower case, of the formats that are written row by row; others are collected first."""


def begin_to_write_rows(
    path: Path,
    facts: ImageFacts,
    rows: Iterable[Array],
    before_rename: Callable[[Path], object] | None = None,
    *,
    surroundings: Surroundings = NOTHING,
    palette: Pixels | None = None,
) -> Callable[[], None]:
    """Write as `images.begin_to_write` does, from arrays (rows, W, C) that together have the size in `facts`.

    Raises DataError, and whatever `rows` raises; the file then does not appear.
    """
    if path.suffix.lower() == SUFFIX:
        return images.begin_to_fill(path, facts, rows, before_rename, surroundings=surroundings, palette=palette)
    encode = {".tif": _encode_tiff, ".tiff": _encode_tiff, ".npy": _encode_npy}.get(path.suffix.lower())
    if encode is None:
        return images.begin_to_write(
            path, _collect(facts, rows), before_rename, surroundings=surroundings, palette=palette
        )
    return images.begin_to_encode(path, lambda file: encode(file, facts, rows, surroundings), before_rename)


def _collect(facts: ImageFacts, rows: Iterable[Array]) -> Array:
    image = np.empty((facts.height, facts.width, facts.channels), facts.dtype)
    top = 0
    for part in rows:
        image[top : top + len(part)] = part
        top += len(part)
    return image


def _encode_npy(file: BinaryIO, facts: ImageFacts, rows: Iterable[Array], _: Surroundings) -> None:
    shape = (facts.height, facts.width, facts.channels)
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(facts.dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for part in rows:
        file.write(np.ascontiguousarray(part).data)


def _encode_tiff(file: BinaryIO, facts: ImageFacts, rows: Iterable[Array], surroundings: Surroundings) -> None:
    from tifffile import TiffWriter

    dtype = np.dtype(facts.dtype)
    shape = (facts.height, facts.width, facts.channels)
    size = math.prod(shape) * dtype.itemsize
    kind = written_kind(surroundings, facts.dtype, size, by_rows=True)
    axes = "YX" if facts.channels == 1 else "YXS"
    options = write_options(facts.channels, dtype, axes, surroundings, kind)
    with TiffWriter(file, bigtiff=size > 2**31, **container_options(kind)) as writer:
        tiles = _cut_tiles(rows, facts.channels)
        writer.write(tiles, shape=shape[: len(axes)], dtype=dtype, tile=(TILE, TILE), maxworkers=1, **options)


def _cut_tiles(rows: Iterable[Array], channels: int) -> Iterator[Array]:
    """Yield tiles (TILE, TILE[, C]) in the order of the file; those at the right and the bottom are filled with 0."""
    for band in _regroup(rows, TILE):
        for left in range(0, band.shape[1], TILE):
            part = band[:, left : left + TILE]
            tile = np.zeros((TILE, TILE, channels), band.dtype)
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile[..., 0] if channels == 1 else tile


def _regroup(rows: Iterable[Array], height: int) -> Iterator[Array]:
    """Yield arrays of `height` rows, the last one of those that are left."""
    waiting: list[Array] = []
    for part in chain.from_iterable(_split(array, height) for array in rows):
        waiting.append(part)
        while (count := sum(map(len, waiting))) >= height:
            joined = np.concatenate(waiting)
            yield joined[:height]
            waiting = [joined[height:]] if count > height else []
    if waiting:
        yield np.concatenate(waiting)


def _split(array: Array, height: int) -> Iterator[Array]:
    for top in range(0, len(array), height):
        yield array[top : top + height]
