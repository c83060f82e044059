"""Refuse images by their headers: too many pixels, too many for the bytes of the file, more than the free memory."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pix2pix.errors import DataError
from pix2pix.system.hardware import GIGABYTE, free_memory

MAX_PIXELS = 512 * 2**20
"""Larger images are rejected by their header, before anything is decoded."""
MAX_METADATA = 2**26
"""Bytes of one text or colour profile of a PNG, which is compressed; profiles of printers have a few million."""
UNSUSPICIOUS = 2**24
"""Images of up to this many pixels (4096 x 4096) are accepted however small their file is."""
PIXELS_PER_BYTE = {
    "PNG": 8_300,  # deflate packs at most 1032 to 1, and a byte holds up to 8 pixels
    "BMP": 256,  # run lengths of up to 255 pixels in 2 bytes
    "GIF": 4_096,  # LZW: at most 4096 pixels in a code of 12 bits
    "JPEG": 1_024,  # at least 1 bit for each 8x8 block of the largest component
    "arithmetic JPEG": 65_536,
    "WEBP": 65_536,  # no bound by the format; a blank image of libwebp reaches 26,000
    "AVIF": 262_144,  # no bound by the format, as for the next two; a blank image reaches 17,000 and more
    "HEIF": 262_144,
    "JPEG2000": 1_048_576,  # a blank image of 8192x8192 nears 200,000
    "TIFF": 524_288,  # Zstandard in one strip, 1 bit: a blank image nears 262,144; fax: a blank row takes 1 bit
}
"""Most pixels for each byte of a file with more than UNSUSPICIOUS pixels. Blank images stay below these."""

SMALL = 2**26
"""Decoding that takes up to this many bytes is not counted."""
TOGETHER = 2**30
"""Images are decoded at the same time as long as they take up to this many bytes together; a larger one is alone."""
MEMORY_SHARE = 0.75
"""Largest share of the free memory that decoding may take."""

Reserve = Callable[[int, int], object]
"""Called before an image is decoded, with the bytes that decoding takes at its peak and those of the result."""


class MemoryShortError(DataError):
    """Decoding takes more memory than is free now."""


def refuse_too_large(path: Path, height: int, width: int, pixel_bytes: int = 1) -> None:
    """Raise DataError for more than MAX_PIXELS pixels, or more than 4 x MAX_PIXELS bytes."""
    if height * width > MAX_PIXELS or height * width * pixel_bytes > 4 * MAX_PIXELS:
        raise too_large(path)


def too_large(path: Path) -> DataError:
    """Return the error for an image with too many pixels."""
    return DataError(f"{path}: more than {MAX_PIXELS:,} pixels, the limit for one image: cut it into parts")


def refuse_expansion(path: Path, pixels: int, file_bytes: int, kind: str) -> None:
    """Raise DataError for a file that is too small for its number of pixels; `kind` is one of PIXELS_PER_BYTE."""
    if pixels > UNSUSPICIOUS and pixels > PIXELS_PER_BYTE[kind] * file_bytes:
        raise DataError(
            f"{path}: its header claims {pixels:,} pixels, but the file has only {file_bytes:,} bytes: replace it, or "
            "save a blank image with at most 4096x4096 pixels"
        )


# ---- memory ------------------------------------------------------------------------------------------------------

_changed = threading.Condition()
_in_use = 0  # bytes that are reserved by all threads of this process
_thread = threading.local()  # .holds: whether this thread has reserved memory


@contextmanager
def memory_for(path: Path, needed: int) -> Iterator[None]:
    """Reserve `needed` bytes within the block; wait until other threads have released enough.

    A thread that has reserved memory already, and an amount up to SMALL, need not wait. Raises MemoryShortError if the
    amount exceeds MEMORY_SHARE of the free memory.
    """
    global _in_use  # one number for the process
    if needed <= SMALL or getattr(_thread, "holds", False):
        yield
        return
    with _changed:
        _changed.wait_for(lambda: not _in_use or (_in_use + needed <= TOGETHER))
        _refuse_little_memory(path, needed, _in_use)
        _in_use += needed
    _thread.holds = True
    try:
        yield
    finally:
        _thread.holds = False
        with _changed:
            _in_use -= needed
            _changed.notify_all()


def _refuse_little_memory(path: Path, needed: int, others: int) -> None:
    free = free_memory()
    if free and needed + others > MEMORY_SHARE * free:  # 0 means unknown
        raise MemoryShortError(
            f"{path}: decoding it takes about {needed / GIGABYTE:.1f} GB of memory, but {free / GIGABYTE:.1f} GB are "
            "free: close other programs, or cut it into parts"
        )
