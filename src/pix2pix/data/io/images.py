"""Read and write image files: arrays (H, W, C) of the file's own type.

The content of a file selects its format for reading, its suffix for writing. Nothing is clipped, flattened or repaired
silently. The package `encoding` converts arrays to numbers in [-1, 1].
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pix2pix.data.io import eight_bit, high_depth, jpeg2000, ngff, tiff, tiff_surroundings, zarr_reader
from pix2pix.data.io.arrays import Array, ImageFacts, Pixels, take_half, unreadable
from pix2pix.data.io.limits import memory_for, refuse_too_large
from pix2pix.data.io.newer_formats import JPEG2000_STARTS
from pix2pix.data.io.surroundings import NOTHING, TIFF_SUFFIXES, Surroundings
from pix2pix.data.io.tiff_writer import encode_tiff
from pix2pix.data.io.view import Half, Planes, View, as_view, find_channels
from pix2pix.data.io.zarr_writer import write_zarr
from pix2pix.errors import DataError
from pix2pix.system import files, folders
from pix2pix.system.reading import open_regular
from pix2pix.text import format_count


def probe(path: Path, part: View | Half | None = None) -> ImageFacts:
    """Read the header of a file, without decoding: the facts of a view, but of both halves of a side-by-side file.

    Raises DataError for a header that `read` would reject.
    """
    view = as_view(part)
    header = _read_header(path, view)
    facts = eight_bit.probe(path, stored=view.stored) if header is None else header.facts
    if not view.channels:
        return facts
    names = () if header is None else header.names
    return replace(facts, channels=len(find_channels(view.channels, facts.channels, names, path)))


def read(path: Path, part: View | Half | None = None, *, alpha: bool = False) -> Array:
    """Read (H, W, C) of a view, upright unless it is as stored; a half stands for the view of it. Raises DataError.

    With `alpha` an alpha channel is kept as a channel like any other; without, it is dropped and must be opaque.
    """
    with reading(path, part, alpha=alpha) as values:
        return values


@contextmanager
def reading(path: Path, part: View | Half | None = None, *, alpha: bool = False, copies: int = 0) -> Iterator[Array]:
    """Yield the values as `read` does; their memory stays reserved within the block, which makes `copies` of them.

    Waits until other threads have released enough memory. Raises DataError.
    """
    view = as_view(part)
    with ExitStack() as stack:

        def reserve(peak: int, size: int) -> None:
            stack.enter_context(memory_for(path, max(peak, (1 + copies) * size)))

        header = _read_header(path, view)
        if header is None:
            values = eight_bit.read(path, alpha=alpha, reserve=reserve, stored=view.stored)
        else:
            values = header.read(alpha=alpha, reserve=reserve)
        values = _take_channels(values, view, () if header is None else header.names, path)
        yield values if view.half is None else take_half(values, view.half, path)


def find_planes(path: Path, axes: str = "") -> Planes:
    """Return the planes of a stack; none for a single picture. `axes` are those of an array file. Raises DataError."""
    header = _read_raw_header(path, axes)
    return () if header is None else header.planes


def _take_channels(values: Array, view: View, names: Sequence[str], path: Path) -> Array:
    """Return the channels of (H, W, C) that a view chooses. Raises DataError."""
    if not view.channels:
        return values
    return np.ascontiguousarray(values[..., find_channels(view.channels, values.shape[2], names, path)])


def _read_header(path: Path, view: View) -> high_depth.Header | None:
    """Read the header of a view of a file as `_read_raw_header` does. Raises DataError."""
    header = _read_raw_header(path, view.axes)
    if header is None:
        return None
    header = header.viewed(view)
    if view.stored:
        header = replace(header, orientation=1)
    height, width, channels = header.shape
    refuse_too_large(path, height, width, channels * np.dtype(header.dtype).itemsize)
    if 0 in header.shape:
        raise unreadable(path, "it has no pixels")
    return header


def _read_raw_header(path: Path, axes: str) -> high_depth.Header | None:
    """Read the header of a file that Pillow would reduce to 8 bits; None for any other file. Raises DataError."""
    if ngff.is_store(path):
        return zarr_reader.read_zarr_header(path)
    try:
        with open_regular(path) as file:
            start = file.read(32)
        header: high_depth.Header | None
        if start.startswith(high_depth.NPY_START):
            header = high_depth.read_npy_header(path, axes)
        elif high_depth.is_16bit_png(start):
            header = high_depth.read_png_header(path, start)
        elif start.startswith(tiff.TIFF_STARTS):
            header = tiff.read_tiff_header(path)
        elif start.startswith(JPEG2000_STARTS):
            header = jpeg2000.read_jpeg2000_header(path)
        else:
            return None
    except DataError:
        raise
    except (OSError, ValueError):
        return None  # the reader of Pillow opens it next, and raises the error
    return header


def read_surroundings(path: Path) -> Surroundings:
    """Read what a file states beside its pixels. Damaged metadata count as none."""
    with suppress(Exception):  # decoders of damaged files raise nearly anything
        if ngff.is_store(path):
            return zarr_reader.read_surroundings(path)
        with open_regular(path) as file:
            start = file.read(8)
        if start.startswith(tiff.TIFF_STARTS):
            return tiff_surroundings.read(path)
        if not start.startswith(high_depth.NPY_START):
            return eight_bit.read_surroundings(path)
    return NOTHING


def write(path: Path, values: Array, surroundings: Surroundings = NOTHING, *, palette: Pixels | None = None) -> None:
    """Write (H, W, C) in the format of the suffix; the file appears complete or not at all. Raises DataError.

    A PNG whose colours are all in `palette` (n, 3) is written with that palette.
    """
    begin_to_write(path, values, surroundings=surroundings, palette=palette)()


def begin_to_write(
    path: Path,
    values: Array,
    before_rename: Callable[[Path], object] | None = None,
    *,
    surroundings: Surroundings = NOTHING,
    palette: Pixels | None = None,
) -> Callable[[], None]:
    """Encode as `write` does; return a function that waits for the disk and gives the file its name.

    It calls `before_rename` with the finished file under its temporary name. With `surroundings` that have planes the
    values are (planes, H, W, C).
    """
    if path.suffix.lower() == ngff.SUFFIX and not surroundings.planes:
        height, width, channels = values.shape
        facts = ImageFacts(height, width, channels, values.dtype.name)
        return begin_to_fill(path, facts, [values], before_rename, surroundings=surroundings, palette=palette)
    encode = _encoder(path, path.suffix.lower(), values, surroundings, palette)
    return begin_to_encode(path, encode, before_rename)


def encode(suffix: str, values: Array, *, palette: Pixels | None = None) -> bytes:
    """Return the content of the file that `write` would write, without surroundings. Raises DataError."""
    file = io.BytesIO()
    _encoder("the output", suffix, values, NOTHING, palette)(file)
    return file.getvalue()


def _encoder(
    name: Path | str, suffix: str, values: Array, surroundings: Surroundings, palette: Pixels | None
) -> Callable[[BinaryIO], None]:
    """Return a function that writes (H, W, C) into a file in the format of a suffix. Raises DataError."""
    dtype, channels = values.dtype.name, values.shape[-1]
    if surroundings.planes and suffix not in (*TIFF_SUFFIXES, ".npy"):
        raise DataError(f"{name}: a stack cannot be written as {suffix!r}; use .npy, .tif, .tiff")
    if not can_hold(suffix, dtype, channels):
        able = [known for known in sorted({*eight_bit.WRITE_OPTIONS, ".npy"}) if can_hold(known, dtype, channels)]
        what = "" if _is_eight_bit(dtype, channels) else f" with {format_count(channels, 'channel')} of {dtype}"
        raise DataError(f"{name}: cannot be written as {suffix!r}{what}; use {', '.join(able)}")

    def write_into(file: BinaryIO) -> None:
        plain = suffix not in TIFF_SUFFIXES or surroundings == NOTHING
        if _is_eight_bit(dtype, channels) and suffix in eight_bit.WRITE_OPTIONS and plain:
            eight_bit.write(file, suffix, values, surroundings, palette)
        else:
            file.write(_ENCODERS[suffix](values, surroundings))

    return write_into


def begin_to_encode(
    path: Path, encode: Callable[[BinaryIO], object], before_rename: Callable[[Path], object] | None = None
) -> Callable[[], None]:
    """Do as `begin_to_write`, with a function that writes the content. Raises DataError."""
    return _begin(path, lambda: files.begin_to_write(path, encode, before_rename))


def begin_to_fill(
    path: Path,
    facts: ImageFacts,
    rows: Iterable[Array],
    before_rename: Callable[[Path], object] | None = None,
    *,
    surroundings: Surroundings = NOTHING,
    palette: Pixels | None = None,
) -> Callable[[], None]:
    """Do as `begin_to_write` with an OME-Zarr, which is a folder, from arrays (rows, W, C). Raises DataError."""

    def write(folder: Path) -> None:
        write_zarr(folder, facts, rows, surroundings, labels=palette is not None)

    return _begin(path, lambda: folders.begin_to_write_folder(path, write, before_rename, may_replace=ngff.is_store))


def _begin(path: Path, write: Callable[[], Callable[[], None]]) -> Callable[[], None]:
    """Call a function that writes and returns one that waits for the disk; let both raise DataError."""
    with _naming(path):
        wait_for_the_disk = write()

    def finish() -> None:
        with _naming(path):
            wait_for_the_disk()

    return finish


def can_hold(suffix: str, dtype: str, channels: int) -> bool:
    """Return whether `write` can store such values in a file of this suffix (lower case), exactly or as JPEG."""
    if _is_eight_bit(dtype, channels) and suffix in eight_bit.WRITE_OPTIONS:
        return True
    if suffix == ".png":
        return dtype in ("uint8", "uint16") and channels <= 4
    return suffix in _ENCODERS or suffix == ngff.SUFFIX


def suffix_for(dtype: str, channels: int) -> str:
    """Return the default suffix for such values: .png if it can hold them, else .tif."""
    return ".png" if can_hold(".png", dtype, channels) else ".tif"


_ENCODERS: dict[str, Callable[[Array, Surroundings], bytes]] = {
    ".png": high_depth.encode_png,
    ".npy": high_depth.encode_npy,
    ".tif": encode_tiff,
    ".tiff": encode_tiff,
}


def _is_eight_bit(dtype: str, channels: int) -> bool:
    return dtype == "uint8" and channels in (1, 3)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn errors of the file system into DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error
