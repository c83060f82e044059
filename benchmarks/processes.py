"""Processes of their own: how long `pix2pix --help` takes, and how much memory a training needs at its peak."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.conditions import Conditions
from benchmarks.rows import Row, shown
from benchmarks.timing import interleaved
from benchmarks.worker import Contender, Who

HELP_MUST, HELP_AIM = 0.3, 0.1  # seconds
MEMORY_MUST, MEMORY_AIM = 1.5, 1.1  # GB
STEPS = 4  # after which a training has all the memory that it will have


def startup_rows(conditions: Conditions) -> Iterator[Row]:
    """`pix2pix --help` from nothing to its exit, beside a Python that does nothing."""
    script = Path(sys.executable).with_name("pix2pix")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "pix2pix"]
    tasks = {
        "help": lambda: subprocess.run([*command, "--help"], check=True, stdout=subprocess.DEVNULL),
        "python": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    }
    timings = interleaved(tasks, conditions.rounds(21), conditions.tick)
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
    """Peak resident memory of processes that train with batch 1: the whole command, our step alone, the reference."""
    peaks = {}
    everyone: tuple[Who, ...] = ("train", "ours", "reference", "nobody")
    for done, who in enumerate(everyone, start=1):
        peaks[who] = _peak(who, conditions)
        conditions.tick(done, len(everyone))
    reference = shown(peaks["reference"] / 1e9, "GB")
    build = "without" if torch.version.cuda is None else "with"
    for who, work in (("train", "peak memory, the whole train command, batch 1"), ("ours", "peak memory, steps alone")):
        value = peaks[who] / 1e9
        yield Row(
            section="memory",
            work=work,
            ours=shown(value, "GB"),
            reference=reference,
            value=value,
            unit="GB",
            must=conditions.must(MEMORY_MUST),
            aim=conditions.must(MEMORY_AIM),
            at_most=True,
            note=f"of which {shown(peaks['nobody'] / 1e9, 'GB')} are the import of torch, a build {build} CUDA",
        )


def _peak(who: Who, conditions: Conditions) -> float:
    """Bytes that a new process needed at most, libraries included."""
    with Contender(who, conditions.task()) as contender:
        for _ in range(STEPS):
            contender.step()
        return contender.peak()
