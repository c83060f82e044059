"""Read the rows of `metrics.csv` that a resumed training continues; a damaged file is kept beside it."""

import csv
import itertools
import sys
from collections.abc import Collection
from pathlib import Path

from pix2pix.system.files import write_atomically
from pix2pix.system.reading import LARGE, read_bytes
from pix2pix.text import format_count

DAMAGED = "metrics.csv.damaged"
"""Copy of a file that held lines which are no rows; later copies get a number."""
COUNTS = ("step", "epoch", "images_seen")


def read_rows(path: Path, columns: Collection[str]) -> list[dict[str, str]]:
    """Return the rows of a metrics file, column -> text; none if there is no file.

    A last line without an end is skipped: the training was killed while it wrote. If other lines are no rows, or the
    file has columns that this version does not know, the file is first copied, and one line on stderr says so. Raises
    OSError naming the file.
    """
    if not path.exists():
        return []
    content = read_bytes(path, LARGE)
    header, *lines = [_cells(line) for line in content.split(b"\n")[:-1]] or [None]
    names = header or []
    rows = [dict(zip(names, cells, strict=True)) for cells in lines if cells and _is_row(names, cells)]
    unknown = [name for name in names if name not in columns]
    if unknown or len(rows) < len(lines) or (content and not _is_header(names)):
        _keep_damaged(path, content, len(lines) - len(rows), unknown)
    return [{name: cell for name, cell in row.items() if name in columns} for row in rows]


def _cells(line: bytes) -> list[str] | None:
    """Return the cells of a line; None if it is not text."""
    try:
        return next(csv.reader([line.decode("utf-8").removesuffix("\r")], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return None


def _is_header(names: list[str]) -> bool:
    return {*COUNTS, "split"} <= set(names) and len(set(names)) == len(names)


def _is_row(names: list[str], cells: list[str]) -> bool:
    if not _is_header(names) or len(cells) != len(names):
        return False
    row = dict(zip(names, cells, strict=True))
    split = row.pop("split")
    return split.isalpha() and all(_is_number(name, cell) for name, cell in row.items())


def _is_number(name: str, cell: str) -> bool:
    if name in COUNTS:
        return cell.isascii() and cell.isdecimal() and len(cell) < 19
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _keep_damaged(path: Path, content: bytes, lines: int, unknown: list[str]) -> None:
    copies = (path.with_name(DAMAGED + (f"-{number}" if number > 1 else "")) for number in itertools.count(1))
    copy = next(free for free in copies if not free.exists())
    write_atomically(copy, lambda file: file.write(content))
    what = f"{format_count(lines, 'line')} that cannot be read" if lines else "a header that this version did not write"
    more = f" and {format_count(len(unknown), 'column')} that this version does not know" if unknown else ""
    print(f"{path}: {what}{more} left out; {copy} keeps the file as it was", file=sys.stderr)
