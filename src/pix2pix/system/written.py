"""Record which files were written into a folder of the user's choice, so that no file of others is ever replaced."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from pix2pix.errors import ConfigError
from pix2pix.system.files import write_text
from pix2pix.system.reading import LARGE, read_bytes

RECORD = ".pix2pix-files"
"""File in an output folder that lists the files that pix2pix wrote there."""


IsOurs = Callable[[Path], bool]
"""Return whether a folder without a record was written by a version that kept none."""


def refuse_others(
    folder: Path, names: Iterable[str], *, flag: str = "--output", is_ours: IsOurs = lambda _: False
) -> None:
    """Raise ConfigError if one of these files, relative to `folder`, exists, and pix2pix did not write it."""
    recorded, names = read_record(folder), sorted(set(names))
    older = not (folder / RECORD).exists() and folder.is_dir() and is_ours(folder)
    for parent in sorted({os.path.dirname(name) for name in names}):
        if not (folder / parent).resolve().is_relative_to(folder.resolve()):
            raise ConfigError(f"{folder / parent}: leads out of {folder}; remove the link, or choose another {flag}")
    for name in names:
        if name not in recorded and not older and os.path.lexists(folder / name):
            raise ConfigError(
                f"{folder / name}: exists, and pix2pix did not write it; move it away, or choose another {flag}"
            )


def claim(folder: Path, names: Iterable[str], *, flag: str = "--output", is_ours: IsOurs = lambda _: False) -> None:
    """Record that these files are going to be written. Raises as `refuse_others` does, and OSError."""
    names = set(names)
    refuse_others(folder, names, flag=flag, is_ours=is_ours)
    recorded = read_record(folder)
    if not recorded >= names:
        write_record(folder, recorded | names)


def write_record(folder: Path, names: Iterable[str]) -> None:
    """Write the names of the files, relative to `folder`, that pix2pix writes there. Raises OSError."""
    write_text(folder / RECORD, "".join(f"{_escape(name)}\n" for name in sorted(names)))


def read_record(folder: Path) -> set[str]:
    """Return the files that pix2pix wrote into a folder, by its record; empty without one."""
    try:
        lines = read_bytes(folder / RECORD, LARGE).decode().splitlines()
    except (OSError, ValueError):
        return set()
    return {_unescape(line) for line in lines}


def _escape(name: str) -> str:
    """Write a file name, which may hold any byte, as one line of ASCII."""
    return os.fsencode(name).decode("latin-1").encode("unicode_escape").decode("ascii")


def _unescape(line: str) -> str:
    try:
        return os.fsdecode(line.encode("ascii").decode("unicode_escape").encode("latin-1"))
    except ValueError:
        return ""
