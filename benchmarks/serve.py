"""Load test of `pix2pix serve` on this machine: latency and pictures a second, against the bare translator.

    python -m benchmarks.serve MODEL PICTURE [--clients 1 8] [--rounds 6] [--seconds 2] [-- flags of serve]

Each client sends the picture again as soon as it has its answer. The bare translator runs in one process without HTTP,
on decoded pixels and from PNG to PNG. They run in turns, so that a change of the machine's speed meets all alike, and
the last lines compare the rounds in pairs.
"""

import argparse
import http.client
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

BARE = ("bare translator, pixels to pixels", "bare translator, PNG to PNG")


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

    @property
    def median(self) -> float:
        """Median of the seconds of an answer."""
        return statistics.median(self.each)

    @classmethod
    def together(cls, turns: Sequence["Load"]) -> "Load":
        """Return several turns as one."""
        each = [seconds for turn in turns for seconds in turn.each]
        return cls(turns[0].name, each, sum(turn.seconds for turn in turns), sum(turn.refused for turn in turns))

    def line(self) -> str:
        """Return one row of the table."""
        ordered = sorted(self.each)
        slow = ordered[int(0.95 * (len(ordered) - 1))]
        numbers = f"{len(ordered):6} {self.refused:8} {self.rate:10.1f} {1000 * self.median:10.1f} {1000 * slow:10.1f}"
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


def bare(model: str, picture: Path) -> tuple[Callable[[], bool], Callable[[], bool]]:
    """Return two tasks that call the translator in this process: on decoded pixels, and from PNG to PNG."""
    from pix2pix import Translator
    from pix2pix.data.io import images

    translator, values = Translator.from_pretrained(model), images.read(picture)

    def pixels() -> bool:
        translator(values)
        return True

    def files() -> bool:
        images.encode(".png", translator(images.read(picture)))
        return True

    return pixels, files


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
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2, help="of each turn")
    parser.add_argument("flags", nargs="*", help="flags of `pix2pix serve`, after --")
    words = parser.parse_args()
    with service([words.model, *words.flags]) as place:
        pixels, files = bare(words.model, words.picture)
        tasks = {BARE[0]: (pixels, 1), BARE[1]: (files, 1)}
        send = client(place, words.picture.read_bytes())
        tasks |= {f"service, {n} client{'' if n == 1 else 's'}": (send, n) for n in words.clients}
        for name, (task, clients) in tasks.items():
            repeat(name, task, clients, 1)
        rounds = [
            {name: repeat(name, task, clients, words.seconds) for name, (task, clients) in tasks.items()}
            for _ in range(words.rounds)
        ]
    print(f"{'':34} {'answers':>6} {'refused':>8} {'pictures/s':>10} {'median ms':>10} {'95 % ms':>10}")
    for name in tasks:
        turns = [one[name] for one in rounds]
        print(Load.together(turns).line())
    first, last = list(tasks)[len(BARE)], list(tasks)[-1]
    for name in BARE:
        shares = [one[last].rate / one[name].rate for one in rounds]
        added = [1000 * (one[first].median - one[name].median) for one in rounds]
        print(f"against the {name} (medians of the rounds):")
        print(f"  {last}: {statistics.median(shares):.0%} of its pictures a second")
        print(f"  {first}: {statistics.median(added):+.1f} ms")


if __name__ == "__main__":
    main()
