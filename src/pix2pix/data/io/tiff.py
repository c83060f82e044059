"""Read TIFF files of more than 8 bits or several pages, which are channels, or planes of a stack.

A file is read by its own pages: other files that its metadata name, such as those of an OME-TIFF set, are never opened.
"""

import logging
import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np

from pix2pix.data.io.arrays import Array
from pix2pix.data.io.high_depth import Header, checked_type, to_native
from pix2pix.data.io.limits import refuse_expansion, refuse_too_large
from pix2pix.data.io.ome import read_channel_names
from pix2pix.data.io.tiff_segments import refuse_cut_jpeg, refuse_segments
from pix2pix.data.io.view import CHANNEL_AXES, Planes, count_planes
from pix2pix.errors import DataError
from pix2pix.system.reading import open_regular

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_PAGES = 10_000
PILLOW_COMPRESSIONS = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000}
"""None, fax, LZW, JPEG, Deflate, PackBits, LZMA, Zstandard."""
PILLOW_BITS = (1, 2, 4, 8)
_ORIENTATION_TAG = 274

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damage is checked and reported here


def read_tiff_header(path: Path) -> Header | None:
    """Read the header of a TIFF of channels (pages, samples) and planes, in their order. Raises DataError.

    Thumbnails and reduced copies are skipped. Returns None for one page of 8-bit gray or colour, and for files that
    tifffile cannot parse: Pillow reads these, or reports the error.
    """
    from tifffile import PHOTOMETRIC

    pages = _parse(path)
    if pages is None:
        return None
    axes, shape, dtype = pages.series[0]
    if pages.photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB):
        if pages.count == 1 and len(pages.series) == 1 and np.dtype(dtype).itemsize == 1:
            return None
        colours = getattr(pages.photometric, "name", pages.photometric)  # a number where it has no name
        raise DataError(f"{path}: has the colour space {colours}, expected gray, RGB or plain channels: convert it")
    planes = tuple((axis, size) for axis, size in zip(axes, shape, strict=True) if is_plane(axis) and size > 1)
    for_pillow = pages.is_eight_bit and pages.is_first and pages.compression in PILLOW_COMPRESSIONS and not planes
    if for_pillow and len(pages.series) == 1 and math.prod(shape) == math.prod(pages.page_shape):
        return None
    y, x = _find_axes(path, pages)

    def decode(plane: int | None) -> Array:
        with open_alone(path) as tiff:
            series = full_size_series(tiff)[0]
            order, values = _read_planes(path, series, planes, plane)
        values = to_native(path, values)
        values = np.moveaxis(values, (order.index("Y"), order.index("X")), (0, 1)).reshape(shape[y], shape[x], -1)
        if pages.photometric == PHOTOMETRIC.MINISWHITE and np.issubdtype(values.dtype, np.unsignedinteger):
            values = np.iinfo(values.dtype).max - values
        return np.ascontiguousarray(values)

    refuse_too_large(path, *pages.segment)
    largest = max(math.prod(pages.segment), shape[y] * shape[x])
    refuse_expansion(path, largest, path.stat().st_size, "TIFF")
    channels = math.prod(shape) // (shape[y] * shape[x] * count_planes(planes))
    return Header(
        path,
        (shape[y], shape[x], channels),
        checked_type(path, dtype),
        decode,
        planes=planes,
        names=pages.names if len(pages.names) == channels else (),
        alpha=pages.alpha and pages.count == count_planes(planes),
        orientation=pages.orientation,
        segment=max(
            math.prod(pages.segment) * pages.samples, math.prod(shape) if pages.count < count_planes(planes) else 0
        )
        * np.dtype(dtype).itemsize,
    )


def is_plane(axis: str) -> bool:
    """Return whether the positions of an axis are planes, such as those of Z and T, and not channels or pixels."""
    return axis not in f"YX{CHANNEL_AXES}"


