"""Tools of the checks: small data, small trainings as real processes, comparison of what they leave bit for bit."""

import csv
import multiprocessing
import multiprocessing.process
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pix2pix.synthetic.facades import make_facades
from tests.reliability import NotRun

TIMING = ("seconds", "images_per_second", "loading_share")
"""Columns of metrics.csv that depend on the speed of the machine."""
TINY_WORDS = (
    "--direction", "BtoA", "--image-size", "32", "--base-channels", "4", "--discriminator.patch-size", "16",
    "--precision", "32", "--device", "cpu", "--samples", "0",
)  # fmt: skip
"""Flags of a training whose steps take a few milliseconds."""


class Unexpected(RuntimeError):  # noqa: N818
    """A training did not do what a check needs. No AssertionError, which would let a control pass by accident."""


def make_data(folder: Path, *, train: int = 10, val: int = 3, test: int = 3, size: int = 40, seed: int = 0) -> Path:
    """Write small side-by-side facades and return their folder."""
    make_facades(folder, train=train, val=val, test=test, size=size, seed=seed)
    return folder


# ---- real processes --------------------------------------------------------------------------------------------


def command(*words: str | Path) -> list[str]:
    """Return the command line of `pix2pix WORDS` with this interpreter."""
    return [sys.executable, "-m", "pix2pix", *map(str, words)]


def train_command(data: Path, run: Path, *words: str | Path) -> list[str]:
    """Return the command line of a small training."""
    return command("train", data, "--run", run, *TINY_WORDS, *words)


