"""Checkpoints on a full and on a slow disk.

The full disk is a file system of a few megabytes in memory, mounted for this check (root). It becomes full right before
the first, second or third save, in the middle of one, or while only metrics are written. The slow disk is the usual
one, with up to a second in every fsync, as on a network file system.
"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pix2pix.training import checkpoint, trainer
from pix2pix.training.checkpoint import Checkpoints, find_checkpoint
from pix2pix.training.metrics_log import MetricsLog
from tests.reliability import runs

TITLE = "checkpoints on a full and on a slow disk"
SECONDS = 600
WORDS = ("--epochs", "4", "--batch-size", "3", "--ema", "0.9", "--seed", "3", "--validate-every", "1")
FULL = {
    "first save": ("save", 1, 0.0),
    "second save": ("save", 2, 0.0),
    "third save": ("save", 3, 0.0),
    "middle of the second save": ("write", 2, 0.5),
    "end of the third save": ("write", 3, 0.98),
    "metrics of the first epoch": ("metrics", 1, 0.0),
    "metrics of the third epoch": ("metrics", 5, 0.0),
}
"""When the disk becomes full -> (before what, the how-many-th time, space left as a share of a checkpoint)."""
SMOKE = ("middle of the second save", "metrics of the first epoch")
Prepare = Callable[[], object]


def save_each_epoch() -> None:
    """Let the end of every epoch save a checkpoint."""
    checkpoint.seconds_between_saves = lambda *_: 0.0


def fill(ballast: Path, left: int) -> None:
    """Fill a disk but for `left` bytes."""
    ballast.unlink(missing_ok=True)
    disk = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, disk.f_bavail * disk.f_frsize - left))


def becoming_full(ballast: Path, what: str, number: int, left: int, saved: Any) -> Prepare:
    """Return what makes the disk full right before the n-th save or line of metrics, or when a save begins to write.

    The shared number `saved` becomes the step of the newest save that must then be complete.
    """
    counts = {"save": 0, "write": 0, "metrics": 0}

    def counting(kind: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **options: Any) -> Any:
            counts[kind] += 1
            due = (kind, counts[kind]) == (what, number)
            if due and kind != "write":
                fill(ballast, left)
            result = method(*words, **options)
            if due and kind == "write":
                fill(ballast, left)  # the free space has just been found to be enough
            if kind == "save":
                saved.value = words[2].step  # not reached by the save that fails
            return result

        return counted

    def prepare() -> None:
        save_each_epoch()
        Checkpoints.save = counting("save", Checkpoints.save)  # type: ignore[method-assign]
        checkpoint.check_free_space = counting("write", checkpoint.check_free_space)
        MetricsLog.write = counting("metrics", MetricsLog.write)  # type: ignore[method-assign]

    return prepare


def train_on_full_disk(work: Path, data: Path, calm: Path, when: str, first: Prepare) -> str:
    """Let the disk become full, make space, resume; return what went wrong, or nothing."""
    what, number, share = FULL[when]
    left = int(share * (calm / "checkpoints" / "state.pt").stat().st_size)
    with runs.small_disk(work / "disk", "8m") as disk:
        run, ballast, messages = disk / "run", disk / "ballast", work / f"{when}.txt"
        words = runs.train_words(data, run, *WORDS)
        saved = multiprocessing.Value("l", 0)
        becoming = becoming_full(ballast, what, number, left, saved)
        code = runs.end_of(runs.fork(words, messages, lambda: (becoming(), first())))
        said = messages.read_text(encoding="utf-8")
        last = said.strip().splitlines()[-1]
        print(f"{when}: exit {code}: {last}")
        if code != 1 or "Traceback" in said or not last.startswith(f"pix2pix: {run}") or "No space" not in last:
            return f"exit {code}: {last[:200]}"
        try:
            loaded = find_checkpoint(run / "checkpoints")
        except Exception as error:
            return f"the previous checkpoint is lost: {error}"
        done = 0 if loaded is None else loaded.progress.step
        if done < saved.value:
            return f"the checkpoint is of step {done}, but step {saved.value} was saved"
        ballast.unlink()
        runs.train_to_end(words, messages, save_each_epoch)
        found = runs.run_differences(run, calm)
        return f"resumed, but {len(found)} differences, such as {found[0]}" if found else ""


def full_disks(work: Path, data: Path, calm: Path, names: Iterator[str], first: Prepare = lambda: None) -> str:
    """Try full disks; return the figures. Raises AssertionError with them if anything is lost."""
    ends = {when: train_on_full_disk(work, data, calm, when, first) for when in names}
    wrong = {when: end for when, end in ends.items() if end}
    figures = f"{len(ends) - len(wrong)} of {len(ends)} full disks named, checkpoint kept, resumed to the same bits"
    assert not wrong, f"{figures}; " + "; ".join(f"{when}: {end}" for when, end in wrong.items())
    return figures


# ---- slow ------------------------------------------------------------------------------------------------------


def slow_disk(note: Path, longest: float, *, stop_in_save: bool = False) -> Prepare:
    """Return what makes every fsync slow and notes the steps taken; a signal may come within a save."""

    def prepare() -> None:
        save_each_epoch()
        sync, rng, began, stops = os.fsync, random.Random(0), time.monotonic(), [signal.SIGTERM] * stop_in_save

        def write(line: str) -> None:
            with note.open("a", encoding="utf-8") as file:
                file.write(f"{time.monotonic() - began:.3f} {line}\n")

        def slow(descriptor: int) -> None:
            state = "state" in os.readlink(f"/proc/self/fd/{descriptor}")
            if state:
                write("save begins")
                if stops:
                    os.kill(os.getpid(), stops.pop())
            time.sleep(rng.uniform(longest / 3, longest))
            sync(descriptor)
            if state:
                write("save ends")

        os.fsync = slow
        step = trainer.train_step

        def noted(*words: Any, **options: Any) -> Any:
            write("step")
            return step(*words, **options)

        trainer.train_step = noted

    return prepare


def slow_disks(work: Path, data: Path, calm: Path, longest: float) -> str:
    """Train on a slow disk, and stop a training within a slow save; return the figures."""
    run, note = work / "slow", work / "slow.txt"
    runs.train_to_end(runs.train_words(data, run, *WORDS), work / "messages", slow_disk(note, longest))
    during, saving = 0, False
    for line in note.read_text(encoding="utf-8").splitlines():
        saving = {"save begins": True, "save ends": False}.get(line.partition(" ")[2], saving)
        during += saving and line.endswith("step")
    assert during, "training waits while a slow disk takes a checkpoint"
    assert not runs.run_differences(run, calm), "a slow disk changes the result"

    stopped = work / "stopped"
    words, messages = runs.train_words(data, stopped, *WORDS), work / "stopped.txt"
    began = time.monotonic()
    code = runs.end_of(runs.fork(words, messages, slow_disk(work / "stopped_note.txt", longest, stop_in_save=True)))
    seconds = time.monotonic() - began
    assert code == 143, f"exit {code} after a signal within a slow save: {messages.read_text(encoding='utf-8')[-300:]}"
    saved = runs.saved_state(stopped)["progress"]["step"]
    runs.train_to_end(words, messages)
    assert not runs.run_differences(stopped, calm), "a signal within a slow save changes the result"
    return (
        f"slow disk: {during} updates taken during saves, a signal within a save ended it complete at step {saved} "
        f"in {seconds:.1f} s, with exit 143"
    )


@contextmanager
def prepared(work: Path) -> Iterator[tuple[Path, Path]]:
    """Make the data and the run without faults."""
    runs.warm_up()
    data, calm = runs.make_data(work / "data"), work / "calm"
    runs.train_to_end(runs.train_words(data, calm, *WORDS), work / "messages", save_each_epoch)
    yield data, calm


def check(work: Path, full: bool) -> str:
    runs.need_root()
    with prepared(work) as (data, calm):
        longest = 1.0 if full else 0.2
        figures = full_disks(work, data, calm, iter(FULL if full else SMOKE))
        return f"{figures}; {slow_disks(work, data, calm, longest)}"


def control(work: Path) -> str:
    """Save by plain torch.save over one path, which is empty when another program takes the last bytes of the disk."""
    ballast = work / "disk" / "ballast"

    def save_plainly(folder: Path, tensors: Any, progress: Any, *_: Any, **__: Any) -> Callable[[], None]:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "state.pt").open("wb") as file:
            if ballast.exists():
                fill(ballast, 1000)
            torch.save(dict(tensors, progress=vars(progress)), file)
        return lambda: None

    def plain() -> None:
        checkpoint.save_checkpoint = save_plainly

    runs.need_root()
    with prepared(work) as (data, calm):
        return full_disks(work, data, calm, iter(["middle of the second save"]), plain)
