"""Decoded pairs, kept so that a file is decoded once: in memory, or in a file that outlives the run."""

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pix2pix.config import Data
from pix2pix.data.io.file_facts import cache_folder, stamp
from pix2pix.data.pairing.pair import Pair
from pix2pix.system.files import write_atomically

if sys.platform != "win32":
    import fcntl

FORMAT = 2
"""To be raised when decoding or resizing gives other pixels than before."""
MEMORY_SHARE = 0.25
"""Decoded pairs may take this share of the memory that is free."""
DISK_SHARE = 0.5
"""And this share of what is free on the disk."""
RESERVE = 2**30
"""Bytes of the disk that are left to others, whatever fills it."""
GIGABYTE = 1e9

Array = NDArray[Any]
Decode = Callable[[int], Array]
"""A pair's place in its split -> its pixels, from its files."""

_log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A decoded pair: source above target, by channel, in a type that holds both exactly."""

    shape: tuple[int, int, int]  # (C, H, W), of the largest where they differ
    dtype: np.dtype[Any]
    sizes: NDArray[np.int64] | None = None  # (N, 2): each pair's own (H, W), where they differ

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def of(self, index: int) -> tuple[int, int, int]:
        """The shape (C, H, W) of one pair of the split."""
        if self.sizes is None:
            return self.shape
        height, width = self.sizes[index].tolist()
        return self.shape[0], height, width

    def ends(self, count: int) -> NDArray[np.int64]:
        """(count + 1,): the bytes of the first 0, 1, 2, ... pairs together."""
        if self.sizes is None:
            return np.arange(count + 1) * self.nbytes
        each = self.sizes.prod(axis=1) * (self.shape[0] * self.dtype.itemsize)
        return np.concatenate([[0], np.cumsum(each)])


class Choice(NamedTuple):
    """Where decoded pairs are kept, and a few words on it for the plan."""

    kind: Literal["memory", "disk", "none"]
    words: str


def choose_cache(data: Data, count: int, entry: Entry) -> Choice:
    """Memory for a small set, the disk for a larger one, neither for one that fits nowhere; or as it was asked for."""
    needed = int(entry.ends(count)[-1])
    size = f"{needed / GIGABYTE:.2f} GB"
    reasons = []
    if data.cache in ("auto", "memory"):
        free = free_memory() if data.workers in ("auto", 0) else min(free_memory(), _free_shared_memory())
        if needed <= MEMORY_SHARE * free:
            return Choice("memory", f"memory, {size} of decoded pairs")
        reasons.append(f"over a quarter of the memory that is free ({free / GIGABYTE:.1f} GB)")
    if data.cache in ("auto", "disk"):
        folder = cache_folder(data)
        reason = "there is no folder for it" if folder is None else _no_room(folder, needed, data.cache_gigabytes)
        if not reason:
            return Choice("disk", f"disk, {size} of decoded pairs in {folder}")
        reasons.append(reason)
    if data.cache == "none":
        return Choice("none", "none, files are decoded each time")
    return Choice("none", f"none, files are decoded each time: {size} of pixels are {' and '.join(reasons)}")


def _no_room(folder: Path, needed: int, gigabytes: float) -> str:
    """Why the folder cannot take so many bytes; empty if it can."""
    if needed > gigabytes * GIGABYTE:
        return f"over --cache-gigabytes {gigabytes:g}"
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return f"{folder} cannot be written to"
    free = shutil.disk_usage(there).free + sum(_on_disk(path) for path in _kept(folder))
    if needed > DISK_SHARE * free:
        return f"over half of what is free on the disk of {folder} ({free / GIGABYTE:.1f} GB)"
    return ""


def open_cache(
    data: Data, pairs: Sequence[Pair], entry: Entry, asked_channels: tuple[Any, ...]
) -> "MemoryCache | DiskCache | None":
    """The cache of one split, as `choose_cache` says; None, and a word on it, where the disk refuses."""
    kind = choose_cache(data, len(pairs), entry).kind
    if kind == "memory":
        return MemoryCache(len(pairs), entry, shared=data.workers not in ("auto", 0))
    folder = cache_folder(data)
    if kind == "none" or folder is None:
        return None
    try:
        return DiskCache(folder, pairs, entry, asked_channels, int(data.cache_gigabytes * GIGABYTE))
    except OSError as error:
        _log.warning(
            "%s: decoded pairs cannot be kept there (%s); files are decoded each time", folder, error.strerror or error
        )
        return None


# ---- in memory -----------------------------------------------------------------------------------------------


class MemoryCache:
    """Decoded pairs in memory that loader processes share, if `shared`; gone with the run."""

    def __init__(self, count: int, entry: Entry, *, shared: bool) -> None:
        self._shared: tuple[torch.Tensor, torch.Tensor] | None = None
        self._entry, self._ends = entry, entry.ends(count) // entry.dtype.itemsize
        numbers = int(self._ends[-1])
        if shared:
            dtype = torch.from_numpy(np.empty(0, entry.dtype)).dtype
            self._shared = torch.empty(numbers, dtype=dtype), torch.zeros(count, dtype=torch.bool)
            for tensor in self._shared:
                tensor.share_memory_()  # type: ignore[no-untyped-call]
        self._pixels: Array
        self._filled: Array
        if self._shared is None:  # numpy asks for huge pages, torch does not
            self._pixels, self._filled = np.empty(numbers, entry.dtype), np.zeros(count, np.bool_)
        else:
            self._pixels, self._filled = (tensor.numpy() for tensor in self._shared)

    def pixels(self, index: int, decode: Decode) -> Array:
        """A pair's pixels (C, H, W), decoded if it is the first time."""
        kept = self._pixels[self._ends[index] : self._ends[index + 1]].reshape(self._entry.of(index))
        if not self._filled[index]:
            kept[...] = decode(index)
            self._filled[index] = True
        return kept

    def __getstate__(self) -> Any:
        kept = self._shared or (self._pixels, self._filled)  # a tensor goes to a loader process by its handle
        return *kept, self._entry, self._ends

    def __setstate__(self, state: Any) -> None:
        *kept, self._entry, self._ends = state
        self._shared = (kept[0], kept[1]) if isinstance(kept[0], torch.Tensor) else None
        self._pixels, self._filled = (part if self._shared is None else part.numpy() for part in kept)


