"""Download a file by https; a stopped transfer is continued if the server still has the same file.

Plain http, which anyone on the way can answer, is used only for a file whose hash is known, and on this machine.
"""

import hashlib
import json
import shutil
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from pix2pix.data.preparation.archive import MAX_TOTAL_BYTES
from pix2pix.system.files import write_text
from pix2pix.system.progress import OnNamedProgress
from pix2pix.system.reading import read_json

MAX_REDIRECTS = 5
TIMEOUT = 30.0  # seconds without an answer or a byte until a request fails
TRIES = 3  # failed requests in a row without new bytes, until an address is given up
PAUSE = 2.0  # seconds between two requests
MAX_UNNAMED_BYTES = 4 * 2**30  # of a file whose size neither the server nor the catalog names
SLOWEST = 1000  # bytes a second on average over SLOW_SECONDS, until an address is given up
SLOW_SECONDS = 120.0


class TransferError(Exception):
    """Why an address does not give the file."""


class _TemporaryError(TransferError):
    """Why a request failed; a later one may succeed."""


class PartialFile:
    """The partial download from one address, and the ETag that identifies the file on the server."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.path = folder / hashlib.sha256(url.encode()).hexdigest()[:12]
        self._facts_path = self.path.with_suffix(".json")
        self.max_unnamed = MAX_UNNAMED_BYTES  # bytes to take if the server names no length
        self.etag: str | None = None
        self.total: int | None = None
        with suppress(OSError, ValueError, KeyError, TypeError):
            facts = read_json(self._facts_path)
            self.etag, self.total = facts["etag"], facts["total"]

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def start(self, etag: str | None, total: int | None) -> None:
        """Drop the partial download and begin a new file."""
        self.remove()
        self.etag, self.total = etag, total
        write_text(self._facts_path, json.dumps({"url": self.url, "etag": etag, "total": total}))

    def remove(self) -> None:
        for path in (self.path, self._facts_path):
            path.unlink(missing_ok=True)
        self.etag = self.total = None


def is_open_to_all(url: str) -> bool:
    """Return whether anyone on the way can change what an address gives: plain http to another machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def fetch(
    part: PartialFile, progress: OnNamedProgress | None = None, *, size: int | None = None, hash_known: bool = False
) -> None:
    """Download the missing part of a file of `size` bytes, if known.

    Plain http, also after a redirect, needs `hash_known`. Raises TransferError; the part is kept, and the next call
    continues it.
    """
    if part.size and part.size == part.total:
        return
    failures, furthest = 0, part.size
    part.max_unnamed = MAX_UNNAMED_BYTES if size is None else size
    hooks = {} if hash_known else {"request": [_refuse_plain]}
    with httpx2.Client(
        timeout=TIMEOUT, follow_redirects=True, max_redirects=MAX_REDIRECTS, event_hooks=hooks
    ) as client:
        while True:
            try:
                return _request(client, part, progress)
            except _TemporaryError:
                failures = failures + 1 if part.size <= furthest else 0
                furthest = max(furthest, part.size)
                if failures == TRIES:
                    raise
            time.sleep(PAUSE)


def _refuse_plain(request: httpx2.Request) -> None:
    """Raise TransferError for a request, such as after a redirect, that anyone on the way can answer."""
    if is_open_to_all(str(request.url)):
        raise TransferError(f"leads to {request.url}, and plain http needs the --sha256 of the archive")


def _request(client: httpx2.Client, part: PartialFile, progress: OnNamedProgress | None) -> None:
    """Request the rest of the file once, and append it. Raises TransferError, OSError naming the file."""
    headers = {"Accept-Encoding": "identity"}
    if part.size and part.etag:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.etag}
    try:
        with client.stream("GET", part.url, headers=headers) as response:
            _check_answer(response, part)
            _append(response, part, progress)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise _TemporaryError(f"cannot be fetched: {error or type(error).__name__}") from None
    except OSError as error:  # a full disk
        raise OSError(error.errno, error.strerror, str(part.path)) from None


def _check_answer(response: httpx2.Response, part: PartialFile) -> None:
    """Check status and headers; restart `part` if the server sends the whole file. Raises TransferError."""
    status, etag = response.status_code, response.headers.get("ETag", "")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise TransferError("sends the file in another encoding, though it was asked for the file as it is")
    if status == 200:
        length = response.headers.get("Content-Length")
        total = None if length is None else int(length)
        limit = min(MAX_TOTAL_BYTES, shutil.disk_usage(part.path.parent).free + part.size)
        if total is not None and total > limit:
            raise TransferError(f"offers {total:,} bytes, more than the {limit:,} that {part.path.parent} can take")
        part.start(etag if etag.startswith('"') and etag.isascii() else None, total)
    elif status in (206, 416) and part.etag:
        begins = response.headers.get("Content-Range", "").partition("-")[0]
        if status == 416 or begins != f"bytes {part.size}" or etag != part.etag:
            part.remove()
            raise _TemporaryError("the file has changed since a part of it arrived")
    else:
        kind = _TemporaryError if status in (408, 429) or status >= 500 else TransferError
        raise kind(f"answers {status} {response.reason_phrase}")


def _append(response: httpx2.Response, part: PartialFile, progress: OnNamedProgress | None) -> None:
    """Append the body to the file, block by block, so that a killed process loses little. Raises TransferError."""
    began, arrived = time.monotonic(), 0
    with part.path.open("ab") as file:
        for block in response.iter_raw():
            file.write(block)
            file.flush()
            _check_size(part, file.tell())
            arrived += len(block)
            if time.monotonic() - began > SLOW_SECONDS:
                if arrived < SLOWEST * SLOW_SECONDS:
                    raise TransferError(f"sends less than {SLOWEST:,} bytes a second")
                began, arrived = time.monotonic(), 0
            if progress is not None:
                progress(file.tell(), part.total, "downloading")
    if part.total is not None and part.size < part.total:
        raise _TemporaryError(f"ended after {part.size:,} of {part.total:,} bytes")


def _check_size(part: PartialFile, size: int) -> None:
    """Drop the part and raise TransferError if more bytes came than were named, or than are taken without a length."""
    if size <= (part.max_unnamed if part.total is None else part.total):
        return
    part.remove()
    if part.total is not None or part.max_unnamed != MAX_UNNAMED_BYTES:
        raise TransferError("sends more bytes than announced")
    raise TransferError(f"names no length and sends more than {MAX_UNNAMED_BYTES:,} bytes")
