"""Find names that a file system takes for one: upper and lower case, or the Unicode forms NFC and NFD."""

import os
import tempfile
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def fold(name: str) -> str:
    """Return one text for all names that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def find_folded(names: Iterable[str], folder: Path) -> tuple[str, str] | None:
    """Return two different names that would be one file in a folder; None if there are none."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(fold(name), name)
        if other != name:
            return (other, name) if folds_names(folder) else None
    return None


def folds_names(folder: Path) -> bool:
    """Return whether the file system of a folder ignores case, or takes NFC and NFD for the same; True in doubt."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with suppress(OSError), tempfile.TemporaryDirectory(prefix=".pix2pix-", dir=folder) as place:
        composed = os.path.join(place, "\u00e9")  # é as one character, then as e and an accent
        with open(composed, "xb"):
            return any(os.path.lexists(os.path.join(place, other)) for other in ("\u00c9", "e\u0301", "E\u0301"))
    return True
