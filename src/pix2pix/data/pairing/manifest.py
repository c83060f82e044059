"""pairs.csv in, the pairs of its rows by split out; rows that make none are named by their line."""

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pix2pix.config import Data
from pix2pix.data.pairing.pair import (
    NUMBERED,
    SPLITS,
    Found,
    ImageRef,
    Pair,
    Stray,
    direction_is_said,
    in_order,
    patterns_of,
)
from pix2pix.data.pairing.patterns import plain_name
from pix2pix.errors import ConfigError, DataError
from pix2pix.text import format_list

MANIFEST = "pairs.csv"
_HEADER = "source,target[,split] or source_1,source_2,...,target[,split]"


def read_manifest(path: Path, data: Data) -> Found:
    """Rows that make pairs, and a stray for each that does not."""
    direction_is_said(data, f"the columns of {path}")
    if patterns_of(data):
        raise ConfigError(f"{path}: a manifest names each file; leave --source-pattern and --target-pattern out")
    rows: dict[tuple[str, str], list[tuple[int, Pair]]] = {}
    strays = []
    for line, row in _rows(path):
        try:
            split, pair = _row(path, row)
            rows.setdefault((split, pair.name), []).append((line, pair))
        except DataError as error:
            strays.append(Stray(path, f"line {line}: {error}"))
    splits: dict[str, list[Pair]] = {}
    for (split, name), same in rows.items():
        if len(same) > 1:
            lines = format_list([str(line) for line, _ in same])
            strays.append(Stray(path, f"lines {lines}: two sources of one name, {name}; keep one"))
        else:
            splits.setdefault(split, []).append(same[0][1])
    if not rows and not strays:
        raise DataError(f"{path}: no rows; expected a pair in each, under the header source,target[,split]")
    return Found(f"manifest {path.name}", splits, strays, [])


def _row(manifest: Path, row: dict[str, str]) -> tuple[str, Pair]:
    """Raises DataError that speaks of the row alone."""
    if None in row or not all(row.values()):
        raise DataError(f"expected one value for each of {[column for column in row if column]}")
    split = row.get("split", "train")
    if split not in SPLITS:
        raise DataError(f"split is {split!r}, expected train, val or test")
    columns = [*_source_columns(row, ""), "target"]
    first, *more, target = (ImageRef(_manifest_file(manifest, column, row[column])) for column in columns)
    parts = [part for part in Path(row[columns[0]]).parts if part not in (os.sep, "..")]
    if not parts:
        raise DataError(f"{columns[0]} {row[columns[0]]!r} is a folder, expected an image")
    name = plain_name(os.path.join(*parts))
    return split, Pair(name, first, target, tuple(more))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> text) of each row; the header has exactly the known columns. Raises DataError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
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
        raise DataError(f"{path}: no CSV file after line {reader.line_num} ({error}); expected {_HEADER}") from None


def _source_columns(columns: Iterable[str], where: str) -> list[str]:
    """`source`, or as many as are numbered, in their order. Raises DataError for both, and for gaps."""
    columns = list(columns)
    numbered = [column for column in columns if column is not None and NUMBERED.fullmatch(column)]
    if numbered and "source" in columns:
        raise DataError(f"{where} has source and {numbered[0]}; name the sources source_1, source_2, ... or one source")
    return in_order(dict.fromkeys(numbered), where) or ["source"]


def _manifest_file(manifest: Path, column: str, text: str) -> Path:
    path = manifest.parent / text
    try:
        known = path.is_file() or path.exists()  # what is no regular file is reported when it is read
    except (OSError, ValueError):
        known = False
    if not known:
        raise DataError(f"{column} {path} is no file; paths are relative to the manifest")
    return path
