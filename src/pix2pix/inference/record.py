"""Record of a folder of outputs: which files a translation wrote, from which sources, and how.

The record is a hidden file of the folder with one line of JSON for each output. A line is on the disk before its output
gets its name, so a killed process leaves no output without one. Several processes may append to it at the same time;
lines that a killed process left incomplete are skipped.
"""

import errno
import hashlib
import json
import os
import stat
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix.errors import DataError
from pix2pix.model.signature import Signature
from pix2pix.system.files import sha256
from pix2pix.system.folders import list_files

if sys.platform != "win32":
    import fcntl

NAME = ".pix2pix-translations.jsonl"


class Stamp(NamedTuple):
    """What identifies the content of a file: its hash, and three facts that save computing it again.

    Of an image that is a folder, all its files count.
    """

    size: int
    modified: int
    """In nanoseconds; of a folder a number that changes with the time, the inode and the name of any of its files."""
    inode: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        """Take the stamp of a file or of a folder without links. Raises OSError."""
        if path.is_dir():
            files = list_files(path)
            return cls(*_facts_of(path, files), _hash_files(path, files))
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ino, sha256(path))

    def fits(self, path: Path) -> bool:
        """Return whether a file has this content; it is read only if its time or its inode has changed."""
        try:
            found = path.stat()
            if stat.S_ISDIR(found.st_mode):
                return self._fits_folder(path)
            if not stat.S_ISREG(found.st_mode) or found.st_size != self.size:
                return False
            unchanged = (found.st_mtime_ns, found.st_ino) == (self.modified, self.inode)
            return unchanged or sha256(path) == self.sha256
        except OSError:
            return False

    def _fits_folder(self, path: Path) -> bool:
        files = list_files(path)
        facts = _facts_of(path, files)
        return facts == self[:3] or (facts[0] == self.size and _hash_files(path, files) == self.sha256)


Listed = Sequence[tuple[str, os.stat_result]]
"""The files of a folder, see `list_files`."""


def _facts_of(folder: Path, files: Listed) -> tuple[int, int, int]:
    """Return what `Stamp` holds of a folder beside its hash."""
    digest = hashlib.sha256()
    for name, facts in files:
        digest.update(os.fsencode(f"{name}\0{facts.st_mtime_ns} {facts.st_ino}\n"))
    changing = int.from_bytes(digest.digest()[:6], "big")
    return sum(facts.st_size for _, facts in files), changing, folder.stat().st_ino


def _hash_files(folder: Path, files: Listed) -> str:
    digest = hashlib.sha256()
    for name, _ in files:
        digest.update(os.fsencode(f"{name}\0{sha256(folder / name)}\n"))
    return digest.hexdigest()


class Entry(NamedTuple):
    """One output that a translation wrote."""

    method: str
    """Hash of the model and the settings, from `hash_method`."""
    sources: tuple[Stamp, ...]
    output: Stamp

    def is_of(self, method: str, sources: Sequence[Path]) -> bool:
        """Return whether this output was made from these sources by this method."""
        same = self.method == method and len(self.sources) == len(sources)
        return same and all(stamp.fits(path) for stamp, path in zip(self.sources, sources, strict=True))


class Record:
    """The entries of an output folder by the names of the outputs, the oldest first."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._entries: dict[str, list[Entry]] = {}
        self._lock = threading.Lock()
        for name, entry in self._read():
            self._entries.setdefault(name, []).append(entry)

    def entries(self, name: Path) -> Sequence[Entry]:
        """Return all entries of an output."""
        return self._entries.get(name.as_posix(), ())

    def add(self, name: Path, entry: Entry) -> None:
        """Append an entry and wait until it is on the disk. Raises OSError."""
        values = [name.as_posix(), *entry]
        line = f"\n{json.dumps(values)}\n".encode()  # begins a line of its own after an incomplete one
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with self._lock:
            descriptor = os.open(self.path, flags, 0o666)
            try:
                if sys.platform != "win32":
                    with suppress(OSError):  # network file systems append one after the other only under a lock
                        fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._entries.setdefault(name.as_posix(), []).append(entry)

    def _read(self) -> Iterator[tuple[str, Entry]]:
        """Yield names and entries; raise DataError if the file cannot be read."""
        if not os.path.lexists(self.path):
            return
        if self.path.is_symlink() or not self.path.is_file():
            raise DataError(f"{self.path}: is no regular file, expected the record of earlier translations; remove it")
        try:
            with self.path.open("rb") as file:
                for line in file:
                    with suppress(ValueError, TypeError, RecursionError):
                        yield _parse(json.loads(line))
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror or error})") from None


def _parse(values: Any) -> tuple[str, Entry]:
    """Return the name and the entry of a line. Raises ValueError or TypeError for anything else."""
    name, method, sources, output = values
    return str(name), Entry(str(method), tuple(Stamp(*stamp) for stamp in sources), Stamp(*output))


def hash_method(model: Signature, **settings: object) -> str:
    """Return a hash of the generator's weights, the model's configuration and the settings of a translation.

    Without a seed, dropout makes another output each time, so the hash is another one too.
    """
    digest = hashlib.sha256()
    for content in model.weight_bytes():
        digest.update(content)
    config = model.config.model_dump_json(by_alias=True, exclude={"pix2pix", "epoch", "validation"})
    drawn = uuid.uuid4().hex if settings.get("dropout") and settings.get("seed") is None else ""
    digest.update(json.dumps([config, sorted(settings.items()), drawn], default=str).encode())
    return digest.hexdigest()[:32]