def _read_planes(path: Path, series: Any, planes: Planes, plane: int | None) -> tuple[str, Array]:
    """Decode all planes of a series, or one of them; return the axes and the values."""
    pages = [page for page in series.pages if page is not None]
    over = series.axes[: len(series.axes) - len(series.keyframe.axes)]  # axes along which the pages lie
    lengths = series.shape[: len(over)]
    if plane is None or math.prod(lengths) != len(pages) or not {axis for axis, _ in planes} <= set(over):
        refuse_segments(path, pages)
        values, axes = series.asarray(), series.axes
        if plane is not None:
            front = [axes.index(axis) for axis, _ in planes]
            values = np.moveaxis(values, front, range(len(front)))
            values = values.reshape(-1, *values.shape[len(front) :])[plane]
            axes = "".join(axis for axis in axes if axis not in dict(planes))
        return axes, values
    front = [over.index(axis) for axis, _ in planes]
    numbers = np.moveaxis(np.arange(len(pages)).reshape(lengths), front, range(len(front)))
    others = numbers.shape[len(front) :]
    chosen = [pages[number] for number in numbers.reshape(count_planes(planes), -1)[plane]]
    refuse_segments(path, chosen)
    values = np.stack([page.asarray() for page in chosen])
    axes = "".join(axis for axis in over if axis not in dict(planes)) + series.keyframe.axes
    return axes, values.reshape(*others, *values.shape[1:])


@dataclass(frozen=True)
class _Pages:
    """Facts about the pages of a file, from tifffile."""

    series: list[tuple[str, tuple[int, ...], Any]]
    """(axes, shape, type) of each group of pages of one size and type."""
    count: int
    """Pages of the first series."""
    page_shape: tuple[int, ...]
    photometric: Any
    samples: int
    alpha: bool
    orientation: int
    incomplete: bool
    """Whether a page is missing, or has pixels for only a part of its size."""
    segment: tuple[int, int]
    """(H, W) of a tile or strip."""
    compression: int
    names: tuple[str, ...]
    """Names of the channels in OME."""
    is_first: bool
    """Whether the first page of the file is that of the first series, and not a reduced copy."""

    @property
    def is_eight_bit(self) -> bool:
        """Whether the values are 8-bit gray or colour."""
        dtype = self.series[0][2]
        return dtype is not None and dtype.name in ("uint8", "bool") and (self.samples in (1, 3) or self.alpha)


def _parse(path: Path) -> _Pages | None:
    """Read the tags of the pages; None if tifffile cannot. Raises DataError for a cycle of pages."""
    with open_regular(path) as file:
        _refuse_endless_pages(path, file)
    try:
        with open_alone(path) as tiff:
            series = full_size_series(tiff)
            page = series[0].keyframe
            if len(series[0]) > MAX_PAGES:
                raise _too_many_pages(path)
            pages = [each for each in series[0].pages if each is not None]
            _refuse_unread(path, tiff.series, page)
            extra, tag = tuple(page.extrasamples), page.tags.get(_ORIENTATION_TAG)
            size = path.stat().st_size
            refuse_cut_jpeg(path, pages)
            return _Pages(
                series=[(one.axes, one.shape, one.dtype) for one in series],
                count=len(pages),
                page_shape=page.shape,
                photometric=page.photometric,
                samples=page.samplesperpixel,
                alpha=bool(extra) and extra[-1] in (1, 2) and page.samplesperpixel in (2, 4),
                orientation=tag.value if tag is not None and isinstance(tag.value, int) else 1,
                incomplete=len(pages) < len(series[0]) or any(_misses_pixels(each, page, size) for each in pages),
                segment=(page.tilelength, page.tilewidth) if page.is_tiled else (1, 1),
                compression=int(page.compression),
                names=read_channel_names(tiff.ome_metadata) if tiff.is_ome else (),
                is_first=page.index == 0,
            )
    except DataError:
        raise
    except Exception:  # damaged, or of a kind that only Pillow knows
        return None


@contextmanager
def open_alone(path: Path) -> Iterator[Any]:
    """Open a TiffFile that cannot open other files, whatever its metadata say."""
    from tifffile import TiffFile

    own_pages: dict[str, Any] = {"_multifile": False, "is_mmstack": False, "is_ndtiff": False}
    with open_regular(path) as file, TiffFile(cast("IO[bytes]", _Nameless(file)), **own_pages) as tiff:
        yield tiff


