"""Two trainings on one run folder: one trains, the other is refused and told who holds it; a stale lock heals."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.reliability.runs import call, make_data, started, train_command, wait_for_line

TITLE = "two trainings on one run folder"
EPOCHS = 20  # enough for both to be there at once
WITHOUT_LOCK = """
import contextlib
from pix2pix.training import run_folder
run_folder.hold_lock = lambda folder: contextlib.nullcontext()
from pix2pix.cli import main
main()
"""


def check(work: Path, full: bool) -> str:
    """Start pairs of trainings at the same moment; kill a holder; leave locks of processes that are gone."""
    data = make_data(work / "data", train=4, val=1, test=1)
    pairs = 20 if full else 1
    for number in range(pairs):
        run = work / f"run-{number}"
        outcomes = run_both(train_command(data, run, "--epochs", str(EPOCHS)))
        codes = sorted(code for code, _ in outcomes)
        assert codes == [0, 1], f"pair {number}: exit codes {codes}: {outcomes}"
        (said,) = (said for code, said in outcomes if code)
        line = said.splitlines()[-1]
        assert f"{run}: is in use by process " in line, line
        assert f" on {socket.gethostname()} since 20" in line, line
        refuse_torn(run, EPOCHS)
    seconds = heal_after_kill(data, work / "killed")
    left = ("dead", "boot", "empty") if full else ()
    for kind in left:
        heal(data, work / kind, kind)
    healed = f"stale locks healed: {len(left)}"
    return f"{pairs} pairs, 1 trains and 1 is told who; start {seconds:.1f} s after SIGKILL; {healed}"


def control(work: Path) -> str:
    """Without the lock both train, and their record is torn."""
    data = make_data(work / "data", train=4, val=1, test=1)
    command = train_command(data, work / "run", "--epochs", "30")
    outcomes = run_both([sys.executable, "-c", WITHOUT_LOCK, *command[3:]])
    assert [code for code, _ in outcomes] == [0, 1], f"exit codes {[code for code, _ in outcomes]}"
    refuse_torn(work / "run", 30)
    return "one was refused"


def run_both(command: list[str]) -> list[tuple[int, str]]:
    """Run a command twice at the same moment; return the exit codes and what was said."""
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for _ in range(2)]
    return [(process.returncode, said) for process in both for _, said in [process.communicate(timeout=100)]]


def refuse_torn(run: Path, epochs: int) -> None:
    """Raise AssertionError unless metrics.csv has each epoch once, in order."""
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        found = [int(row["epoch"]) for row in csv.DictReader(file) if row["split"] == "train"]
    assert found == list(range(1, epochs + 1)), f"{len(found)} rows for {epochs} epochs"


def heal_after_kill(data: Path, run: Path) -> float:
    """Kill a training with loader processes; the same command starts at once. Returns the seconds it took to say so."""
    with started(train_command(data, run, "--epochs", "100000", "--workers", "2")) as first:
        wait_for_line(first, "epoch 2:")
        second = call(train_command(data, run, "--epochs", "100000", "--workers", "2"))
        assert second.returncode == 1, second.stderr
        assert f"is in use by process {first.pid} on" in second.stderr, second.stderr
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert (run / ".pix2pix-lock").exists()
    began = time.monotonic()
    with started(train_command(data, run, "--epochs", "100000")) as third:
        wait_for_line(third, "run ")
        seconds = time.monotonic() - began
        wait_for_line(third, "epoch ")
    return seconds


def heal(data: Path, run: Path, kind: str) -> None:
    """Train in a folder with the lock of a process that is gone."""
    run.mkdir()
    number = os.getpid() if kind == "boot" else 2**22 + 1
    values = {"host": socket.gethostname(), "pid": number, "since": "yesterday", "kernel": "earlier", "started": "1"}
    (run / ".pix2pix-lock").write_text("" if kind == "empty" else json.dumps(values), encoding="utf-8")
    done = call(train_command(data, run, "--epochs", "1"))
    assert done.returncode == 0, f"{kind}: {done.stderr}"
    assert not (run / ".pix2pix-lock").exists()
