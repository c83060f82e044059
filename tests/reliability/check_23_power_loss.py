"""Power loss: what strace saw of a training is replayed on a disk that loses all that was not synchronised.

The power fails after every call that changes the run folder. What may then be on the disk, in several ways for each
call, is loaded as the commands load it: the newest checkpoint that was reported as saved or the one in the making, the
same for the kept model, all rows of metrics.csv up to the checkpoint, and the settings.
"""

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pix2pix.config.io import read_yaml
from pix2pix.errors import ConfigError, ModelError
from pix2pix.model import load_model
from pix2pix.training.checkpoint import find_checkpoint
from pix2pix.training.metrics_log import MetricsLog
from pix2pix.training.run_files import MARKER
from tests.reliability import NotRun, runs
from tests.reliability.disk_model import CALLS, SYNC, Call, Disk, Loss, is_below, read_calls

TITLE = "power loss: every call of a training, on a disk that loses what was not synchronised"
WATCHED = ("checkpoints", "model", ".model.partial", ".model.previous", "metrics.csv", "config.yaml", MARKER)
WAYS: tuple[Loss, ...] = ("all", "names only", "random", "random", "random")
SUBJECT = """
import json, os, sys
from pathlib import Path
from pix2pix.model import Model
from pix2pix.training import checkpoint
from pix2pix.training.run_writer import RunWriter

marks, words = Path(sys.argv[1]), sys.argv[2:]
finish, save = checkpoint.Checkpoints._finish, RunWriter.write_model
checkpoint.seconds_between_saves = lambda *_: 0.0

def finished(self, how):
    finish(self, how)
    step = json.loads((self.folder / "state.json").read_text())["step"]
    os.mkdir(marks / f"checkpoint {step}")

def saved(self, *given, **named):
    save(self, *given, **named)
    os.mkdir(marks / f"model {self.progress.epoch}")

checkpoint.Checkpoints._finish, RunWriter.write_model = finished, saved
from pix2pix.cli.main import main
main(words)
"""
"""A training with a checkpoint after each epoch; it makes a folder, outside the run, when something is saved."""


@dataclass
class Saved:
    """Steps of the checkpoints and epochs of the models whose saving had ended."""

    checkpoints: list[int]
    models: list[int]


