"""Memory, open files and threads of a training stay flat: measured from outside, in /proc, at the ends of epochs."""

import statistics
import threading
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix.training import trainer
from tests.reliability import NotRun, runs

TITLE = "memory, open files and threads stay flat"
STEPS_OF_EPOCH = 48
MOST_MEGABYTES = 8.0  # of growth, over all measured steps
MOST_FILES, MOST_THREADS = 2, 1  # more at the end: a save in the background holds them for a moment
WARM_UP = 5  # epochs: the allocator, the first saves and validations
WORDS = ("--batch-size", "2", "--ema", "0.9", "--validate-every", "2", "--workers", "1")


class Use(NamedTuple):
    """What a process and its descendants hold."""

    megabytes: float
    files: int
    threads: int


def use_of(number: int) -> Use:
    """Read the use of a process and its descendants."""
    megabytes, files, threads = 0.0, 0, 0
    for process in (number, *runs.children(number)):
        folder = Path(f"/proc/{process}")
        facts = dict(line.split(":", 1) for line in (folder / "status").read_text(encoding="utf-8").splitlines())
        megabytes += int(facts["VmRSS"].split()[0]) / 1024
        threads += int(facts["Threads"])
        files += sum(1 for _ in (folder / "fd").iterdir())
    return Use(megabytes, files, threads)


def growth(process: Any, number: int, epochs: int) -> str:
    """Measure at the end of each epoch and return the figures. Raises AssertionError if anything grows."""
    uses = []
    for epoch in range(1, WARM_UP + epochs + 1):
        process(epoch)
        if epoch > WARM_UP:
            uses.append(use_of(number))
    end = max(1, len(uses) // 4)
    first, last = uses[:end], uses[-end:]
    memory = statistics.median(use.megabytes for use in last) - statistics.median(use.megabytes for use in first)
    files = min(use.files for use in last) - min(use.files for use in first)
    threads = min(use.threads for use in last) - min(use.threads for use in first)
    figures = (
        f"{memory:+.1f} MB of {first[0].megabytes:.0f}, {files:+} open files of {first[0].files}, "
        f"{threads:+} threads of {first[0].threads} in {epochs * STEPS_OF_EPOCH} updates"
    )
    assert memory <= MOST_MEGABYTES, figures
    assert files <= MOST_FILES, figures
    assert threads <= MOST_THREADS, figures
    return figures


def data(work: Path) -> Path:
    if not Path("/proc/self/fd").exists():
        raise NotRun("this measures in /proc")
    return runs.make_data(work / "data", train=2 * STEPS_OF_EPOCH, val=4, test=1, size=32)


def check(work: Path, full: bool) -> str:
    command = runs.train_command(data(work), work / "run", *WORDS, "--epochs", "1000000")
    with runs.started(command) as process:
        return growth(lambda epoch: runs.wait_for_line(process, f"epoch {epoch}:"), process.pid, 42 if full else 10)


def control(work: Path) -> str:
    """Keep some memory of every step, and every tenth step an open file and a thread."""

    def leak() -> None:
        step, kept = trainer.train_step, list[Any]()

        def leaking(*words: Any, **options: Any) -> Any:
            kept.append(bytearray(b"x" * 50_000))
            if len(kept) % 10 == 0:
                kept.append(Path("/dev/null").open())  # noqa: SIM115
                threading.Thread(target=threading.Event().wait, daemon=True).start()
            return step(*words, **options)

        trainer.train_step = leaking

    runs.warm_up()
    messages = work / "messages"
    messages.touch()
    words = runs.train_words(data(work), work / "run", *WORDS, "--epochs", "1000000")
    process = runs.fork(words, messages, leak)
    assert process.pid is not None

    def wait(epoch: int) -> None:
        runs.wait_until(lambda: f"\nepoch {epoch}:" in messages.read_text(encoding="utf-8"), what=f"epoch {epoch}")

    try:
        return growth(wait, process.pid, 10)
    finally:
        process.kill()
        process.join()
