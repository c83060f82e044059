"""An untrusted .tar.gz or .zip -> its regular files below one folder, within limits.

The whole archive is rejected for a link, a device, an encrypted member, a name with a root or `..`, two members of one
name, or more members or bytes than the limits allow. tarfile and zipfile parse; nothing is extracted by them, since
their own extraction creates links and its filter can be bypassed (CVE-2025-4517).
"""

import gzip
import io
import re
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pix2pix.errors import DataError

MAX_MEMBERS = 500_000
MAX_FILE_BYTES = 2**30
MAX_TOTAL_BYTES = 64 * 2**30
MAX_RATIO = 100  # unpacked bytes for each packed one, beyond FREE_BYTES; photos have about 1, flat label maps 50
FREE_BYTES = 64 * 2**20
MAX_ZIP_DIRECTORY_BYTES = 32 * 2**20
MAX_TAR_HEADER_BYTES = 2**20  # before one member
MAX_DEPTH = 16  # nested folders
BLOCK_BYTES = 2**16

Progress = Callable[..., None]
"""Called with bytes done, bytes in all, and what is being done."""


class _UnsafeError(Exception):
    """Why an archive is rejected; the message completes `ARCHIVE: ...`."""


def is_archive(start: bytes) -> bool:
    """Whether a file that begins with these four bytes or more may be a .tar.gz or .zip."""
    return start.startswith((b"\x1f\x8b", b"PK\x03\x04"))


def extract(archive: Path, folder: Path, progress: Progress | None = None) -> "Extraction":
    """Extract into `folder`, which exists and is empty. Raises DataError naming the archive, OSError for a full disk.

    After an error the folder holds a part of the files and is to be removed.
    """
    size = archive.stat().st_size
    with archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if not is_archive(start):
            raise DataError(f"{archive}: is no .tar.gz or .zip archive")
        report = (lambda: progress(file.tell(), size, "unpacking")) if progress else (lambda: None)
        done = Extraction(folder, min(MAX_TOTAL_BYTES, FREE_BYTES + MAX_RATIO * size), report)
        try:
            (_extract_tar if start[:2] == b"\x1f\x8b" else _extract_zip)(file, done)
        except _UnsafeError as error:
            raise DataError(f"{archive}: {error}; nothing of it was kept") from None
        except (MemoryError, DataError):
            raise
        except Exception as error:  # parsers of damaged files raise nearly anything
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DataError(f"{archive}: is damaged ({error or type(error).__name__})") from None
    if not done.files:
        raise DataError(f"{archive}: holds no files")
    return done


@dataclass
class Extraction:
    """Members written below a folder, each name once, and their counts."""

    root: Path
    max_bytes: int
    report: Callable[[], object]
    files: int = 0
    size: int = 0
    """Bytes written."""
    hidden: int = 0
    """Hidden files, and those that macOS adds; they are not written."""
    members: int = 0

    def refuse_bytes(self, count: int) -> None:
        if count > self.max_bytes:
            raise _UnsafeError(f"unpacks to more than {MAX_RATIO} times its size, or than {MAX_TOTAL_BYTES:,} bytes")

    def add_folder(self, name: str) -> None:
        parts = self._safe_parts(name)
        if parts:
            self._make(self.root.joinpath(*parts), name)

    def add_file(self, name: str, size: int, content: IO[bytes]) -> None:
        """Write one file of the `size` that the archive claims."""
        parts = self._safe_parts(name)
        if size > MAX_FILE_BYTES:
            raise _UnsafeError(f"{name!r} has {size:,} bytes, more than {MAX_FILE_BYTES:,}")
        if not parts:
            self.hidden += 1
            return
        path, before = self.root.joinpath(*parts), self.size
        self._make(path.parent, name)
        try:
            with path.open("xb") as file:
                for block in _blocks(content):
                    self.size += file.write(block)
                    self.refuse_bytes(self.size)
        except (FileExistsError, IsADirectoryError):
            raise _UnsafeError(f"has two members named {name!r}") from None
        if self.size - before != size:
            raise _UnsafeError(f"{name!r} has {self.size - before:,} bytes, not the {size:,} it claims")
        self.files += 1
        self.report()

    def _safe_parts(self, name: str) -> list[str]:
        """Split a member's name into the parts of a path; none for a hidden member. Raises _UnsafeError."""
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise _UnsafeError(f"has more than {MAX_MEMBERS:,} members")
        parts = re.split(r"[/\\]", unicodedata.normalize("NFC", name))
        rooted = parts[0] == "" or re.match(r"[A-Za-z]:", name)
        if not name or rooted or ".." in parts or re.search(r"[\x00-\x1f\x7f]", name) or len(parts) > MAX_DEPTH:
            raise _UnsafeError(f"the name {name[:200]!r} is not one of a file inside a folder")
        parts = [part for part in parts if part not in ("", ".")]
        return [] if any(part.startswith(".") or part == "__MACOSX" for part in parts) else parts

    def _make(self, folder: Path, name: str) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise _UnsafeError(f"has a file where {name!r} needs a folder") from None


