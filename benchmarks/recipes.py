"""Compare recipes at equal minutes on pairs of your own.

    python -m benchmarks.recipes time  DATA --output DIR --rows paper modern   milliseconds a step, on an idle machine
    python -m benchmarks.recipes train DATA --output DIR --rows paper modern   train and evaluate; resumable
    python -m benchmarks.recipes table --output DIR --rows paper modern        print the table

A row is a name and the flags of `pix2pix train` that it changes (`recipe_rows.py`). The budget is the time that STEPS
steps of the row `paper` take; every row gets as many epochs as fit into it, by its own milliseconds a step. Trainings
run `--processes` at a time with one thread each, so that the clock of a busy machine decides nothing.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.ours import OurTraining
from benchmarks.recipe_rows import COLUMNS, REFERENCE, ROWS, TASKS
from benchmarks.timing import interleaved
from pix2pix.config.io import make_config, read_yaml
from pix2pix.data.loading.dataset import Batch
from pix2pix.system.files import write_text
from pix2pix.training.trainer import Trainer

STEPS = 8000  # of the reference row
ROUNDS = 8
EVALUATING = threading.Lock()  # the first evaluation trains the segmenter that all share


class Job(NamedTuple):
    """One training: a row with a seed."""

    output: Path
    row: str
    seed: int
    factor: float

    @property
    def name(self) -> str:
        return f"{self.row}{'' if self.factor == 1 else f'-x{self.factor:g}'}-seed{self.seed}"

    @property
    def run(self) -> Path:
        return self.output / "runs" / self.name


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("time", "train", "table"))
    parser.add_argument("data", nargs="?", help="folder of pairs")
    parser.add_argument("--rows", nargs="+", default=[REFERENCE], choices=ROWS, metavar="ROW")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--task", default="facades", choices=TASKS, help="flags that all rows share")
    parser.add_argument("--base-channels", default="64")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--factor", type=float, default=1, help="budget, in multiples of the usual one")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="model", help="model in the run: model, or models/epoch-0010")
    options = parser.parse_args(arguments)
    options.shared = [*TASKS[options.task], "--base-channels", options.base_channels]
    options.output.mkdir(parents=True, exist_ok=True)
    {"time": time_rows, "train": train_rows, "table": print_table}[options.command](options)


# ---- milliseconds a step ---------------------------------------------------------------------------------------


def time_rows(options: argparse.Namespace) -> None:
    """Time the rows and the reference in turns, on all cores, so that a slower minute slows all of them."""
    tasks: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        rows = list(dict.fromkeys([REFERENCE, *options.rows]))
        trainers = {row: make_row(options, row, Path(folder) / row) for row in rows}
        for row, trainer in trainers.items():
            batch = next(iter(trainer.loader.epoch(0)))
            tasks |= {f"{row} {phase}": functools.partial(_step, trainer, batch, phase) for phase in ("first", "later")}
        taken = interleaved(tasks, ROUNDS, in_a_row=3)
        timings = read_timings(options.output)
        for row, trainer in trainers.items():
            share = trainer.config.training.reconstruction_first
            first, later = (1000 * taken[f"{row} {phase}"].median for phase in ("first", "later"))
            steps = trainer.pairs / trainer.config.training.batch_size
            timings[row] = {"ms": share * first + (1 - share) * later, "steps_an_epoch": steps}
        for timing in timings.values():
            timing["epochs"] = max(1, int(STEPS * timings[REFERENCE]["ms"] / timing["ms"] / timing["steps_an_epoch"]))
        for trainer in trainers.values():
            trainer.loader.close()
    write_text(options.output / "timings.json", json.dumps(timings, indent=2) + "\n")
    for row, timing in timings.items():
        print(f"{row:28} {timing['ms']:6.1f} ms a step, {timing['epochs']} epochs")


def make_row(options: argparse.Namespace, row: str, run: Path) -> Trainer:
    """Make the trainer of a row as `pix2pix train` does."""
    words = ["train", options.data, *options.shared, *ROWS[row], "--print-config"]
    run.parent.mkdir(exist_ok=True)
    settings = run.with_suffix(".yaml")
    settings.write_text(pix2pix(*words), encoding="utf-8")
    trainer = OurTraining(make_config(read_yaml(settings), row), run).trainer
    return trainer


def _step(trainer: Trainer, batch: Batch, phase: str) -> None:
    trainer.progress.epoch = 0 if phase == "first" else trainer.config.training.epochs - 1
    trainer._step(batch, len(batch.index))


def read_timings(output: Path) -> dict[str, Any]:
    """Return row -> timing."""
    path = output / "timings.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


# ---- training and evaluation -----------------------------------------------------------------------------------


def train_rows(options: argparse.Namespace) -> None:
    """Train and evaluate all seeds of the rows; finished ones take no time."""
    jobs = [Job(options.output, row, seed, options.factor) for seed in options.seeds for row in options.rows]
    with ThreadPoolExecutor(options.processes) as pool:
        for job, problem in zip(jobs, pool.map(lambda job: run_job(options, job), jobs), strict=True):
            print(f"{job.name}: {problem or 'done'}", flush=True)


def run_job(options: argparse.Namespace, job: Job) -> str:
    """Train for the row's epochs, or resume, and evaluate; return what went wrong."""
    timing = read_timings(options.output)[job.row]
    epochs = max(1, round(job.factor * timing["epochs"]))
    words = [*options.shared, *ROWS[job.row], "--epochs", epochs, "--seed", job.seed]
    folder = evaluation_folder(options, job)
    try:
        pix2pix("train", options.data, "--run", job.run, *words, threads=1)
        if not (folder / "metrics.json").exists():
            labels = options.task.startswith("facades")  # the sources of others are no label maps
            shared = ["--segmenter", "--segmenter-folder", options.output / "segmenter"] if labels else []
            where = ["--split", options.split, "--output", folder]
            with EVALUATING:
                pix2pix("evaluate", job.run / options.model, options.data, *where, *shared, threads=1)
    except subprocess.CalledProcessError as error:
        return f"failed, exit {error.returncode}: {error.stderr[-400:]}"
    return ""


