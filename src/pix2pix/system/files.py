"""Atomic writes of files, hashes. Every write to disk goes through here."""

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import sys
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pix2pix.system.windows_names import explain_long_path, why_refused
from pix2pix.text import format_bytes

if sys.platform != "win32":
    import fcntl


PARTIAL = re.compile(r"\.(?P<stem>.+)\.[0-9]+\.partial", re.DOTALL)
"""Name of a file that is being written, or that a killed process left."""


class _ErrorKeepingFile(io.FileIO):
    """A file that remembers the error of a failed write, since serialisers replace it by an error of their own."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` with a file that gets the name `path` once it is complete and on the disk.

    Raises OSError naming `path`; an older file of this name then stays.
    """
    begin_to_write(path, write)()


def begin_to_write(
    path: Path, write: Callable[[BinaryIO], object], before_rename: Callable[[Path], object] | None = None
) -> Callable[[], None]:
    """Do the first half of `write_atomically`, and return the second half as a function, which may run in a thread.

    The first half writes the content, which may change afterwards. The second half waits for the disk, calls
    `before_rename` with the finished file under its temporary name, and gives it its own. Both raise OSError naming
    `path`.
    """
    if os.name == "nt":
        _refuse_windows_name(path)
    with naming(path):
        make_folders(path.parent)
    partial, sync = write_partial(path, write)

    def finish() -> None:
        sync()
        with removing_on_error(path, partial):
            if before_rename is not None:
                before_rename(partial)
            os.replace(partial, path)
            sync_folder(path.parent)

    return finish


def _refuse_windows_name(path: Path) -> None:
    """Raise OSError for a name that Windows would take for a device, shorten or refuse."""
    if reason := why_refused(path):
        raise OSError(errno.EINVAL, reason, str(path))


def write_partial(path: Path, write: Callable[[BinaryIO], object]) -> tuple[Path, Callable[[], None]]:
    """Write content under a temporary name beside `path`; return that name and a function that waits for the disk.

    The folder must exist. Both raise OSError naming `path`, and then remove the file.
    """
    partial = path.with_name(f".{hidden_name(path.name)}.{os.getpid()}.partial")
    with removing_on_error(path, partial):
        raw = _ErrorKeepingFile(partial, "wb")
        try_lock(raw.fileno())  # tells `remove_partial_files` that a process is writing
        file = io.BufferedWriter(raw)
        try:
            write(file)
            file.flush()
        except BaseException as error:
            with suppress(OSError):
                file.close()
            if raw.error is not None:  # the serialiser raised its own error in place of the disk's
                raise raw.error from error
            raise

    def sync() -> None:
        with removing_on_error(path, partial), file:
            os.fsync(file.fileno())

    return partial, sync


def remove_partial_files(folder: Path, names: Collection[str]) -> None:
    """Remove what killed processes left in a folder of files, or of folders, with these names.

    What is being written stays.
    """
    stems = {hidden_name(name) for name in names}
    with suppress(OSError):
        for name in os.listdir(folder):
            match = PARTIAL.fullmatch(name)
            if match and match["stem"] in stems:
                with suppress(OSError):
                    _remove_unless_locked(folder / name)


def _remove_unless_locked(partial: Path) -> None:
    access = os.O_RDONLY if stat.S_ISDIR(partial.lstat().st_mode) else os.O_RDWR
    descriptor = os.open(partial, access | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode) and try_lock(descriptor):
            partial.unlink()
        elif stat.S_ISDIR(mode) and try_lock(descriptor):
            shutil.rmtree(partial)
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; return False if another process has the lock, or there are no locks."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def hidden_name(name: str) -> str:
    """Return a name for unfinished files that is short enough wherever `name` itself is: 64 bytes at most."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= 64 else hashlib.sha256(encoded).hexdigest()[:32]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError leave the block naming `path`."""
    try:
        yield
    except OSError as error:
        long = explain_long_path(path) if os.name == "nt" else ""  # Windows says that the file is not found
        raise OSError(error.errno, long or error.strerror or str(error), str(path)) from error


@contextmanager
def removing_on_error(path: Path, partial: Path) -> Iterator[None]:
    """Remove `partial` after any error; an OSError leaves the block naming `path`."""
    try:
        yield
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; undecodable bytes of file names in it become escapes."""
    write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def sha256(path: Path) -> str:
    """Return the hash of a file's bytes in hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_folders(folder: Path) -> None:
    """Make a folder and its parents where they are missing, and put their names on the disk.

    Raises OSError, also where one of them was removed within `never_made_anew`.
    """
    missing = [folder, *folder.parents]
    missing = missing[: next((n for n, one in enumerate(missing) if one.exists()), len(missing))]
    if missing and missing[-1].is_symlink():
        to = os.readlink(missing[-1])
        raise FileNotFoundError(errno.ENOENT, f"{missing[-1].name} is a link to {to}, which is not there", str(folder))
    for one in reversed(missing):  # one by one, so that none is made that is removed now
        if os.path.realpath(one) in _in_use:
            raise _gone(one)
        one.mkdir(exist_ok=True)
        sync_folder(one.parent)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder.name} is a file, expected a folder", str(folder))


_in_use: set[str] = set()


@contextmanager
def never_made_anew(folder: Path) -> Iterator[None]:
    """Within the block, no write makes the folder anew if it was removed or renamed."""
    real_path = os.path.realpath(folder)
    _in_use.add(real_path)
    try:
        yield
    finally:
        _in_use.discard(real_path)


def _gone(folder: Path) -> FileNotFoundError:
    reason = "was removed, renamed or replaced in the meantime, so nothing can be saved there"
    return FileNotFoundError(errno.ENOENT, reason, str(folder))


def check_free_space(folder: Path, needed: int, what: str) -> None:
    """Raise OSError naming the folder if its disk has less than `needed` bytes free.

    Limits of a user or a project are not known here: they show when the file is written.
    """
    if hasattr(os, "statvfs"):
        facts = os.statvfs(folder)
        blocks = facts.f_bavail if os.geteuid() else facts.f_bfree  # root may use what is reserved
        total, free = facts.f_blocks, blocks * facts.f_frsize
    else:
        total, _, free = shutil.disk_usage(folder)
    if total and free < needed:  # some network file systems know no sizes and say 0
        reason = f"No space left on device: {what} needs {format_bytes(needed)}, {format_bytes(free)} are free"
        raise OSError(errno.ENOSPC, reason, str(folder))


class HeldFolder:
    """A folder that is kept open, to notice that it was removed, renamed or replaced by another one of its name."""

    def __init__(self, path: Path) -> None:
        """Open the folder until this object is gone. Raises OSError naming it."""
        self.path = path
        self._descriptor = None if sys.platform == "win32" else os.open(path, os.O_RDONLY)
        if self._descriptor is not None:
            weakref.finalize(self, os.close, self._descriptor)

    def check(self) -> None:
        """Raise OSError naming the folder if it is not under its name any more."""
        with suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(self.path)
            if self._descriptor is None or os.path.samestat(found, os.fstat(self._descriptor)):
                return
        raise _gone(self.path)


def sync_folder(folder: Path) -> None:
    """Put a rename on the disk. Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
