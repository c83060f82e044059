"""Locks against other processes: of a folder while it is written, and of a run for the life of a training.

The lock of a run is a file in its folder, which says who holds it. The operating system releases it when the holder
ends in any way. Where the file system has no locks, or does not show them to other machines, the holder touches the
file every HEARTBEAT seconds, and a file that is not touched for PATIENCE seconds belongs to no living process.
"""

import errno
import json
import logging
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pix2pix.errors import InUseError
from pix2pix.system.reading import open_regular, read_bytes

if sys.platform != "win32":
    import fcntl

LOCK = ".pix2pix-lock"
"""File that says which process is writing to a folder."""
HEARTBEAT = 5.0
PATIENCE = 30.0

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors of file systems that have no locks."""
_log = logging.getLogger(__name__)
_held: set[int] = set()  # descriptors of lock files


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock."""

    host: str
    pid: int
    since: str
    kernel: str
    """Identifies the running system and its process numbers; empty if unknown."""
    started: str
    """When the process began, in ticks of that system: process numbers are used again. Empty if unknown."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def is_dead(self) -> bool:
        """Whether the process has ended for certain; one on another machine may live."""
        if not self.kernel or self.kernel != _kernel():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # of another user
            pass
        return _start_of(self.pid) not in ("", self.started)


def find_holder(folder: Path) -> Holder | None:
    """Return who holds the lock of a folder, if its file says so and the process is not known to have ended."""
    try:
        holder = _parse(read_bytes(folder / LOCK))
    except (OSError, ValueError):
        return None
    return None if holder is None or holder.is_dead else holder


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder within the block.

    Raises InUseError naming the holder if another process has it, and OSError naming the file if it cannot be written.
    """
    if sys.platform == "win32":
        yield
        return
    path = folder / LOCK
    while (descriptor := _try_to_acquire(path)) is None:
        time.sleep(0.05)
    _held.add(descriptor)
    try:
        _write_holder(descriptor, path)
        with _touched(descriptor):
            yield
    finally:
        _held.discard(descriptor)
        with suppress(OSError):
            if _is_named(descriptor, path):  # the folder may be gone, or be another one
                path.unlink()
        os.close(descriptor)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes within the block. Raises OSError naming it if another one has the lock.

    The lock stays when the folder is renamed. The system releases it when the process ends in any way.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    _held.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = "another process is writing to it; wait until it has finished"
            raise OSError(errno.EBUSY, busy, str(folder)) from None
        except OSError:  # some network file systems have no locks
            pass
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


# ---- acquiring -------------------------------------------------------------------------------------------------


def _try_to_acquire(path: Path) -> int | None:
    """Return the descriptor of the locked file; None if the file changed meanwhile. Raises InUseError, OSError."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    new = True
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        new = False
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _foreign(path)
        has_locks = _flock(descriptor, path)
        if not _is_named(descriptor, path):
            raise FileNotFoundError
        if not new and not _is_stale(descriptor, path, has_locks=has_locks):
            raise InUseError(path.parent, _find_name(path))
        if not new and not has_locks:  # two processes may have found it stale: one of them takes it away
            _take_away(descriptor, path)
            raise FileNotFoundError
    except FileNotFoundError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _foreign(path: Path) -> OSError:
    return OSError(errno.EEXIST, "is not a lock of pix2pix; move it away", str(path))


def _flock(descriptor: int, path: Path) -> bool:
    """Lock an open file; return False where there are no locks. Raises InUseError."""
    assert sys.platform != "win32"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUseError(path.parent, _find_name(path)) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise OSError(error.errno, error.strerror, str(path)) from None
    return True


def _is_stale(descriptor: int, path: Path, *, has_locks: bool) -> bool:
    """Return whether the process that wrote the file has ended. May watch the file for PATIENCE seconds."""
    try:
        holder = _parse(os.pread(descriptor, 4096, 0))
    except ValueError:
        raise _foreign(path) from None
    if holder is None:  # its process was killed, or has not written it yet
        return has_locks or not _is_touched(descriptor, path)
    if holder.is_dead or (has_locks and holder.host == socket.gethostname()):
        return True
    if holder.kernel and holder.kernel == _kernel():
        return False
    _log.warning("%s: left by %s; watching for %.0f seconds whether it lives", path.parent, holder, PATIENCE)
    return not _is_touched(descriptor, path)


def _is_touched(descriptor: int, path: Path) -> bool:
    """Watch whether the file is touched. Opening it again makes network file systems ask the server."""
    before, deadline = os.fstat(descriptor).st_mtime_ns, time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(min(1.0, HEARTBEAT / 2))
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_mtime_ns != before:
                return True
    return False


def _take_away(descriptor: int, path: Path) -> None:
    """Remove a stale file, and not one that another process has put in its place."""
    aside = path.with_name(f"{LOCK}.{os.getpid()}.partial")
    os.rename(path, aside)
    if not os.path.samestat(os.fstat(descriptor), aside.stat()):
        with suppress(OSError):
            os.link(aside, path)
    aside.unlink()


def _is_named(descriptor: int, path: Path) -> bool:
    """Return whether the open file still has its name: its holder removes it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int, path: Path) -> None:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    holder = Holder(socket.gethostname(), os.getpid(), since, _kernel(), _start_of(os.getpid()))
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(holder)).encode() + b"\n", 0)
        os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextmanager
def _touched(descriptor: int) -> Iterator[None]:
    """Touch the file every HEARTBEAT seconds within the block."""
    done = threading.Event()

    def touch() -> None:
        while not done.wait(HEARTBEAT):
            with suppress(OSError):
                os.utime(descriptor)

    thread = threading.Thread(target=touch, name="pix2pix-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# ---- holders ---------------------------------------------------------------------------------------------------


def _find_name(path: Path) -> str:
    """Return who holds a lock, in words. The holder may have it for a moment before it has written its name."""
    holder = None
    for _ in range(20):
        with suppress(OSError, ValueError):
            holder = _parse(read_bytes(path))
        if holder is not None and not holder.is_dead:
            break
        time.sleep(0.05)
    return str(holder or "another process")


def _parse(content: bytes) -> Holder | None:
    """Read the content of a lock file; None if it was not written to its end. Raises ValueError for other content."""
    if not content.strip(b"\0"):
        return None
    try:
        values = json.loads(content)
        return Holder(str(values["host"]), int(values["pid"]), *(str(values[name]) for name in _REST))
    except (ValueError, KeyError, TypeError):
        if b'{"host": '.startswith(content[:9]):
            return None
        raise ValueError("not a lock") from None


_REST = ("since", "kernel", "started")


def _kernel() -> str:
    """Identify this boot of this machine, and the name space of its process numbers; empty outside Linux."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _start_of(pid: int) -> str:
    """Return when a process began, in ticks since the boot; "ended" for one that has; empty if unknown."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "ended" if fields[0] in "ZX" else fields[19]
    return ""


def _close_inherited() -> None:
    """Close lock files in a forked process: it must not keep a lock after its parent has been killed."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
