"""Image files in, uint8 arrays (H, W, C) and float tensors (C, H, W) in [-1, 1] out, and back.

The only module that knows formats, bit depths and ranges. Nothing is clipped, flattened or repaired.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError
from torch import Tensor

from pix2pix.data.pairs import Half
from pix2pix.errors import DataError
from pix2pix.files import write_atomically

Pixels = NDArray[np.uint8]

MAX_PIXELS = 512 * 2**20
"""Larger images are refused from their header, before anything is decoded."""

_READ_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
_WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
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
    """What a header says: the size after EXIF orientation, and 1 (gray) or 3 (colour) channels."""

    height: int
    width: int
    channels: int


# ---- files -> arrays ---------------------------------------------------------------------------------------


def probe(path: Path) -> ImageFacts:
    """The facts in a file's header, without decoding. Raises DataError for what `read` could not take."""
    with _opened(path) as image:
        width, height = image.size
        turned = _orientation(image) in (5, 6, 7, 8) and image.format != "TIFF"  # Pillow turns a TIFF by itself
        if turned:
            width, height = height, width
        return ImageFacts(height, width, 1 if image.mode in _GRAY_MODES else 3)


def read(path: Path, half: Half | None = None) -> Pixels:
    """File -> (H, W, C) uint8, upright, C = 1 or 3; of a side-by-side file one half. Raises DataError."""
    with _opened(path) as image:
        pixels = _decoded(image, str(path))
    return pixels if half is None else take_half(pixels, half, path)


def take_half(pixels: Pixels, half: Half, path: Path) -> Pixels:
    """(H, 2W, C) -> one half (H, W, C). Raises DataError as `half_width`."""
    width = half_width(pixels.shape[1], path)
    return pixels[:, :width] if half == "left" else pixels[:, width:]


def half_width(width: int, path: Path) -> int:
    """Width of a side-by-side file -> that of each image. Raises DataError, naming `path`, for an odd width."""
    if width % 2:
        raise DataError(f"{path}: is {width} pixels wide; two images side by side need an even width")
    return width // 2


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
        raise _unreadable(path, "not an 8-bit PNG, JPEG, BMP, WebP, GIF or TIFF") from None
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
        raise DataError(f"{name}: is not 8-bit (mode {image.mode}), which is expected: convert it to 8 bits")
    if image.mode not in _GRAY_MODES | _COLOUR_MODES:
        raise DataError(f"{name}: has the colour mode {image.mode}, expected gray or RGB: convert it to RGB")
    samples = tags.get(_SAMPLES_TAG, 1)
    if samples > len(image.getbands()):
        raise DataError(f"{name}: has {samples} channels, expected gray or RGB: keep 1 or 3 of them")


def _numbers(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _decoded(image: Image.Image, name: str) -> Pixels:
    """An accepted image -> (H, W, C) uint8, upright, without its alpha channel, which must hide nothing."""
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
    if pixels[..., -1].min() < 255:
        raise DataError(f"{name}: has transparency; flatten it onto a background first")
    return np.ascontiguousarray(pixels[..., :-1])


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, as far as read by now: a PNG's own `getexif` would decode it."""
    with _our_limits():
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG)
    return value if isinstance(value, int) else 1


def _array(image: Image.Image) -> Pixels:
    pixels = np.array(image, dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


# ---- images in memory --------------------------------------------------------------------------------------


def from_pil(image: Image.Image) -> Pixels:
    """PIL image -> (H, W, C) uint8 by the rules of `read`: upright, C = 1 or 3. Raises DataError."""
    _refuse_kind(image, "the image")
    return _decoded(image, "the image")


def to_pil(pixels: Pixels) -> Image.Image:
    """(H, W, C) uint8, C = 1 or 3 -> PIL image of mode L or RGB."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


# ---- arrays <-> tensors ------------------------------------------------------------------------------------


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """(H, W, C) -> (H, W, channels): gray is repeated, colour becomes luminance (ITU-R 601)."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return _array(to_pil(pixels).convert("L"))


def planes(pixels: Pixels) -> Tensor:
    """(H, W, C) uint8 -> (C, H, W) uint8, the same memory."""
    return torch.from_numpy(pixels).permute(2, 0, 1)


def to_bytes(pixels: Pixels) -> Tensor:
    """(H, W, C) uint8 -> (C, H, W) uint8, contiguous."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy(order="C"))


def scaled(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1], any shape."""
    return pixels.to(torch.float32).div_(127.5).sub_(1)


def scale_into(image: NDArray[np.float32], pixels: NDArray[np.uint8]) -> None:
    """The same for an array, to the bit, written into `image`; `pixels` may be any view."""
    np.divide(pixels, np.float32(127.5), out=image)
    np.subtract(image, np.float32(1), out=image)


def to_tensor(pixels: Pixels) -> Tensor:
    """(H, W, C) uint8 -> (C, H, W) float32 in [-1, 1]."""
    return scaled(to_bytes(pixels))


def to_array(image: Tensor) -> Pixels:
    """(C, H, W) in [-1, 1] -> (H, W, C) uint8, rounded: `to_tensor` undone. Raises ValueError outside."""
    levels = image.detach().to("cpu", torch.float32).add(1).mul(127.5).round()
    lowest, highest = levels.aminmax()
    if not (lowest >= 0 and highest <= 255):  # NaN fails too
        raise ValueError(f"expected an image in [-1, 1], got values in [{image.min()}, {image.max()}]")
    return levels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


# ---- arrays -> files ---------------------------------------------------------------------------------------


def write(path: Path, pixels: Pixels) -> None:
    """(H, W, C) uint8 -> a file, in its suffix's format; never half a file of that name. Raises DataError."""
    options = _WRITE_OPTIONS.get(path.suffix.lower())
    if options is None:
        raise DataError(f"{path}: cannot be written as {path.suffix!r}; use {', '.join(sorted(_WRITE_OPTIONS))}")
    image = to_pil(pixels)
    try:
        write_atomically(path, lambda file: image.save(file, **options))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from None
