"""Read a manifest, pairs.csv: its pairs by split, and the line numbers of rows that form no pair."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pix2pix.data.pairing.pair import NUMBERED, SPLITS, ImageRef, MatchedPairs, Pair, Unmatched, order_sources
from pix2pix.data.pairing.patterns import plain_name
from pix2pix.errors import DataError
from pix2pix.system.reading import open_regular
from pix2pix.text import format_list

MANIFEST = "pairs.csv"
_HEADER = "source,target[,split] or source_1,source_2,...,target[,split]"


def read_manifest(path: Path) -> MatchedPairs:
    """Read a manifest; each row is a pair or unmatched. Raises DataError for a file that is not a manifest."""
    rows: dict[tuple[str, str], list[tuple[int, Pair]]] = {}
    unmatched = []
    for line, row in _rows(path):
        try:
            split, pair = _row(path, row)
            rows.setdefault((split, pair.name), []).append((line, pair))
        except DataError as error:
            unmatched.append(Unmatched(path, f"line {line}: {error}"))
    splits: dict[str, list[Pair]] = {}
    for (split, name), same in rows.items():
        if len(same) > 1:
            lines = format_list([str(line) for line, _ in same])
            unmatched.append(Unmatched(path, f"lines {lines}: several sources have the name {name}; keep one of them"))
        else:
            splits.setdefault(split, []).append(same[0][1])
    if not rows and not unmatched:
        raise DataError(f"{path}: no rows; expected one pair in each row, below the header source,target[,split]")
    return MatchedPairs(splits, unmatched, [])


def _row(manifest: Path, row: dict[str, str]) -> tuple[str, Pair]:
    """Return the split and the pair of a row. Raises DataError without naming the manifest or the line."""
    if None in row or not all(row.values()):
        raise DataError(f"expected one value for each of {[column for column in row if column]}")
    split = row.get("split", "train")
    if split not in SPLITS:
        raise DataError(f"split is {split!r}, expected train, val or test")
    columns = [*_source_columns(row, ""), "target"]
    first, *more, target = (ImageRef(_manifest_file(manifest, column, row[column])) for column in columns)
    below = [part for part in Path(row[columns[0]]).parts if part not in (os.sep, "..")]
    if not below:
        raise DataError(f"{columns[0]} {row[columns[0]]!r} is a folder, expected an image")
    name = plain_name(os.path.join(*below))
    return split, Pair(name, first, target, tuple(more))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, column -> text) of each row. Raises DataError for unknown or missing columns."""
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            known = [*_source_columns(columns, f"{path}: the header"), "target"]
            if sorted(columns) not in (sorted(known), sorted([*known, "split"])):
                raise DataError(f"{path}: the header is {','.join(columns)!r}, expected {_HEADER}")
            for row in reader:
                yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a CSV file in UTF-8 ({error}); expected {_HEADER}") from None
    except csv.Error as error:
        raise DataError(f"{path}: not valid CSV after line {reader.line_num} ({error}); expected {_HEADER}") from None


def _source_columns(columns: Iterable[str], where: str) -> list[str]:
    """Return the source columns: `source`, or source_1, source_2, ... Raises DataError for both kinds, and for gaps."""
    columns = list(columns)
    numbered = [column for column in columns if column is not None and NUMBERED.fullmatch(column)]
    if numbered and "source" in columns:
        raise DataError(f"{where} has source and {numbered[0]}; name the sources source_1, source_2, ... or one source")
    return order_sources(dict.fromkeys(numbered), where) or ["source"]


def _manifest_file(manifest: Path, column: str, text: str) -> Path:
    path = manifest.parent / text
    try:
        known = path.is_file() or path.exists()  # a pipe or a device is reported when it is read
    except (OSError, ValueError):
        known = False
    if not known:
        raise DataError(f"{column} {path} is not a file; paths are relative to the manifest")
    return path
