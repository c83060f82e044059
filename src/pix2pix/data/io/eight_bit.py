"""Read and write 8-bit gray and RGB images by Pillow, PNG, JPEG, TIFF and others <-> arrays (H, W, C) uint8.

Files whose values Pillow would reduce, clip or guess are rejected.
"""

import errno
import os
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from pix2pix.data.io import integrity, limits, newer_formats
from pix2pix.data.io.arrays import ImageFacts, Pixels, pil_to_array, to_pil, unreadable, upright, without_alpha
from pix2pix.data.io.limits import Reserve
from pix2pix.data.io.surroundings import NOTHING, Surroundings
from pix2pix.errors import DataError
from pix2pix.system.reading import open_regular
from pix2pix.text import format_count

READ_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "AVIF", "JPEG2000")
WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG", "compress_type": zlib.Z_RLE},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jfif": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".bmp": {"format": "BMP"},
    ".webp": {"format": "WEBP", "lossless": True},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
}
"""Suffix in lower case -> options of Pillow's `save`."""
GRAY_MODES, COLOUR_MODES = {"1", "L", "LA"}, {"P", "PA", "RGB", "RGBA", "RGBX"}

MAX_DPI = 1e6
"""A larger resolution is damage."""

_ORIENTATION_TAG = 274  # EXIF
_BITS_TAG, _SAMPLES_TAG, _SAMPLE_FORMAT_TAG = 258, 277, 339  # TIFF 6.0
_SUBFILE_TAG = 254  # bit 0: a reduced copy of another page
_TILE_WIDTH_TAG, _TILE_LENGTH_TAG = 322, 323
_PILLOW_LOCK = threading.Lock()


def probe(path: Path, *, stored: bool = False) -> ImageFacts:
    """Read the header of a file. Raises DataError for a header that `read` would reject."""
    with _open(path) as image:
        width, height = image.size
        is_turned = stored if image.format == "TIFF" else not stored  # Pillow turns the size of a TIFF by itself
        if is_turned and read_orientation(image) in (5, 6, 7, 8):
            width, height = height, width
        return ImageFacts(height, width, 1 if image.mode in GRAY_MODES else 3)


def read(path: Path, *, alpha: bool, reserve: Reserve, stored: bool = False) -> Pixels:
    """Read (H, W, C), upright unless `stored`. With `alpha` an alpha channel is kept, otherwise it must be opaque.

    Raises DataError.
    """
    with _open(path) as image:
        _refuse_damage(path, image)
        pixels = image.width * image.height
        reserve(pixels * _bytes_per_pixel(image), pixels * len(image.getbands()))
        return _decode(image, str(path), alpha, stored=stored)


def from_pil(image: Image.Image, *, alpha: bool = False, stored: bool = False) -> Pixels:
    """Convert a PIL image to (H, W, C), upright unless `stored`, by the rules of `read`. Raises DataError."""
    _refuse_mode(image, "the image")
    return _decode(image, "the image", alpha, stored=stored)


def write(
    file: BinaryIO,
    suffix: str,
    pixels: Pixels,
    surroundings: Surroundings = NOTHING,
    palette: Pixels | None = None,
) -> None:
    """Encode (H, W, 1 or 3) in the format of a suffix in WRITE_OPTIONS.

    A PNG gets the colours of `palette` (n, 3), in their order, if it has one; all pixels must be of them.
    """
    image = to_pil(pixels) if palette is None or suffix != ".png" else _with_palette(pixels, palette)
    image.save(file, **WRITE_OPTIONS[suffix], **surroundings.pillow_options())


def _with_palette(pixels: Pixels, palette: Pixels) -> Image.Image:
    """Convert (H, W, 3) to a PIL image of mode P."""
    weights = np.array([1 << 16, 1 << 8, 1], np.uint32)
    order = np.argsort(palette @ weights)
    indices = order[np.searchsorted(palette @ weights, pixels @ weights, sorter=order)]
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(palette.tobytes())
    return image


