"""Read an image by rows, for images that do not fit into memory: a file to arrays (rows, W, C) of its own type.

Arrays (.npy), TIFF files of plain strips or tiles, and OME-Zarr are read from the disk row by row. Other files are
decoded whole, when the first rows are read, and kept.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pix2pix.data.io import images, ngff, tiff, zarr_reader
from pix2pix.data.io.arrays import Array, ImageFacts, unreadable, without_alpha
from pix2pix.data.io.high_depth import NPY_START, to_native
from pix2pix.data.io.view import WHOLE, View, find_channels
from pix2pix.errors import DataError
from pix2pix.system.reading import open_regular

MAX_SEGMENT = 2**28
"""Most bytes of one row of strips, tiles or chunks that are decoded at once; a file of larger ones is decoded whole."""
LOSSLESS = (1, 5, 8, 32773, 32946, 34925, 50000)
"""Compressions of TIFF: none, LZW, Deflate, PackBits, Deflate (old), LZMA, Zstandard."""

ReadRows = Callable[[int, int], Array]
"""Return the rows from one number to another, (rows, W, C) in the type of the file. May raise any exception."""


@dataclass(frozen=True)
class RowReader:
    """An open image."""

    path: Path
    facts: ImageFacts
    whole: bool
    """Whether the file is decoded whole."""
    _read: ReadRows

    @property
    def held_bytes(self) -> int:
        """Estimate the bytes that stay in memory while the image is open."""
        itemsize = np.dtype(self.facts.dtype).itemsize
        decoded = self.facts.height * self.facts.width * (self.facts.channels + 1) * itemsize
        return 2 * decoded if self.whole else 0  # once by the decoder, once as an array

    def read(self, top: int, bottom: int) -> Array:
        """Read rows `top` to `bottom`, (rows, W, C). Raises DataError."""
        try:
            return self._read(top, bottom)
        except DataError:
            raise
        except Exception as error:  # decoders of damaged files raise nearly anything
            raise unreadable(self.path, error) from None


@contextmanager
def open_rows(path: Path, view: View = WHOLE, *, alpha: bool = False) -> Iterator[RowReader]:
    """Open an image for reading by rows, upright; `view` and `alpha` as for `images.read`. Raises DataError."""
    facts = images.probe(path, view)  # refuses what `images.read` would refuse
    with ExitStack() as stack:
        rows: ReadRows | None = None
        try:
            if ngff.is_store(path):
                yield RowReader(path, facts, *_open_zarr(path, view, alpha))
                return
            file = stack.enter_context(open_regular(path))
            start = file.read(len(NPY_START))
            if view != replace(WHOLE, stacked=view.stacked, stored=view.stored):
                pass  # a part of the file
            elif start == NPY_START:
                rows = _open_npy(path, file)
            elif start.startswith(tiff.TIFF_STARTS):
                rows = _open_tiff(path, stack, facts, alpha=alpha)
        except OSError as error:
            raise unreadable(path, error) from None
        yield RowReader(path, facts, rows is None, rows or _decode_whole(path, view, alpha))


def _decode_whole(path: Path, view: View, alpha: bool) -> ReadRows:
    decoded: list[Array] = []

    def read(top: int, bottom: int) -> Array:
        if not decoded:
            decoded.append(images.read(path, view, alpha=alpha))
        return decoded[0][top:bottom]

    return read


def _open_zarr(path: Path, view: View, alpha: bool) -> tuple[bool, ReadRows]:
    """Return whether an OME-Zarr is decoded whole, and how its rows are read. Raises DataError."""
    image = ngff.read_image(path)
    chosen = find_channels(view.channels, image.sizes[2], image.names, path) if view.channels else None
    rows = None
    if view == replace(WHOLE, stacked=view.stacked, stored=view.stored, channels=view.channels):
        try:
            rows = zarr_reader.open_bands(image, chosen, MAX_SEGMENT)
        except DataError:
            raise
        except Exception as error:  # metadata that only zarr finds to be damaged
            raise unreadable(path, error) from None
    return rows is None, rows or _decode_whole(path, view, alpha)


def _open_npy(path: Path, file: BinaryIO) -> ReadRows | None:
    """Return how to read rows of an array file; None for one in the order of columns."""
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    if not stored.flags.c_contiguous:
        return None
    offset, dtype, shape = int(stored.offset), stored.dtype, (*stored.shape[1:], 1)[:2]
    return lambda top, bottom: to_native(path, _read_array(file, offset, dtype, top, bottom, shape))


def _read_array(file: Any, offset: int, dtype: np.dtype[Any], top: int, bottom: int, shape: tuple[int, ...]) -> Array:
    """Read rows of (W, C) values that lie one after the other from an offset on."""
    # A memory map would count as memory of this process until the system takes its pages back.
    count = math.prod(shape)
    file.seek(offset + top * count * dtype.itemsize)
    values = np.frombuffer(file.read((bottom - top) * count * dtype.itemsize), dtype)
    return values.reshape(bottom - top, *shape)


# ---- TIFF --------------------------------------------------------------------------------------------------------


def _open_tiff(path: Path, stack: ExitStack, facts: ImageFacts, *, alpha: bool) -> ReadRows | None:
    """Return how to read rows of a TIFF whose pages are plain, their samples in the order of channels; else None.

    The file stays open as long as `stack`.
    """
    try:
        opened = stack.enter_context(tiff.open_alone(path))
        series = tiff.full_size_series(opened)[0]
        pages = [page.aspage() for page in series.pages if page is not None]
    except Exception:  # of a kind that only Pillow knows
        return None
    first = pages[0]
    has_alpha = first.extrasamples and first.extrasamples[-1] in (1, 2) and first.samplesperpixel in (2, 4)
    channels = len(pages) * first.samplesperpixel
    plain = series.axes.endswith(("YX", "YXS")) and all(_is_plain(page, first) for page in pages)
    if not plain or (facts.height, facts.width) != first.shape[:2] or channels - bool(has_alpha) != facts.channels:
        return None

    # Consecutive reads often begin in the row of strips or tiles in which the last one ended.
    decode = lru_cache(maxsize=len(pages))(lambda at, number: _decode_segments(pages[at], number))

    def read(top: int, bottom: int) -> Array:
        parts = [_read_page(page, partial(decode, at), top, bottom) for at, page in enumerate(pages)]
        values = to_native(path, parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2))
        if first.photometric == 0 and np.issubdtype(values.dtype, np.unsignedinteger):  # 0 is white
            values = np.iinfo(values.dtype).max - values
        return without_alpha(values, path) if has_alpha and not alpha else values

    return read


def _is_plain(page: Any, first: Any) -> bool:
    """Return whether a page can be decoded row by row, without losses; `first` is the first page of the image."""
    orientation = page.tags.valueof("Orientation", 1)
    simple = page.photometric in (0, 1, 2) and orientation == 1 and page.bitspersample in (8, 16, 32)
    simple = simple and page.compression in LOSSLESS
    own = page.parent is first.parent and page.shape == first.shape
    joined = page.samplesperpixel == 1 or page.planarconfig == 1
    segment = page.chunks[0] * page.shape[1] * page.samplesperpixel * page.dtype.itemsize
    return simple and own and joined and page.imagedepth == 1 and (_lies_flat(page) or segment <= MAX_SEGMENT)


def _lies_flat(page: Any) -> bool:
    """Return whether the values of a page lie in the file as in an array."""
    return bool(page.is_contiguous) and page.compression == 1


def _read_page(page: Any, decode: Callable[[int], Array], top: int, bottom: int) -> Array:
    """Read rows of a page, (rows, W, samples); `decode` returns one row of its strips or tiles."""
    shape = (page.shape[1], page.samplesperpixel)
    if _lies_flat(page):
        dtype = page.dtype.newbyteorder(page.parent.byteorder)
        return _read_array(page.parent.filehandle, page.dataoffsets[0], dtype, top, bottom, shape)
    height = page.chunks[0]
    numbers = range(top // height, -(-bottom // height))
    rows = np.concatenate([decode(number) for number in numbers])
    return rows[top - numbers[0] * height : bottom - numbers[0] * height]


def _decode_segments(page: Any, number: int) -> Array:
    """Decode one row of strips or tiles, (rows, W, samples)."""
    file, height, across = page.parent.filehandle, page.chunks[0], page.chunked[1]
    top = number * height
    rows = np.empty((min(height, page.shape[0] - top), page.shape[1], page.samplesperpixel), page.dtype)
    for index in range(number * across, (number + 1) * across):
        file.seek(page.dataoffsets[index])
        segment, (*_, left, _), _ = page.decode(file.read(page.databytecounts[index]), index)
        if segment is None:
            raise ValueError("it has pixels for only a part of its size")
        width = min(segment.shape[2], page.shape[1] - left)
        rows[:, left : left + width] = segment[0, : len(rows), :width]
    return rows
