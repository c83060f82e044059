"""Deep and many-channelled files <-> arrays (H, W, C) of their own type: TIFF, 16-bit PNG, .npy.

For what Pillow would cut down; `images` decides which files come here and names them in errors.
"""

import io
import logging
import math
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TYPES = ("uint8", "int8", "uint16", "int16", "float32")
"""The types of values that are taken: each is exact in float32, in which the networks compute."""

_PNG, _NPY, _TIFF = b"\x89PNG\r\n\x1a\n", b"\x93NUMPY", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # colour type -> samples, of those with 16 bits

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters of it is checked here


class DeepFileError(Exception):
    """A file that cannot be taken; the message completes `FILE: ...`."""


@dataclass(frozen=True)
class Deep:
    """What a header says of a deep file, and how its values are had."""

    shape: tuple[int, int, int]
    """(H, W, C) as stored, before EXIF orientation, with the alpha channel if there is one."""
    dtype: str
    alpha: bool
    """Whether the last channel is opacity."""
    orientation: int
    """EXIF orientation, 1 to 8."""
    decode: Callable[[], Array]
    """-> (H, W, C) as stored. Raises anything."""


def look(path: Path) -> Deep | None:
    """The facts of a deep file; None for what Pillow reads without loss, or nothing does. Raises DeepFileError."""
    with path.open("rb") as file:
        head = file.read(32)
        if head.startswith(_NPY):
            return _look_npy(path)
        if head.startswith(_PNG) and head[12:16] == b"IHDR" and len(head) > 25 and head[24] == 16:
            return _look_png(path, head)
        if head.startswith(_TIFF):
            file.seek(0)
            return _look_tiff(path, file)
    return None


def _checked(dtype: np.dtype[Any]) -> str:
    """The name of the type that values are taken in: half precision is exact in float32. Raises DeepFileError."""
    name = {"float16": "float32", "bool": "uint8"}.get(dtype.name, dtype.name)
    if name not in TYPES:
        raise DeepFileError(
            f"holds {dtype.name} values, expected 8- or 16-bit integers or float32: convert it, keeping what matters"
        )
    return name


def _native(values: Array) -> Array:
    """The same values in a type that is taken, in this machine's byte order; yes and no become 255 and 0."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    return np.ascontiguousarray(values, dtype=_checked(values.dtype))


# ---- .npy ----------------------------------------------------------------------------------------------------


def _look_npy(path: Path) -> Deep:
    """(H, W) or (H, W, C), of which only the header is read. Raises DeepFileError."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of a damaged header nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DeepFileError(f"cannot be read as an image ({reason}): remove or replace it") from None
    if stored.ndim not in (2, 3) or 0 in stored.shape:
        raise DeepFileError(
            f"is an array of shape {stored.shape}, expected (height, width) or (height, width, channels)"
        )
    shape = (*stored.shape[:2], stored.shape[2] if stored.ndim == 3 else 1)
    return Deep(shape, _checked(stored.dtype), False, 1, lambda: _native(stored.reshape(shape)))


# ---- 16-bit PNG ----------------------------------------------------------------------------------------------


def _look_png(path: Path, head: bytes) -> Deep:
    width, height, _, colour = struct.unpack(">IIBB", head[16:26])
    if colour not in _PNG_CHANNELS:
        raise DeepFileError("cannot be read as an image (its PNG header is damaged): remove or replace it")
    shape = (height, width, _PNG_CHANNELS[colour])

    def decode() -> Array:
        from imagecodecs import png_decode

        values = png_decode(path.read_bytes())
        assert values.dtype == np.uint16
        return _native(values if values.ndim == 3 else values[..., None])

    return Deep(shape, "uint16", colour in (4, 6), _orientation_of_png(path), decode)


def _orientation_of_png(path: Path) -> int:
    from PIL import Image

    with suppress(Exception), Image.open(path, formats=["PNG"]) as image:  # of metadata no more is asked
        value = Image.Image.getexif(image).get(0x0112, 1)
        return value if isinstance(value, int) else 1
    return 1


# ---- TIFF ----------------------------------------------------------------------------------------------------