class _Nameless:
    """An open file without a path, so that tifffile can derive no other path from it."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        self.readinto = file.readinto  # type: ignore[attr-defined]


def _find_axes(path: Path, pages: _Pages) -> tuple[int, int]:
    """Return the positions of height and width among the axes. Raises DataError unless the pages form one image."""
    axes, shape, dtype = pages.series[0]
    if len(pages.series) > 1:
        sizes = list(dict.fromkeys(f"{of} {kind}" for _, of, kind in pages.series[:3]))
        what = f"pages of several sizes or types ({' and '.join(sizes)})"
        if len(sizes) == 1:
            what = f"{len(pages.series)} images of {sizes[0]}"
        raise DataError(f"{path}: has {what}, expected one image: save each in a file of its own")
    if dtype is None or "Y" not in axes or "X" not in axes:
        raise DataError(f"{path}: has the axes {axes} {shape}, expected height and width: save it as pages of one size")
    y, x = axes.index("Y"), axes.index("X")
    if 0 in shape:
        raise DataError(f"{path}: has the size {shape[y]}x{shape[x]} (HxW), which has no pixels: replace it")
    if pages.incomplete:
        raise DataError(f"{path}: has pixels for only a part of its size: replace it")
    return y, x


def _refuse_unread(path: Path, series: list[Any], page: Any) -> None:
    """Raise DataError for a mask of valid pixels, and for samples of 3, 5, 6 or 7 bits."""
    if any(one.keyframe.is_mask for one in series):
        raise DataError(
            f"{path}: has a mask of valid pixels as a page of its own, which is not read: write it without, as by "
            "`gdal_translate -mask none`, and mark pixels without data by a value (--nodata, --mask-value)"
        )
    bits = page.bitspersample
    if isinstance(bits, int) and bits < 8 and bits not in PILLOW_BITS:
        raise DataError(f"{path}: has samples of {bits} bits, expected 8: save it with 8 bits")


def full_size_series(tiff: Any) -> list[Any]:
    """Return the series of pages of an open TiffFile, without reduced copies."""
    return [one for one in tiff.series if not one.keyframe.is_reduced]


def _refuse_endless_pages(path: Path, file: BinaryIO) -> None:
    """Raise DataError if a page links back to an earlier one, for which tifffile would never end, or for many pages."""
    try:
        start = file.read(16)
        order = "<" if start[:2] == b"II" else ">"
        (version,) = struct.unpack_from(f"{order}H", start, 2)
        count, tag_size, pointer, first = ("Q", 20, "Q", 8) if version == 43 else ("H", 12, "I", 4)
        (offset,) = struct.unpack_from(order + pointer, start, first)
        seen: set[int] = set()
        while offset and offset not in seen and len(seen) <= MAX_PAGES:
            seen.add(offset)
            file.seek(offset)
            (tags,) = struct.unpack(order + count, file.read(struct.calcsize(count)))
            file.seek(tags * tag_size, os.SEEK_CUR)
            (offset,) = struct.unpack(order + pointer, file.read(struct.calcsize(pointer)))
    except (struct.error, OSError, OverflowError):  # a truncated file is reported by tifffile
        return
    if len(seen) > MAX_PAGES:
        raise _too_many_pages(path)
    if offset:
        raise DataError(f"{path}: has pages that link back to an earlier one: replace it")


def _too_many_pages(path: Path) -> DataError:
    return DataError(f"{path}: has more than {MAX_PAGES:,} pages, the limit for one image: cut it into parts")


def _misses_pixels(page: Any, first: Any, size: int) -> bool:
    """Return whether a page lacks pixels, or places them beyond the end of the file; `first` has the tags of all pages.

    Raises ValueError for samples of several depths.
    """
    offsets, counts, bits = page.dataoffsets, page.databytecounts, first.bitspersample
    if not isinstance(bits, int):
        raise ValueError(f"samples of {bits} bits")
    if len(offsets) < math.prod(first.chunked) or len(counts) < len(offsets) or not all(counts):
        return True
    if any(offset + count > size for offset, count in zip(offsets, counts, strict=False)):
        return True
    uncompressed = first.compression == 1
    return uncompressed and sum(counts) < math.prod(first.shape) * bits // 8
