"""Image files in, arrays (H, W, C) of the file's own type out, and back; 8-bit ones to tensors in [-1, 1] and back.

With `deep`, which this module alone calls on, the only place that knows formats. Nothing is clipped, flattened or
repaired. `ranges` has the other types' way to [-1, 1].
"""

import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from pix2pix.data.io import high_depth as deep
from pix2pix.data.io.high_depth import TYPES, DeepFileError
from pix2pix.data.pairing.pair import Half
from pix2pix.errors import DataError
from pix2pix.system import files
from pix2pix.text import format_count

__all__ = ["MAX_PIXELS", "TYPES", "ImageFacts", "Pixels", "Values"]

Pixels = NDArray[np.uint8]
"""Of an ordinary picture."""
Values = NDArray[Any]
"""Of any type in TYPES."""

MAX_PIXELS = 512 * 2**20
"""Larger images are refused from their header, before anything is decoded."""
MAX_BYTES = 4 * MAX_PIXELS
"""And so are those with more channels than this leaves room for."""

STRIP = 2**24
"""Pixels of a large image that are copied at a time."""

_READ_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
_WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG", "compress_type": zlib.Z_RLE},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".bmp": {"format": "BMP"},
    ".webp": {"format": "WEBP", "lossless": True},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
}
_GRAY_MODES, _COLOUR_MODES = {"1", "L", "LA"}, {"P", "PA", "RGB", "RGBA", "RGBX"}

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {  # EXIF orientation -> what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS_TAG, _SAMPLES_TAG, _SAMPLE_FORMAT_TAG = 258, 277, 339  # TIFF 6.0
_LIMITS = threading.Lock()


@dataclass(frozen=True)
class ImageFacts:
    """What a header says: the size after EXIF orientation, the channels without alpha, the type of the values."""

    height: int
    width: int
    channels: int
    dtype: str = "uint8"


# ---- files -> arrays ---------------------------------------------------------------------------------------


def probe(path: Path) -> ImageFacts:
    """The facts in a file's header, without decoding. Raises DataError for what `read` could not take."""
    if (file := _deep(path)) is not None:
        height, width, channels = file.shape
        if file.orientation in (5, 6, 7, 8):
            height, width = width, height
        return ImageFacts(height, width, channels - file.alpha, file.dtype)
    with _opened(path) as image:
        width, height = image.size
        turned = _orientation(image) in (5, 6, 7, 8) and image.format != "TIFF"  # Pillow turns a TIFF by itself
        if turned:
            width, height = height, width
        return ImageFacts(height, width, 1 if image.mode in _GRAY_MODES else 3)


def read(path: Path, half: Half | None = None, *, alpha: bool = False) -> Values:
    """File -> (H, W, C) of its own type, upright; of a side-by-side file one half. Raises DataError.

    With `alpha` an alpha channel is a channel as any other; without, it is left out and must hide nothing.
    """
    if (file := _deep(path)) is not None:
        values = _decoded_deep(file, path, alpha)
    else:
        with _opened(path) as image:
            values = _decoded(image, str(path), alpha)
    return values if half is None else take_half(values, half, path)


def take_half(pixels: Values, half: Half, path: Path) -> Values:
    """(H, 2W, C) -> one half (H, W, C). Raises DataError as `half_width`."""
    width = half_width(pixels.shape[1], path)
    return pixels[:, :width] if half == "left" else pixels[:, width:]


def half_width(width: int, path: Path) -> int:
    """Width of a side-by-side file -> that of each image. Raises DataError, naming `path`, for an odd width."""
    if width % 2:
        raise DataError(f"{path}: is {width} pixels wide; two images side by side need an even width")
    return width // 2


def _deep(path: Path) -> deep.Deep | None:
    """A file that Pillow would cut down; None for any other. Raises DataError."""
    try:
        if not path.is_file():
            return None
        file = deep.look(path)
    except DeepFileError as error:
        raise DataError(f"{path}: {error}") from None
    except (OSError, ValueError):
        return None  # whoever opens it next says why
    if file is not None:
        height, width, channels = file.shape
        if height * width > MAX_PIXELS or height * width * channels * np.dtype(file.dtype).itemsize > MAX_BYTES:
            raise _too_large(path)
        if 0 in file.shape:
            raise _unreadable(path, "it has no pixels")
    return file


def _decoded_deep(file: deep.Deep, path: Path, alpha: bool) -> Values:
    """(H, W, C) upright, without its alpha channel, which must hide nothing, unless that is asked for."""
    try:
        values = file.decode()
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise _unreadable(path, str(error) or type(error).__name__) from None
    has_alpha = file.alpha or values.shape[2] == file.shape[2] + 1  # a PNG's one transparent colour
    if file.orientation in _UPRIGHT:
        values = _upright(values, file.orientation)
    if alpha or not has_alpha:
        return values
    if values[..., -1].min() < np.iinfo(values.dtype).max:
        raise _has_transparency(str(path))
    return np.ascontiguousarray(values[..., :-1])


def _upright(values: Values, orientation: int) -> Values:
    """What `_UPRIGHT` does, for an array."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    down = {3: -1, 4: -1, 7: -1, 8: -1}.get(orientation, 1)
    across = {2: -1, 3: -1, 6: -1, 7: -1}.get(orientation, 1)
    return np.ascontiguousarray(values[::down, ::across])


def _has_transparency(name: str) -> DataError:
    return DataError(
        f"{name}: has transparency; flatten it onto a background first, or take alpha as a channel "
        "(--source-channels 4 or --target-channels 4, or 2 for gray)"
    )


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """An accepted image, not yet decoded; what goes wrong with it in the block becomes a DataError."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            kind = "a folder" if path.is_dir() else "no regular file"
            raise DataError(f"{path}: is {kind}, expected an image file")
        with path.open("rb") as file:
            with _our_limits():
                image = Image.open(file, formats=_READ_FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(path)
            _refuse_kind(image, str(path))
            _refuse_frames(image, path)
            _refuse_gaps(image, path)
            yield image
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except UnidentifiedImageError:
        raise _unreadable(path, "not a PNG, JPEG, BMP, WebP, GIF, TIFF or .npy") from None
    except Exception as error:  # decoders of damaged files raise nearly anything
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise _unreadable(path, reason) from None


@contextmanager
def _our_limits() -> Iterator[None]:
    """Pillow with our pixel limit in place of its own, silent on odd metadata; one thread at a time."""
    with _LIMITS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _too_large(path: Path) -> DataError:
    return DataError(f"{path}: more than {MAX_PIXELS:,} pixels, the limit for one image: cut it into parts")


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: cannot be read as an image ({reason}): remove or replace it")


def _refuse_frames(image: ImageFile.ImageFile, path: Path) -> None:
    with _our_limits():
        frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # in a camera's MPO the first frame is the picture
        raise DataError(f"{path}: has {frames} frames, expected one image: save one frame as PNG")


def _refuse_gaps(image: ImageFile.ImageFile, path: Path) -> None:
    """A TIFF or GIF may bring pixels for a part of its size only; Pillow would leave the rest black."""
    right, bottom = (max((tile.extents[side] for tile in image.tile if tile.extents), default=0) for side in (2, 3))
    if image.format in ("TIFF", "GIF") and right * bottom < image.width * image.height:
        raise DataError(f"{path}: has pixels for only a part of its {image.width}x{image.height}: replace it")


def _refuse_kind(image: Image.Image, name: str) -> None:
    """Only what is 8-bit gray or colour without loss passes; Pillow cuts 16-bit colour down in silence."""
    tags = getattr(image, "tag_v2", {})
    tiles = getattr(image, "tile", [])
    deep = max(_numbers(tags.get(_BITS_TAG, 8))) > 8
    deep |= image.format == "PNG" and any(";16" in str(tile.args) for tile in tiles)
    signed_or_float = not set(_numbers(tags.get(_SAMPLE_FORMAT_TAG, 1))) <= {1, 4}  # unsigned, undefined
    if image.mode[0] in "IF" or deep or signed_or_float:
        raise DataError(f"{name}: is deeper than 8 bits (mode {image.mode}) in a way that cannot be read: convert it")
    if image.mode not in _GRAY_MODES | _COLOUR_MODES:
        raise DataError(f"{name}: has the colour mode {image.mode}, expected gray or RGB: convert it to RGB")
    samples = tags.get(_SAMPLES_TAG, 1)
    if samples > len(image.getbands()):
        raise DataError(f"{name}: has {samples} channels, expected gray or RGB: keep 1 or 3 of them")


def _numbers(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _decoded(image: Image.Image, name: str, alpha: bool = False) -> Pixels:
    """An accepted image -> (H, W, C) uint8, upright; without alpha, which must hide nothing, unless it is asked for."""
    large = Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS
    looks_again = large or image.format == "TIFF"  # at the limit, at metadata
    with _our_limits() if looks_again else nullcontext():
        image.load()
    orientation = _orientation(image)
    upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
    base = "L" if image.mode in _GRAY_MODES else "RGB"
    if not upright.has_transparency_data:
        return _array(upright if upright.mode == base else upright.convert(base))
    pixels = _array(upright.convert("LA" if base == "L" else "RGBA"))
    if alpha:
        return pixels
    if pixels[..., -1].min() < 255:
        raise _has_transparency(name)
    return np.ascontiguousarray(pixels[..., :-1])


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, as far as read by now: a PNG's own `getexif` would decode it."""
    with _our_limits():
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG)
    return value if isinstance(value, int) else 1


def _array(image: Image.Image) -> Pixels:
    """(H, W, C). A large image is copied strip by strip: at once there would be two copies beside it for a while."""
    if image.width * image.height <= STRIP:
        pixels = np.array(image, dtype=np.uint8)
        return pixels if pixels.ndim == 3 else pixels[..., None]
    pixels = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(image.height, top + rows)))
        pixels[top : top + rows] = np.asarray(strip).reshape(strip.height, strip.width, -1)
    return pixels