# ---- on disk -------------------------------------------------------------------------------------------------

HEADER = 4096  # bytes
_RECORD = np.dtype([("key", "<u8"), ("sum", "<u8")])
_UNKNOWN = np.zeros((), _RECORD)


class DiskCache:
    """Decoded pairs of one split in one file, for all processes and runs that have the same pairs at the same size.

    Behind a header there is a place for each pair, as large as it needs: its pixels, then a record of (key, sum), of
    which zeros mean nothing. The key is a hash of the files' stamps, the sum one of the pixels. A pair is written in
    the order zeros, pixels, record, and read in one call with its record last. So a record that is the same as before
    stands behind the same pixels, whoever writes at that moment; the first time in a process, key and sum are compared
    themselves, which also finds what a killed process, a power cut or a bad disk has left.

    The file is read and not mapped: a mapping's pages count as the process's own memory, and a file that shrinks or a
    disk that fails would kill it without a word.
    """

    def __init__(
        self,
        folder: Path,
        pairs: Sequence[Pair],
        entry: Entry,
        asked_channels: tuple[Any, ...] = (None, None),
        limit: int = 2**62,
    ) -> None:
        """Open or make the file, removing the longest unused ones over `limit` bytes. Raises OSError."""
        self._arguments = folder, pairs, entry, asked_channels, limit
        self._pairs = pairs
        header = _header(pairs, entry, asked_channels)
        self._entry = entry
        self._places = HEADER + entry.ends(len(pairs)) + np.arange(len(pairs) + 1) * _RECORD.itemsize
        place = folder / "pairs"
        self.path = place / f"{hashlib.sha256(header).hexdigest()[:32]}.pixels"
        self._file = _opened(self.path, header, int(self._places[-1]), limit)
        weakref.finalize(self, self._file.close)
        self._known = np.zeros(len(pairs), _RECORD)  # records that this process has compared
        self._buffer = np.zeros(entry.nbytes + _RECORD.itemsize, np.uint8)  # takes memory once it is used
        self._writes, self._written = True, 0

    def pixels(self, index: int, decode: Decode) -> Array:
        """A pair's pixels (C, H, W), decoded where they are not known; they are good until the next call."""
        read = self._read(index)
        size = int(self._places[index + 1] - self._places[index]) - _RECORD.itemsize
        kept = self._buffer[:size].view(self._entry.dtype).reshape(self._entry.of(index))
        record = self._buffer[size : size + _RECORD.itemsize].view(_RECORD)
        if read and self._known[index]["key"] and record[0] == self._known[index]:
            return kept
        key = self._key(index)
        if read and key and record["key"][0] == key and record["sum"][0] == _sum(kept):
            self._known[index] = record[0]
            return kept
        pixels = decode(index)
        if key and self._writes:
            self._write(index, key, pixels)
        return pixels

    def _key(self, index: int) -> int:
        """A number for the files as they are now; 0 if that cannot be told."""
        pair = self._pairs[index]
        stamps = [stamp(file) for file in dict.fromkeys(ref.file for ref in pair.refs)]
        return 0 if None in stamps else _hash("|".join(map(str, stamps)).encode())

    def _read(self, index: int) -> bool:
        """A place's bytes into the buffer; whether all of them came."""
        place, end = self._places[index : index + 2].tolist()
        try:
            return _read_at(self._file, self._buffer[: end - place], place) == end - place
        except OSError:
            return False

    def _write(self, index: int, key: int, pixels: Array) -> None:
        place, end = self._places[index : index + 2].tolist()
        record = np.array((key, _sum(pixels)), _RECORD)
        try:
            if self._written % 64 == 0 and shutil.disk_usage(self.path.parent).free < RESERVE:
                raise OSError(errno.ENOSPC, f"less than {RESERVE / GIGABYTE:.0f} GB is left on the disk")
            with _writing(self._file, place, end - place) as alone:
                if not alone:
                    return
                for offset, part in ((pixels.nbytes, _UNKNOWN), (0, pixels), (pixels.nbytes, record)):
                    _write_at(self._file, part.tobytes(), place + offset)
            self._written += 1
            self._known[index] = record
        except OSError as error:
            self._writes = False
            _log.warning(
                "%s: no more decoded pairs can be kept there (%s); the others are decoded each time",
                self.path.parent,
                error.strerror or error,
            )

    def __reduce__(self) -> tuple[type["DiskCache"], tuple[Any, ...]]:
        return DiskCache, self._arguments  # a loader process that is not forked opens the file for itself


