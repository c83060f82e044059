"""The name or address of an archive of pairs in; a folder that `train` reads out, whole or not at all.

What has arrived waits in OUTPUT.download, and the same command goes on from there if the server still has the same
file. An address that fails is followed by the next; a transfer that stalls or is cut is taken up again.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import httpx2

from pix2pix.config import Data
from pix2pix.data.pairing.pair import SPLITS
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.data.preparation.archive import MAX_TOTAL, Unpacked, is_archive, unpack
from pix2pix.data.preparation.catalog import CATALOG, Published, addresses, published
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.files import folder_atomically, only_writer, sha256, write_text
from pix2pix.system.signals import raise_interrupted

RECORD = "download.json"
STALL = 30.0  # seconds without a word from the server, or with less than SLOWEST bytes for each
SLOWEST = 100
TRIES = 5  # in a row that bring nothing new
WORTH = 2**16  # bytes that count as something new
REDIRECTS = 5
LONGEST_PAUSE = 60.0

Progress = Callable[..., None]
"""Called with bytes done, bytes in all or None, and what is being done."""


@dataclass(frozen=True)
class Downloaded:
    """A set of pairs that stands on disk."""

    path: Path
    new: bool
    """False if it stood there already."""
    record: dict[str, Any]
    """What `download.json` says: address, bytes, SHA-256, files, pairs, origin."""
    note: str = ""
    """What stands in the way of training on it; empty if nothing does."""


def download(
    name: str | None,
    output: Path | None = None,
    *,
    url: str | None = None,
    digest: str | None = None,
    stall: float = STALL,
    pause: Callable[[float], object] = time.sleep,
    progress: Progress | None = None,
) -> Downloaded:
    """Fetch and unpack a published set by its name, or the archive at `url` (http, https, file, or a path).

    `digest` is the archive's SHA-256, if known. Raises ConfigError for a name, address or output that cannot be, and
    DataError if no address gives the archive: what has arrived of it is kept.
    """
    wanted = _wanted(name, output, url, digest)
    standing = _standing(wanted)
    if standing is not None:
        return standing
    if wanted.local is not None:
        _verify(wanted.local, wanted)
        return _unpacked(wanted.local, str(wanted.local), wanted, progress)
    store = wanted.output.with_name(f"{wanted.output.name}.download")
    store.mkdir(parents=True, exist_ok=True)
    with only_writer(store):
        try:
            with raise_interrupted(store):
                done = _from_any(wanted, store, _Manners(stall, pause, progress))
        finally:
            with suppress(OSError):
                store.rmdir()  # if nothing has arrived
        shutil.rmtree(store)
    return done


# ---- what is asked for -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wanted:
    name: str
    output: Path
    urls: tuple[str, ...]
    local: Path | None
    size: int | None
    sha256: str | None
    about: Published | None


def _wanted(name: str | None, output: Path | None, url: str | None, digest: str | None) -> _Wanted:
    if name is None and url is None:
        sets = ", ".join(f"{name} ({about.about})" for name, about in CATALOG.items())
        raise ConfigError(f"say what to download: {sets}, or --url ADDRESS of another archive")
    if output is not None and output.name in ("", ".."):
        raise ConfigError(f"--output {output}: expected a folder by its own name, which will be made")
    if digest is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise ConfigError(f"--sha256 {digest}: expected 64 hexadecimal digits")
    local = None if url is None else _local(url)
    about = published(str(name)) if url is None else CATALOG.get(name or "")
    name = name or _name_in(str(url))
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(f"{name!r} is no name for a set: letters, digits, dots, - and _; give one before --url")
    if url is None:
        assert about is not None
        return _Wanted(name, output or Path(name), addresses(name), None, about.size, digest or about.sha256, about)
    return _Wanted(name, output or Path(name), (url,), local, None, digest, about)


def _name_in(url: str) -> str:
    """The last part of an address without the archive's suffix."""
    return re.sub(r"(\.tar\.gz|\.tgz|\.zip)$", "", unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2])