def call(words: list[str], *, timeout: float = 120, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever its exit code; stdout and stderr are kept as text."""
    return subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=timeout, **options)


@contextmanager
def started(words: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a command with its messages in a pipe; kill it at the end of the block if it still runs."""
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | options
    with subprocess.Popen(words, text=True, errors="replace", **options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_for_line(process: subprocess.Popen[str], start: str) -> str:
    """Read messages up to the first line that begins with `start`. Raises Unexpected if the process ends first."""
    if process.stderr is None:
        raise ValueError("its messages are not in a pipe")
    seen = []
    for line in process.stderr:
        if line.startswith(start):
            return line
        seen.append(line)
    raise Unexpected(f"the process ended before it wrote {start!r}: {''.join(seen)[-500:]}")


def wait_until(condition: Callable[[], Any], *, timeout: float = 60, what: str = "") -> Any:
    """Wait for a true value and return it. Raises Unexpected after `timeout` seconds."""
    until = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > until:
            raise Unexpected(f"waited {timeout:.0f} s in vain for {what or condition}")
        time.sleep(0.01)
    return value


def children(number: int) -> list[int]:
    """Return the process numbers of all descendants of a process (Linux)."""
    found: list[int] = []
    for path in Path(f"/proc/{number}/task").glob("*/children"):
        try:
            direct = [int(word) for word in path.read_text(encoding="utf-8").split()]
        except OSError:
            continue
        found += direct + [deeper for child in direct for deeper in children(child)]
    return found


def is_alive(number: int) -> bool:
    """Return whether a process runs; one that has ended but was not waited for does not (Linux)."""
    try:
        return Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def need_root() -> None:
    """Raise NotRun for a user who may not mount file systems."""
    if os.name == "nt" or os.geteuid():
        raise NotRun("mounting a file system needs root")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of a few megabytes in memory (such as "4m"), and unmount it. Raises NotRun if not allowed."""
    need_root()
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        raise NotRun(f"tmpfs cannot be mounted here: {done.stderr.decode(errors='replace').strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# ---- what a training leaves ------------------------------------------------------------------------------------


def saved_state(run: Path) -> dict[str, Any]:
    """Read the newest checkpoint of a run as the package does, without the seconds, as one dictionary.

    It holds both networks, both Adams, the moving average and the progress, on which all randomness depends.
    """
    from pix2pix.training.checkpoint import find_checkpoint

    loaded = find_checkpoint(run / "checkpoints")
    if loaded is None:
        raise Unexpected(f"{run} has no checkpoint")
    progress = {name: value for name, value in vars(loaded.progress).items() if name != "seconds"}
    return loaded.tensors | {"progress": progress}


def metrics(run: Path) -> list[dict[str, str]]:
    """Read metrics.csv without the columns of timing."""
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMING} for row in csv.DictReader(file)]


def model_tensors(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Read the kept model: file name -> tensors."""
    from safetensors.torch import load_file

    return {path.name: load_file(path) for path in sorted((run / "model").glob("*.safetensors"))}


def differences(first: Any, second: Any, name: str = "") -> list[str]:
    """Return the names of the leaves that differ in any bit; types and shapes count too."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        alike = first.dtype == second.dtype and first.shape == second.shape
        return [] if alike and _bits(first) == _bits(second) else [name]
    if isinstance(first, dict) and isinstance(second, dict):
        keys = [*first, *(key for key in second if key not in first)]
        missing = [f"{name}.{key}" for key in keys if (key in first) != (key in second)]
        both = (key for key in keys if key in first and key in second)
        return missing + [found for key in both for found in differences(first[key], second[key], f"{name}.{key}")]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return [f"{name} (length {len(first)}, {len(second)})"]
        pairs = enumerate(zip(first, second, strict=True))
        return [found for index, (one, other) in pairs for found in differences(one, other, f"{name}.{index}")]
    return [] if first == second or (first != first and second != second) else [f"{name} ({first}, {second})"]


def _bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def run_differences(first: Path, second: Path) -> list[str]:
    """Return what differs between two runs: training state, kept model, and metrics without timing."""
    return [
        *differences(saved_state(first), saved_state(second), "state"),
        *differences(model_tensors(first), model_tensors(second), "model"),
        *differences(metrics(first), metrics(second), "metrics"),
    ]


# ---- forked processes ------------------------------------------------------------------------------------------


def warm_up() -> None:
    """Import what a training imports, once, so that forked processes begin at once. Take no step: threads would stay.

    A new process needs about three seconds to import torch. A forked one is as real for signals, files and memory.
    """
    import matplotlib.pyplot  # noqa: F401

    import pix2pix.cli.app
    import pix2pix.cli.commands.train
    import pix2pix.reports.curves
    import pix2pix.training.train  # noqa: F401

    torch.set_num_threads(1)


def fork(
    words: Sequence[str | Path], messages: Path, prepare: Callable[[], object] | None = None
) -> multiprocessing.process.BaseProcess:
    """Start `pix2pix WORDS` in a fork of this process, which was warmed up; call `prepare` in it first.

    Its messages are appended to a file. The caller joins or kills it.
    """
    process = multiprocessing.get_context("fork").Process(target=_forked, args=(list(words), messages, prepare))
    process.start()
    return process


def _forked(words: list[str | Path], messages: Path, prepare: Callable[[], object] | None) -> None:
    from pix2pix.cli.app import run

    descriptor = os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1, closefd=False, encoding="utf-8") for stream in (1, 2))
    if prepare is not None:
        prepare()
    run([str(word) for word in words])


def train_words(data: Path, run: Path, *words: str | Path) -> list[str | Path]:
    """Return the words of a small training, for `fork`."""
    return ["train", data, "--run", run, *TINY_WORDS, *words]


def end_of(process: multiprocessing.process.BaseProcess, timeout: float = 120) -> int:
    """Wait for the end of a forked process and return its exit code; kill it after the time limit."""
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise Unexpected(f"a training did not end within {timeout:.0f} s")
    return process.exitcode


def train_to_end(words: Sequence[str | Path], messages: Path, prepare: Callable[[], object] | None = None) -> None:
    """Run a forked training to its end. Raises Unexpected with its messages if it fails."""
    if code := end_of(fork(words, messages, prepare)):
        raise Unexpected(f"exit {code}: {messages.read_text(encoding='utf-8')[-1500:]}")
