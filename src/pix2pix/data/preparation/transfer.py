"""Download a file by http or https; a stopped transfer is continued if the server still has the same file."""

import hashlib
import json
import shutil
import time
from contextlib import suppress
from pathlib import Path

import httpx2

from pix2pix.data.preparation.archive import MAX_TOTAL_BYTES
from pix2pix.system.files import write_text
from pix2pix.system.progress import OnNamedProgress

MAX_REDIRECTS = 5
TIMEOUT = 30.0  # seconds without an answer or a byte until a request fails
TRIES = 3  # failed requests in a row without new bytes, until an address is given up
PAUSE = 2.0  # seconds between two requests


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
        self.etag: str | None = None
        self.total: int | None = None
        with suppress(OSError, ValueError, KeyError, TypeError):
            facts = json.loads(self._facts_path.read_text(encoding="utf-8"))
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


def fetch(part: PartialFile, progress: OnNamedProgress | None = None) -> None:
    """Download the missing part of a file. Raises TransferError; the part is kept, and the next call continues it."""
    if part.size and part.size == part.total:
        return
    failures, furthest = 0, part.size
    with httpx2.Client(timeout=TIMEOUT, follow_redirects=True, max_redirects=MAX_REDIRECTS) as client:
        while True:
            try:
                return _request(client, part, progress)
            except _TemporaryError:
                failures = failures + 1 if part.size <= furthest else 0
                furthest = max(furthest, part.size)
                if failures == TRIES:
                    raise
            time.sleep(PAUSE)


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
    with part.path.open("ab") as file:
        for block in response.iter_raw():
            file.write(block)
            file.flush()
            if file.tell() > (MAX_TOTAL_BYTES if part.total is None else part.total):
                part.remove()
                raise TransferError("sends more bytes than announced")
            if progress is not None:
                progress(file.tell(), part.total, "downloading")
    if part.total is not None and part.size < part.total:
        raise _TemporaryError(f"ended after {part.size:,} of {part.total:,} bytes")
