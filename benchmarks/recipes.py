"""Compare recipes at equal minutes on pairs of your own.

    python -m benchmarks.recipes time  DATA --output DIR --rows paper modern   milliseconds a step, on an idle machine
    python -m benchmarks.recipes train DATA --output DIR --rows paper modern   train and evaluate; resumable
    python -m benchmarks.recipes table --output DIR --rows paper modern        print the table

A row is a name and the flags of `pix2pix train` that it changes (`recipe_rows.py`). The budget is the time that STEPS
steps of the row `paper` take; every row gets as many epochs as fit into it, by its own milliseconds a step. Trainings
run `--processes` at a time with one thread each, so that the clock of a busy machine decides nothing.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.recipe_rows import COLUMNS, REFERENCE, ROWS, TASKS
from pix2pix.system.files import write_text

STEPS = 8000  # of the reference row


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
    """Time each row that has no timing yet, on all cores; the reference first."""
    for row in dict.fromkeys([REFERENCE, *options.rows]):
        timings = read_timings(options.output)
        if row not in timings:
            timings[row] = time_row(options, row)
            write_text(options.output / "timings.json", json.dumps(timings, indent=2) + "\n")
        print(f"{row:24} {timings[row]['ms']:6.1f} ms a step, {timings[row]['epochs']} epochs", flush=True)


def time_row(options: argparse.Namespace, row: str) -> dict[str, Any]:
    """Train a few epochs and return the mean time of a step over the whole training, its pairs and its epochs.

    Half of the epochs are the row's first phase, if it has one that is cheaper.
    """
    words, share = [*options.shared, *ROWS[row]], 0.0
    if "--reconstruction-first" in words:
        share = float(words[words.index("--reconstruction-first") + 1])
        words += ["--reconstruction-first", "0.5"]
    with tempfile.TemporaryDirectory(dir=options.output) as folder:
        run = Path(folder) / "run"
        pix2pix("train", options.data, "--run", run, *words, "--epochs", 4, "--validate-every", 4)
        with (run / "metrics.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    pairs, steps = int(rows[-1]["images_seen"]) / 4, int(rows[-1]["step"]) / 4
    of_epoch = [1000 * pairs / float(row["images_per_second"]) / steps for row in rows]
    ms = share * of_epoch[1] + (1 - share) * statistics.median(of_epoch[2:])
    reference = read_timings(options.output).get(REFERENCE, {"ms": ms, "steps_an_epoch": steps})
    epochs = max(1, int(STEPS * reference["ms"] / ms / steps))
    return {"ms": ms, "steps_an_epoch": steps, "epochs": epochs}


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
            shared = ["--segmenter", "--segmenter-folder", options.output / "segmenter"]
            where = ["--split", options.split, "--output", folder]
            pix2pix("evaluate", job.run / options.model, options.data, *where, *shared, threads=1)
    except subprocess.CalledProcessError as error:
        return f"failed, exit {error.returncode}: {error.stderr[-400:]}"
    return ""


def evaluation_folder(options: argparse.Namespace, job: Job) -> Path:
    """Return where the evaluation of a job is."""
    which = "" if options.model == "model" else f"-{Path(options.model).name}"
    return options.output / "evaluations" / f"{job.name}-{options.split}{which}"


def pix2pix(*words: Any, threads: int | None = None) -> None:
    """Run the command line in a process of its own. Raises subprocess.CalledProcessError."""
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    command = [sys.executable, "-m", "pix2pix", *map(str, words)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


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
