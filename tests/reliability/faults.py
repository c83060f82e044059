"""Faults that a long training meets: signals, kills, a full disk, damaged or removed checkpoints, a second training.

A fault of a running training is a function of (Subject, random numbers). It returns what happened, as a short text that
begins with "unexpected" if the training did not end or go on as it should.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.reliability import runs

END_SECONDS = 40.0  # in which a training must end after a signal: it saves and draws its report
BALLAST = ".ballast"


@dataclass
class Subject:
    """A running training: its process, its folder, the file with its messages, and the command to run again."""

    process: subprocess.Popen[bytes]
    run: Path
    messages: Path
    command: list[str]

    def said(self) -> str:
        """Return its messages so far."""
        return self.messages.read_text(encoding="utf-8", errors="replace")

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; return its exit code, or None if it still runs."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self, number: int) -> str:
        """Send a signal and judge how the training ends."""
        self.process.send_signal(number)
        code = self.wait(END_SECONDS)
        if code is None:
            self.process.kill()
            self.process.wait()
            return f"unexpected: still running {END_SECONDS:.0f} s after signal {number}"
        if number == signal.SIGKILL:  # its loader processes may complain
            return f"exit {code}"
        return self.judge(code, {128 + number})

    def judge(self, code: int, expected: set[int]) -> str:
        """Return the exit code in words; a traceback or another code is unexpected."""
        said = self.said()
        last = said.strip().splitlines()[-1][:300] if said.strip() else ""
        if "Traceback" in said:
            ends = [line for line in said.partition("Traceback")[2].splitlines()[1:] if not line.startswith(" ")]
            return f"unexpected: traceback, exit {code}: {' / '.join(ends)[:300]}"
        if code not in expected:
            return f"unexpected: exit {code}: {last}"
        if code == 1 and str(self.run) not in last:
            return f"unexpected: exit 1 without the path: {last}"
        return f"exit {code}"


Fault = Callable[[Subject, random.Random], str]


def send(number: int) -> Fault:
    """Return the fault of one signal."""
    return lambda subject, _: subject.end(number)


def two_signals(subject: Subject, rng: random.Random) -> str:
    """Send a second signal, of any kind, shortly after the first: the training may end at once, without saving."""
    first, second = rng.choices([signal.SIGTERM, signal.SIGINT, signal.SIGHUP], k=2)
    subject.process.send_signal(first)
    time.sleep(rng.uniform(0, 0.2))
    if subject.process.poll() is None:
        subject.process.send_signal(second)
    code = subject.wait(END_SECONDS)
    if code is None:
        return subject.end(signal.SIGKILL).replace("exit", "unexpected: ended only by")
    return subject.judge(code, {128 + first, 128 + second, -first, -second})


def pause(subject: Subject, rng: random.Random) -> str:
    """Stop the process for a moment, then continue it and end it."""
    subject.process.send_signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.1, 1.0))
    subject.process.send_signal(signal.SIGCONT)
    time.sleep(rng.uniform(0.0, 0.5))
    return subject.end(signal.SIGTERM)


def kill_loader(subject: Subject, rng: random.Random) -> str:
    """Kill a loader process: the training goes on, or ends with one sentence."""
    os.kill(rng.choice(runs.children(subject.process.pid)), signal.SIGKILL)
    code = subject.wait(5.0)
    return f"went on; {subject.end(signal.SIGTERM)}" if code is None else subject.judge(code, {1})


def full_disk(subject: Subject, rng: random.Random) -> str:
    """Fill the disk of the run folder but for a few bytes, until the training ends; then make space again."""
    disk, ballast = os.statvfs(subject.run), subject.run.parent / BALLAST
    left = int(rng.choice([0, rng.uniform(0, 4096), rng.uniform(0, 2 * checkpoint_bytes(subject.run))]))
    with ballast.open("wb") as file, suppress(OSError):  # the training may have taken the space in the meantime
        os.posix_fallocate(file.fileno(), 0, max(1, disk.f_bavail * disk.f_frsize - left))
    try:
        return _end_without_space(subject)
    finally:
        ballast.unlink()


def file_limit(subject: Subject, rng: random.Random) -> str:
    """Let no file of the training grow beyond a random size."""
    limit = int(rng.uniform(0, 2 * checkpoint_bytes(subject.run)))
    resource.prlimit(subject.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    return _end_without_space(subject)


def _end_without_space(subject: Subject) -> str:
    code = subject.wait(6.0)
    if code is not None:
        return subject.judge(code, {1})
    subject.process.send_signal(signal.SIGTERM)
    code = subject.wait(END_SECONDS)
    ends = {1, 143, -signal.SIGTERM}  # the last if it was ending already
    return "unexpected: still running" if code is None else subject.judge(code, ends)


def remove_while_running(subject: Subject, rng: random.Random) -> str:
    """Remove checkpoints/ during the training: it makes the folder again, or ends with one sentence."""
    shutil.rmtree(subject.run / "checkpoints", ignore_errors=True)
    code = subject.wait(rng.uniform(0, 5))
    if code is None:
        subject.process.send_signal(signal.SIGTERM)
        code = subject.wait(END_SECONDS)
    return "unexpected: still running" if code is None else subject.judge(code, {1, 143})


def second_training(subject: Subject, rng: random.Random) -> str:
    """Start the same command again beside the first: it must be refused, and the first must go on."""
    messages = subject.messages.with_suffix(".second")
    with messages.open("wb") as file:
        process = subprocess.Popen(subject.command, stdout=subprocess.DEVNULL, stderr=file)
    other = Subject(process, subject.run, messages, subject.command)
    until = time.monotonic() + 40
    while process.poll() is None and time.monotonic() < until and "resuming from" not in other.said():
        time.sleep(0.05)
    if process.poll() is None:
        time.sleep(1)
        process.kill()
        process.wait()
        subject.end(signal.SIGKILL)
        return "unexpected: the second training was not refused"
    refused = other.judge(process.returncode, {1, 2})
    return f"{refused}; refused" if refused.startswith("unexpected") else f"refused; {subject.end(signal.SIGTERM)}"


RUNNING: dict[str, tuple[float, Fault]] = {
    "SIGKILL": (6, send(signal.SIGKILL)),
    "SIGTERM": (3, send(signal.SIGTERM)),
    "SIGINT": (2, send(signal.SIGINT)),
    "SIGHUP": (2, send(signal.SIGHUP)),
    "two signals": (1, two_signals),
    "stopped and continued": (1, pause),
    "loader killed": (2, kill_loader),
    "disk full": (2, full_disk),
    "file size limit": (2, file_limit),
    "checkpoints removed while running": (1, remove_while_running),
    "second training": (1, second_training),
}
"""Name -> (weight, fault)."""


# ---- between two processes -------------------------------------------------------------------------------------


def newest_checkpoint(run: Path) -> Path:
    """Return the newest file of tensors in checkpoints/."""
    files = [path for path in (run / "checkpoints").rglob("*") if path.suffix in (".pt", ".safetensors")]
    return max((path for path in files if not path.name.startswith(".")), key=lambda path: path.stat().st_mtime_ns)


def checkpoint_bytes(run: Path) -> int:
    """Return the size of the newest checkpoint, or a guess before there is one."""
    try:
        return newest_checkpoint(run).stat().st_size
    except (ValueError, OSError):
        return 100_000


def flip_bits(path: Path, rng: random.Random, count: int = 1) -> None:
    """Flip bits of a file in place, and keep its times."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    for _ in range(count):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def truncate(path: Path, rng: random.Random) -> None:
    """Cut a file to a random length."""
    os.truncate(path, rng.randrange(path.stat().st_size))


BETWEEN: dict[str, tuple[float, Callable[[Path, random.Random], None]]] = {
    "bit flipped": (3, lambda run, rng: flip_bits(newest_checkpoint(run), rng)),
    "many bits flipped": (1, lambda run, rng: flip_bits(newest_checkpoint(run), rng, 100)),
    "truncated": (2, lambda run, rng: truncate(newest_checkpoint(run), rng)),
    "description flipped": (1, lambda run, rng: flip_bits(newest_checkpoint(run).with_suffix(".json"), rng)),
    "newest removed": (1, lambda run, rng: newest_checkpoint(run).unlink()),
    "checkpoints removed": (1, lambda run, rng: shutil.rmtree(run / "checkpoints")),
}
"""Name -> (weight, damage to the run folder)."""


def choose(kinds: dict[str, tuple[float, Callable[..., object]]], rng: random.Random) -> str:
    """Choose a kind by its weight."""
    return rng.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
