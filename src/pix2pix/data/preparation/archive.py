"""A .tar.gz or .zip from a stranger in; its regular files under names that cannot lead outside a folder, out.

Links, devices, encrypted members, names with a root or `..`, two members of one name, and archives that unpack to far
more than they are refuse the whole archive. tarfile and zipfile parse; what they read and how much is held here.
"""

import gzip
import io
import os
import re
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from pix2pix.errors import DataError

MAX_FILES = 500_000
MAX_FILE = 2**30  # bytes of one file
MAX_TOTAL = 64 * 2**30  # bytes of all files
MAX_RATIO = 100  # unpacked bytes for each of the archive's, beyond FREE; photos have about 1, flat label maps 50
FREE = 64 * 2**20
MAX_TABLE = 32 * 2**20  # bytes of a zip's directory
MAX_HEADER = 2**20  # bytes of a tar's headers before one member
MAX_DEPTH = 16  # folders in one another
BLOCK = 2**16

Progress = Callable[..., None]
"""Called with bytes done, bytes in all, and what is being done."""


class Unpacked(NamedTuple):
    files: int
    size: int
    left_out: int  # hidden files, and what some systems add
    """Files and bytes written; hidden members that were not."""


def is_archive(head: bytes) -> bool:
    """Whether a file that begins with these four bytes or more may be a .tar.gz or .zip."""
    return head.startswith((b"\x1f\x8b", b"PK\x03\x04"))


def unpack(archive: Path, folder: Path, progress: Progress | None = None) -> Unpacked:
    """Unpack into `folder`, which is there and empty. Raises DataError naming the archive, OSError for the disk's sake.

    After an error the folder holds a part of the files and is to be thrown away.
    """
    with archive.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        if not is_archive(head):
            raise DataError(f"{archive}: is no .tar.gz or .zip archive")
        writer = _Writer(archive, folder, _Budget(archive), progress)
        try:
            (_tar if head[:2] == b"\x1f\x8b" else _zip)(file, writer)
        except _UnsafeError as error:
            raise DataError(f"{archive}: {error}; nothing of it was kept") from None
        except (MemoryError, DataError):
            raise
        except Exception as error:  # parsers of damaged files raise nearly anything
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DataError(f"{archive}: is damaged ({error or type(error).__name__})") from None
    if not writer.files:
        raise DataError(f"{archive}: holds no files")
    return Unpacked(writer.files, writer.size, writer.left_out)


class _UnsafeError(Exception):
    """Why an archive is refused."""


class _Budget:
    """Bytes that may still come out of an archive."""

    def __init__(self, archive: Path) -> None:
        self.left = min(MAX_TOTAL, FREE + MAX_RATIO * archive.stat().st_size)

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _UnsafeError(f"unpacks to more than {MAX_RATIO} times its size, or than {MAX_TOTAL:,} bytes")


# ---- formats -----------------------------------------------------------------------------------------------------


def _tar(file: IO[bytes], writer: "_Writer") -> None:
    stream = _Forward(gzip.GzipFile(fileobj=file), writer.budget)
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # or each would stay in memory
            if member.isdir():
                writer.folder(member.name)
            elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
                stream.header_left = stream.unlimited
                content = tar.extractfile(member)
                assert content is not None
                writer.file(member.name, member.size, _blocks(content), file.tell())
            else:
                raise _UnsafeError(f"{member.name!r} is a link or a device; only files and folders are unpacked")
            stream.header_left = MAX_HEADER
    if stream.ends_in_data():
        raise _UnsafeError("has data where a member should begin")


class _Forward(io.RawIOBase):
    """As much of a file as tarfile needs, over a stream that goes forward only and is counted."""

    unlimited = 2**62

    def __init__(self, stream: gzip.GzipFile, budget: _Budget) -> None:
        self.stream, self.budget, self.at = stream, budget, 0
        self.header_left = MAX_HEADER
        self.last = b""

    def tell(self) -> int:
        return self.at

    def seek(self, position: int, whence: int = 0) -> int:
        if position < self.at or whence:
            raise _UnsafeError("has a member of negative size")
        while self.at < position:
            if not self._take(min(BLOCK, position - self.at)):
                raise EOFError("it ends inside a member")
        return self.at

    def read(self, size: int = -1) -> bytes:
        self.header_left -= size
        if size < 0 or self.header_left < 0:
            raise _UnsafeError(f"has headers of more than {MAX_HEADER:,} bytes")
        self.last = self._take(size)
        return self.last

    def ends_in_data(self) -> bool:
        """Whether anything but zeros is left from the last block on: tarfile takes a broken header for the end."""
        data = any(self.last)
        while block := self._take(BLOCK):  # to the end also for the checksum's sake
            data |= any(block)
        return data

    def _take(self, size: int) -> bytes:
        block = self.stream.read(size)
        self.at += len(block)
        self.budget.spend(len(block))
        return block


