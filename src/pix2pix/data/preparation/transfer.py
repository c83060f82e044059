"""An http or https address -> a file: a stopped transfer goes on, as long as the server still has the same file."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

from pix2pix.data.preparation.archive import MAX_TOTAL_BYTES, Progress, is_archive
from pix2pix.system.files import write_text

MAX_REDIRECTS = 5
MAX_PAUSE = 60.0  # seconds
MIN_RATE = 100  # bytes a second


@dataclass(frozen=True, kw_only=True)
class Patience:
    """When a request is repeated, and when an address is given up."""

    stall: float = 30.0
    """Seconds without an answer, or with fewer than MIN_RATE bytes for each, before the connection is closed."""
    tries: int = 5
    """Failed requests in a row, each with less than `gain` new bytes, before the address is given up."""
    gain: int = 2**16
    pause: Callable[[float], object] = time.sleep


class TransferError(Exception):
    """Why an address does not give the file; `temporary` if another request may."""

    def __init__(self, reason: str, *, temporary: bool = False, wait: float = 0, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.temporary, self.wait, self.unreachable = temporary, wait, unreachable


def fetch(
    url: str, folder: Path, *, size: int | None, patience: Patience, progress: Progress | None = None
) -> "PartialFile":
    """Fetch an archive of `size` bytes, where that is known, into `folder`. Raises TransferError.

    What has arrived stays in the folder after an error, and the next call goes on from there.
    """
    part = PartialFile(folder, url)
    timeout = httpx2.Timeout(patience.stall, connect=min(patience.stall, 15))
    failures, furthest = 0, part.size
    with httpx2.Client(timeout=timeout, follow_redirects=True, max_redirects=MAX_REDIRECTS) as client:
        while part.total is None or part.size != part.total:
            try:
                _request(client, part, size, patience.stall, progress)
                break
            except TransferError as error:
                failures = 0 if part.size >= furthest + patience.gain else failures + 1
                furthest = max(furthest, part.size)
                if not error.temporary or failures == patience.tries or (error.unreachable and not furthest):
                    raise
                patience.pause(min(max(error.wait, 2.0**failures), MAX_PAUSE))
    return part


class PartialFile:
    """What has arrived from one address, and the validator that shows whether the server still has the same file."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        key = hashlib.sha256(url.encode()).hexdigest()[:12]
        self.path, self._facts_path = folder / key, folder / f"{key}.json"
        self.validator: str | None = None
        self.total: int | None = None
        with suppress(OSError, ValueError):
            facts = json.loads(self._facts_path.read_text(encoding="utf-8"))
            self.validator, self.total = facts["validator"], facts["total"]

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def start(self, validator: str | None, total: int | None) -> None:
        """Drop what has arrived: another file begins."""
        self.drop()
        self.validator, self.total = validator, total
        write_text(self._facts_path, json.dumps({"url": self.url, "validator": validator, "total": total}))
        self.path.touch()

    def drop(self) -> None:
        for path in (self.path, self._facts_path):
            path.unlink(missing_ok=True)
        self.validator = self.total = None


def _request(
    client: httpx2.Client, part: PartialFile, size: int | None, stall: float, progress: Progress | None
) -> None:
    """Ask once for the rest of the file, and append what comes. Raises TransferError."""
    headers = {"Accept-Encoding": "identity"}
    if part.size and part.validator is not None:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    try:
        with client.stream("GET", part.url, headers=headers) as response:
            _accept(response, part, size, "Range" in headers)
            _append(response, part, stall, progress)
    except httpx2.TooManyRedirects:
        raise TransferError(f"redirects more than {MAX_REDIRECTS} times") from None
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.LocalProtocolError) as error:
        raise TransferError(f"leads to an address that is not http or https ({error})") from None
    except httpx2.TimeoutException:
        raise TransferError(f"no answer for {stall:g} seconds", temporary=True, unreachable=True) from None
    except (httpx2.ConnectError, httpx2.ProxyError) as error:
        raise TransferError(f"no connection ({error})", temporary=True, unreachable=True) from None
    except httpx2.HTTPError as error:
        raise TransferError(f"the connection broke ({error or type(error).__name__})", temporary=True) from None


def _accept(response: httpx2.Response, part: PartialFile, size: int | None, asked_for_rest: bool) -> None:
    """Check status and headers; start `part` anew where the server sends the whole file. Raises TransferError."""
    status, tag = response.status_code, response.headers.get("ETag") or "W/"
    validator = response.headers.get("Last-Modified") if tag.startswith("W/") else tag
    if status in (408, 425, 429) or status >= 500:
        seconds = response.headers.get("Retry-After", "")
        wait = float(seconds) if seconds.isdecimal() else 0
        raise TransferError(f"answers {status} {response.reason_phrase}", temporary=True, wait=wait)
    if asked_for_rest and status in (206, 416) and not _continues(response, part, validator):
        part.drop()
        raise TransferError("the file has changed since a part of it arrived", temporary=True)
    if status == 200:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        if total is not None and size is not None and total != size:
            raise TransferError(f"offers {total:,} bytes, expected {size:,}")
        if total is not None and total > MAX_TOTAL_BYTES:
            raise TransferError(f"offers {total:,} bytes, more than the {MAX_TOTAL_BYTES:,} that an archive may have")
        if total is not None and total > shutil.disk_usage(part.path.parent).free:
            raise TransferError(f"offers {total:,} bytes, more than the disk of {part.path.parent} has room for")
        part.start(validator, total)
    elif status != 206 or not asked_for_rest:
        raise TransferError(f"answers {status} {response.reason_phrase}")


def _continues(response: httpx2.Response, part: PartialFile, validator: str | None) -> bool:
    """Whether a partial answer continues what has arrived, of the same file."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status_code != 206 or not found or int(found[1]) != part.size:
        return False
    return validator == part.validator and (part.total is None or found[2] in ("*", str(part.total)))


def _append(response: httpx2.Response, part: PartialFile, stall: float, progress: Progress | None) -> None:
    """Append the body to the file, unbuffered: it stays there however this process ends. Raises TransferError."""
    start = None if part.size else b""  # the first four bytes, until they have been checked
    since, received = time.monotonic(), 0
    with part.path.open("ab", buffering=0) as file:
        for block in response.iter_raw():
            if start is not None and len(start := start + block[:4]) >= 4:
                if not is_archive(start):
                    part.drop()
                    kind = response.headers.get("Content-Type", "something unnamed").partition(";")[0]
                    raise TransferError(f"answers with {kind}, not with a .tar.gz or .zip archive")
                start = None
            file.write(block)
            received += len(block)
            if file.tell() > (MAX_TOTAL_BYTES if part.total is None else part.total):
                part.drop()
                raise TransferError("sends more than it should")
            if progress is not None:
                progress(file.tell(), part.total, "downloading")
            if (now := time.monotonic()) - since > stall:
                if received < MIN_RATE * stall:
                    raise TransferError(f"sent only {received} bytes in {now - since:.0f} seconds", temporary=True)
                since, received = now, 0
    if part.total is not None and part.size != part.total:
        raise TransferError(f"ended after {part.size:,} of {part.total:,} bytes", temporary=True)
