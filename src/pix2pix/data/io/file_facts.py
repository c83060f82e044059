"""What has been found out of files, remembered between runs in one SQLite file; a file that changed is asked again."""

import contextlib
import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pix2pix.config import Data

FORMAT = 4
"""To be raised when a question of old gets another answer, so that no old answer is believed."""
MOST = 1_000_000
"""Answers that are kept, the newest; about 200 bytes each."""
FLUSH_SECONDS = 1.0
"""What a killed process has found out since the last flush is lost."""
FRESH_SECONDS = 0.1
"""A file changed this recently may change again without its times showing it: clocks tick every few milliseconds."""

_log = logging.getLogger(__name__)


def cache_folder(data: Data) -> Path | None:
    """Where things are kept that can be made again: as set, or in the user's cache; None if there is no such place."""
    if data.cache_dir is not None:
        return Path(data.cache_dir)
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "pix2pix"
    except RuntimeError:  # a user without a home
        return None


def stamp(file: str) -> str | None:
    """What changes whenever a file does: size, times, inode. None where it cannot be told, or not yet."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    now, times = time.time_ns(), (found.st_mtime_ns, found.st_ctime_ns)
    if any(abs(now - changed) < FRESH_SECONDS * 1e9 for changed in times):
        return None
    return f"{found.st_size}:{times[0]}:{times[1]}:{found.st_ino}"


class Findings:
    """(file, question) -> answer, for as long as the file's stamp is the same; any number of processes at once.

    Whatever goes wrong with the memory, it only forgets: a broken or foreign file is replaced, and without a folder
    that can be written to everything is found out anew, which is said once.
    """

    def __init__(self, folder: Path | None) -> None:
        self._new: list[tuple[bytes, str, str, str]] = []
        self._flushed = time.monotonic()
        self._path = None if folder is None else folder / f"findings-{FORMAT}.sqlite"
        self._database = self._opened()

    def __enter__(self) -> "Findings":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        if self._database is not None:
            self._database.close()

    def get(self, file: str, question: str, stamped: str | None) -> Any:
        """The answer as `put` got it; None if there is none for the file as it is now."""
        if self._database is None or stamped is None:
            return None
        try:
            row = self._database.execute(
                "SELECT answer FROM findings WHERE file = ? AND question = ? AND stamp = ?",
                (_key(file), question, stamped),
            ).fetchone()
            return None if row is None else json.loads(row[0])
        except ValueError:
            return None
        except sqlite3.Error as error:
            self._recover(error)
            return None

    def put(self, file: str, question: str, stamped: str | None, answer: Any) -> None:
        """Remember an answer (plain values) that was found after the stamp was taken."""
        if self._database is None or stamped is None:
            return
        self._new.append((_key(file), question, stamped, json.dumps(answer)))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Put on disk what is new."""
        self._flushed = time.monotonic()
        if self._database is None or not self._new:
            return
        new, self._new = self._new, []
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO findings VALUES (?, ?, ?, ?)", new)
                self._database.execute(
                    "DELETE FROM findings WHERE rowid <= (SELECT max(rowid) FROM findings) - ?", (MOST,)
                )
        except sqlite3.Error as error:
            self._recover(error)

    def _opened(self) -> sqlite3.Connection | None:
        """The database, made or made anew where necessary; None, said once, where that is not possible."""
        if self._path is None:
            return None
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                return _connected(self._path)
            except sqlite3.Error as error:
                if not _is_broken(error):
                    raise
                _remove(self._path)
                return _connected(self._path)
        except (OSError, sqlite3.Error) as error:
            self._say(error)
            return None

    def _recover(self, error: sqlite3.Error) -> None:
        """After an error in use: a broken file is replaced, once; with a file that cannot be written, do without."""
        assert self._database is not None
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return  # another process is writing for long: what was found is found again another time
        self._database.close()
        self._database = None
        if _is_broken(error) and self._path is not None:
            with contextlib.suppress(OSError):
                _remove(self._path)
            self._database = self._opened()
        else:
            self._say(error)

    def _say(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error
        _log.warning(
            "%s: cannot be used (%s), so the next start looks at all files again; --cache-dir names another place",
            self._path and self._path.parent,
            reason,
        )


def remembered(folder: Path | None, files: Sequence[str], question: str, answer: Callable[[], Any]) -> Any:
    """What `answer` finds out of all these files together (plain values), asked again only once one has changed."""
    if folder is None:
        return answer()
    stamps = [stamp(file) for file in files]
    if None in stamps:
        return answer()
    digest = hashlib.sha256()
    for file, stamped in zip(files, stamps, strict=True):
        digest.update(_key(file) + f"\0{stamped}\n".encode())
    with Findings(folder) as findings:
        known = findings.get(files[0], question, digest.hexdigest())
        if known is None:
            known = answer()
            findings.put(files[0], question, digest.hexdigest(), known)
    return known


def _connected(path: Path) -> sqlite3.Connection:
    """A database with our table in it. Raises sqlite3.Error."""
    database = sqlite3.connect(path, timeout=10)
    try:
        with database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS findings"
                " (file BLOB, question TEXT, stamp TEXT, answer TEXT, PRIMARY KEY (file, question))"
            )
        database.execute("SELECT file, question, stamp, answer FROM findings LIMIT 1").fetchone()
    except BaseException:
        database.close()
        raise
    return database


def _is_broken(error: sqlite3.Error) -> bool:
    """Whether the file is damaged or not ours, rather than busy or out of reach."""
    return not isinstance(error, sqlite3.OperationalError) or str(error).startswith("no such")


def _remove(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _key(file: str) -> bytes:
    return os.fsencode(os.path.abspath(file))
