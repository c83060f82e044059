"""Load test of `pix2pix serve` on this machine: latency and pictures a second, against the bare translator.

    python -m benchmarks.serve MODEL PICTURE [--clients 8] [--seconds 8] [--workers 1] [--bare-only] [-- flags of serve]

Each client sends the picture again as soon as it has its answer. The bare translator gets the decoded picture in one
process, with neither files nor HTTP. The first and the last row are the same, and tell how steady the machine was.
"""

import argparse
import http.client
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Load(NamedTuple):
    """What a load test measured."""

    name: str
    each: list[float]
    """Seconds of each answer."""
    seconds: float
    refused: int = 0

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return len(self.each) / self.seconds

    def line(self) -> str:
        """Return one row of the table."""
        ordered = sorted(self.each)
        median, slow = statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))]
        numbers = f"{len(ordered):6} {self.refused:8} {self.rate:10.1f} {1000 * median:10.1f} {1000 * slow:10.1f}"
        return f"{self.name:34} {numbers}"


def repeat(name: str, task: Callable[[], bool], clients: int, seconds: float) -> Load:
    """Call a task again and again in so many threads; it returns whether it was answered."""
    each: list[float] = []
    refused = [0]
    began = time.monotonic()

    def work() -> None:
        while (start := time.monotonic()) - began < seconds:
            if task():
                each.append(time.monotonic() - start)
            else:
                refused[0] += 1

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(name, each, time.monotonic() - began, refused[0])


def bare(model: str, picture: Path, seconds: float) -> Load:
    """Measure the translator in this process."""
    from pix2pix import Translator
    from pix2pix.data.io import images

    translator, values = Translator.from_pretrained(model), images.read(picture)
    for _ in range(3):
        translator(values)

    def task() -> bool:
        translator(values)
        return True

    return repeat("bare translator", task, 1, seconds)


@contextmanager
def service(words: list[str]) -> Iterator[tuple[str, int]]:
    """Run `pix2pix serve` within the block; yield its host and port."""
    command = [sys.executable, "-m", "pix2pix", "serve", *words, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise SystemExit("the service did not start")
        host, _, port = address.removeprefix("http://").rpartition(":")
        try:
            yield host, int(port)
        finally:
            process.terminate()


def client(place: tuple[str, int], body: bytes) -> Callable[[], bool]:
    """Return a task that sends a PNG over a connection of its thread."""
    local = threading.local()

    def task() -> bool:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(*place, timeout=60)
        local.connection.request("POST", "/v1/translate", body, {"Content-Type": "image/png"})
        answer = local.connection.getresponse()
        answer.read()
        if answer.status not in (200, 429, 503):
            raise SystemExit(f"the service answered {answer.status}")
        return bool(answer.status == 200)

    return task


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("flags", nargs="*", help="flags of `pix2pix serve`, after --")
    words = parser.parse_args()
    print(f"{'':34} {'answers':>6} {'refused':>8} {'pictures/s':>10} {'median ms':>10} {'95 % ms':>10}")
    first = bare(words.model, words.picture, words.seconds)
    print(first.line(), flush=True)
    loads = []
    body = words.picture.read_bytes()
    with service([words.model, *words.flags]) as place:
        repeat("warm", client(place, body), 1, 1)
        for clients in words.clients:
            name = f"service, {clients} client{'' if clients == 1 else 's'}"
            loads.append(repeat(name, client(place, body), clients, words.seconds))
            print(loads[-1].line(), flush=True)
    last = bare(words.model, words.picture, words.seconds)
    print(last.line())
    rate, median = (first.rate + last.rate) / 2, statistics.median(first.each + last.each)
    added = statistics.median(loads[0].each) - median
    print(f"{words.clients[-1]} clients: {loads[-1].rate / rate:.0%} of the bare translator's pictures a second")
    print(f"{words.clients[0]} client: {1000 * added:+.1f} ms")


if __name__ == "__main__":
    main()