def _look_tiff(path: Path, file: BinaryIO) -> Deep | None:
    """A TIFF's pages of one size and type are channels, in their order; thumbnails and reduced copies are not.

    None for one page of 8-bit gray or colour, and for what is no TIFF that can be read. Raises DeepFileError.
    """
    from tifffile import PHOTOMETRIC, TiffFile

    _refuse_endless(file)
    try:
        with TiffFile(file) as tiff:
            series = [part for part in tiff.series if not part.keyframe.is_reduced]
            page = series[0].keyframe
            pages = [each for each in series[0].pages if each is not None]
            facts = [(part.axes, part.shape, part.dtype) for part in series]
            photometric, samples, extra = page.photometric, page.samplesperpixel, tuple(page.extrasamples)
            alpha = bool(extra) and extra[-1] in (1, 2) and samples in (2, 4)
            tag = page.tags.get(274)
            missing = [each for each in pages if _has_gaps(each, page, path.stat().st_size)]
    except Exception:  # damaged, or of a kind that only Pillow knows: it says what is wrong
        return None
    axes, shape, dtype = facts[0]
    plain = dtype is not None and dtype.name in ("uint8", "bool") and (samples in (1, 3) or alpha)
    if photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB):
        if len(pages) == 1 and len(series) == 1:
            return None
        colours = getattr(photometric, "name", photometric)  # a number where it has no name
        raise DeepFileError(f"has pages in the colours {colours}, expected gray, RGB or plain channels")
    if plain and len(facts) == 1 and math.prod(shape) == math.prod(page.shape):
        return None
    if len(facts) > 1:
        sizes = " and ".join(dict.fromkeys(f"{of} {kind}" for _, of, kind in facts[:3]))
        raise DeepFileError(f"has pages of several sizes or types ({sizes}), expected one image: save them apart")
    if dtype is None or "Y" not in axes or "X" not in axes:
        raise DeepFileError(f"has the axes {axes} {shape}, expected pages of one size: save it plainly")
    y, x = axes.index("Y"), axes.index("X")
    if 0 in shape:
        raise DeepFileError(f"says that it is {shape[y]}x{shape[x]} (HxW), which holds no pixels: replace it")
    if missing:
        raise DeepFileError("has pixels for only a part of its size: replace it")
    whole = (shape[y], shape[x], math.prod(shape) // (shape[y] * shape[x]))
    white_is_zero = photometric == PHOTOMETRIC.MINISWHITE

    def decode() -> Array:
        with TiffFile(path) as tiff:
            values = _native(next(part for part in tiff.series if not part.keyframe.is_reduced).asarray())
        values = np.moveaxis(values, (y, x), (0, 1)).reshape(whole)
        if white_is_zero and np.issubdtype(values.dtype, np.unsignedinteger):
            values = np.iinfo(values.dtype).max - values
        return np.ascontiguousarray(values)

    orientation = tag.value if tag is not None and isinstance(tag.value, int) else 1
    return Deep(whole, _checked(dtype), alpha and len(pages) == 1, orientation, decode)


def _refuse_endless(file: BinaryIO) -> None:
    """Raises DeepFileError where a page leads back to an earlier one: the library would follow them forever."""
    try:
        file.seek(0)
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        (version,) = struct.unpack_from(f"{order}H", head, 2)
        count, tag, pointer, first = ("Q", 20, "Q", 8) if version == 43 else ("H", 12, "I", 4)
        (place,) = struct.unpack_from(order + pointer, head, first)
        seen: set[int] = set()
        while place and place not in seen:
            seen.add(place)
            file.seek(place)
            (tags,) = struct.unpack(order + count, file.read(struct.calcsize(count)))
            file.seek(tags * tag, os.SEEK_CUR)
            (place,) = struct.unpack(order + pointer, file.read(struct.calcsize(pointer)))
    except (struct.error, OSError, OverflowError):  # cut short: the library tells what is missing
        return
    finally:
        file.seek(0)
    if place:
        raise DeepFileError("has pages that lead back to an earlier one: replace it")


def _has_gaps(page: Any, like: Any, size: int) -> bool:
    """Whether a page, of the kind of page `like`, has less than all of its pixels, or places them past the end of its
    file. Raises ValueError for samples of several depths.
    """
    offsets, counts, bits = page.dataoffsets, page.databytecounts, like.bitspersample
    if not isinstance(bits, int):
        raise ValueError(f"samples of {bits} bits")
    if len(offsets) < math.prod(like.chunked) or len(counts) < len(offsets) or not all(counts):
        return True
    plain_bytes = math.prod(like.shape) * bits // 8
    stored_plainly = like.compression == 1
    return any(at + count > size for at, count in zip(offsets, counts, strict=False)) or (
        stored_plainly and sum(counts) < plain_bytes
    )


# ---- arrays -> files -----------------------------------------------------------------------------------------


def can_hold(suffix: str, dtype: str, channels: int) -> bool:
    """Whether a file of this suffix holds such values exactly."""
    if suffix == ".png":
        return dtype in ("uint8", "uint16") and channels <= 4
    return suffix in (".tif", ".tiff", ".npy")


def encoded(suffix: str, values: Array) -> bytes:
    """(H, W, C) -> the bytes of a file that `can_hold` it."""
    file = io.BytesIO()
    channels = values.shape[2]
    if suffix == ".npy":
        np.save(file, values, allow_pickle=False)
    elif suffix == ".png":
        from imagecodecs import png_encode

        file.write(png_encode(np.ascontiguousarray(values[..., 0] if channels == 1 else values)))
    else:
        from tifffile import imwrite

        colour = channels in (3, 4) and values.dtype in (np.uint8, np.uint16)
        imwrite(
            file,
            np.ascontiguousarray(values[..., 0] if channels == 1 else values),
            photometric="rgb" if colour else "minisblack",
            planarconfig=None if channels == 1 else "contig",
            extrasamples=["unassalpha"] if colour and channels == 4 else None,
            compression="zlib",
            metadata=None,
        )
    return file.getvalue()
