"""Media types of pictures: what a body holds by its first bytes, and which type an answer has by Accept."""

from pix2pix.data.io import images
from pix2pix.serve.problems import ProblemError
from pix2pix.text import format_count

ANSWERED = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/tiff": ".tif",
    "image/webp": ".webp",
    "application/x-npy": ".npy",
}
"""Media type of an answer -> the suffix by which `data.io` knows it; of equals the first is preferred."""
SUFFIXES = ANSWERED | {"image/gif": ".gif", "image/bmp": ".bmp", "image/avif": ".avif"}
"""The same of what is taken."""
LOSSY = ("image/jpeg",)
"""Types that change values."""
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),
    (b"MM\0+", "image/tiff"),
    (b"\x93NUMPY", "application/x-npy"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
_OTHERS = (
    (4, b"ftyphe", "a HEIC photo"),
    (4, b"ftypmif1", "a HEIC photo"),
    (4, b"jP  ", "a JPEG 2000"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (4, b"JXL ", "a JPEG XL"),
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a PSD"),
    (4, b"ftyp", "a video"),
)
"""Formats that people send and that are not accepted: where their mark stands, the mark, the name in a sentence."""
EXPECTED = f"expected {', '.join(tuple(SUFFIXES)[:-1])} or {tuple(SUFFIXES)[-1]}"


def media_type(header: str) -> str:
    """Return the media type of a Content-Type header, without parameters."""
    return header.partition(";")[0].strip().lower()


def recognise(start: bytes) -> str | None:
    """Return the media type of a file by its first bytes; None for a format that is not accepted."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return next((kind for begin, kind in _STARTS if start.startswith(begin)), None)


def name_other(start: bytes) -> str:
    """Return the name of a format that is not accepted, by the first bytes; empty for an unknown one."""
    if b"<svg" in start:
        return "an SVG"
    return next((name for at, mark, name in _OTHERS if start.startswith(mark, at)), "")


def choose_type(accept: str, dtype: str, channels: int, *, exact: bool) -> str:
    """Return the media type of an answer, the one preferred by an Accept header that can hold the values.

    `exact` rules out the lossy types, as for label maps. Raises ProblemError (406).
    """
    able = [kind for kind in ANSWERED if _can_hold(kind, dtype, channels, exact=exact)]
    wanted = _parse_accept(accept) or [("*/*", 1.0)]
    ranked = [(max(_quality(kind, wanted), 0.0), -place, kind) for place, kind in enumerate(able)]
    quality, _, best = max(ranked, default=(0.0, 0, ""))
    if quality <= 0:
        raise ProblemError(
            406,
            "not-acceptable",
            f"the output, {format_count(channels, 'channel')} of {dtype}, is sent as "
            f"{', '.join(able)}; Accept allows none",
        )
    return best


def _can_hold(kind: str, dtype: str, channels: int, *, exact: bool) -> bool:
    return images.can_hold(SUFFIXES[kind], dtype, channels) and not (exact and kind in LOSSY)


def _parse_accept(header: str) -> list[tuple[str, float]]:
    """Return the media ranges of an Accept header and their weights."""
    ranges = []
    for part in header.split(",") if header.strip() else ():
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        try:
            ranges.append((name, min(1.0, max(0.0, float(quality)))))
        except ValueError:
            ranges.append((name, 0.0))
    return ranges


def _quality(kind: str, ranges: list[tuple[str, float]]) -> float:
    """Return the weight of the most specific range that a type is in; 0 if it is in none."""
    family = f"{kind.partition('/')[0]}/*"
    for pattern in (kind, family, "*/*"):
        found = [quality for name, quality in ranges if name == pattern]
        if found:
            return max(found)
    return 0.0