def read_surroundings(path: Path) -> Surroundings:
    """Read the resolution and the colour profile of a file, without decoding it. May raise any exception."""
    with open_regular(path) as file:
        with pillow_limits():
            image = Image.open(file, formats=_formats(file))
        take_late_exif(image, file)
        dpi, turned = image.info.get("dpi"), read_orientation(image) in (5, 6, 7, 8)
    known = None if dpi is None else (float(dpi[0]), float(dpi[1]))
    if known is not None and not all(0 < value < MAX_DPI for value in known):
        known = None
    return Surroundings(dpi=known and known[::-1] if turned else known, profile=image.info.get("icc_profile") or None)


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, without decoding: the `getexif` of a PNG would decode the pixels.

    Raises ValueError for EXIF data that cannot be read.
    """
    try:
        with pillow_limits():
            value = Image.Image.getexif(image).get(_ORIENTATION_TAG)
    except SyntaxError:
        raise ValueError("its EXIF data are damaged, so it is not known how it is turned") from None
    return value if isinstance(value, int) else 1


def read_png_orientation(file: BinaryIO) -> int:
    """Return the EXIF orientation of a PNG of any depth, as `read_orientation` does, within our limits."""
    with pillow_limits():
        image = Image.open(file, formats=["PNG"])
    take_late_exif(image, file)
    return read_orientation(image)


def take_late_exif(image: ImageFile.ImageFile, file: BinaryIO) -> None:
    """Give a PNG the EXIF data that stand after its pixels, which Pillow finds only when it decodes them."""
    if image.format == "PNG" and "exif" not in image.info and (exif := integrity.read_png_exif(file)):
        image.info["exif"] = exif


# ---- opening -----------------------------------------------------------------------------------------------------


@contextmanager
def _open(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open an accepted image without decoding it. Within the block, every error becomes a DataError."""
    try:
        with open_regular(path) as file:
            with pillow_limits():
                image = Image.open(file, formats=_formats(file))
            _ignore_late_text(image)
            limits.refuse_too_large(path, image.height, image.width)
            take_late_exif(image, file)
            _refuse_mode(image, str(path))
            newer_formats.refuse_reduced(path, image)
            _refuse_frames(image, path)
            _refuse_missing_pixels(image, path)
            _refuse_expansion(path, image, file)
            yield image
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise limits.too_large(path) from None
    except UnidentifiedImageError:
        known = integrity.describe_start(path) or "not a PNG, JPEG, BMP, WebP, GIF, AVIF, JPEG 2000, TIFF or .npy"
        if missing := newer_formats.describe_missing(path):
            raise newer_formats.ReaderMissingError(str(unreadable(path, missing))) from None
        raise unreadable(path, known) from None
    except Exception as error:  # decoders of damaged files raise nearly anything
        if isinstance(error, OSError) and error.errno == errno.EINVAL and error.filename:  # of `open_regular`
            raise DataError(f"{path}: {error.strerror}") from None
        raise unreadable(path, error) from None


def _formats(file: BinaryIO) -> tuple[str, ...]:
    """Return the formats that Pillow may take a file for; HEIC is registered when the first such file is read."""
    start = file.read(12)
    file.seek(0)
    return READ_FORMATS + (newer_formats.register_heic() if newer_formats.is_heic(start) else ())


@contextmanager
def pillow_limits() -> Iterator[None]:
    """Replace Pillow's limits of pixels and metadata by ours, and silence its warnings; one thread at a time."""
    with _PILLOW_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limits.MAX_PIXELS
        metadata, PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_CHUNK, limits.MAX_METADATA
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = pixels, metadata


def _ignore_late_text(image: ImageFile.ImageFile) -> None:
    """Let Pillow pass over texts and a colour profile that stand after the pixels of a PNG.

    It would expand them within its own limit when it decodes, and take an orientation from them that no header has.
    """
    if isinstance(image, PngImagePlugin.PngImageFile) and (stream := image.png) is not None and stream.fp is not None:
        skip = partial(_read_past, stream.fp)
        for kind in ("tEXt", "zTXt", "iTXt", "iCCP"):
            setattr(stream, f"chunk_{kind}", skip)


def _read_past(file: IO[bytes], _position: int, length: int) -> bytes:
    file.seek(length, os.SEEK_CUR)
    return b""


def _refuse_mode(image: Image.Image, name: str) -> None:
    """Raise DataError for all but 8-bit gray and colour; Pillow reduces 16-bit colour silently."""
    tags = getattr(image, "tag_v2", {})
    tiles = getattr(image, "tile", [])
    high_depth = max(_as_tuple(tags.get(_BITS_TAG, 8))) > 8
    high_depth |= image.format == "PNG" and any(";16" in str(tile.args) for tile in tiles)
    signed_or_float = not set(_as_tuple(tags.get(_SAMPLE_FORMAT_TAG, 1))) <= {1, 4}  # unsigned, undefined
    if image.mode[0] in "IF" or high_depth or signed_or_float:
        raise DataError(f"{name}: has more than 8 bits in a form that cannot be read (mode {image.mode}): convert it")
    if image.mode not in GRAY_MODES | COLOUR_MODES:
        raise DataError(f"{name}: has the colour mode {image.mode}, expected gray or RGB: convert it to RGB")
    samples = tags.get(_SAMPLES_TAG, 1)
    if samples > len(image.getbands()):
        raise DataError(f"{name}: has {samples} channels, expected gray or RGB: keep 1 or 3 of them")


def _refuse_frames(image: ImageFile.ImageFile, path: Path) -> None:
    with pillow_limits():
        several = _has_other_pages(image) if image.format == "TIFF" else getattr(image, "is_animated", False)
        counted = several and image.format in ("PNG", "WEBP")  # the others would be read to their end
        frames = getattr(image, "n_frames", 1) if counted else "several"
    if several and image.format != "MPO":  # the first frame of a camera's MPO is the photo
        raise DataError(f"{path}: has {frames} frames, expected one image: save one frame as PNG")


