"""A model of a disk that loses what was not synchronised, fed by the system calls that strace saw.

A file's bytes are on the disk after fsync of the file; before, any of them may be old, zero or missing. A name is on
the disk after fsync of its folder; before, any of the pending changes of names may be there or not, in order. This is
all that POSIX promises; most file systems promise more.
"""

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

CALLS = (
    "openat,open,creat,write,writev,pwrite64,lseek,ftruncate,fsync,fdatasync,rename,renameat,renameat2,"
    "unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,sendfile,copy_file_range,close"
)
_LINE = re.compile(r"^(\d+) +(.*)$", re.DOTALL)
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$", re.DOTALL)
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+|\?)", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_PAGE = 4096
SYNC = "sync"
"""In place of a path: a folder was synchronised."""

Loss = Literal["all", "names only", "random"]


@dataclass(frozen=True)
class Call:
    """A system call that succeeded: its name, result, words before the first comma and strings."""

    name: str
    result: int
    words: str
    strings: tuple[bytes, ...]


def read_calls(log: Path) -> Iterator[Call]:
    """Read the output of `strace -f -xx`, calls in the order in which they ended, but `close` where it began.

    A descriptor is free before `close` ends: another thread may have opened a file with the same number by then.
    """
    unfinished: dict[str, str] = {}
    for line in log.read_text(encoding="ascii", errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        process, text = match.groups()
        if text.endswith("<unfinished ...>"):
            text = text.removesuffix("<unfinished ...>")
            if not text.startswith("close("):
                unfinished[process] = text
                continue
            text = f"{text.rstrip()}) = 0"
        elif resumed := _RESUMED.match(text):
            text = unfinished.pop(process, "") + resumed[1]
        if (call := _CALL.match(text)) and call[3] != "?" and int(call[3]) >= 0:
            found = _STRING.findall(call[2])
            assert not any(cut for _, cut in found), f"strace cut a string short: {text[:200]}"
            strings = tuple(bytes.fromhex(one.replace("\\x", "")) for one, _ in found)
            yield Call(call[1], int(call[3]), _STRING.sub('""', call[2]), strings)


@dataclass
class File:
    """Bytes as the process sees them, and those that are on the disk."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@dataclass
class Folder:
    """Names as the process sees them, those on the disk, and changes that are on the way; None removes a name."""

    names: dict[str, "File | Folder"] = field(default_factory=dict)
    synced: dict[str, "File | Folder"] = field(default_factory=dict)
    pending: list[dict[str, "File | Folder | None"]] = field(default_factory=list)


def apply(names: dict[str, "File | Folder"], change: dict[str, "File | Folder | None"]) -> None:
    """Set and remove names."""
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


@dataclass
class _Open:
    node: File
    position: int
    append: bool
    path: str


class Disk:
    """All files below one folder, which exists and is on the disk."""

    def __init__(self, root: Path, *, sync_files: bool = True, sync_folders: bool = True) -> None:
        """`sync_files` and `sync_folders` choose whether fsync of a file and of a folder has an effect."""
        self.root, self.top = root, Folder()
        self.sync_files, self.sync_folders = sync_files, sync_folders
        self._files: dict[int, _Open | Folder] = {}  # by descriptor

    def run(self, call: Call) -> str | None:
        """Take a call; return what it changed, relative to the root, or None if it changed nothing here."""
        handler = getattr(self, f"_{call.name}", None)
        if handler is None:
            assert call.name in ("sendfile", "copy_file_range", "link", "linkat"), call.name
            raise AssertionError(f"{call.name} is not part of the model")
        return handler(call)  # type: ignore[no-any-return]

    # ---- calls -------------------------------------------------------------------------------------------------

    def _openat(self, call: Call) -> str | None:
        self._files.pop(call.result, None)
        if not call.strings or (place := self._place(call)) is None:
            return None
        folder, name, path = place
        if name == "":
            self._files[call.result] = self.top
            return None
        node = folder.names.get(name)
        changed = None
        if node is None:
            assert "O_CREAT" in call.words, call
            node, changed = File(), path
            self._change(folder, {name: node})
        if isinstance(node, Folder):
            self._files[call.result] = node
            return changed
        if "O_TRUNC" in call.words and node.data:
            node.data, changed = bytearray(), path
        self._files[call.result] = _Open(node, 0, "O_APPEND" in call.words, path)
        return changed

    _open = _creat = _openat

    def _close(self, call: Call) -> None:
        self._files.pop(_descriptor(call), None)

    def _write(self, call: Call) -> str | None:
        return self._put(call, b"".join(call.strings)[: call.result])

    _writev = _write

    def _pwrite64(self, call: Call) -> str | None:
        return self._put(call, call.strings[0][: call.result], int(call.words.rsplit(",", 1)[1]))

    def _put(self, call: Call, data: bytes, at: int | None = None) -> str | None:
        opened = self._files.get(_descriptor(call))
        if not isinstance(opened, _Open):
            return None
        node = opened.node
        place = at if at is not None else (len(node.data) if opened.append else opened.position)
        node.data.extend(bytes(max(0, place - len(node.data))))
        node.data[place : place + len(data)] = data
        if at is None:
            opened.position = place + len(data)
        return opened.path

    def _lseek(self, call: Call) -> None:
        if isinstance(opened := self._files.get(_descriptor(call)), _Open):
            opened.position = call.result

    def _ftruncate(self, call: Call) -> str | None:
        opened, length = self._files.get(_descriptor(call)), int(call.words.rsplit(",", 1)[1])
        if not isinstance(opened, _Open):
            return None
        del opened.node.data[length:]
        opened.node.data.extend(bytes(length - len(opened.node.data)))
        return opened.path

    def _fsync(self, call: Call) -> str | None:
        opened = self._files.get(_descriptor(call))
        if isinstance(opened, _Open) and self.sync_files:
            opened.node.synced = bytes(opened.node.data)
        elif isinstance(opened, Folder) and self.sync_folders:
            opened.synced = dict(opened.names)
            opened.pending.clear()
        return opened.path if isinstance(opened, _Open) else None if opened is None else SYNC

    _fdatasync = _fsync

    def _rename(self, call: Call) -> str | None:
        old, new = self._place(call), self._place(call, 1)
        if old is None or new is None:
            assert old is new, f"a rename out of the folder or into it: {call}"
            return None
        node = old[0].names[old[1]]
        if old[0] is new[0]:
            self._change(old[0], {old[1]: None, new[1]: node})  # atomic: both or neither
        else:
            self._change(new[0], {new[1]: node})
            self._change(old[0], {old[1]: None})
        return new[2]

    _renameat = _renameat2 = _rename

    def _unlink(self, call: Call) -> str | None:
        place = self._place(call)
        if place is None or place[1] not in place[0].names:
            return None
        self._change(place[0], {place[1]: None})
        return place[2]

    _unlinkat = _rmdir = _unlink

    def _mkdir(self, call: Call) -> str | None:
        place = self._place(call)
        if place is None or not place[1]:
            return None
        self._change(place[0], {place[1]: Folder()})
        return place[2]

    _mkdirat = _mkdir

    # ---- names -------------------------------------------------------------------------------------------------

    def _place(self, call: Call, number: int = 0) -> tuple[Folder, str, str] | None:
        """Return the folder that holds a path, the name in it, and the path relative to the root; None if outside."""
        path, base = Path(call.strings[number].decode("utf-8", "surrogateescape")), self.top
        if path.is_absolute():
            if not path.is_relative_to(self.root):
                return None
            path = path.relative_to(self.root)
        else:  # relative to an open folder, as when a folder is removed
            opened = self._files.get(int(call.words.split(",")[0])) if call.words[:1].isdecimal() else None
            if not isinstance(opened, Folder):
                return None
            base = opened
        for part in path.parts[:-1]:
            inner = base.names.get(part)
            if not isinstance(inner, Folder):
                return None
            base = inner
        return base, path.name, path.as_posix()

    def _change(self, folder: Folder, change: dict[str, "File | Folder | None"]) -> None:
        apply(folder.names, change)
        folder.pending.append(change)

    def files(self, folder: Folder | None = None, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """Yield the path of each file, relative to the root, and its bytes as the process sees them."""
        for name, node in (self.top if folder is None else folder).names.items():
            if isinstance(node, Folder):
                yield from self.files(node, f"{prefix}{name}/")
            else:
                yield prefix + name, bytes(node.data)

    # ---- after a power loss ------------------------------------------------------------------------------------

    def survive(self, folder: Path, loss: Loss, rng: random.Random) -> None:
        """Write what may be on the disk if the power fails now.

        Lost is all that was not synchronised ("all"), only the bytes of files but no name ("names only"), or a random
        part of both.
        """
        self._survive(self.top, folder, loss, rng, {})

    def _survive(self, node: Folder, place: Path, loss: Loss, rng: random.Random, made: dict[int, bytes]) -> None:
        place.mkdir(exist_ok=True)
        names = dict(node.synced)
        for change in node.pending:
            if loss == "names only" or (loss == "random" and rng.random() < 0.5):
                apply(names, change)
        for name, inner in names.items():
            if isinstance(inner, Folder):
                self._survive(inner, place / name, loss, rng, made)
            else:
                if id(inner) not in made:
                    made[id(inner)] = _survived(inner, loss, rng)
                (place / name).write_bytes(made[id(inner)])


def _survived(file: File, loss: Loss, rng: random.Random) -> bytes:
    """Return bytes that may be in a file after a power loss."""
    if file.data == file.synced:
        return file.synced
    way = rng.choice(["old", "zeros", "begun", "pages", "new"]) if loss == "random" else loss
    if way in ("old", "all"):
        return file.synced
    if way == "new":
        return bytes(file.data)
    start = len(file.synced) if file.data.startswith(file.synced) else 0  # what was appended to is not touched
    if way in ("zeros", "names only"):
        return bytes(file.data[:start]) + bytes(len(file.data) - start)
    if way == "begun":
        return bytes(file.data[: rng.randint(start, len(file.data))])
    content = bytearray(file.data)
    for page in range(start, len(content), _PAGE):
        if rng.random() < 0.5:
            content[page : page + _PAGE] = bytes(len(content[page : page + _PAGE]))
    return bytes(content)


def _descriptor(call: Call) -> int:
    return int(re.match(r"\d+", call.words)[0])  # type: ignore[index]


def is_below(path: str, tops: Iterable[str]) -> bool:
    """Return whether a relative path is one of these names, or in a folder of them."""
    return any(path == top or path.startswith(f"{top}/") for top in tops)