def evaluation_folder(options: argparse.Namespace, job: Job) -> Path:
    """Return where the evaluation of a job is."""
    which = "" if options.model == "model" else f"-{Path(options.model).name}"
    return options.output / "evaluations" / f"{job.name}-{options.split}{which}"


def pix2pix(*words: Any, threads: int | None = None) -> str:
    """Run the command line in a process of its own; return what it prints. Raises subprocess.CalledProcessError."""
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    command = [sys.executable, "-m", "pix2pix", *map(str, words)]
    return subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout


# ---- the table -------------------------------------------------------------------------------------------------


def print_table(options: argparse.Namespace) -> None:
    """Print the mean of each column over the seeds, and their spread: half of the range."""
    timings = read_timings(options.output)
    print("| row | seeds | ms | epochs |" + "".join(f" {title} |" for title in COLUMNS.values()))
    print("|---" * (4 + len(COLUMNS)) + "|")
    for row in options.rows:
        jobs = [Job(options.output, row, seed, options.factor) for seed in options.seeds]
        found = list(read_evaluations(options, jobs))
        if found:
            timing = timings[row]
            cells = [row, str(len(found)), f"{timing['ms']:.0f}", str(round(options.factor * timing["epochs"]))]
            print(f"| {' | '.join([*cells, *(summarise(found, name) for name in COLUMNS)])} |")
        else:
            print(f"{row}: not evaluated yet", file=sys.stderr)


def read_evaluations(options: argparse.Namespace, jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
    """Yield the numbers of each finished evaluation, all in one dictionary."""
    for job in jobs:
        path = evaluation_folder(options, job) / "metrics.json"
        if path.exists():
            metrics = json.loads(path.read_text(encoding="utf-8"))
            labels = {f"label_{name}": value for name, value in (metrics.get("labels") or {}).items()}
            yield metrics | metrics["diagnostics"] | labels


def summarise(found: Sequence[dict[str, Any]], name: str) -> str:
    """Write the mean of a column, and half of its range over the seeds."""
    values = [one[name] for one in found if isinstance(one.get(name), int | float)]
    if not values:
        return ""
    spread = f" ±{(max(values) - min(values)) / 2:.3g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4g}{spread}"


if __name__ == "__main__":
    main()
