"""Read how a file asks to be turned (EXIF), without decoding it."""

from contextlib import suppress
from pathlib import Path

from PIL import Image

from pix2pix.data.io import eight_bit, limits
from pix2pix.data.io.integrity import PNG_START
from pix2pix.system.reading import open_regular

EXIF_FORMATS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".avif")
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap height and width."""


def find_orientation(path: Path) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where a file states none or its metadata are damaged."""
    if path.suffix.lower() not in EXIF_FORMATS:
        return 1
    with suppress(Exception), open_regular(path) as file:
        is_png = file.read(len(PNG_START)) == PNG_START
        file.seek(0)
        if is_png:
            return eight_bit.read_png_orientation(file)
        with eight_bit.pillow_limits():
            image = Image.open(file, formats=eight_bit.READ_FORMATS)
        if image.width * image.height <= limits.MAX_PIXELS:
            return eight_bit.read_orientation(image)
    return 1
