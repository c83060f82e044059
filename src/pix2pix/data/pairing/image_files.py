"""List the image files below a folder by their names, and what else is there with the reasons; no file is opened."""

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import NoReturn

from pix2pix.data.pairing.pair import IMAGE_SUFFIXES, Ignored
from pix2pix.errors import DataError
from pix2pix.text import escape_unprintable, format_examples

SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store"}
"""Files that operating systems put beside pictures, in lower case; also those that begin with `._`."""
PROGRAM_FOLDERS = {
    "@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found",
    "__pycache__",
}  # fmt: skip
"""Folders of other programs, in lower case: their images are thumbnails, removed files or copies."""
OTHER_FORMATS = {
    ".arw", ".cr2", ".cr3", ".czi", ".dng", ".ecw", ".eps", ".exr", ".h5", ".hdr", ".ics", ".img", ".jls",
    ".jxl", ".lif", ".lsm", ".mat", ".mha", ".mhd", ".mrc", ".nd2", ".nef", ".npz", ".nrrd", ".oib",
    ".oif", ".pbm", ".pcx", ".pdf", ".pgm", ".ppm", ".psd", ".raw", ".svg", ".svs", ".tga", ".vsi", ".xcf", ".zarr",
}  # fmt: skip
"""Suffixes of pictures and stacks that are not read."""

VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}
"""Suffixes of videos, in lower case."""

NOT_IMAGES = "not image files by their names"
MEDICAL = (".dcm", ".nii", ".nii.gz")
_MEDICAL = "medical images, which are not read: save their slices as .npy, as docs/data.md shows"
_OTHER_FORMATS = "of formats that are not read: convert them to PNG or TIFF"
_VIDEOS = "videos: `pix2pix translate` takes them by name; to train, save their frames as images"
_NO_SUFFIX = "names without a suffix: add that of their format, such as .png"
_BROKEN = "broken links"
_HIDDEN = "hidden"
_STORES = "OME-Zarr images, which only `pix2pix translate` reads: to train, save them as TIFF"
_SYSTEM = "written by the operating system"
_PROGRAM = "folders of other programs"
_SEARCHED = "links to folders that are searched anyway"
_BESIDE = "folders beside the images"
_FOLDER_BESIDE = "folders with images beside those of the pairs"
_IMAGE_BESIDE = "images beside the folders of the pairs"
_OF_ONE = {
    NOT_IMAGES: "not an image file by its name",
    _MEDICAL: "medical image, which is not read: save its slices as .npy, as docs/data.md shows",
    _OTHER_FORMATS: "of a format that is not read: convert it to PNG or TIFF",
    _VIDEOS: "video: `pix2pix translate` takes it by name; to train, save its frames as images",
    _NO_SUFFIX: "name without a suffix: add that of its format, such as .png",
    _STORES: "OME-Zarr image, which only `pix2pix translate` reads: to train, save it as TIFF",
    _BROKEN: "broken link",
    _PROGRAM: "folder of another program",
    _SEARCHED: "link to a folder that is searched anyway",
    _BESIDE: "folder beside the images",
    _FOLDER_BESIDE: "folder with images beside those of the pairs",
    _IMAGE_BESIDE: "image beside the folders of the pairs",
}
"""The reason where only one file or folder has it."""


def list_images(folder: Path, *, recursive: bool = True) -> tuple[list[str], list[Ignored]]:
    """List the images below a folder, relative to it, and what is ignored. Raises DataError for no images."""
    ignored: list[Ignored] = []
    files = list(walk_images(folder, ignored)) if recursive else _list_flat(folder, ignored)
    if not files:
        seen = "".join(f"; {line}" for line in describe_ignored(ignored))
        raise DataError(f"{folder}: no images; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}{seen}")
    return files, ignored


def image_names_in(folder: Path) -> list[str]:
    """List the images directly in a folder."""
    return [name for name in os.listdir(folder) if is_image_name(name)]


