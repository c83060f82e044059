"""Read a table of text as spreadsheets save it: any usual encoding and delimiter, and the line number of each row."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pix2pix.errors import DataError
from pix2pix.system.reading import LARGE, read_bytes

DELIMITERS = ",;\t|"
_NOT_TEXT = {
    b"PK\x03\x04": "is a workbook or an archive, not text: in the spreadsheet choose Save As, CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook, not text: open it and choose Save As, CSV UTF-8",
}  # fmt: skip


class Row(NamedTuple):
    """A row of a table: its line in the file, the cells, of which there may be too many or too few, their delimiter."""

    line: int
    cells: list[str]
    delimiter: str = ","


def read_rows(path: Path, expected: str) -> Iterator[Row]:
    """Yield the header and the rows that hold anything. Raises DataError for what is no table, OSError.

    The delimiter is the one that splits the header into most cells; a first line `sep=;` names it.
    """
    text = _decode(path, read_bytes(path, LARGE), expected)
    first = text[: text.find("\n") + 1] or text
    skipped = 0
    if first.strip().strip('"').lower().startswith("sep=") and len(first.strip().strip('"')) == 5:
        delimiter, text, skipped = first.strip().strip('"')[4], text[len(first) :], 1
    else:
        delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = skipped
    try:
        for cells in reader:
            line = reader.line_num + skipped
            if any(cell.strip() for cell in cells):
                yield Row(line, cells, delimiter)
    except csv.Error as error:
        raise DataError(f"{path}: not valid CSV after line {line} ({error}); expected {expected}") from None


def trim(cells: Sequence[str], count: int) -> list[str]:
    """Return cells without empty ones beyond `count`, which spreadsheets write where a column was once used."""
    kept = list(cells)
    while len(kept) > count and not kept[-1].strip():
        kept.pop()
    return kept


def _decode(path: Path, content: bytes, expected: str) -> str:
    """Decode by the mark of byte order, as UTF-8, or else as Windows-1252. Raises DataError."""
    for start, reason in _NOT_TEXT.items():
        if content.startswith(start):
            raise DataError(f"{path}: {reason}")
    is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if is_utf16 else ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise DataError(f"{path}: not a CSV file in UTF-8, UTF-16 or Windows-1252; expected {expected}")
