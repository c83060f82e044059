"""Read a manifest, pairs.csv: its pairs by split, and the line numbers of rows that form no pair."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from pix2pix.data.pairing.pair import NUMBERED, SPLITS, Ignored, ImageRef, MatchedPairs, Pair, Unmatched, order_sources
from pix2pix.data.pairing.patterns import plain_name
from pix2pix.data.pairing.spreadsheet import Row, read_rows, trim
from pix2pix.errors import DataError
from pix2pix.text import format_count, format_list

MANIFEST = "pairs.csv"
_HEADER = "source,target[,split] or source_1,source_2,...,target[,split]"
_SIMILAR = re.compile(
    r"(sources?|src|inputs?)[ _-]?[0-9]*|targets?|tgt|outputs?|splits?|sets?|subsets?|partitions?|phases?|folds?"
)
"""Names that may be meant for a column of ours, in lower case; any other column is somebody's notes."""


def find_manifest(root: Path) -> Path | None:
    """Return the manifest of a folder, its name in upper or lower case; None if there is none."""
    named = sorted((path for path in root.iterdir() if path.name.lower() == MANIFEST), reverse=True)
    return named[0] if named else None  # pairs.csv before PAIRS.CSV


def refuse_other_tables(root: Path) -> None:
    """Raise DataError for a file such as pairs.xlsx, which is not read."""
    for path in sorted(root.iterdir()):
        if re.fullmatch(r"pairs\.(tsv|txt|csv\..*|xls[xm]?|ods)", path.name.lower()):
            raise DataError(f"{path}: not read by this name; save it as CSV UTF-8 under the name {MANIFEST}")


def read_manifest(path: Path) -> MatchedPairs:
    """Read a manifest; each row is a pair or unmatched. Raises DataError for a file that is not a manifest."""
    table = read_rows(path, _HEADER)
    columns, unused = _read_header(path, next(table, Row(1, [])))
    rows: dict[tuple[str, str], list[tuple[int, Pair]]] = {}
    unmatched = []
    for row in table:
        try:
            split, pair = _read_pair(path, columns, row)
            rows.setdefault((split, pair.name), []).append((row.line, pair))
        except DataError as error:
            unmatched.append(Unmatched(path, f"line {row.line}: {error}"))
    splits: dict[str, list[Pair]] = {}
    for (split, name), same in rows.items():
        if len(same) > 1:
            lines = format_list([str(line) for line, _ in same])
            unmatched.append(Unmatched(path, f"lines {lines}: several sources have the name {name}; keep one of them"))
        else:
            splits.setdefault(split, []).append(same[0][1])
    if not rows and not unmatched:
        raise DataError(f"{path}: no rows; expected one pair in each row, below the header source,target[,split]")
    return MatchedPairs(splits, unmatched, [Ignored(path / name, f"columns of {path.name}") for name in unused])


def _read_header(path: Path, header: Row) -> tuple[list[str], list[str]]:
    """Return the names of the columns, in lower case, and those that are not used. Raises DataError."""
    columns = [cell.strip().lower() for cell in trim(header.cells, 0)]
    wrong = DataError(f"{path}: the header is {header.delimiter.join(trim(header.cells, 0))!r}, expected {_HEADER}")
    known = {*_source_columns(columns, f"{path}: the header"), "target", "split"}
    unused = [column for column in columns if column not in known]
    if (
        len(set(columns)) < len(columns)
        or not known - {"split"} <= set(columns)
        or any(map(_SIMILAR.fullmatch, unused))
    ):
        raise wrong
    return columns, unused


def _read_pair(manifest: Path, columns: Sequence[str], row: Row) -> tuple[str, Pair]:
    """Return the split and the pair of a row. Raises DataError without naming the manifest or the line."""
    cells = trim(row.cells, len(columns))
    if len(cells) > len(columns):
        raise DataError(f"has {format_count(len(cells), 'value')}, but the header names {len(columns)} columns")
    values = dict(zip(columns, cells, strict=False))
    sources = _source_columns(columns, "")
    wanted = [*sources, "target", *(["split"] if "split" in columns else [])]
    if empty := [column for column in wanted if not values.get(column, "").strip()]:
        raise DataError(f"expected one value for each of {wanted}, but {format_list(empty)} is empty")
    split = values.get("split", "train").strip().lower()
    if split not in SPLITS:
        raise DataError(f"split is {values['split']!r}, expected train, val or test")
    files = [_find_file(manifest, column, values[column]) for column in [*sources, "target"]]
    below = [part for part in Path(files[0]).parts if part not in (Path(files[0]).anchor, os.sep, "..")]
    if not below:
        raise DataError(f"{sources[0]} {values[sources[0]]!r} is a folder, expected an image")
    first, *more, target = (ImageRef(manifest.parent / file) for file in files)
    return split, Pair(plain_name(os.path.join(*below)), first, target, tuple(more))


def _source_columns(columns: Sequence[str], where: str) -> list[str]:
    """Return the source columns: `source`, or source_1, source_2, ... Raises DataError for both kinds, and for gaps."""
    numbered = [column for column in columns if NUMBERED.fullmatch(column)]
    if numbered and "source" in columns:
        raise DataError(f"{where} has source and {numbered[0]}; name the sources source_1, source_2, ... or one source")
    return order_sources(dict.fromkeys(numbered), where) or ["source"]


def _find_file(manifest: Path, column: str, text: str) -> str:
    """Return the path of a cell: as written, or else without blanks around it, or with backslashes as slashes."""
    for path in dict.fromkeys((text, text.strip(), text.strip().replace("\\", "/"))):
        try:
            if (manifest.parent / path).exists():  # a pipe or a device is reported when it is read
                return path
        except (OSError, ValueError):
            continue
    if os.name != "nt" and re.match(r"[A-Za-z]:[\\/]", text.strip()):
        raise DataError(f"{column} {text.strip()} names a drive of Windows; give paths relative to the manifest")
    raise DataError(f"{column} {manifest.parent / text} is not a file; paths are relative to the manifest")
