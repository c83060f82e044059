"""Read the tensors of a file that `torch.save` wrote, without torch's loader: nothing in the file is executed.

A pickle lists the tensors, and their numbers lie behind it: as records of a zip archive, or one after the other (torch
before 1.6). The list is read by an unpickler that knows only names of tensors and storages, and is compared with the
file before any number is read.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from pix2pix.errors import ModelError
from pix2pix.system.reading import open_regular
from pix2pix.text import escape_unprintable

MAX_LIST = 2**22  # bytes of a pickle; that of the largest network has 0.1 MB
MAX_STORAGES = 10_000
MAGIC = 0x1950A86A20F9469CFC6C
"""First object of a file without archive."""
VERSION = 1001
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
}
Fetch = Callable[[str, int], bytes]
"""Return the bytes of a storage by its key; the number says how many are expected. Raises ValueError."""


class Storage(NamedTuple):
    """A row of numbers in the file."""

    dtype: torch.dtype
    key: str
    numbers: int


class Entry(NamedTuple):
    """A tensor as the list describes it; nothing has been compared yet."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


@contextmanager
def open_tensors(path: Path) -> Iterator["TensorFile"]:
    """Open a file that `torch.save` wrote, and read what it lists. Raises ModelError naming the file."""
    try:
        with open_regular(path) as file:
            yield TensorFile(path, file)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None


