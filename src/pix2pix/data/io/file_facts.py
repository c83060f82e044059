"""Cache of facts about files, such as value ranges, in one SQLite file. A fact is valid until its file changes."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pix2pix.config import Data
from pix2pix.system.reading import open_regular

FORMAT = 6
"""Increase this when the answer to a question changes its meaning, so that no old answer is used."""
MAX_ANSWERS = 1_000_000
"""Older answers are dropped; one takes about 200 bytes."""
TABLE = "CREATE TABLE facts (file BLOB, question TEXT, stamp TEXT, answer TEXT, PRIMARY KEY (file, question))"
FLUSH_SECONDS = 1.0
"""A killed process loses the answers since the last flush."""
FRESH_SECONDS = 0.1
"""A file that changed this recently may change again without a new time stamp: clocks tick every few milliseconds."""

APPLICATION = 0x70327078
"""Number in the header of our databases (bytes 68 to 71), by which a damaged one is known as ours."""

_CONTENTS = "SHA-256 of the bytes"

_log = logging.getLogger(__name__)


def cache_folder(data: Data) -> Path | None:
    """Return the folder of caches: as set, or in the user's cache folder; None if the user has no home folder."""
    if data.cache_dir is not None:
        return Path(data.cache_dir)
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "pix2pix"
    except RuntimeError:  # a user without a home folder
        return None


def file_stamp(file: str) -> str | None:
    """Return size, times and inode of a file, which change with its content; None if unknown or too recent."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None
    now, times = time.time_ns(), (status.st_mtime_ns, status.st_ctime_ns)
    if any(abs(now - changed) < FRESH_SECONDS * 1e9 for changed in times):
        return None
    return f"{status.st_size}:{times[0]}:{times[1]}:{status.st_ino}"


def recall(folder: Path | None, files: Sequence[str], question: str, find_out: Callable[[], Any]) -> Any:
    """Return the result of `find_out` (plain values) on these files; it is called only if one of them has changed."""
    stamps = [file_stamp(file) for file in files]
    if folder is None or None in stamps:
        return find_out()
    digest = hashlib.sha256()
    for file, stamp in zip(files, stamps, strict=True):
        digest.update(_key(file) + f"\0{stamp}\n".encode())
    with FileFacts(folder) as facts:
        answer = facts.get(files[0], question, digest.hexdigest())
        if answer is None:
            answer = find_out()
            facts.put(files[0], question, digest.hexdigest(), answer)
    return answer


def hash_contents(files: Sequence[str], facts: "FileFacts", threads: int) -> dict[str, str]:
    """Return a hash of the bytes of each file, remembered until the file changes; empty for one that cannot be read."""
    stamps = {file: file_stamp(file) for file in files}
    known = {file: facts.get(file, _CONTENTS, stamp) for file, stamp in stamps.items()}
    unknown = [file for file, digest in known.items() if not isinstance(digest, str)]
    with ThreadPoolExecutor(threads) as pool:
        for file, digest in zip(unknown, pool.map(_hash_file, unknown), strict=True):
            known[file] = digest
            if digest:
                facts.put(file, _CONTENTS, stamps[file], digest)
    return known


def _hash_file(file: str) -> str:
    try:
        with open_regular(Path(file)) as content:
            digest = hashlib.sha256()
            while block := content.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except (OSError, ValueError):
        return ""


class FileFacts:
    """Store answers by (file, question), valid while the file has the same stamp; several processes may do so at once.

    No error stops the caller. A damaged database is replaced; a file of others is never touched. If none can be
    written, nothing is remembered, and one warning says so.
    """

    def __init__(self, folder: Path | None) -> None:
        self._new: list[tuple[bytes, str, str, str]] = []
        self._flushed = time.monotonic()
        self._path = None if folder is None else folder / f"file_facts-{FORMAT}.sqlite"
        self._database = self._open()

    def __enter__(self) -> "FileFacts":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        if self._database is not None:
            self._database.close()

    def get(self, file: str, question: str, stamp: str | None) -> Any:
        """Return the answer that `put` stored; None if there is none for the file as it is now."""
        if self._database is None or stamp is None:
            return None
        try:
            row = self._database.execute(
                "SELECT answer FROM facts WHERE file = ? AND question = ? AND stamp = ?",
                (_key(file), _text(question), stamp),
            ).fetchone()
            return None if row is None else json.loads(row[0])
        except ValueError:
            return None
        except sqlite3.Error as error:
            self._recover(error)
            return None

    def put(self, file: str, question: str, stamp: str | None, answer: Any) -> None:
        """Store an answer (plain values) that was found after the stamp was taken."""
        if self._database is None or stamp is None:
            return
        self._new.append((_key(file), _text(question), stamp, json.dumps(answer)))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write new answers to the disk."""
        self._flushed = time.monotonic()
        if self._database is None or not self._new:
            return
        new, self._new = self._new, []
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)", new)
                self._database.execute(
                    "DELETE FROM facts WHERE rowid <= (SELECT max(rowid) FROM facts) - ?", (MAX_ANSWERS,)
                )
        except sqlite3.Error as error:
            self._recover(error)

    def _open(self) -> sqlite3.Connection | None:
        """Open the database, replacing a damaged one; return None, with a warning, if that is not possible."""
        if self._path is None:
            return None
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_ours(self._path):
                raise OSError(errno.EEXIST, f"{self._path.name} is a file of another program")
            try:
                return _connect(self._path)
            except sqlite3.Error as error:
                if not _is_damaged(error):
                    raise
                _remove(self._path)
                return _connect(self._path)
        except (OSError, sqlite3.Error) as error:
            self._warn(error)
            return None

    def _recover(self, error: sqlite3.Error) -> None:
        """Replace a database that proved damaged in use; go on without one if none can be written."""
        assert self._database is not None
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return  # another process writes for long: these answers are lost
        self._database.close()
        self._database = None
        if _is_damaged(error) and self._path is not None and _is_ours(self._path):
            with contextlib.suppress(OSError):
                _remove(self._path)
            self._database = self._open()
        else:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        _log.warning(
            "%s: cannot be used (%s), so the next start reads all files again; name another folder with --cache-dir",
            self._path and self._path.parent,
            getattr(error, "strerror", None) or error,
        )


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database and create the table. Raises sqlite3.Error."""
    database = sqlite3.connect(path, timeout=10)
    try:
        with database:
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(TABLE.replace("TABLE", "TABLE IF NOT EXISTS"))
        database.execute("SELECT file, question, stamp, answer FROM facts LIMIT 1").fetchone()
    except BaseException:
        database.close()
        raise
    return database


def _is_ours(path: Path) -> bool:
    """Return whether a file is a database of ours, is empty, or does not exist."""
    try:
        with open_regular(path) as file:
            header = file.read(72)
    except FileNotFoundError:
        return not path.is_symlink()
    except OSError:
        return False
    if not header or int.from_bytes(header[68:], "big") == APPLICATION:
        return not path.is_symlink()
    try:  # one of a version that wrote no number
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute("SELECT sql FROM sqlite_master WHERE type = 'table'").fetchall() == [(TABLE,)]
    except sqlite3.Error:
        return False


def _is_damaged(error: sqlite3.Error) -> bool:
    """Return whether the file is damaged or of another program, and not only busy or not accessible."""
    return not isinstance(error, sqlite3.OperationalError) or str(error).startswith("no such")


def _remove(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _text(question: str) -> str:
    """Return a question that SQLite takes: it may hold a file name, which need not be Unicode."""
    return question.encode("utf-8", "backslashreplace").decode("utf-8")


def _key(file: str) -> bytes:
    return os.fsencode(os.path.abspath(file))
