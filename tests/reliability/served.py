"""Tools of the checks of the service: a small model, the real command in a fork, and clients that keep the answers."""

import http.client
import io
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch._dynamo  # noqa: F401  # loading a model imports it, which takes a second in every fork
from PIL import Image

import pix2pix.cli.commands.serve
import pix2pix.serve.server
import pix2pix.serve.workers  # noqa: F401  # so that forks begin at once
from pix2pix.inference.translator import Translator
from pix2pix.serve.translator_engine import TranslatorEngine
from tests.inference.small_models import SIZE, make_model
from tests.reliability import runs

PNG = {"Content-Type": "image/png"}
ALLOWED = (200, 429, 503)


@dataclass(frozen=True)
class Answer:
    """What a client got."""

    status: int
    body: bytes
    headers: dict[str, str]
    seconds: float
    number: int = 0
    """Of the picture that was sent."""


@dataclass
class Running:
    """A service in a process of its own."""

    port: int
    process: BaseProcess
    messages: Path

    def send(
        self, body: bytes = b"", path: str = "/v1/translate", method: str = "POST", timeout: float = 60, **headers: str
    ) -> Answer:
        """Send one request over a new connection. Raises OSError or HTTPException."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(
                method, path, body, PNG | {name.replace("_", "-"): text for name, text in headers.items()}
            )
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        names = {name.lower(): text for name, text in answer.getheaders()}
        return Answer(answer.status, content, names, time.monotonic() - began)

    def get(self, path: str, **headers: str) -> Answer:
        """Get an address."""
        return self.send(path=path, method="GET", timeout=20, **headers)

    def stop(self, number: int = signal.SIGINT, timeout: float = 60) -> int:
        """Send a signal; return the exit code. After SIGTERM the service would wait a second for proxies."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        return runs.end_of(self.process, timeout)

    def resident(self) -> float:
        """Return the resident memory in MB (Linux)."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


def save_model(work: Path) -> Path:
    """Write a model that translates in a few milliseconds."""
    make_model().save(work / "model")
    return work / "model"


@contextmanager
def serving(
    work: Path, *flags: str, others: Sequence[str] = (), prepare: Callable[[], object] | None = None
) -> Iterator[Running]:
    """Serve the model of `save_model` and others within the block; `prepare` runs first in the service's process."""
    messages = work / f"service-{len(list(work.glob('service-*')))}.txt"
    process = runs.fork(["serve", work / "model", *others, "--port", "0", "--device", "cpu", *flags], messages, prepare)
    try:

        def address() -> re.Match[str] | None:
            said = messages.read_text(encoding="utf-8", errors="replace") if messages.exists() else ""
            if not process.is_alive():
                raise runs.Unexpected(f"the service ended: {said[-500:]}")
            return re.search(r"^http://127\.0\.0\.1:(\d+)$", said, re.MULTILINE)

        found = runs.wait_until(address, what="the service")
        yield Running(int(found[1]), process, messages)
    finally:
        if process.is_alive():
            process.kill()
        process.join()


def slow(seconds: float) -> Callable[[], None]:
    """Return what makes each call of the model take longer."""

    def prepare() -> None:
        translate = TranslatorEngine.translate

        def later(self: TranslatorEngine, inputs: Sequence[Any], seed: int | None = None) -> Any:
            time.sleep(seconds)
            return translate(self, inputs, seed)

        TranslatorEngine.translate = later  # type: ignore[method-assign]

    return prepare


def pictures(count: int) -> list[bytes]:
    """Return PNG files, no two alike; every third is smaller."""
    found = []
    for number in range(count):
        side = SIZE // 2 if number % 3 == 2 else SIZE
        values = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(values).save(file, "PNG")
        found.append(file.getvalue())
    return found


def expected(work: Path, sources: Sequence[bytes]) -> list[Any]:
    """Return the outputs of the translator, as arrays."""
    translator = Translator.from_pretrained(work / "model", device="cpu")
    return [translator(pixels(source)) for source in sources]


def pixels(content: bytes) -> Any:
    """Decode a PNG by Pillow."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def crowd(service: Running, sources: Sequence[bytes], clients: int, requests: int) -> list[Answer | Exception]:
    """Send so many requests from so many clients at a time; return the answers, and what clients raised."""

    def one(number: int) -> Answer | Exception:
        try:
            answer = service.send(sources[number % len(sources)])
        except (OSError, http.client.HTTPException) as error:
            return error
        return Answer(answer.status, answer.body, answer.headers, answer.seconds, number % len(sources))

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(one, range(requests)))


def wrong_answers(answers: Sequence[Answer | Exception], outputs: Sequence[Any]) -> list[str]:
    """Return what is wrong with answers: another status than 200, 429 and 503, or another picture."""
    found = []
    for answer in answers:
        if isinstance(answer, Exception):
            found.append(f"{type(answer).__name__}: {answer}")
        elif answer.status not in ALLOWED:
            found.append(f"status {answer.status}: {answer.body[:100]!r}")
        elif answer.status == 200 and not np.array_equal(pixels(answer.body), outputs[answer.number]):
            found.append(f"another picture for number {answer.number}")
        elif answer.status != 200 and not answer.headers.get("retry-after", "").isdecimal():
            found.append(f"{answer.status} without Retry-After")
    return found
