"""Keep the finished rows of a huge output on the disk, so that a killed translation goes on where it was.

The rows lie in a hidden file beside the output, in chunks that each have a checksum; a chunk that a killed process left
incomplete does not count. Its first line says what they belong to.
"""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pix2pix.data.io.arrays import Array, ImageFacts
from pix2pix.errors import DataError
from pix2pix.system.files import hidden_name, make_folders, try_lock

_CHUNK = struct.Struct("<II")
"""Number of rows, CRC-32 of their bytes."""
_LONGEST_LINE = 4096


class KeptRows:
    """The finished rows of one output."""

    def __init__(self, file: BinaryIO, identity: str, facts: ImageFacts) -> None:
        self._file: BinaryIO | None = file
        self._facts = facts
        self._what = [identity, *facts.size, facts.channels, facts.dtype]
        self.grid = self._read_grid()
        """Side and overlap of the tiles of which rows are kept; None if there are none."""

    def rows(self, grid: tuple[int, int], translate: Callable[[int], Iterator[Array]]) -> Iterator[Array]:
        """Yield the kept rows, then those of translate(first row to make), which are kept too."""
        if self.grid != grid:
            self._begin(grid)
        done = 0
        for array in self._kept():
            done += len(array)
            yield array
        for array in translate(done):
            self._append(array)
            yield array

    def _read_grid(self) -> tuple[int, int] | None:
        assert self._file is not None
        try:
            line = self._file.readline(_LONGEST_LINE)
            *what, tile, overlap = json.loads(line)
        except (ValueError, TypeError):
            return None
        return (tile, overlap) if what == self._what and line.endswith(b"\n") else None

    def _begin(self, grid: tuple[int, int]) -> None:
        assert self._file is not None
        self._file.seek(0)
        self._file.truncate()
        self._write(f"{json.dumps([*self._what, *grid])}\n".encode())

    def _kept(self) -> Iterator[Array]:
        """Yield what is complete, and cut off the rest."""
        width, channels, dtype = self._facts.width, self._facts.channels, np.dtype(self._facts.dtype)
        while (file := self._file) is not None:
            at = file.tell()
            head = file.read(_CHUNK.size)
            rows, checksum = _CHUNK.unpack(head) if len(head) == _CHUNK.size else (0, 0)
            data = file.read(min(rows, self._facts.height) * width * channels * dtype.itemsize)
            if not data or zlib.crc32(data) != checksum:
                file.seek(at)
                file.truncate()
                return
            yield np.frombuffer(data, dtype).reshape(rows, width, channels)

    def _append(self, array: Array) -> None:
        data = np.ascontiguousarray(array).data
        self._write(_CHUNK.pack(len(array), zlib.crc32(data)), data)

    def _write(self, *parts: bytes | memoryview) -> None:
        """Write to the disk; after an error, such as a full disk, keep no more rows and free the space."""
        if (file := self._file) is None:
            return
        try:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(0)
            self._file = None


@contextmanager
def keep_rows(output: Path, identity: str | None, facts: ImageFacts) -> Iterator[KeptRows | None]:
    """Open the kept rows of an output; they are removed once the block has written it.

    `identity` tells what an output is made of. None for none, if another process has them, or if the disk has no room
    for them beside the output.
    """
    file = None if identity is None else _open(output, facts)
    if file is None or identity is None:
        yield None
        return
    remove = False
    try:
        with file:
            yield KeptRows(file, identity, facts)
        remove = True
    except DataError:  # the next run would fail as this one
        remove = True
        raise
    finally:
        if remove:
            with suppress(OSError):
                _path(output).unlink()


def _open(output: Path, facts: ImageFacts) -> BinaryIO | None:
    size = facts.height * facts.width * facts.channels * np.dtype(facts.dtype).itemsize
    try:
        make_folders(output.parent)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(_path(output), flags, 0o666)
    except OSError:
        return None
    if try_lock(descriptor) and shutil.disk_usage(output.parent).free + os.fstat(descriptor).st_size > 2.2 * size:
        return os.fdopen(descriptor, "r+b")
    os.close(descriptor)
    return None


def _path(output: Path) -> Path:
    return output.with_name(f".{hidden_name(output.name)}.rows")