def _has_other_pages(image: ImageFile.ImageFile) -> bool:
    """Return whether a TIFF has a second page that is no reduced copy of the first."""
    several, number = False, 0
    while not several:
        number += 1
        try:
            image.seek(number)
        except EOFError:
            break
        several = not cast("Any", image).tag_v2.get(_SUBFILE_TAG, 0) & 1
    image.seek(0)
    return several


def _refuse_missing_pixels(image: ImageFile.ImageFile, path: Path) -> None:
    """Raise DataError for a TIFF or GIF that has pixels for only a part of its size; Pillow leaves the rest black."""
    right, bottom = (max((tile.extents[side] for tile in image.tile if tile.extents), default=0) for side in (2, 3))
    if image.format in ("TIFF", "GIF") and right * bottom < image.width * image.height:
        raise DataError(f"{path}: has pixels for only a part of its {image.width}x{image.height}: replace it")


def _refuse_expansion(path: Path, image: ImageFile.ImageFile, file: BinaryIO) -> None:
    """Raise DataError for a header that claims more pixels than the file can hold, in the image or in one tile."""
    width, height = image.size
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    if kind == "TIFF":
        tags = getattr(image, "tag_v2", {})
        width, height = max(width, tags.get(_TILE_WIDTH_TAG, 0)), max(height, tags.get(_TILE_LENGTH_TAG, 0))
        limits.refuse_too_large(path, height, width)
    size = os.fstat(file.fileno()).st_size
    if kind == "JPEG" and width * height > limits.UNSUSPICIOUS:
        position = file.tell()
        kind = "arithmetic JPEG" if integrity.is_arithmetic_jpeg(file) else kind
        file.seek(position)
    limits.refuse_expansion(path, width * height, size, kind)


def _refuse_damage(path: Path, image: ImageFile.ImageFile) -> None:
    """Raise DataError for what Pillow passes over in silence."""
    check = {"PNG": integrity.check_png, "JPEG": integrity.check_scans, "MPO": integrity.check_scans}.get(
        str(image.format)
    )
    if check is None or (image.format != "PNG" and not image.info.get("progressive")):
        return
    assert image.fp is not None
    file = cast("BinaryIO", image.fp)
    position = file.tell()
    check(path, file)
    file.seek(position)


def _bytes_per_pixel(image: Image.Image) -> int:
    """Return the bytes for each pixel that decoding takes at its peak, as measured, with a reserve."""
    if image.format in ("WEBP", "AVIF", "JPEG2000", "HEIF"):
        return 24
    return {"1": 5, "L": 5, "LA": 10}.get(image.mode, 14)


def _as_tuple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


# ---- decoding ----------------------------------------------------------------------------------------------------


def _decode(image: Image.Image, name: str, alpha: bool, *, stored: bool) -> Pixels:
    large = Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS
    checks_again = large or image.format == "TIFF"  # here Pillow checks the limit, or the metadata, again
    undone = read_orientation(image) if stored and image.format == "TIFF" else 1
    _scale_transparent_gray(image)
    with pillow_limits() if checks_again else nullcontext():
        image.load()
    _refuse_missing_colours(image, name)
    turn = {6: 8, 8: 6}.get(undone, undone) if stored else read_orientation(image)  # Pillow turns TIFF by itself
    gray, has_alpha = image.mode in GRAY_MODES, image.has_transparency_data
    mode = ("LA" if gray else "RGBA") if has_alpha else ("L" if gray else "RGB")
    pixels = upright(pil_to_array(image if image.mode == mode else image.convert(mode)), turn)
    return without_alpha(pixels, name) if has_alpha and not alpha else pixels


def _refuse_missing_colours(image: Image.Image, name: str) -> None:
    """Raise DataError for pixels beyond the end of a palette, which Pillow shows as black."""
    if image.format in ("PNG", "BMP") and image.mode == "P" and image.palette is not None:
        colours = len(image.palette.palette) // len(image.palette.mode)
        largest = cast("tuple[int, int]", image.getextrema())[1]
        if largest >= colours:
            raise DataError(
                f"{name}: has pixels of number {largest}, but a palette of {format_count(colours, 'colour')}: save it "
                f"with {largest + 1} colours or more"
            )


def _scale_transparent_gray(image: Image.Image) -> None:
    """Give the transparent gray of a PNG of 2 or 4 bits in levels of 255, which Pillow leaves in those of the file."""
    transparent, tiles = image.info.get("transparency"), getattr(image, "tile", [])
    if image.format == "PNG" and image.mode == "L" and isinstance(transparent, int) and tiles:
        image.info["transparency"] = transparent * {"L;2": 85, "L;4": 17}.get(str(tiles[0].args), 1)
