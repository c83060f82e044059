"""Recognise AVIF, HEIC and JPEG 2000 by their first bytes: what reads them here, and what to type if nothing does."""

import importlib
from pathlib import Path

from PIL import Image, features

from pix2pix.errors import DataError
from pix2pix.system.reading import open_regular

HEIC_PACKAGES = ("pi_heif", "pillow_heif")
"""Packages that teach Pillow to read HEIC. Neither is a dependency: both carry LGPL libraries, the second GPL ones."""
CODESTREAM = b"\xff\x4f\xff\x51"
"""Start of JPEG 2000 data (.j2k), which a .jp2 file holds in one of its boxes: markers SOC and SIZ, ITU-T T.800 A.5."""
JPEG2000_STARTS = (b"\0\0\0\x0cjP  \r\n\x87\n", CODESTREAM)
HEADER = 2**16
"""Bytes in which an AVIF file says its depth."""


class ReaderMissingError(DataError):
    """A package that would read this file is not installed now."""


def register_heic() -> tuple[str, ...]:
    """Let Pillow read HEIC where a package for it is installed. Returns Pillow's name of the format, or nothing."""
    for name in HEIC_PACKAGES:
        try:
            importlib.import_module(name).register_heif_opener()
        except ImportError:
            continue
        return ("HEIF",)
    return ()


def is_heic(start: bytes) -> bool:
    """Return whether a file that starts with these bytes (12 or more) is HEIC or HEIF."""
    return start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def describe_missing(path: Path) -> str:
    """Say what a file is that Pillow could not identify, and what to type; empty if that is not known."""
    with open_regular(path) as file:
        start = file.read(32)
    if not start:
        return "it is empty, 0 bytes"
    if is_heic(start) and register_heic():
        return "it is a damaged HEIC file"
    if is_heic(start):
        return "HEIC needs a package of its own: pip install pi-heif, or convert it to JPEG or PNG"
    if start[4:12] in (b"ftypavif", b"ftypavis") and not features.check("avif"):
        return "this Pillow was built without AVIF: pip install --upgrade pillow, or convert it to PNG"
    if start.startswith(JPEG2000_STARTS) and not features.check("jpg_2000"):
        return "this Pillow was built without JPEG 2000: pip install --upgrade pillow, or convert it to TIFF"
    return ""


def refuse_reduced(path: Path, image: Image.Image) -> None:
    """Raise DataError for an AVIF or HEIC file of more than 8 bits, of which decoders here keep 8."""
    deep = image.format == "HEIF" and image.info.get("bit_depth", 8) > 8
    if image.format == "AVIF":
        with open_regular(path) as file:
            _, _, box = file.read(HEADER).partition(b"av1C")
        deep = len(box) > 2 and bool(box[2] & 0x60)  # high_bitdepth and twelve_bit
    if deep:
        raise DataError(f"{path}: has more than 8 bits in a form that cannot be read: convert it to PNG or TIFF")
