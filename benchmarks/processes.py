"""Rows of whole processes: seconds of `pix2pix --help`, and the peak memory of a training."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.conditions import Conditions
from benchmarks.rows import Row, shown
from benchmarks.timing import interleaved
from benchmarks.worker import Who, Worker

HELP_MUST, HELP_AIM = 0.3, 0.1  # seconds
MEMORY_TARGETS = (1.5, 1.1)  # GB
STEPS = 4  # after which a training has all the memory that it will have


def startup_rows(conditions: Conditions) -> Iterator[Row]:
    """Time `pix2pix --help` from start to exit, beside a Python that does nothing."""
    script = Path(sys.executable).with_name("pix2pix")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "pix2pix"]
    tasks = {
        "help": lambda: subprocess.run([*command, "--help"], check=True, stdout=subprocess.DEVNULL),
        "python": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    }
    timings = interleaved(tasks, conditions.rounds(21))
    median, bare = timings["help"].median, timings["python"].median
    yield Row(
        section="start-up",
        work="pix2pix --help",
        ours=shown(median, "s"),
        reference="",
        value=median,
        unit="s",
        must=HELP_MUST,
        aim=HELP_AIM,
        at_most=True,
        note=f"best {shown(timings['help'].best, 's')}; Python alone {shown(bare, 's')}",
        raw={"ours": timings["help"].seconds, "python": timings["python"].seconds},
    )


def memory_rows(conditions: Conditions) -> Iterator[Row]:
    """Measure the peak resident memory of training with batch 1: the whole command, our step, the reference."""
    everyone: tuple[Who, ...] = ("train", "ours", "reference", "nobody")
    peaks = {who: _peak(who, conditions) for who in everyone}
    reference = shown(peaks["reference"] / 1e9, "GB")
    must, aim = conditions.targets(MEMORY_TARGETS)
    build = "without" if torch.version.cuda is None else "with"
    works: dict[Who, str] = {"train": "the whole train command, batch 1", "ours": "steps alone"}
    for who, work in works.items():
        value = peaks[who] / 1e9
        yield Row(
            section="memory",
            work=f"peak memory, {work}",
            ours=shown(value, "GB"),
            reference=reference,
            value=value,
            unit="GB",
            must=must,
            aim=aim,
            at_most=True,
            note=f"of which {shown(peaks['nobody'] / 1e9, 'GB')} are the import of torch {torch.__version__}, "
            f"a build {build} CUDA",
        )


def _peak(who: Who, conditions: Conditions) -> float:
    """Bytes that a new process had resident at most, libraries included."""
    with Worker(who, conditions.task()) as contender:
        for _ in range(STEPS):
            contender.step()
        return contender.peak()
