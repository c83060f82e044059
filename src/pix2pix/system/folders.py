"""Atomic writes of folders: the new content or the old. Files that others put into a folder stay in it."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pix2pix.system.files import PARTIAL, hidden_name, make_folders, sync_folder, try_lock

UNFINISHED = ".pix2pix-partial"
"""File in a folder that is being written: such a folder, left by a killed process, may be removed."""


@contextmanager
def write_folder_atomically(folder: Path, names: Collection[str] = ()) -> Iterator[Path]:
    """Yield a new folder to fill. It replaces `folder` when the block ends without an error, and is removed otherwise.

    The folder may be missing or empty, or hold the files `names`, which are replaced; others in it are kept. What a
    killed process left is removed or put back first. Raises OSError that names a file or the folder.
    """
    folder = Path(os.path.realpath(folder))
    new = folder.with_name(f".{folder.name}.partial")
    _put_back(folder, names)
    _remove_unfinished(new, names)
    make_folders(new)
    (new / UNFINISHED).touch()
    try:
        yield new
        _sync_files(new)
        replace_folder(new, folder, names)
        (folder / UNFINISHED).unlink()
    except OSError as error:
        error.filename = error.filename or str(folder)  # that of a failed write has none
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _sync_files(folder: Path) -> None:
    """Wait until all files of a folder, and their names, are on the disk."""
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            if os.path.islink(os.path.join(place, name)):
                continue
            descriptor = os.open(os.path.join(place, name), os.O_RDWR if os.name == "nt" else os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(place))


def replace_folder(new: Path, folder: Path, names: Collection[str] = ()) -> None:
    """Rename the folder `new` to `folder`, and remove the files `names` of the old folder; keep its others.

    The old folder is restored if the renaming fails. Raises OSError.
    """
    _put_back(folder, names)
    previous = folder.with_name(f".{folder.name}.previous")
    if folder.is_dir() and any(folder.iterdir()):
        os.rename(folder, previous)
    try:
        os.rename(new, folder)
    except OSError:
        if previous.is_dir() and not folder.exists():
            os.rename(previous, folder)
        raise
    sync_folder(folder.parent)
    _settle(previous, folder, names)


def remove_files(folder: Path, names: Collection[str]) -> None:
    """Remove these files of a folder, what was left unfinished of them, and the folders that are then empty."""
    for place, _, files in os.walk(folder, topdown=False):
        below = os.path.relpath(place, folder)
        for name in files:
            partial = PARTIAL.fullmatch(name)
            path = os.path.normpath(os.path.join(below, partial["stem"] if partial else name))
            if path in names or path == UNFINISHED:
                os.unlink(os.path.join(place, name))
        with suppress(OSError):  # others have put something there
            os.rmdir(place)


def find_others(folder: Path, names: Collection[str]) -> str | None:
    """Return the first file of a folder, relative to it, that is none of `names`; None if there are no others."""
    for place, folders, files in os.walk(folder):
        below = os.path.relpath(place, folder)
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in sorted([*files, *links]):
            partial = PARTIAL.fullmatch(name)
            path = os.path.normpath(os.path.join(below, partial["stem"] if partial else name))
            if path not in names and path != UNFINISHED:
                return os.path.normpath(os.path.join(below, name))
    return None


def _put_back(folder: Path, names: Collection[str]) -> None:
    """Finish what a process that was killed in `replace_folder` began."""
    previous = folder.with_name(f".{folder.name}.previous")
    if previous.is_dir() and not previous.is_symlink():
        if folder.exists():
            _settle(previous, folder, names)
        else:
            os.rename(previous, folder)


def _settle(previous: Path, folder: Path, names: Collection[str]) -> None:
    """Remove the old files by name, and move the others into the new folder."""
    if not previous.is_dir() or previous.is_symlink():
        return
    remove_files(previous, names)
    while (other := find_others(previous, ())) is not None:
        in_the_way = OSError(errno.EEXIST, f"is in the way of {folder}; move it away", str(previous / other))
        if os.path.lexists(folder / other):
            raise in_the_way
        try:
            (folder / other).parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):  # a folder of others has the name of a new file
            raise in_the_way from None
        os.rename(previous / other, folder / other)
    remove_files(previous, ())


def _remove_unfinished(folder: Path, names: Collection[str]) -> None:
    """Remove what a killed process left. Raises OSError for a folder of this name that holds anything else."""
    if not os.path.lexists(folder):
        return
    if not (folder / UNFINISHED).is_file() and (not folder.is_dir() or find_others(folder, names) is not None):
        raise OSError(errno.EEXIST, "is in the way, and pix2pix did not make it; move it away", str(folder))
    if folder.is_symlink():
        raise OSError(errno.EEXIST, "is a link in the way; move it away", str(folder))
    shutil.rmtree(folder)


# ---- folders that are one image -----------------------------------------------------------------------------------


def list_files(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Return the files below a folder, by names relative to it, in order. Raises OSError for a link or a device."""
    found = []
    for place, folders, files in os.walk(folder, onerror=_raise):
        below = os.path.relpath(place, folder)
        for name in (*folders, *files):
            path = os.path.join(place, name)
            facts = os.lstat(path)
            if stat.S_ISREG(facts.st_mode):
                found.append((os.path.normpath(os.path.join(below, name)), facts))
            elif not stat.S_ISDIR(facts.st_mode):
                raise OSError(errno.EINVAL, "is no regular file, expected no links and devices", path)
    return sorted(found, key=lambda one: one[0])


def _raise(error: OSError) -> None:
    raise error


def begin_to_write_folder(
    folder: Path,
    write: Callable[[Path], object],
    before_rename: Callable[[Path], object] | None = None,
    *,
    may_replace: Callable[[Path], bool],
) -> Callable[[], None]:
    """Do as `files.begin_to_write` with a folder, which replaces one of its name if `may_replace` says so.

    `write` gets a new folder. Unlike `write_folder_atomically` nothing of an older folder is kept.
    """
    _refuse_in_the_way(folder, may_replace)
    make_folders(folder.parent)
    partial = folder.with_name(f".{hidden_name(folder.name)}.{os.getpid()}.partial")
    partial.mkdir()
    lock = None if os.name == "nt" else os.open(partial, os.O_RDONLY)
    if lock is not None:
        try_lock(lock)  # tells `remove_partial_files` that a process is writing

    @contextmanager
    def removing_on_error() -> Iterator[None]:
        try:
            yield
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            if lock is not None:
                os.close(lock)
            raise

    def finish() -> None:
        with removing_on_error():
            _sync_files(partial)
            if before_rename is not None:
                before_rename(partial)
            _refuse_in_the_way(folder, may_replace)
            _swap(partial, folder)
        if lock is not None:
            os.close(lock)

    with removing_on_error():
        write(partial)
    return finish


def _refuse_in_the_way(folder: Path, may_replace: Callable[[Path], bool]) -> None:
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir() or not may_replace(folder)):
        raise OSError(errno.EEXIST, "something else is in the way; move it away", str(folder))


def _swap(new: Path, folder: Path) -> None:
    """Give a folder the name of another, which is removed. A process killed between leaves the old one hidden."""
    old = folder.with_name(f".{hidden_name(folder.name)}.previous")
    if folder.is_dir():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder, old)
    os.rename(new, folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