# ---- images in memory --------------------------------------------------------------------------------------


def from_pil(image: Image.Image) -> Pixels:
    """PIL image -> (H, W, C) uint8 by the rules of `read`: upright, C = 1 or 3. Raises DataError."""
    _refuse_kind(image, "the image")
    return _decoded(image, "the image")


def to_pil(pixels: Pixels) -> Image.Image:
    """(H, W, C) uint8, C = 1 or 3 -> PIL image of mode L or RGB."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


# ---- arrays ------------------------------------------------------------------------------------


def with_channels(pixels: Values, channels: int, name: str = "the image") -> Values:
    """(H, W, C) -> (H, W, channels): gray is repeated, colour becomes luminance (ITU-R 601). Raises DataError else."""
    has = pixels.shape[2]
    if has == channels:
        return pixels
    if has == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if has != 3 or channels != 1:
        raise DataError(
            f"{name}: has {format_count(has, 'channel')}, expected {channels}; only gray and RGB are converted"
        )
    if pixels.dtype == np.uint8:
        return _array(to_pil(pixels).convert("L"))
    luminance = pixels @ np.array([[0.299], [0.587], [0.114]])
    return (luminance if pixels.dtype.kind == "f" else np.rint(luminance)).astype(pixels.dtype)


def shown(values: Values) -> Pixels:
    """(H, W, C) of a file -> (H, W, 1 or 3) uint8 to look at: 8-bit ones as they are, others from least to greatest."""
    chosen = values[..., : 3 if values.shape[2] >= 3 else 1]
    if values.dtype == np.uint8:
        return np.ascontiguousarray(chosen)
    numbers = np.nan_to_num(chosen.astype(np.float64))
    low, high = numbers.min(), numbers.max()
    return np.rint((numbers - low) * (255 / max(high - low, 1e-30))).astype(np.uint8)


# ---- arrays -> files ---------------------------------------------------------------------------------------


def write(path: Path, pixels: Values) -> None:
    """(H, W, C) -> a file, in its suffix's format; never half a file of that name. Raises DataError."""
    begin_to_write(path, pixels)()


