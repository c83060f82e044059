"""JSON files that carry the SHA-256 of their own text, so that every changed byte is noticed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pix2pix.system.reading import parse_json, read_bytes

CHECKSUM = "checksum"
"""First name in the file. Its value is the SHA-256 of the text without these digits."""


def dump_checked(values: Mapping[str, Any]) -> str:
    """Return the text of a JSON object without this name, with its checksum, for `write_text`."""
    head, _, tail = json.dumps({CHECKSUM: "", **values}, indent=2).partition('""')
    head, tail = head + '"', '"' + tail + "\n"
    return head + _digest((head + tail).encode()) + tail


def read_checked(path: Path, *, finite: bool = True) -> Any:
    """Read a JSON file and compare its checksum, which stays in the result; a file without one is not compared.

    Raises OSError naming the file, and ValueError for text that is not JSON or does not fit its checksum.
    """
    content = read_bytes(path)
    values = parse_json(content.decode("utf-8"), finite=finite)
    checksum = values.get(CHECKSUM) if isinstance(values, dict) else None
    if checksum is not None and not _fits(content, checksum):
        raise ValueError(
            "does not fit its checksum: it was damaged, or edited by hand; if you edited it, remove its line "
            f'"{CHECKSUM}"'
        )
    return values


def _fits(content: bytes, checksum: Any) -> bool:
    head, digits, tail = content.partition(str(checksum).encode())
    return digits != b"" and _digest(head + tail) == checksum


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
