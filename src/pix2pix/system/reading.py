"""Read files that others may have written: regular files of a limited size, and strict JSON.

A pipe in place of a file would wait for ever, and a device may have no end.
"""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

SMALL = 2**20
"""Bytes of settings, of the configuration of a model and of other files that hold one record."""
LARGE = 2**28
"""Bytes of tables, which grow with a training or with the number of images."""
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading bytes; never wait. Raises OSError naming it."""
    _check_kind(path, os.stat(path).st_mode)  # opening a device may have effects
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)  # does not wait, whatever has taken the name since
    try:
        _check_kind(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, limit: int = SMALL) -> bytes:
    """Read a regular file of at most `limit` bytes. Raises OSError naming it."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"has more than {limit:,} bytes, too many for a file of this kind", str(path))
    return content


def read_text(path: Path, limit: int = SMALL) -> str:
    """Read a regular file of at most `limit` bytes as UTF-8. Raises OSError naming it, UnicodeDecodeError."""
    return read_bytes(path, limit).decode("utf-8")


def read_json(path: Path, limit: int = SMALL, *, finite: bool = True) -> Any:
    """Read a JSON file, in which no name may stand twice in an object. Raises OSError naming it, ValueError.

    `finite` refuses NaN and Infinity, which Python writes but which are not JSON.
    """
    return parse_json(read_text(path, limit), finite=finite)


def parse_json(text: str, *, finite: bool = True) -> Any:
    """Parse JSON as `read_json` does. Raises ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant if finite else None)
    except RecursionError:
        raise ValueError("objects and lists are nested too deeply") from None


def _check_kind(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise OSError(errno.EINVAL, f"is {kind}, expected a regular file", str(path))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice[:100]!r} stands twice in one object")
    return values


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON; expected a finite number or null")