def _local(url: str) -> Path | None:
    """The file that an address names; None for one in the network. Raises ConfigError, DataError."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"--url {url}: is no address ({error})") from None
    if parts.scheme in ("http", "https"):
        if not parts.hostname:
            raise ConfigError(f"--url {url}: names no host")
        return None
    if "://" in url and parts.scheme != "file":
        raise ConfigError(f"--url {url}: expected an address with http, https or file, or a path")
    path = Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(url)
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a .tar.gz or .zip archive")
    return path


def _standing(wanted: _Wanted) -> Downloaded | None:
    """The set that an earlier call left under this name. Raises ConfigError if something else stands there."""
    output = wanted.output
    if output.is_dir() and not any(output.iterdir()):
        return None
    if not output.exists():
        return None
    try:
        record = json.loads((output / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise ConfigError(f"{output}: holds something else than a downloaded set; choose another --output")
    same_hash = wanted.sha256 is None or record.get("sha256") == wanted.sha256.lower()
    if (
        record.get("name") != wanted.name
        or record.get("from") not in (*wanted.urls, str(wanted.local))
        or not same_hash
    ):
        raise ConfigError(f"{output}: holds {record.get('name')} from {record.get('from')}; choose another --output")
    return Downloaded(output, False, record)


# ---- one address after another -----------------------------------------------------------------------------------


class _RefusedError(Exception):
    """An address does not have the archive, however often it is asked."""


class _BrokenError(Exception):
    """A transfer did not come to its end, but may if it is taken up again."""

    def __init__(self, reason: str, *, wait: float = 0, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.unreachable = wait, unreachable


@dataclass(frozen=True)
class _Manners:
    stall: float
    pause: Callable[[float], object]
    progress: Progress | None


def _from_any(wanted: _Wanted, store: Path, manners: _Manners) -> Downloaded:
    reasons: dict[str, list[str]] = {}
    for url in wanted.urls:
        part = _Part(store, url)
        try:
            _fetch(part, wanted.size, manners)
            _verify(part.path, wanted)
            return _unpacked(part.path, url, wanted, manners.progress)
        except (_BrokenError, _RefusedError) as error:
            reasons.setdefault(str(error), []).append(url)
        except DataError as error:
            part.drop()
            reasons.setdefault(str(error).removeprefix(f"{part.path}: "), []).append(url)
    kept = f"; what has arrived is kept in {store}, and the same command goes on" if any(store.iterdir()) else ""
    told = "; ".join(f"{', '.join(urls)}: {reason}" for reason, urls in reasons.items())
    raise DataError(
        f"{wanted.name} could not be downloaded ({told}){kept}; or fetch it by hand, and give the file: "
        f"pix2pix data download {wanted.name} --url FILE"
    )


def _verify(archive: Path, wanted: _Wanted) -> None:
    size = archive.stat().st_size
    if wanted.size is not None and size != wanted.size:
        raise DataError(f"{archive}: has {size:,} bytes, expected {wanted.size:,}")
    if wanted.sha256 is not None and sha256(archive) != wanted.sha256.lower():
        raise DataError(f"{archive}: has the SHA-256 {sha256(archive)}, expected {wanted.sha256.lower()}")


def _unpacked(archive: Path, origin: str, wanted: _Wanted, progress: Progress | None) -> Downloaded:
    with folder_atomically(wanted.output) as folder:
        unpacked = unpack(archive, folder, progress)
        _lift(folder)
        pairs, note = _look(folder, wanted.output)
        record = _record(archive, origin, wanted, unpacked, pairs)
        write_text(folder / RECORD, json.dumps(record, indent=1))
    return Downloaded(wanted.output, True, record, note)


def _lift(folder: Path) -> None:
    """Archives often hold one folder with the set in it: the set, not that folder, is wanted."""
    layout = {*SPLITS, *"AB", *(split + side for split in SPLITS for side in "AB")}
    while [entry.is_dir() and entry.name not in layout for entry in folder.iterdir()] == [True]:
        (inner,) = folder.iterdir()
        lifted = folder.with_name(f"{folder.name}.lifted")
        shutil.rmtree(lifted, ignore_errors=True)
        os.replace(inner, lifted)
        folder.rmdir()
        os.replace(lifted, folder)


def _look(folder: Path, output: Path) -> tuple[dict[str, int], str]:
    try:
        found = find_pairs(Data(path=str(folder), val_fraction=0, test_fraction=0))
    except (DataError, ConfigError) as error:
        return {}, str(error).replace(str(folder), str(output))
    return {split: len(pairs) for split, pairs in found.splits.items()}, ""


def _record(archive: Path, origin: str, wanted: _Wanted, unpacked: Unpacked, pairs: dict[str, int]) -> dict[str, Any]:
    record = {
        "name": wanted.name,
        "from": origin,
        "bytes": archive.stat().st_size,
        "sha256": sha256(archive),
        "files": unpacked.files,
        "hidden_files_left_out": unpacked.left_out,
        "pairs": pairs,
    }
    if wanted.about is not None:
        record |= {"sides": wanted.about.sides, "direction": wanted.about.direction, "origin": wanted.about.origin}
    return record


# ---- one address -------------------------------------------------------------------------------------------------


class _Part:
    """What has arrived from one address, and what tells whether the server still has the same file."""

    def __init__(self, store: Path, url: str) -> None:
        self.url = url
        key = hashlib.sha256(url.encode()).hexdigest()[:12]
        self.path, self._facts_path = store / key, store / f"{key}.json"
        self.validator: str | None = None
        self.total: int | None = None
        with suppress(OSError, ValueError):
            facts = json.loads(self._facts_path.read_text(encoding="utf-8"))
            self.validator, self.total = facts["validator"], facts["total"]

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def whole(self) -> bool:
        return self.total is not None and self.size == self.total

    def begin(self, validator: str | None, total: int | None) -> None:
        """Forget what has arrived: another file begins."""
        self.drop()
        self.validator, self.total = validator, total
        write_text(self._facts_path, json.dumps({"url": self.url, "validator": validator, "total": total}))
        self.path.touch()

    def drop(self) -> None:
        for path in (self.path, self._facts_path):
            path.unlink(missing_ok=True)
        self.validator = self.total = None


def _fetch(part: _Part, size: int | None, manners: _Manners) -> None:
    """Bring `part` to its end, taking the transfer up again while that helps. Raises _RefusedError, _BrokenError."""
    timeout = httpx2.Timeout(manners.stall, connect=min(manners.stall, 15))
    fruitless, furthest = 0, part.size
    with httpx2.Client(timeout=timeout, follow_redirects=True, max_redirects=REDIRECTS) as client:
        while not part.whole:
            try:
                _transfer(client, part, size, manners)
                return
            except _BrokenError as error:
                gained = part.size >= furthest + WORTH
                furthest = max(furthest, part.size)
                fruitless = 0 if gained else fruitless + 1
                if fruitless == TRIES or (error.unreachable and not furthest):
                    raise
                manners.pause(min(max(error.wait, 2.0**fruitless), LONGEST_PAUSE))


def _transfer(client: httpx2.Client, part: _Part, size: int | None, manners: _Manners) -> None:
    """One request and its answer. Raises _RefusedError, _BrokenError."""
    headers = {"Accept-Encoding": "identity"}
    if part.size and part.validator is not None:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    try:
        with client.stream("GET", part.url, headers=headers) as response:
            _receive(response, part, size, manners, "Range" in headers)
    except httpx2.TooManyRedirects:
        raise _RefusedError(f"redirects more than {REDIRECTS} times") from None
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.LocalProtocolError) as error:
        raise _RefusedError(f"leads to an address that is not http or https ({error})") from None
    except httpx2.TimeoutException:
        raise _BrokenError(f"no answer for {manners.stall:g} seconds", unreachable=True) from None
    except (httpx2.ConnectError, httpx2.ProxyError) as error:
        raise _BrokenError(f"no connection ({error})", unreachable=True) from None
    except httpx2.HTTPError as error:
        raise _BrokenError(f"the connection broke ({error or type(error).__name__})") from None


def _receive(response: httpx2.Response, part: _Part, size: int | None, manners: _Manners, asked: bool) -> None:
    status = response.status_code
    validator = _validator(response)
    if status in (408, 425, 429) or status >= 500:
        raise _BrokenError(f"answers {status} {response.reason_phrase}", wait=_retry_after(response))
    if asked and status in (206, 416) and not _goes_on(response, part, validator):
        part.drop()
        raise _BrokenError("the file has changed since a part of it arrived")
    if status == 200:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        _refuse_size(total, size, part.path.parent)
        part.begin(validator, total)
    elif status != 206 or not asked:
        raise _RefusedError(f"answers {status} {response.reason_phrase}")
    try:
        _append(response, part, manners)
    except _RefusedError:
        part.drop()
        raise
    if part.total is not None and part.size != part.total:
        raise _BrokenError(f"ended after {part.size:,} of {part.total:,} bytes")


def _append(response: httpx2.Response, part: _Part, manners: _Manners) -> None:
    head = b"" if not part.size else None
    since, received = time.monotonic(), 0
    with part.path.open("ab", buffering=0) as file:  # what is written stays, whatever happens to this process
        for block in response.iter_raw():
            if head is not None:
                head += block[:4]
                if len(head) >= 4:
                    _refuse_content(head, response)
                    head = None
            file.write(block)
            at = file.tell()
            received += len(block)
            if at > (MAX_TOTAL if part.total is None else part.total):
                raise _RefusedError("sends more than it should")
            if manners.progress is not None:
                manners.progress(at, part.total, "downloading")
            if (now := time.monotonic()) - since > manners.stall:
                if received < SLOWEST * manners.stall:
                    raise _BrokenError(f"sent only {received} bytes in {now - since:.0f} seconds")
                since, received = now, 0


def _goes_on(response: httpx2.Response, part: _Part, validator: str | None) -> bool:
    """Whether a partial answer continues what has arrived, of the same file."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status_code != 206 or not found or int(found[1]) != part.size:
        return False
    return validator == part.validator and (part.total is None or found[2] in ("*", str(part.total)))


def _validator(response: httpx2.Response) -> str | None:
    """What changes when the file does: a strong ETag, or the date of its last change."""
    tag: str | None = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _retry_after(response: httpx2.Response) -> float:
    seconds = response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else 0


def _refuse_size(total: int | None, size: int | None, store: Path) -> None:
    if total is not None and size is not None and total != size:
        raise _RefusedError(f"offers {total:,} bytes, expected {size:,}")
    if total is not None and total > MAX_TOTAL:
        raise _RefusedError(f"offers {total:,} bytes, more than an archive may have")
    if total is not None and total > shutil.disk_usage(store).free:
        raise _RefusedError(f"offers {total:,} bytes, more than the disk of {store} has room for")


def _refuse_content(head: bytes, response: httpx2.Response) -> None:
    if not is_archive(head):
        kind = response.headers.get("Content-Type", "something unnamed").partition(";")[0]
        raise _RefusedError(f"answers with {kind}, not with a .tar.gz or .zip archive")