def _extract_tar(file: IO[bytes], done: Extraction) -> None:
    stream = _TarStream(gzip.GzipFile(fileobj=file), done)
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # or each would stay in memory
            stream.allowed = 2 * done.max_bytes  # of content; the limit on all bytes comes first
            if member.isdir():
                done.add_folder(member.name)
            elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
                content = tar.extractfile(member)
                assert content is not None
                done.add_file(member.name, member.size, content)
            else:
                raise _UnsafeError(f"{member.name!r} is a link or a device; only files and folders are unpacked")
            stream.allowed = MAX_TAR_HEADER_BYTES
    rest, stream.allowed = any(stream.last), 2 * done.max_bytes
    for block in _blocks(stream):  # to the end, so that gzip compares its checksum
        rest |= any(block)
    if rest:  # tarfile takes a damaged header for the end
        raise _UnsafeError("has data where a member should begin")


class _TarStream(io.RawIOBase):
    """What tarfile needs of an unpacked file: forward only, with a limit on headers and on all bytes."""

    def __init__(self, stream: gzip.GzipFile, done: Extraction) -> None:
        self.stream, self.done, self.last = stream, done, b""
        self.allowed = MAX_TAR_HEADER_BYTES
        """Bytes that may be read before it is set anew."""

    def tell(self) -> int:
        return self.stream.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        if position < self.tell() or whence:
            raise _UnsafeError("has a member of negative size")
        self.done.refuse_bytes(position)
        if self.stream.seek(position) < position:
            raise EOFError("it ends inside a member")
        return position

    def read(self, size: int = -1) -> bytes:
        self.allowed -= size
        if size < 0 or self.allowed < 0:
            raise _UnsafeError(f"has headers of more than {MAX_TAR_HEADER_BYTES:,} bytes")
        self.last = self.stream.read(size)
        self.done.refuse_bytes(self.tell())
        return self.last


def _extract_zip(file: IO[bytes], done: Extraction) -> None:
    with zipfile.ZipFile(_ZipFile(file)) as archive:
        for member in archive.infolist():
            name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _UnsafeError(f"{name!r} is a link or a device; only files and folders are unpacked")
            if member.flag_bits & 1:
                raise _UnsafeError(f"{name!r} is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without bounds
                raise _UnsafeError(f"{name!r} is compressed by another method than deflate")
            if member.is_dir():
                done.add_folder(name)
            else:
                with archive.open(member) as content:
                    done.add_file(name, member.file_size, content)


class _ZipFile:
    """What zipfile needs of a file, without a directory of unbounded size."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.tell, self.seek, self.seekable = file.tell, file.seek, file.seekable

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(MAX_ZIP_DIRECTORY_BYTES + 1 if size < 0 else min(size, MAX_ZIP_DIRECTORY_BYTES + 1))
        if len(content) > MAX_ZIP_DIRECTORY_BYTES:
            raise _UnsafeError(f"has a directory of more than {MAX_ZIP_DIRECTORY_BYTES:,} bytes")
        return content


def _blocks(content: IO[bytes] | io.RawIOBase) -> Iterator[bytes]:
    while block := content.read(BLOCK_BYTES):
        yield block
