"""Format counts, lists, durations, shares and file names as text for messages and pages."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

LONG = 1e9
"""Numbers from here on are written with an exponent."""


def format_count(count: int, noun: str) -> str:
    """Return `1 channel`, `3 channels` or `1,096 pairs`; `noun` is in the singular and takes an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_counts(counts: Mapping[str, int]) -> str:
    """Return `train 240, val 24`."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def format_list(items: Iterable[object]) -> str:
    """Return `a, b and c`."""
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last


def format_examples(items: Iterable[object], most: int = 3) -> str:
    """Return the first `most` items and how many more there are: `a, b, c and 7 more`."""
    words = list(map(str, items))
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def format_digits(value: float) -> str:
    """Return four significant digits, zeros included, and whole numbers from 1,000 on: `14.00`, `0.1322`, `12,345`."""
    return f"{value:,.0f}" if 1000 <= abs(value) < LONG else f"{value:#.4g}".rstrip(".")


def format_decimals(value: float) -> str:
    """Return four decimals, or four significant digits of what they would show as zero or at length: `1.6e-13`."""
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < LONG else f"{value:.4g}"


def format_factors(down: float, across: float) -> str:
    """Return `4`, or `4 (height) and 3 (width)` where the factors of the sides differ."""
    first, second = f"{down:.4g}", f"{across:.4g}"
    return first if first == second else f"{first} (height) and {second} (width)"


def format_duration(seconds: float) -> str:
    """Return `1 h 02 min`, `3 min 20 s` or `45 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def format_bytes(count: int) -> str:
    """Return a size in decimal units with two or three digits: `12 kB`, `1.2 MB`, `690 MB`."""
    size, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.1f} {units[0]}" if size < 9.95 and units[0] != "bytes" else f"{size:.0f} {units[0]}"


def format_share(share: float) -> str:
    """Return a share as `3.2 %` or `47 %`."""
    if not math.isfinite(share):
        return "an undefined share"
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def escape_unprintable(name: Path | str) -> str:
    """Return a file name on one line: line ends, control characters and undecodable bytes become escapes."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "surrogatepass").decode() for sign in str(name)
    )


def is_unicode(name: Path | str) -> bool:
    """Return whether a file name is valid Unicode: on Linux a name may hold any bytes."""
    try:
        str(name).encode()
    except UnicodeEncodeError:
        return False
    return True