def begin_to_write(path: Path, pixels: Values) -> Callable[[], None]:
    """The first half of `write`, which encodes, and as a function the second, which waits for the disk."""
    suffix, channels = path.suffix.lower(), pixels.shape[2]
    if not can_hold(suffix, pixels.dtype.name, channels):
        raise DataError(f"{path}: {_cannot_be_written(path.suffix, pixels.dtype.name, channels)}")
    ordinary = pixels.dtype == np.uint8 and channels in (1, 3) and suffix in _WRITE_OPTIONS

    def encode(file: BinaryIO) -> None:
        if ordinary:
            to_pil(pixels).save(file, **_WRITE_OPTIONS[suffix])
        else:
            file.write(deep.encoded(suffix, pixels))

    with _named(path):
        wait_for_the_disk = files.begin_to_write(path, encode)

    def finish() -> None:
        with _named(path):
            wait_for_the_disk()

    return finish


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the file system become DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from None


def can_hold(suffix: str, dtype: str, channels: int) -> bool:
    """Whether `write` can put such values in a file of this suffix (in lower case)."""
    ordinary = dtype == "uint8" and channels in (1, 3)
    return (ordinary and suffix in _WRITE_OPTIONS) or deep.can_hold(suffix, dtype, channels)


def suffix_for(dtype: str, channels: int) -> str:
    """The suffix of a file that holds such values, where nothing else decides: .png where it can."""
    return ".png" if can_hold(".png", dtype, channels) else ".tif"


def _cannot_be_written(suffix: str, dtype: str, channels: int) -> str:
    able = [known for known in sorted({*_WRITE_OPTIONS, ".npy"}) if can_hold(known, dtype, channels)]
    what = "" if dtype == "uint8" and channels in (1, 3) else f" with {format_count(channels, 'channel')} of {dtype}"
    return f"cannot be written as {suffix!r}{what}; use {', '.join(able)}"