def is_image_name(name: str) -> bool:
    """Return whether a name is that of a visible file in a format that is read."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_store_name(name: str) -> bool:
    """Return whether a name is that of a visible OME-Zarr image, which is a folder."""
    return not name.startswith(".") and name.lower().endswith(".zarr")


def walk_images(
    folder: Path, ignored: list[Ignored], closed: Path | None = None, *, stores: bool = False
) -> Iterator[str]:
    """Yield the images at any depth, relative to the folder; append to `ignored`. The folder `closed` is left out.

    OME-Zarr images are among them if `stores` says so.

    Linked folders are searched after all others, unless they hold the link or are searched already. Raises OSError.
    """
    seen: set[tuple[int, int] | None] = set()
    above = {_identity(place) for place in folder.resolve().parents}
    tops = deque([""])  # the folder itself, then the linked ones
    while tops:
        top = tops.popleft()
        if top and _identity(folder / top) in seen | above:
            ignored.append(Ignored(folder / top, _SEARCHED))
            continue
        for place, folders, files in os.walk(folder / top, onerror=_raise):
            seen.add(_identity(place))
            below = os.path.relpath(place, folder)
            prefix = "" if below == os.curdir else below + os.sep
            images = sorted(name for name in (*files, *folders) if is_image_name(name))  # folders: named when read
            if stores:
                images = sorted([*images, *(name for name in folders if is_store_name(name))])
                folders[:] = [name for name in folders if not is_store_name(name)]
            folders[:], linked = _folders_to_search(place, folders, ignored, closed)
            tops += (prefix + name for name in linked)
            ignored += (Ignored(Path(place, name), _why_ignored(place, name)) for name in _others(files))
            yield from (prefix + name for name in images)


def _folders_to_search(
    place: str, folders: Iterable[str], ignored: list[Ignored], closed: Path | None
) -> tuple[list[str], list[str]]:
    """Return the folders to search, and the linked ones; append the others to `ignored`."""
    plain, linked = [], []
    for name in _others(folders):
        path = os.path.join(place, name)
        if reason := _why_closed(name):
            ignored.append(Ignored(Path(path), reason))
        elif os.path.islink(path):
            linked.append(name)
        elif closed is None or _identity(path) != _identity(closed):
            plain.append(name)
    return plain, linked


def linked_folders(folder: Path) -> set[Path]:
    """Return the linked folders in which `walk_images` finds images. Raises OSError."""
    places = {folder / os.path.dirname(file) for file in walk_images(folder, [])}
    inside = {parent for place in places for parent in (place, *place.parents) if folder in parent.parents}
    return {place for place in inside if place.is_symlink()}


def list_unused(root: Path, places: Set[Path], known: Set[Path]) -> Iterator[Ignored]:
    """Yield the images and the folders of images below `root` that lie beside the folders `places` and are not known.

    Yields nothing if `root` is such a folder itself. Raises OSError.
    """
    if root in places:
        return
    around = {folder for place in places for folder in place.parents if root in (folder, *folder.parents)}
    beside = {path for folder in around for path in folder.iterdir()}
    for path in sorted(beside - places - around - known):
        if path.is_dir() and not _why_closed(path.name) and _has_images(path):
            yield Ignored(path, _FOLDER_BESIDE)
        elif is_image_name(path.name) and path.is_file():
            yield Ignored(path, _IMAGE_BESIDE)


def _has_images(folder: Path) -> bool:
    try:
        return any(True for _ in walk_images(folder, []))
    except OSError:  # it is none of ours
        return False


def describe_ignored(ignored: Iterable[Ignored]) -> list[str]:
    """Say what is ignored in one line for each reason: how many, why, and three names."""
    groups: dict[str, list[str]] = {}
    for path, reason in ignored:
        groups.setdefault(reason, []).append(escape_unprintable(path))
    counts = Counter({reason: len(paths) for reason, paths in groups.items()})
    return [
        f"{count:,} {_OF_ONE.get(reason, reason) if count == 1 else reason}: {format_examples(groups[reason])}"
        for reason, count in counts.most_common()
    ]


def _list_flat(folder: Path, ignored: list[Ignored]) -> list[str]:
    """List the images directly in a folder; append all else in it to `ignored`."""
    names = sorted(os.listdir(folder))
    for name in _others(names):
        is_folder = os.path.isdir(folder / name)
        reason = (_why_closed(name) or _BESIDE) if is_folder else _why_ignored(folder, name)
        ignored.append(Ignored(folder / name, reason))
    return [name for name in names if is_image_name(name)]


def _others(names: Iterable[str]) -> list[str]:
    return [name for name in sorted(names) if not is_image_name(name)]


def _why_closed(name: str) -> str:
    """Return why a folder is not searched; empty if it is."""
    if name.lower() in PROGRAM_FOLDERS or name == ".ipynb_checkpoints":
        return _PROGRAM
    if is_store_name(name):
        return _STORES
    return _HIDDEN if name.startswith(".") else ""


def _why_ignored(folder: Path | str, name: str) -> str:
    """Return why a file is not read."""
    suffix = os.path.splitext(name.lower())[1]
    if name.lower() in SYSTEM_FILES or name.startswith("._"):
        return _SYSTEM
    if name.startswith("."):
        return _HIDDEN
    if not os.path.exists(os.path.join(folder, name)):
        return _BROKEN
    if name.lower().endswith(MEDICAL) or (not suffix and _is_dicom(os.path.join(folder, name))):
        return _MEDICAL
    if suffix in VIDEOS:
        return _VIDEOS
    if suffix in OTHER_FORMATS:
        return _OTHER_FORMATS
    return NOT_IMAGES if suffix else _NO_SUFFIX


def _is_dicom(path: str) -> bool:
    """Return whether a file begins as DICOM does; scanners write names without a suffix, such as IM000001."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _identity(place: Path | str) -> tuple[int, int] | None:
    """Return device and inode of a folder, its links followed; None if there is none."""
    try:
        found = os.stat(place)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _raise(error: OSError) -> NoReturn:
    raise error