class TensorFile:
    """An open file of tensors: its content with an Entry for each tensor, and the tensors themselves."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        start = file.read(4)
        file.seek(0)
        try:
            if start.startswith(b"PK\x03\x04"):
                self.content, self._fetch = _read_archive(file)
            elif start.startswith(b"\x80"):
                self.content, self._fetch = _read_sequence(file)
            else:
                raise ValueError("it is neither a zip archive nor a pickle")
        except OSError:
            raise
        except Exception as error:  # a damaged file may raise anything
            reason = escape_unprintable((str(error).strip() or type(error).__name__).splitlines()[0][:300])
            raise ModelError(f"{path}: cannot be read as tensors that torch.save wrote ({reason})") from None

    def check(self, entries: Mapping[str, Entry]) -> None:
        """Compare types, shapes and layouts of tensors with their storages. Raises ModelError naming the key."""
        owners: dict[str, str] = {}
        for name, entry in entries.items():
            try:
                _check(entry)
            except ValueError as error:
                raise self.error(name, str(error)) from None
            first = owners.setdefault(entry.storage.key, name)
            if first != name:
                raise self.error(
                    name, f"has its numbers in the memory of {escape_unprintable(first[:200])}, expected its own"
                )

    def read(self, name: str, entry: Entry) -> Tensor:
        """Read a checked tensor as a copy of its own, contiguous. Raises ModelError naming the key."""
        dtype, key, count = entry.storage
        try:
            content = self._fetch(key, count * dtype.itemsize)
        except Exception as error:  # of the archive: a wrong checksum, a missing record
            raise self.error(
                name, f"cannot be read ({escape_unprintable(str(error)[:200])}); copy the file again"
            ) from None
        numbers = torch.frombuffer(bytearray(content), dtype=dtype) if count else torch.empty(0, dtype=dtype)
        return torch.as_strided(numbers, entry.shape, entry.strides, entry.offset).clone(
            memory_format=torch.contiguous_format
        )

    def error(self, name: str, what: str) -> ModelError:
        """Return the error about one tensor."""
        return ModelError(f"{self.path}: {escape_unprintable(name[:200])} {what}")


def _check(entry: Entry) -> None:
    """Raise ValueError unless a tensor lies within its storage, and no two of its numbers share a place."""
    storage, offset, shape, strides = entry
    if not (
        isinstance(storage, Storage) and _is_count(offset) and isinstance(shape, tuple) and isinstance(strides, tuple)
    ):
        raise ValueError("is not described as a tensor")
    if len(shape) != len(strides) or len(shape) > 8 or not all(map(_is_count, (*shape, *strides))):
        raise ValueError("has a shape or strides that no tensor has")
    last, reached = offset, 1
    for stride, side in sorted(zip(strides, shape, strict=True)):
        if side > 1 and stride < reached:
            raise ValueError(f"has strides {strides}, with which its numbers overlap")
        reached = max(reached, stride * side)
        last += stride * max(0, side - 1)
    if math.prod(shape) and last >= storage.numbers:
        raise ValueError(f"has the shape {shape}, but the file holds {storage.numbers:,} numbers for it")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


# ---- the two formats -------------------------------------------------------------------------------------------


def _read_archive(file: BinaryIO) -> tuple[Any, Fetch]:
    """Read the list in a zip archive; return it, and what reads storages."""
    archive = zipfile.ZipFile(file)
    lists = [record for record in archive.infolist() if record.filename.split("/")[1:] == ["data.pkl"]]
    names = {record.filename for record in archive.infolist()}
    if len(lists) != 1:
        raise ValueError("the archive has no data.pkl, or several")
    folder = lists[0].filename.removesuffix("/data.pkl")
    if f"{folder}/constants.pkl" in names:
        raise ValueError(
            "it is a TorchScript archive, which holds code; save the state_dict of the network in its place"
        )
    if lists[0].file_size > MAX_LIST:
        raise ValueError(f"its list of tensors has {lists[0].file_size:,} bytes")
    if f"{folder}/byteorder" in names and archive.getinfo(f"{folder}/byteorder").file_size != len("little"):
        raise ValueError("its numbers are big-endian")
    content, _ = _load(archive.read(lists[0]))
    left = [file.seek(0, io.SEEK_END)]  # bytes that storages can still take, since records may overlap

    def fetch(key: str, size: int) -> bytes:
        left[0] -= size
        if left[0] < 0:
            raise ValueError("the file claims more numbers than it can hold")
        return _stored(archive, f"{folder}/data/{key}", size)

    return content, fetch


def _stored(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """Read a record of `size` bytes that is not compressed; zipfile compares its checksum."""
    record = archive.getinfo(name)
    if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
        raise ValueError(f"{name} is compressed")
    if record.file_size != size:
        raise ValueError(f"{name} has {record.file_size:,} bytes, expected {size:,}")
    return archive.read(record)


def _read_sequence(file: BinaryIO) -> tuple[Any, Fetch]:
    """Read the list in a file without archive; return it, and what reads storages."""
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    if _load_next(file) != MAGIC:
        raise ValueError("it is a pickle of something else; save the state_dict of the network with torch.save")
    if _load_next(file) != VERSION:
        raise ValueError("its version is not known")
    if _load_next(file).get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    content, storages = _load_next(file, with_storages=True)
    keys = _load_next(file)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise ValueError("its storages are not those of its tensors")
    places = {}
    for key in map(str, keys):
        dtype, _, count = storages[key]
        (stored,) = struct.unpack("<q", file.read(8))
        size = count * dtype.itemsize
        if stored != count or file.tell() + size > end:
            raise ValueError(f"storage {key} has {stored:,} numbers or is cut off, expected {count:,}")
        places[key] = file.tell()
        file.seek(size, io.SEEK_CUR)

    def fetch(key: str, size: int) -> bytes:
        file.seek(places[key])
        return file.read(size)

    return content, fetch


# ---- pickles ---------------------------------------------------------------------------------------------------


def _load_next(file: BinaryIO, *, with_storages: bool = False) -> Any:
    """Read the next pickle of a file, and stop behind it."""
    place = file.tell()
    content, storages, size = _load_counted(file.read(MAX_LIST))
    file.seek(place + size)
    return (content, storages) if with_storages else content


def _load(pickled: bytes) -> tuple[Any, dict[str, Storage]]:
    content, storages, _ = _load_counted(pickled)
    return content, storages


def _load_counted(pickled: bytes) -> tuple[Any, dict[str, Storage], int]:
    """Return what the pickle at the start of these bytes holds, its storages by key, and its length."""
    size = 0
    for operation, argument, place in pickletools.genops(pickled):
        if "PUT" in operation.name and int(argument or 0) > len(pickled):
            raise ValueError("its list of tensors is damaged")  # the unpickler would make room for so many objects
        size = (place or 0) + 1
    unpickler = _Unpickler(pickled[:size])
    return unpickler.load(), unpickler.storages, size


class _Names(dict[Any, Any]):
    """A dictionary that takes no attributes from a pickle; torch saves the versions of its modules as one."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """An unpickler that makes dictionaries, lists, numbers, text and entries, and knows no other name."""

    def __init__(self, pickled: bytes) -> None:
        super().__init__(io.BytesIO(pickled), encoding="utf-8")
        self.storages: dict[str, Storage] = {}
        # Functions are made anew for each file, since a pickle may set attributes of what it names.
        self._known: dict[str, Any] = {
            "collections.OrderedDict": lambda *parts: self._make_names(*parts),
            "torch._utils._rebuild_tensor": lambda *parts: Entry(*parts[:4]),
            "torch._utils._rebuild_tensor_v2": lambda *parts: Entry(*parts[:4]),
            "torch._utils._rebuild_parameter": lambda *parts: parts[0],
            **{f"torch.{name}": dtype for name, dtype in STORAGES.items()},
        }
        self._items = 0

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in self._known:
            return self._known[full]
        kind = (
            "its tensors are of another type than float and int64"
            if name.endswith("Storage")
            else "it holds more than tensors"
        )
        raise ValueError(
            f"{kind}: {full[:100]}; save the tensors alone, as torch.save(network.state_dict(), FILE) does"
        )

    def _make_names(self, items: Any = ()) -> "_Names":
        self._items += len(items)
        if self._items > MAX_STORAGES:
            raise ValueError("its list of tensors is too long")
        return _Names(items)

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not _is_count(count) or any(view):
            raise ValueError("its list of tensors names something else than a storage")
        storage = Storage(dtype, str(key), count)
        if self.storages.setdefault(storage.key, storage) != storage or len(self.storages) > MAX_STORAGES:
            raise ValueError(f"it describes storage {storage.key[:100]} in two ways, or too many")
        return storage
