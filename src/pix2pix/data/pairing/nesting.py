"""Refuse outputs among the pairs, and pairs among the outputs: a later start would read outputs as images of pairs."""

import os
from collections.abc import Iterable
from pathlib import Path

from pix2pix.config import Data
from pix2pix.data.pairing.image_files import linked_folders
from pix2pix.data.pairing.layouts import find_layout, is_layout_name
from pix2pix.errors import ConfigError


def refuse_inside_data(folder: Path, data: Data) -> None:
    """Raise ConfigError if a folder for outputs lies where images of pairs are searched, or would change the layout.

    In a data folder other than these, such as `runs/` beside `train/`, it may lie: its files can never be matched.
    """
    real, layout = folder.resolve(), find_layout(data)
    root = None if data.path is None or Path(data.path).is_file() else Path(data.path).resolve()
    named = [Path(place) for place in (*(data.source or ()), *([data.target] if data.target else []))]
    searched = [Path(place) for places in layout.splits.values() for place in places]
    recursive = [*named, *(searched if layout.recursive else ())]
    recursive += [linked.resolve() for place in recursive for linked in linked_folders(place)]
    inside = next((place for place in recursive if real.is_relative_to(place.resolve())), None)
    inside = inside or next((place for place in searched if real == place.resolve()), None)
    if inside is None and root is not None and real.is_relative_to(root):
        tops = {place.resolve().relative_to(root).parts[0] for place in searched if root in place.resolve().parents}
        top = next(iter(real.relative_to(root).parts), None)
        if top is None or top in tops or is_layout_name(top):
            inside = Path(data.path or root) / (top or "")
    if inside is not None:
        raise ConfigError(
            f"{folder}: lies in the data, in {inside}, where its images would be read as those of pairs; give a "
            "folder outside the data with --run"
        )


def links_to_images(data: Data) -> list[Path]:
    """Return the links below the folders of the pairs that lead to images. Raises as `find_layout`, and OSError."""
    layout = find_layout(data)
    places = {place for of_split in layout.splits.values() for place in of_split} if layout.recursive else set()
    return sorted({link for place in places for link in linked_folders(place)})


def refuse_data_inside(folder: Path, data: Data, files: Iterable[str]) -> None:
    """Raise ConfigError if a folder for outputs holds the data, whatever links lead to them."""
    real = folder.resolve()
    for named in filter(None, (data.path, *(data.source or ()), data.target)):
        if Path(named).resolve().is_relative_to(real):
            raise ConfigError(_describe_inside(folder, named))
    if not folder.is_dir():
        return
    places: dict[str, Path] = {}
    for file in files:
        parent, name = os.path.split(file)
        if parent not in places:
            places[parent] = Path(parent).resolve()
        place = places[parent] / name
        if (place.resolve() if place.is_symlink() else place).is_relative_to(real):
            raise ConfigError(_describe_inside(folder, file))


def _describe_inside(folder: Path, file: str) -> str:
    return f"{folder}: holds the data, such as {file}; give another folder with --run, or move the data"
