"""Settings, variants and seeds in; one training and its evaluation for each, here or in processes of their own, out.

A job that is done says so in a file of its own that is written last; any other is begun, or goes on from its
checkpoint. So a study may be killed at any moment, and the same command goes on.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pix2pix.config import Config
from pix2pix.config.io import make_config
from pix2pix.errors import RunError
from pix2pix.evaluation.evaluate import evaluate
from pix2pix.study.variants import Variant
from pix2pix.system.files import lock_folder, write_text
from pix2pix.training.checkpoint import DESCRIPTION
from pix2pix.training.train import train_with

DONE = "study.json"  # in a run's folder, once it is trained and measured
POLL = 1.0  # seconds
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Job:
    """One variant with one seed."""

    variant: Variant
    seed: int
    config: Config
    place: dict[str, Any]  # of the pairs, as `evaluate` takes them
    study: Path
    fingerprint: str  # of the data
    choices: dict[str, Any]  # of the evaluation

    @property
    def name(self) -> str:
        return f"{self.variant.name}-seed{self.seed}"

    @property
    def run(self) -> Path:
        return self.study / "runs" / self.name

    @property
    def logs(self) -> Path:
        """Where it writes what it says, and what it holds against a second process."""
        return self.study / "logs" / self.name

    @property
    def key(self) -> str:
        """A hash of everything that the job's result depends on."""
        parts = [self.config.model_dump(mode="json"), self.fingerprint, self.choices]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def done(self) -> bool:
        with suppress(OSError, ValueError, KeyError, TypeError):
            return bool(json.loads((self.run / DONE).read_text(encoding="utf-8"))["key"] == self.key)
        return False

    @property
    def epochs_done(self) -> int:
        """Whole epochs in its newest checkpoint."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            return int(json.loads((self.run / "checkpoints" / DESCRIPTION).read_text(encoding="utf-8"))["epoch"])
        return 0

    def carry_out(self) -> None:
        """Train, or go on, and measure. Raises as `train` and `evaluate` do; OSError if another process is at it."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with lock_folder(self.logs):
            train_with(self.config, self.run)
            evaluate(self.run, **self.place, **self.choices)
            write_text(self.run / DONE, json.dumps({"key": self.key}) + "\n")

    def to_json(self) -> str:
        """One line from which `from_json` makes the same job in another process."""
        plain = {
            "variant": [*self.variant[:-1], None],
            "seed": self.seed,
            "config": self.config.model_dump(mode="json"),
            "place": self.place,
            "study": str(self.study),
            "fingerprint": self.fingerprint,
            "choices": self.choices,
        }
        return json.dumps(plain)

    @classmethod
    def from_json(cls, line: str) -> "Job":
        plain = json.loads(line)
        return cls(
            Variant(*plain["variant"]),
            plain["seed"],
            make_config(plain["config"]),
            plain["place"],
            Path(plain["study"]),
            plain["fingerprint"],
            plain["choices"],
        )


def carry_out(jobs: Sequence[Job], processes: int, progress: Progress | None) -> None:
    """Do what is not done yet, `processes` at a time. Raises RunError naming the first that failed, at the end."""
    open_jobs = [job for job in jobs if not job.done]
    if processes == 1:
        for number, job in enumerate(open_jobs, start=1):
            print(f"[{number}/{len(open_jobs)}] {job.name}", file=sys.stderr)
            job.carry_out()
        return
    _in_processes(jobs, open_jobs, processes, progress)


def _in_processes(jobs: Sequence[Job], waiting: list[Job], processes: int, progress: Progress | None) -> None:
    running: dict[str, tuple[Job, subprocess.Popen[str]]] = {}
    failed: list[Job] = []
    total = sum(job.config.training.epochs for job in jobs)
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop(0)
                print(f"started {job.name}; it writes to {job.logs / 'log.txt'}", file=sys.stderr)
                running[job.name] = job, _start(job)
            time.sleep(POLL)
            for job, process in list(running.values()):
                if process.poll() is None:
                    continue
                _stop([process])
                del running[job.name]
                print(f"{'done' if job.done else 'FAILED'}: {job.name}", file=sys.stderr)
                if not job.done:
                    failed.append(job)
            if progress is not None:
                epochs = sum(job.config.training.epochs if job.done else job.epochs_done for job in jobs)
                progress(epochs, total, f"{len(running)} trainings")
    finally:
        _stop([process for _, process in running.values()])
    if failed:
        log = failed[0].logs / "log.txt"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
        more = f" ({len(failed) - 1} more failed)" if len(failed) > 1 else ""
        raise RunError(f"{failed[0].name} failed{more}: {lines[-1]} (all of it in {log})")


def _start(job: Job) -> "subprocess.Popen[str]":
    """A process with one thread that does the job; it saves and ends when its standard input is closed, which also
    happens when this process dies."""
    job.logs.mkdir(parents=True, exist_ok=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with (job.logs / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pix2pix.study.jobs"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            env=os.environ | threads,
            start_new_session=True,  # Ctrl-C reaches this process only, which then tells its own
        )
    assert process.stdin is not None
    process.stdin.write(job.to_json() + "\n")
    process.stdin.flush()
    return process


def _stop(running: Sequence["subprocess.Popen[str]"]) -> None:
    for process in running:
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
    for process in running:
        process.wait()


def _lifeline() -> Iterator[str]:
    """The first line of standard input; once the rest of it ends, this process is asked to."""
    yield sys.stdin.readline()

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    yield ""


def main() -> None:
    """One job from standard input, in this process; exits as the command line does."""
    from pix2pix.errors import ConfigError, DataError, Interrupted, ModelError

    lifeline = _lifeline()
    job = Job.from_json(next(lifeline))
    next(lifeline)
    torch.set_num_threads(1)
    try:
        job.carry_out()
    except (ConfigError, DataError, ModelError, RunError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except Interrupted as interrupt:
        print(interrupt, file=sys.stderr)
        sys.exit(128 + interrupt.signal)


if __name__ == "__main__":
    main()
