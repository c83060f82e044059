"""SIGKILL at random moments, and before, within and after the disk calls of saves.

The kills hit forks of a process that has imported torch, and in the full version also processes started as users do.
In the forks every step saves a checkpoint, so that a save is under way most of the time.
"""

import io
import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pix2pix.system import files
from pix2pix.training import checkpoint
from pix2pix.training.checkpoint import Checkpoints, find_checkpoint
from tests.reliability import runs

TITLE = "SIGKILL at random moments and at the disk calls of saves"
SECONDS = 900
WORDS = ("--epochs", "3", "--batch-size", "3", "--ema", "0.9", "--seed", "5", "--workers", "0")
MOMENTS = ("before", "within", "after")


@dataclass
class Watch:
    """Shared with one training: how many disk calls and steps it has done, and at which call it kills itself."""

    kill_at: int = -1
    moment: str = "before"  # within: half of the bytes are written
    calls: Any = field(default_factory=lambda: multiprocessing.Value("l", 0))
    step: Any = field(default_factory=lambda: multiprocessing.Value("l", 0))

    def install(self) -> None:
        """Save at every step of this process; count its disk calls from the first save, and interrupt one."""
        checkpoint.SAVE_SECONDS = 0.0
        save = Checkpoints.save

        def noting_save(checkpoints: Checkpoints, state: Any, progress: Any, *more: Any) -> Any:
            self.step.value = progress.step
            return save(checkpoints, state, progress, *more)

        Checkpoints.save = noting_save  # type: ignore[method-assign]
        for name in ("replace", "rename", "link", "unlink", "fsync"):
            setattr(os, name, self._interrupting(getattr(os, name)))
        for kind in vars(files).values():
            if isinstance(kind, type) and issubclass(kind, io.FileIO):  # the files of atomic writes
                kind.write = self._interrupting(kind.write)  # type: ignore[method-assign]

    def _interrupting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            here = self._is_here()
            if here and self.moment != "after":
                if self.moment == "within" and function.__name__ == "write":
                    file, data = words
                    function(file, bytes(data)[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*words, **options)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    def _is_here(self) -> bool:
        if not self.step.value:
            return False
        with self.calls.get_lock():
            self.calls.value += 1
            return bool(self.calls.value == self.kill_at)


@dataclass
class Counts:
    """What the kills have left."""

    kills: int = 0
    unreadable: int = 0
    lost_most: int = 0
    resumed: int = 0
    different: int = 0
    leftovers: int = 0

    def look(self, run: Path, reached: int) -> None:
        """Read the checkpoint after a kill that came while the save of step `reached` had begun."""
        self.kills += 1
        try:
            loaded = find_checkpoint(run / "checkpoints")
        except Exception as error:
            print(f"unreadable: {error}")
            self.unreadable += 1
            return
        step = 0 if loaded is None else loaded.progress.step
        self.lost_most = max(self.lost_most, reached - step)

    def verify(self) -> str:
        """Return the figures. Raises AssertionError with them if anything is lost."""
        figures = (
            f"{self.kills} kills: {self.unreadable} unreadable, at most {self.lost_most} saved step lost; "
            f"{self.different} of {self.resumed} resumed runs differ; {self.leftovers} unfinished files stay"
        )
        lost = self.unreadable + self.different + self.leftovers
        assert lost == 0, figures
        assert self.lost_most <= 1, figures
        return figures


@dataclass
class Trial:
    """A training that can be killed: the folder of everything, the data, and the run that was never killed."""

    work: Path
    prepare: Callable[[], object] = lambda: None
    """Called in every training first."""

    def __post_init__(self) -> None:
        self.counts, self.number = Counts(), 0
        self.data, self.calm = runs.make_data(self.work / "data"), self.work / "calm"
        watch, began = Watch(), time.monotonic()
        self._train(self.calm, watch, to_end=True)
        self.calm_seconds, self.calls = time.monotonic() - began, watch.calls.value

    def kill_at_call(self, number: int, moment: str, *, resume: bool) -> None:
        """Let a training kill itself at a disk call."""
        run, watch = self._next(), Watch(number, moment)
        self._train(run, watch)
        self._judge(run, watch.step.value, resume=resume)

    def kill_after(self, seconds: float, *, resume: bool) -> None:
        """Kill a training some time after its beginning."""
        run, watch = self._next(), Watch()
        process = runs.fork(runs.train_words(self.data, run, *WORDS), self.work / "messages", self._first(watch))
        process.join(seconds)
        process.kill()
        process.join()
        self._judge(run, watch.step.value, resume=resume)

    def kill_command(self, seconds: float) -> None:
        """Kill a training that was started as a command, some time after its first epoch; then resume it."""
        run = self._next()
        command = runs.train_command(self.data, run, *WORDS)
        command[command.index("--epochs") + 1] = "1000000"
        with runs.started(command) as process:
            runs.wait_for_line(process, "epoch 1:")
            time.sleep(seconds)
            process.kill()
        self.counts.look(run, 0)  # its steps are not known here
        progress = runs.saved_state(run)["progress"]
        command[command.index("1000000")] = str(progress["epoch"] + 1)
        done = subprocess.run(command, capture_output=True, text=True)
        began_anew = progress["step"] == 0  # the kill came before the end of the first save after an update
        if done.returncode or ("resuming from epoch" in done.stderr) == began_anew:
            raise runs.Unexpected(done.stderr)

    def _next(self) -> Path:
        self.number += 1
        return self.work / f"run_{self.number}"

    def _first(self, watch: Watch) -> Callable[[], object]:
        return lambda: (self.prepare(), watch.install())

    def _train(self, run: Path, watch: Watch, *, to_end: bool = False) -> None:
        words = runs.train_words(self.data, run, *WORDS)
        code = runs.end_of(runs.fork(words, self.work / "messages", self._first(watch)))
        if code not in ({0} if to_end else {0, -signal.SIGKILL}):
            raise runs.Unexpected(f"exit {code}: {(self.work / 'messages').read_text(encoding='utf-8')[-1500:]}")

    def _judge(self, run: Path, reached: int, *, resume: bool) -> None:
        unreadable = self.counts.unreadable
        self.counts.look(run, reached)
        if resume and self.counts.unreadable == unreadable:
            self._train(run, Watch(), to_end=True)
            self.counts.resumed += 1
            different = runs.run_differences(run, self.calm)
            print(*different[:5], sep="\n")
            self.counts.different += bool(different)
            leftovers = [path.name for path in run.rglob(".*") if "partial" in path.name]
            print(*leftovers, sep="\n")
            self.counts.leftovers += len(leftovers)


def check(work: Path, full: bool) -> str:
    runs.warm_up()
    rng, trial = random.Random(0), Trial(work)
    at_calls = [(call, moment) for call in range(1, trial.calls + 1) for moment in MOMENTS]
    chosen = rng.sample(at_calls, min(len(at_calls), 60 if full else 4))
    for index, (call, moment) in enumerate(chosen):
        trial.kill_at_call(call, moment, resume=index % 4 == 0)
    for index in range(30 if full else 2):
        trial.kill_after(rng.uniform(0, trial.calm_seconds), resume=index % 4 == 0)
    for _ in range(4 if full else 0):
        trial.kill_command(rng.uniform(0, 3))
    return f"{trial.calls} disk calls of saves; {trial.counts.verify()}"


def control(work: Path) -> str:
    """Save by plain torch.save over one path."""

    def save_plainly(folder: Path, tensors: Any, progress: Any, *_: Any, **__: Any) -> Callable[[], None]:
        folder.mkdir(parents=True, exist_ok=True)
        with files._ErrorKeepingFile(folder / "state.pt", "wb") as file:
            torch.save(dict(tensors, progress=vars(progress)), file)
        return lambda: None

    def prepare() -> None:
        checkpoint.save_checkpoint = save_plainly

    runs.warm_up()
    rng, trial = random.Random(0), Trial(work, prepare)
    for _ in range(4):
        trial.kill_at_call(rng.randint(1, trial.calls), "within", resume=False)
    return trial.counts.verify()