def record(work: Path) -> list[Call]:
    """Train under strace; return the calls. Raises NotRun without strace."""
    strace = shutil.which("strace")
    if strace is None:
        raise NotRun("strace is not installed")
    data, log = runs.make_data(work / "data", train=6, val=2, test=2), work / "log"
    for name in ("marks", "place"):
        (work / name).mkdir()
    words = runs.train_words(data, work / "place/run", "--epochs", "3", "--batch-size", "3", "--best-by", "last")
    subject = [sys.executable, "-c", SUBJECT, work / "marks", *words]
    tracer = [strace, "-f", "-xx", "-s", "100000000", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", log]
    done = subprocess.run(list(map(str, [*tracer, *subject])), capture_output=True, text=True, errors="replace")
    if done.returncode:
        reason = done.stderr.strip()[-300:]
        if "ptrace" in reason.lower() or "seccomp" in reason.lower():
            raise NotRun(f"strace cannot trace here: {reason}")
        raise AssertionError(f"the training under strace failed: {reason}")
    return list(read_calls(log))


def replay(work: Path, calls: Sequence[Call], *, every: int, **syncs: bool) -> tuple[int, Counter[str]]:
    """Let the power fail after every `every`-th change; return the number of states and what was wrong with how many.

    `syncs` are those of `Disk`.
    """
    run, marks, rng = work / "place/run", work / "marks", random.Random(23)
    disk, saved, expected = Disk(run.parent, **syncs), Saved([], []), _rows(run)
    known = {*(int(row.split(",")[0]) for row in expected), 0}
    watched = [f"run/{name}" for name in WATCHED]
    examined: dict[tuple[object, ...], str] = {}
    states, wrong, changes = 0, Counter[str](), 0
    for call in calls:
        if call.name == "mkdir" and call.strings[0].startswith(bytes(marks) + b"/"):
            what, number = call.strings[0].decode().rsplit("/", 1)[1].split()
            (saved.checkpoints if what == "checkpoint" else saved.models).append(int(number))
            continue
        changed = disk.run(call)
        if changed is None or not (changed == SYNC or is_below(changed, watched)):
            continue
        changes += 1
        if changes % every:
            continue
        for way in WAYS:
            after = work / "after"
            shutil.rmtree(after, ignore_errors=True)
            disk.survive(after, way, rng)
            states += 1
            key = (_digest(after, watched), *saved.checkpoints[-1:], *saved.models[-1:])
            if key not in examined:  # many states are alike
                examined[key] = examine(after / "run", saved, expected, known)
            if problem := examined[key]:
                wrong[problem] += 1
    seen = {run.parent / name: data for name, data in disk.files()}
    differing = [path for path in run.parent.rglob("*") if path.is_file() and path.read_bytes() != seen.get(path)]
    assert not differing, f"the model of the disk misunderstood a call: {differing[0]} differs from it"
    return states, wrong


def _digest(folder: Path, watched: Sequence[str]) -> str:
    """Return a hash of the names and bytes of the watched files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and (is_below(name, watched) or ".partial" in name):
            digest.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def examine(run: Path, saved: Saved, expected: list[str], known: set[int]) -> str:
    """Load what survived; return what is wrong with it, or nothing."""
    try:
        found = find_checkpoint(run / "checkpoints")
    except Exception as error:
        return f"no checkpoint can be loaded ({type(error).__name__})"
    least = saved.checkpoints[-1] if saved.checkpoints else -1
    step = -1 if found is None else found.progress.step
    if step < least or step not in {-1, *known}:
        return "a saved checkpoint is lost"
    if found is not None and found.warning:
        return "a false warning"
    if step >= 0 and not ((run / MARKER).exists() and _has_settings(run)):
        return "the settings are lost"
    if step > 0:
        MetricsLog(run, step, found.progress.epoch)  # type: ignore[union-attr]
        if _rows(run) != [row for row in expected if int(row.split(",")[0]) <= step]:
            return "rows of metrics.csv are lost"
    return _examine_model(run, saved)


def _examine_model(run: Path, saved: Saved) -> str:
    least = saved.models[-1] if saved.models else 0
    try:
        epoch = load_model(run, discriminator=True).config.epoch
    except ModelError as error:
        return "" if not saved.models and "no model yet" in str(error) else "no model can be loaded" if least else ""
    return "" if epoch in (least, least + 1) else "a saved model is lost"


def _has_settings(run: Path) -> bool:
    try:
        return bool(read_yaml(run / "config.yaml"))
    except ConfigError:
        return False


def _rows(run: Path) -> list[str]:
    path = run / "metrics.csv"
    return path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []


def check(work: Path, full: bool) -> str:
    calls = record(work)
    states, wrong = replay(work, calls, every=1 if full else 12)
    saves = len(list((work / "marks").glob("checkpoint *")))
    figures = f"{states} states of the disk after {saves} checkpoints, {sum(wrong.values())} that cannot be used"
    assert not wrong, f"{figures}: {json.dumps(dict(wrong))}"
    return figures


def control(work: Path) -> str:
    """Let fsync of files, and then of folders, have no effect."""
    calls = record(work)
    figures = []
    for what in ("sync_files", "sync_folders"):
        states, wrong = replay(work, calls, every=12, **{what: False})
        if not wrong:
            return f"without {what} nothing was wrong in {states} states"
        figures.append(f"without {what} {sum(wrong.values())} of {states} states cannot be used ({dict(wrong)})")
    raise AssertionError("; ".join(figures))
