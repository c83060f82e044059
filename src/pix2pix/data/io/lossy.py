"""Tell files whose compression changes values, by their first bytes."""

from pathlib import Path

from pix2pix.data.io.newer_formats import JPEG2000_STARTS
from pix2pix.data.io.tiff import TIFF_STARTS, open_alone
from pix2pix.system.reading import open_regular

JPEG_COMPRESSIONS = (6, 7, 33007, 34892)
"""Of TIFF."""
READ = 1 << 16
"""Bytes in which the marker of the kind of compression stands."""


def lossy_format(path: Path | str) -> str:
    """Return the name of the format of a file whose compression changes values; empty for all others."""
    try:
        with open_regular(Path(path)) as file:
            start = file.read(READ)
    except (OSError, ValueError):
        return ""
    if start.startswith(TIFF_STARTS):
        return "JPEG" if _is_jpeg_in_tiff(Path(path)) else ""
    if start.startswith(JPEG2000_STARTS):
        at = start.find(b"\xff\x52")  # coding style: the transformation is 0 if it cannot be undone, ITU-T T.800 A.6.1
        return "JPEG 2000" if at >= 0 and start[at + 13 : at + 14] == b"\0" else ""
    if start.startswith(b"RIFF"):
        return "WebP" if b"VP8 " in start else ""
    if start[4:8] == b"ftyp":
        return "AVIF and HEIC"
    return "JPEG" if start.startswith(b"\xff\xd8") else ""


def _is_jpeg_in_tiff(path: Path) -> bool:
    try:
        with open_alone(path) as tiff:
            return int(tiff.pages.first.compression) in JPEG_COMPRESSIONS
    except Exception:  # damaged, which is reported when it is read
        return False
