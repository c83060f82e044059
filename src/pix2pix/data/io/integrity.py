"""Check what decoders pass over in silence: checksums and the end of a PNG, endless scans of a JPEG."""

import os
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from pix2pix.errors import DataError
from pix2pix.system.reading import open_regular

PNG_START = b"\x89PNG\r\n\x1a\n"
MAX_SCANS = 100
"""Each scan of a progressive JPEG passes over all pixels, with a few bytes; encoders write about 10."""

STARTS = {
    PNG_START: "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}

_BLOCK = 2**20
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # SOF0 to SOF15
_ARITHMETIC = 0xC9
_SCAN, _END = 0xDA, 0xD9
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither a stuffed byte nor a restart


def describe_start(path: Path) -> str:
    """Say that a file that no reader takes begins like a known format; empty where it does not."""
    with open_regular(path) as file:
        start = file.read(8)
    known = next((name for first, name in STARTS.items() if start.startswith(first)), "")
    return known and f"it begins as a {known}, but is damaged or of a kind that is not read"


def check_png(path: Path, file: BinaryIO) -> None:
    """Raise DataError for a PNG with a wrong checksum, or without its end. Bytes after the end are accepted."""
    file.seek(len(PNG_START))
    kind = b""
    while kind != b"IEND":
        head = file.read(8)
        if len(head) < 8:
            raise _damaged(path, "it is cut off before its end")
        length, kind = struct.unpack(">I4s", head)
        found, left = zlib.crc32(kind), length
        while left and (block := file.read(min(left, _BLOCK))):
            found, left = zlib.crc32(block, found), left - len(block)
        checksum = file.read(4)
        if left or len(checksum) < 4:
            raise _damaged(path, "it is cut off before its end")
        if struct.unpack(">I", checksum)[0] != found:
            raise _damaged(path, f"the checksum of its part {kind.decode('ascii', 'backslashreplace')} is wrong")
    file.seek(0)


def read_png_exif(file: BinaryIO) -> bytes | None:
    """Return the EXIF data of a PNG, which may stand after the pixels; None if there are none. The place stays."""
    place = file.tell()
    file.seek(len(PNG_START))
    found = None
    while found is None and len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            break
        if kind == b"eXIf":
            found = b"Exif\0\0" + file.read(min(length, _BLOCK))
        else:
            file.seek(length + 4, os.SEEK_CUR)
    file.seek(place)
    return found


def check_scans(path: Path, file: BinaryIO) -> None:
    """Raise DataError for a JPEG of more than MAX_SCANS scans, which would take minutes to decode."""
    scans = _walk_jpeg(file, MAX_SCANS)[1]
    if scans > MAX_SCANS:
        raise DataError(f"{path}: has more than {MAX_SCANS} scans, expected about 10: save it as a baseline JPEG")


def is_arithmetic_jpeg(file: BinaryIO) -> bool:
    """Return whether a JPEG is coded arithmetically."""
    return _walk_jpeg(file, 0)[0] >= _ARITHMETIC


def _walk_jpeg(file: BinaryIO, most: int) -> tuple[int, int]:
    """Return the code of the frame of a JPEG (0 if it has none), and its number of scans, counted up to `most` + 1."""
    file.seek(0)
    data = file.read()
    file.seek(0)
    at, frame, scans = 2, 0, 0
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker == _END:
            break
        if marker in _FRAMES:
            frame = frame or marker
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN:
            scans += 1
            if scans > most:
                break
            found = _NEXT_MARKER.search(data, at)
            if found is None:
                break
            at = found.start()
    return frame, scans


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: cannot be read as an image ({reason}): remove or replace it")