def _header(pairs: Sequence[Pair], entry: Entry, asked_channels: tuple[Any, ...]) -> bytes:
    """What the pixels depend on besides the files' contents, padded to HEADER bytes."""
    digest = hashlib.sha256()
    for pair in pairs:
        files = [os.path.abspath(file) for file in dict.fromkeys(ref.file for ref in pair.refs)]
        digest.update(os.fsencode("\0".join([*files, *(str(ref.half) for ref in pair.refs)]) + "\n"))
    facts = {
        "pix2pix decoded pairs": FORMAT,
        "pairs": len(pairs),
        "shape": entry.shape,
        "dtype": entry.dtype.str,
        "asked_channels": asked_channels,
        "files": digest.hexdigest(),
        "sizes": None if entry.sizes is None else hashlib.sha256(entry.sizes.tobytes()).hexdigest(),
        "versions": {name: version(name) for name in ("pillow", "tifffile", "imagecodecs", "torch")},
    }
    return json.dumps(facts).encode().ljust(HEADER)


def _opened(path: Path, header: bytes, size: int, limit: int) -> BinaryIO:
    """The file for reading and writing in place, made if there is none that is whole. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _one_at_a_time(path.parent):
        if not _is_whole(path, header, size):
            path.unlink(missing_ok=True)
            _make_room(path.parent, size, limit)
            write_atomically(path, lambda file: (file.write(header), file.truncate(size)))  # zeros take no room
        file = path.open("r+b", buffering=0)
        _lock(file, exclusive=False)
        os.utime(path)
    return file


def _is_whole(path: Path, header: bytes, size: int) -> bool:
    try:
        with path.open("rb") as file:
            return path.stat().st_size == size and file.read(HEADER) == header
    except FileNotFoundError:
        return False


def _make_room(place: Path, needed: int, limit: int) -> None:
    """Remove the longest unused files until `needed` bytes more are within the limit. Raises OSError if they cannot."""
    for leftover in place.glob(".*.partial"):  # of a process that was killed: no other is making one
        leftover.unlink(missing_ok=True)
    kept = sorted(_kept(place.parent), key=lambda path: path.stat().st_mtime_ns)
    total = sum(path.stat().st_size for path in kept)
    for path in kept:
        if total + needed <= limit:
            return
        size = path.stat().st_size
        with contextlib.suppress(OSError), path.open("rb") as file:
            if _lock(file, exclusive=True):
                path.unlink()
                total -= size
    if total + needed > limit:
        raise OSError(errno.ENOSPC, f"over the limit of {limit / GIGABYTE:g} GB beside what other runs use now")


def _kept(folder: Path) -> list[Path]:
    return list((folder / "pairs").glob("*.pixels"))


def _on_disk(path: Path) -> int:
    """Bytes that a file takes, without its holes."""
    with contextlib.suppress(OSError):
        found = path.stat()
        return getattr(found, "st_blocks", found.st_size // 512) * 512
    return 0


@contextlib.contextmanager
def _one_at_a_time(place: Path) -> Iterator[None]:
    """Making and removing files are for one process at a time."""
    with (place / ".lock").open("wb") as file:
        _lock(file, exclusive=True, wait=True)
        yield


def _lock(file: BinaryIO, *, exclusive: bool, wait: bool = False) -> bool:
    """A lock that ends with the process: shared by all who use a file. Whether it was had, or is not to be had."""
    if sys.platform == "win32":  # refuses to remove a file in use by itself
        return True
    kind = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


@contextlib.contextmanager
def _writing(file: BinaryIO, start: int, length: int) -> Iterator[bool]:
    """Within the block no other process writes these bytes, unless it yields False."""
    if sys.platform == "win32":
        yield True
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
    except OSError as error:
        yield error.errno not in (errno.EAGAIN, errno.EACCES)
        return
    try:
        yield True
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN, length, start)


def _read_at(file: BinaryIO, buffer: Array, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [buffer.data], offset)
    file.seek(offset)
    return file.readinto(buffer)  # type: ignore[attr-defined]


def _write_at(file: BinaryIO, content: bytes, offset: int) -> None:
    """Raises OSError if not all of it could be written."""
    if hasattr(os, "pwrite"):
        written = os.pwrite(file.fileno(), content, offset)
    else:
        file.seek(offset)
        written = file.write(content)
    if written < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sum(pixels: Array) -> int:
    return _hash(np.ascontiguousarray(pixels).data.cast("B"))


def _hash(content: bytes | memoryview) -> int:
    """A 64-bit number, never 0."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little") or 1


# ---- what is free --------------------------------------------------------------------------------------------


def free_memory() -> int:
    """Bytes that can be taken without swapping, as far as the system tells; 0 where it does not."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return _physical_memory() // 2
    return min(free, _free_in_container(Path("/sys/fs/cgroup"), free))


def _free_in_container(cgroup: Path, otherwise: int) -> int:
    """Bytes left of a control group's limit (version 2), counting old file pages as free."""
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        stat = (cgroup / "memory.stat").read_text(encoding="ascii")
    except OSError:
        return otherwise
    reclaimable = sum(int(line.split()[1]) for line in stat.splitlines() if line.startswith("inactive_file "))
    return otherwise if limit == "max" else int(limit) - used + reclaimable


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows has no sysconf
        return 0


def _free_shared_memory() -> int:
    """Containers often give /dev/shm 64 MB, and writing past its end kills the process."""
    shm = Path("/dev/shm")
    return shutil.disk_usage(shm).free if shm.is_dir() else free_memory()
