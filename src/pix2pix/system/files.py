"""Contents in, a whole file or folder under its final name out, or nothing: every write to disk goes through here."""

import errno
import hashlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

if sys.platform != "win32":
    import fcntl


class _Remembering(io.FileIO):
    """A file that keeps the error of a failed write, since serialisers raise errors of their own in its place."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` with a file that takes its final name only once it is complete and on the disk.

    Raises OSError naming `path`; what stood under that name before then still does.
    """
    begin_to_write(path, write)()


def begin_to_write(path: Path, write: Callable[[BinaryIO], object]) -> Callable[[], None]:
    """The first half of `write_atomically`, and its second half as a function, for another thread to call.

    The first takes the contents, which may change from then on; the second waits for the disk and gives the file its
    name. Both raise OSError naming `path`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with _whole_or_gone(path, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = _Remembering(partial, "wb")
        file = io.BufferedWriter(raw)
        try:
            write(file)
            file.flush()
        except Exception as error:
            with suppress(OSError):
                file.close()
            if raw.error is not None:  # a serialiser's own came in place of the disk's
                raise raw.error from error
            raise

    def finish() -> None:
        with _whole_or_gone(path, partial):
            with file:
                os.fsync(file.fileno())
            os.replace(partial, path)
            _sync_folder(path.parent)

    return finish


@contextmanager
def _whole_or_gone(path: Path, partial: Path) -> Iterator[None]:
    """Errors of the file system name `path`, and whatever the error, nothing stays behind."""
    try:
        yield
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """UTF-8 text -> file, atomically; a file name in it that is no text is written with escapes."""
    write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))


@contextmanager
def folder_atomically(folder: Path) -> Iterator[Path]:
    """A new folder to fill; it takes the place of `folder` when the block ends well and vanishes otherwise.

    What a killed process left of an earlier try is removed first, or put back if it is all there is.
    """
    partial, previous = (folder.with_name(f".{folder.name}.{what}") for what in ("partial", "previous"))
    if previous.exists() and not folder.exists():
        os.replace(previous, folder)
    for leftover in (partial, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            os.replace(folder, previous)
        try:
            os.replace(partial, folder)
        except OSError:
            if previous.exists():
                os.replace(previous, folder)
            raise
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder against a second process, even while it is renamed. Raises OSError naming it if one holds it.

    The system lets go of it when the process ends, however it ends.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = "another process is writing to it; wait until that one is done"
            raise OSError(errno.EBUSY, busy, str(folder)) from None
        except OSError:  # some network file systems have no locks
            pass
        yield
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hash of a file's bytes, in hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Put a rename on the disk; Windows knows no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
