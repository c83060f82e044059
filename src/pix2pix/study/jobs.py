"""Run the jobs of a study: train and evaluate one variant with one seed each, in this process or in several.

A job writes the file `study.json` when it is finished. Without this file it starts, or resumes from its checkpoint. So
a study may be killed at any moment and resumed by the same command.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict

from pix2pix.config import Config
from pix2pix.errors import ConfigError, DataError, Interrupted, ModelError, RunError
from pix2pix.evaluation.evaluate import evaluate
from pix2pix.study.variants import Variant
from pix2pix.system.files import write_text
from pix2pix.system.locks import lock_folder
from pix2pix.system.progress import OnNamedProgress
from pix2pix.system.streams import say
from pix2pix.training.checkpoint_files import newest_epoch
from pix2pix.training.train import train_with

DONE = "study.json"  # in the run folder of a finished job
POLL_SECONDS = 1.0


class Job(BaseModel):
    """One variant with one seed."""

    model_config = ConfigDict(frozen=True)

    variant: Variant
    seed: int
    config: Config
    place: dict[str, Any]  # where the pairs are, as arguments of `evaluate`
    study: Path
    fingerprint: str  # of the data
    choices: dict[str, Any]  # other arguments of `evaluate`

    @property
    def name(self) -> str:
        return f"{self.variant.name}-seed{self.seed}"

    @property
    def run(self) -> Path:
        return self.study / "runs" / self.name

    @property
    def logs(self) -> Path:
        """Folder of its log; its lock excludes a second process."""
        return self.study / "logs" / self.name

    @property
    def log(self) -> Path:
        """File of what it prints."""
        return self.logs / "log.txt"

    @property
    def key(self) -> str:
        """Hash of everything that determines the result."""
        parts = [self.config.model_dump(mode="json", exclude={"training": {"threads"}}), self.fingerprint, self.choices]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def done(self) -> bool:
        return bool(_read_value(self.run / DONE, "key") == self.key)

    @property
    def epochs_done(self) -> int:
        """Number of complete epochs in its newest checkpoint; 0 if none is intact."""
        return newest_epoch(self.run / "checkpoints")

    def run_here(self) -> None:
        """Train or resume, then evaluate. Raises as `train` and `evaluate` do; OSError if another process runs it."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with lock_folder(self.logs):
            train_with(self.config, self.run)
            evaluate(self.run, **self.place, **self.choices, threads=self.config.training.threads)
            write_text(self.run / DONE, json.dumps({"key": self.key}) + "\n")


def _read_value(path: Path, name: str) -> Any:
    """Read one value of a JSON file; None if the file is missing or broken."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return json.loads(path.read_text(encoding="utf-8"))[name]
    return None


def run_jobs(jobs: Sequence[Job], processes: int, progress: OnNamedProgress | None) -> None:
    """Run all unfinished jobs, `processes` at a time. Raises RunError at the end, naming the first failure."""
    open_jobs = [job for job in jobs if not job.done]
    if processes > 1:
        _run_in_processes(jobs, open_jobs, processes, progress)
        return
    for number, job in enumerate(open_jobs, start=1):
        say(f"[{number}/{len(open_jobs)}] {job.name}")
        job.run_here()


def _run_in_processes(
    jobs: Sequence[Job], waiting: list[Job], processes: int, progress: OnNamedProgress | None
) -> None:
    running: list[tuple[Job, subprocess.Popen[str]]] = []
    failed: list[Job] = []
    total = sum(job.config.training.epochs for job in jobs)
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                running.append((waiting[0], _start(waiting.pop(0))))
            time.sleep(POLL_SECONDS)
            for job, process in [one for one in running if one[1].poll() is not None]:
                _stop(process)
                running.remove((job, process))
                say(f"{'done' if job.done else 'FAILED'}: {job.name}")
                failed += [] if job.done else [job]
            if progress is not None:
                epochs = sum(job.config.training.epochs if job.done else job.epochs_done for job in jobs)
                progress(epochs, total, f"{len(running)} trainings")
    finally:
        _stop(*(process for _, process in running))
    if failed:
        raise RunError(_describe_failure(failed))


def _describe_failure(failed: Sequence[Job]) -> str:
    log = failed[0].log
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it printed nothing"]
    more = f" ({len(failed) - 1} more failed)" if len(failed) > 1 else ""
    return f"{failed[0].name} failed{more}: {lines[-1]} (the whole output is in {log})"


# ---- a process of its own --------------------------------------------------------------------------------------


def _start(job: Job) -> "subprocess.Popen[str]":
    """Start a process that runs the job, with one thread unless the settings say another number.

    It saves and exits when its standard input is closed, which also happens if this process dies.
    """
    job.logs.mkdir(parents=True, exist_ok=True)
    path, threads = job.log, 1 if job.config.training.threads == "auto" else job.config.training.threads
    say(f"started {job.name}; it writes to {path}")
    with path.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pix2pix.study.jobs"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            env=os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
            start_new_session=True,  # Ctrl-C reaches only this process, which then closes their input
        )
    _input_of(process).write(job.model_dump_json() + "\n")
    _input_of(process).flush()
    return process


def _input_of(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdin is not None
    return process.stdin


def _stop(*processes: "subprocess.Popen[str]") -> None:
    """Let the processes save and exit, and wait for them."""
    for process in processes:
        with suppress(BrokenPipeError):
            _input_of(process).close()
    for process in processes:
        process.wait()


def main() -> None:
    """Run the job on the first line of standard input; exit with the codes of the command line."""
    job = Job.model_validate_json(sys.stdin.readline())
    threading.Thread(target=_terminate_at_end_of_input, daemon=True).start()
    try:
        job.run_here()
    except (ConfigError, DataError, ModelError, RunError, OSError) as error:
        say(str(error))
        sys.exit(1)
    except Interrupted as interrupt:
        say(str(interrupt))
        sys.exit(128 + interrupt.signal)


def _terminate_at_end_of_input() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
