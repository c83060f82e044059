"""List the image files below a folder by their names; no file is opened."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from pix2pix.data.pairing.pair import IMAGE_SUFFIXES
from pix2pix.errors import DataError


def list_images(folder: Path, *, recursive: bool = True) -> tuple[list[str], list[Path]]:
    """List the images below a folder, relative to it, and the ignored files. Raises DataError for no images."""
    ignored: list[Path] = []
    files = list(_walk(folder, ignored)) if recursive else image_names_in(folder)
    if not files:
        raise DataError(f"{folder}: no images; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return files, ignored


def image_names_in(folder: Path) -> list[str]:
    """List the images directly in a folder."""
    return [name for name in os.listdir(folder) if _is_image_name(name)]


def _walk(folder: Path, ignored: list[Path]) -> Iterator[str]:
    """Yield images at any depth; linked folders, which may form cycles, and hidden ones are not entered."""
    for place, folders, files in os.walk(folder, onerror=_raise):
        image_named = [name for name in folders if _is_image_name(name)]  # reported when they are read
        closed = {name for name in folders if name.startswith(".") or os.path.islink(os.path.join(place, name))}
        ignored += (Path(place, name) for name in closed.difference(image_named))
        ignored += (Path(place, name) for name in files if not _is_image_name(name))
        folders[:] = [name for name in folders if name not in image_named and not name.startswith(".")]
        below = os.path.relpath(place, folder)
        names = (name for name in sorted(files + image_named) if _is_image_name(name))
        yield from names if below == os.curdir else (os.path.join(below, name) for name in names)


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _raise(error: OSError) -> NoReturn:
    raise error