def _zip(file: IO[bytes], writer: "_Writer") -> None:
    with zipfile.ZipFile(_Cautious(file)) as archive:
        members = archive.infolist()
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _UnsafeError(f"{member.filename!r} is a link or a device; only files and folders are unpacked")
            if member.flag_bits & 1:
                raise _UnsafeError(f"{member.filename!r} is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without bounds
                raise _UnsafeError(f"{member.filename!r} is compressed by another method than deflate")
            if member.is_dir():
                writer.folder(member.filename)
                continue
            with archive.open(member) as content:
                blocks = _counted(_blocks(content), writer.budget)
                writer.file(member.filename, member.file_size, blocks, file.tell())


def _blocks(content: IO[bytes]) -> Iterator[bytes]:
    while block := content.read(BLOCK):
        yield block


def _counted(blocks: Iterator[bytes], budget: _Budget) -> Iterator[bytes]:
    for block in blocks:
        budget.spend(len(block))
        yield block


class _Cautious(io.RawIOBase):
    """A file that does not hand out a directory of unbounded size."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.size = os.fstat(file.fileno()).st_size

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        return self.file.seek(position, whence)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self.file.tell())
        if (left if size < 0 else min(size, left)) > MAX_TABLE:
            raise _UnsafeError(f"has a directory of more than {MAX_TABLE:,} bytes")
        return self.file.read(size)


# ---- names and files ---------------------------------------------------------------------------------------------


@dataclass
class _Writer:
    """Puts members below a folder, each once, and counts them."""

    archive: Path
    root: Path
    budget: _Budget
    progress: Progress | None
    files: int = 0
    size: int = 0
    left_out: int = 0
    members: int = 0

    def folder(self, name: str) -> None:
        parts = self._accepted(name)
        if parts:
            self._made(self.root.joinpath(*parts), name)

    def file(self, name: str, size: int, blocks: Iterator[bytes], position: int) -> None:
        """`size` is what the archive claims, `position` how far in it we are."""
        parts = self._accepted(name)
        if size > MAX_FILE:
            raise _UnsafeError(f"{name!r} has {size:,} bytes, more than {MAX_FILE:,}")
        if not parts:
            self.left_out += 1
            return
        path = self.root.joinpath(*parts)
        self._made(path.parent, name)
        try:
            with path.open("xb") as file:
                written = sum(file.write(block) for block in blocks)
        except (FileExistsError, IsADirectoryError):
            raise _UnsafeError(f"has two members named {name!r}") from None
        if written != size:
            raise _UnsafeError(f"{name!r} has {written:,} bytes, not the {size:,} it claims")
        self.files += 1
        self.size += size
        if self.progress is not None:
            self.progress(position, self.archive.stat().st_size, "unpacking")

    def _accepted(self, name: str) -> list[str]:
        """A member's path in parts; none if it is hidden or made up by an operating system. Raises _UnsafeError."""
        self.members += 1
        if self.members > MAX_FILES:
            raise _UnsafeError(f"has more than {MAX_FILES:,} members")
        parts = re.split(r"[/\\]", unicodedata.normalize("NFC", name))
        rooted = parts[0] == "" or re.match(r"[A-Za-z]:", name)
        if not name or rooted or ".." in parts or re.search(r"[\x00-\x1f\x7f]", name) or len(parts) > MAX_DEPTH:
            raise _UnsafeError(f"the name {name[:200]!r} is not one of a file inside a folder")
        parts = [part for part in parts if part not in ("", ".")]
        return [] if any(part.startswith(".") or part == "__MACOSX" for part in parts) else parts

    def _made(self, folder: Path, name: str) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise _UnsafeError(f"has a file where {name!r} needs a folder") from None
