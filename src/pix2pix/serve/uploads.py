"""Receive the body of a request into files, within limits of bytes and time; names and paths of clients are ignored."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from pix2pix.data.io import images
from pix2pix.data.io.view import View
from pix2pix.model.model_config import Size
from pix2pix.serve.media import EXPECTED, SUFFIXES, media_type, name_other, recognise
from pix2pix.serve.problems import ProblemError

IDLE_SECONDS = 10.0
"""A body that stays away for so long is not waited for."""
DRAIN_SECONDS = 2.0
"""A client that sends nothing for so long is told at once what is wrong."""
OVERHEAD = 16_384
"""Bytes that the parts of a form may take beside their contents."""
MULTIPART = "multipart/form-data"


class ClientGoneError(Exception):
    """The client has closed the connection."""


class LimitedBody:
    """Receive the messages of a request, within limits."""

    def __init__(self, request: Request, most: int, seconds: float) -> None:
        self.most, self.received, self.complete = most, 0, False
        self._receive, self._until = request.receive, time.monotonic() + seconds
        claimed = request.headers.get("content-length", "")
        self._claimed = int(claimed) if claimed.isdecimal() else 0
        self.kind = media_type(request.headers.get("content-type", ""))
        self._expects_continue = "100-continue" in request.headers.get("expect", "").lower()

    @property
    def is_form(self) -> bool:
        """Whether the body has parts."""
        return self.kind == MULTIPART

    async def __call__(self) -> Mapping[str, Any]:
        """Return the next message. Raises ProblemError (408 or 413) or ClientGoneError."""
        if self._claimed > self.most:
            raise self._too_large()
        message = await self._next()
        if self.received > self.most:
            raise self._too_large()
        return message

    async def drain(self) -> None:
        """Receive what is left, so that a client that still sends reads the answer too; give up early."""
        try:
            while not (self.complete or self._expects_continue or self.received > 2 * self.most):
                await self._next(DRAIN_SECONDS)
        except ProblemError:
            return

    def _too_large(self) -> ProblemError:
        return ProblemError(
            413, "too-many-bytes", f"the body has more than {self.most:,} bytes, the limit of this service"
        )

    async def _next(self, idle: float = IDLE_SECONDS) -> Mapping[str, Any]:
        seconds = min(idle, self._until - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(seconds, 0.001))
        except asyncio.TimeoutError:  # another class before Python 3.11
            raise ProblemError(408, "slow-body", "the body did not arrive in time; send it faster") from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        self.received += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        return message


async def receive_files(request: Request, body: LimitedBody, folder: Path, names: Sequence[str]) -> list[Path]:
    """Write the picture of each source, by its name, into `folder`; return the files in order. Raises ProblemError."""
    kind = body.kind
    if coding := request.headers.get("content-encoding", ""):
        raise ProblemError(
            415, "unsupported-coding", f"the Content-Encoding is {coding[:100]!r}; send the picture as it is"
        )
    if body.is_form:
        files = await _receive_form(request, body, folder, names)
    elif kind not in SUFFIXES:
        got = f"the Content-Type is {kind[:100]!r}" if kind else "there is no Content-Type"
        raise ProblemError(415, "unsupported-type", f"{got}; {EXPECTED}, or {MULTIPART} with a part {names[0]!r}")
    elif len(names) > 1:
        raise ProblemError(
            400, "wrong-parts", f"the model takes {len(names)} sources; send {MULTIPART} with {', '.join(names)}"
        )
    else:
        files = [await _receive_raw(body, folder / names[0])]
    return [_with_suffix(file, name) for file, name in zip(files, names, strict=True)]


async def _receive_raw(body: LimitedBody, path: Path) -> Path:
    with path.open("wb") as file:
        more = True
        while more:
            message = await body()
            file.write(message.get("body", b""))
            more = message.get("more_body", False)
    return path


async def _receive_form(request: Request, body: LimitedBody, folder: Path, names: Sequence[str]) -> list[Path]:
    limited = Request(request.scope, body)  # type: ignore[arg-type]
    try:
        async with limited.form(max_files=len(names), max_fields=0) as form:
            parts = {name: value for name, value in form.multi_items() if isinstance(value, UploadFile)}
            if set(parts) != set(names):
                got = ", ".join(repr(name[:50]) for name in parts) or "none"
                raise ProblemError(400, "wrong-parts", f"{_expected(names)}, got {got}")
            for name in names:
                (folder / name).write_bytes(await parts[name].read())
    except (HTTPException, MultiPartException) as error:
        said = getattr(error, "detail", None) or getattr(error, "message", "")
        raise ProblemError(
            400, "bad-form", f"the form cannot be read: {said} {_expected(names)} and nothing else"
        ) from None
    return [folder / name for name in names]


def _expected(names: Sequence[str]) -> str:
    return f"expected the file part{'s' * (len(names) > 1)} {', '.join(names)}"


def _with_suffix(path: Path, name: str) -> Path:
    """Give a file the suffix of what it holds. Raises ProblemError for what is no accepted picture."""
    with path.open("rb") as file:
        start = file.read(256)
    if not start:
        raise ProblemError(400, "empty", f"{name} is empty; expected a picture")
    kind = recognise(start)
    if kind is None:
        other = name_other(start)
        got = f"is {other}, which is not accepted" if other else "holds no picture of an accepted format"
        raise ProblemError(415, "unsupported-type", f"{name} {got}; {EXPECTED}")
    return path.rename(path.with_suffix(SUFFIXES[kind]))


def refuse_too_many_pixels(files: Sequence[Path], most: int, seen_size: Callable[[Size], Size]) -> int:
    """Return the pixels of the largest file, by the headers, or as the network sees it if that is more.

    Raises ProblemError (413), DataError.
    """
    largest = 0
    for file in files:
        height, width = size = _size(file)
        seen = seen_size(size)
        largest = max(largest, height * width, math.prod(seen))
        if largest > most:
            enlarged = "" if height * width > most else f", which the model sees as {seen[1]}x{seen[0]}"
            raise ProblemError(
                413,
                "too-many-pixels",
                f"{file.stem} has {width}x{height} pixels{enlarged}, more than the limit of this service, {most:,}",
            )
    return largest


def _size(file: Path) -> tuple[int, int]:
    """Return (height, width) by the header; of a stack, that of one plane."""
    return images.probe(file, View(plane=0) if images.find_planes(file) else None).size


def without_paths(error: Exception, files: Sequence[Path]) -> str:
    """Return the message of an error with the names of sources in place of the service's own paths."""
    text = str(error)
    for file in files:
        text = text.replace(f"{file}: ", f"{file.stem}: ").replace(str(file), file.stem)
    return text
