"""Say why Windows would not take a name for a file: it would write to a device, or drop a part of the name."""

import re
from pathlib import Path

LONGEST_PATH = 259
"""Characters of a path, unless long paths are turned on."""
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_SIGNS = re.compile(r'[<>:"|?*\x00-\x1f]')


def why_refused(path: Path) -> str:
    """Return why a path cannot be written on Windows; empty if it can."""
    for name in path.parts[1:] if path.anchor else path.parts:
        if _DEVICES.fullmatch(name):
            return f"{name!r} is the name of a device on Windows; rename the input"
        if name not in (".", "..") and name != name.rstrip(". "):
            return f"{name!r} ends in a dot or a space, which Windows drops; rename the input"
        if found := _SIGNS.search(name):
            return f"{name!r} holds {found[0]!r}, which Windows does not allow; rename the input"
    return ""


def explain_long_path(path: Path) -> str:
    """Return what to do about a path that is too long for Windows as it comes; empty if it is not."""
    length = len(str(path.absolute()))
    if length <= LONGEST_PATH:
        return ""
    return (
        f"its path has {length} characters, and Windows takes {LONGEST_PATH} unless long paths are turned on: give a "
        "shorter --output"
    )
