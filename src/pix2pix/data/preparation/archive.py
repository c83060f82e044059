"""Safe extraction of untrusted .tar.gz and .zip archives.

The whole archive is rejected for a link, a device, a name that leads out of the folder, two members of one name, or
more members or bytes than the limits allow. tarfile and zipfile only parse it: their own extraction creates links, and
their filter can be bypassed (CVE-2025-4517).
"""

import errno
import gzip
import re
import shutil
import stat
import sys
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pix2pix.errors import DataError
from pix2pix.system.progress import OnNamedProgress

MAX_MEMBERS = 500_000
MAX_TOTAL_BYTES = 64 * 2**30
MAX_RATIO = 100  # unpacked bytes for each packed one, beyond FREE_BYTES; photos have about 1, flat label maps 50
FREE_BYTES = 64 * 2**20
MAX_TAR_HEADER_BYTES = 2**16  # and the size of the blocks in which content is copied
MAX_ZIP_DIRECTORY_BYTES = 32 * 2**20
MAX_DEPTH = 16  # nested folders

NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]|[. ]$|^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)', re.IGNORECASE)
"""What Windows takes for a device, a stream of another file or another name."""

Member = tuple[str, IO[bytes] | None]
"""Name and content of a file; the content of a folder is None."""


def extract(archive: Path, folder: Path, progress: OnNamedProgress | None = None) -> tuple[int, int]:
    """Extract into the new `folder`; return the numbers of files written and of hidden files skipped.

    Raises DataError naming the archive, OSError naming the folder if its disk is full. After either, the folder may
    hold a part of the files.
    """
    size = archive.stat().st_size
    with archive.open("rb") as file:
        start = file.read(2)
        file.seek(0)
        try:
            if start not in (b"\x1f\x8b", b"PK"):
                raise DataError("is not a .tar.gz or .zip archive")
            read_members = _read_zip if start == b"PK" else _read_tar
            members = read_members(file, min(MAX_TOTAL_BYTES, FREE_BYTES + MAX_RATIO * size))
            return _write(members, folder, lambda: progress and progress(file.tell(), size, "unpacking"))
        except DataError as error:
            raise DataError(f"{archive}: {error}") from None
        except Exception as error:  # damaged files may raise anything, EINVAL for a negative offset
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise OSError(error.errno, error.strerror, error.filename or str(folder)) from None
            raise DataError(f"{archive}: is damaged ({error or type(error).__name__})") from None


def _write(members: Iterator[Member], folder: Path, report: Callable[[], object]) -> tuple[int, int]:
    """Write the files below a new folder; return the numbers of written and of hidden files. Raises DataError."""
    folder.mkdir()
    files = hidden = 0
    used = {".": (PurePosixPath(), False)}
    for count, (name, content) in enumerate(members, 1):
        if count > MAX_MEMBERS:
            raise DataError(f"has more than {MAX_MEMBERS:,} members")
        path = _check_name(name)
        if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
            hidden += content is not None
            continue
        _check_collisions(path, content is not None, used)
        (folder / path if content is None else folder / path.parent).mkdir(parents=True, exist_ok=True)
        if content is not None:
            with (folder / path).open("xb") as file:
                shutil.copyfileobj(content, file, MAX_TAR_HEADER_BYTES)
            files += 1
        report()
    if not files:
        raise DataError("holds no files")
    return files, hidden


def _check_name(name: str) -> PurePosixPath:
    """Return the relative path of a member, in NFC. Raises DataError for a name that leads out of the folder."""
    parts = re.split(r"[/\\]", unicodedata.normalize("NFC", name))
    rooted = parts[0] == "" or re.match(r"[A-Za-z]:", name)
    if rooted or ".." in parts or re.search(r"[\x00-\x1f\x7f]", name) or len(parts) > MAX_DEPTH:
        raise DataError(f"the name {name[:200]!r} does not lead to a file inside the folder")
    if sys.platform == "win32" and any(NOT_ON_WINDOWS.search(part) for part in parts if part != "."):
        raise DataError(f"the name {name[:200]!r} is not possible on Windows")
    return PurePosixPath(*parts)


def _check_collisions(path: PurePosixPath, is_file: bool, used: dict[str, tuple[PurePosixPath, bool]]) -> None:
    """Add a path and its folders to those `used`: the path in lower case -> the path, and whether it is a file.

    Raises DataError for a second file of one name, also if the names differ only in case.
    """
    for entry in ((path, is_file), *((parent, False) for parent in path.parents)):
        key = str(entry[0]).casefold()
        if key in used and (entry[1] or used[key] != entry):
            raise DataError(f"has two members named {str(entry[0])!r} (upper and lower case count as the same)")
        used[key] = entry


def _read_tar(file: IO[bytes], max_bytes: int) -> Iterator[Member]:
    """Yield the members of a .tar.gz. Raises DataError."""
    stream: Any = _LimitedFile(gzip.GzipFile(fileobj=file), "headers", MAX_TAR_HEADER_BYTES, max_bytes)
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # otherwise each would stay in memory
            if member.size < 0:  # it would lead back to an earlier member
                raise ValueError("a member has a negative size")
            if not member.isdir() and (member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse()):
                raise DataError(f"{member.name!r} is a link or a device; only files and folders are unpacked")
            yield member.name, None if member.isdir() else tar.extractfile(member)
    if any(stream.last):  # tarfile stops at a damaged header
        raise DataError("has data where a member should begin")
    while stream.read(MAX_TAR_HEADER_BYTES):  # to the end, where gzip checks the sum
        pass


def _read_zip(file: IO[bytes], max_bytes: int) -> Iterator[Member]:
    """Yield the members of a .zip. Raises DataError."""
    stream = _LimitedFile(file, "a directory", MAX_ZIP_DIRECTORY_BYTES, max_bytes)
    with zipfile.ZipFile(stream) as archive:
        stream.check_size(sum(member.file_size for member in archive.infolist()))  # zipfile unpacks no more
        for member in archive.infolist():
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(f"{member.filename!r} is a link or a device; only files and folders are unpacked")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without bounds
                raise DataError(f"{member.filename!r} is compressed by another method than deflate")
            with archive.open(member) as content:
                yield member.filename, None if member.is_dir() else content


class _LimitedFile:
    """What tarfile and zipfile need of a file, with limits: they read in one piece what a header claims as its size."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, what: str, max_read: int, max_bytes: int) -> None:
        self.file, self.what, self.max_read, self.max_bytes = file, what, max_read, max_bytes
        self.tell, self.seek, self.seekable = file.tell, file.seek, file.seekable
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        self.last = self.file.read(min(size, self.max_read + 1) if size >= 0 else self.max_read + 1)
        if len(self.last) > self.max_read:
            raise DataError(f"has {self.what} of more than {self.max_read:,} bytes")
        self.check_size(self.tell())
        return self.last

    def check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise DataError(f"unpacks to more than {MAX_RATIO} times its size, or than {MAX_TOTAL_BYTES:,} bytes")
