"""Train one small model through hours of random faults, and compare it bit for bit with a training without any.

    python -m tests.reliability.soak --minutes 120 --seed 0 --threads 1 --work DIR

After every fault the same command is run again. Run this program again with the same DIR to continue it. DIR/soak.log
gets a tally every few minutes; DIR/state.json holds the counts. The package is read anew by every process: run this in
a checkout that does not change meanwhile.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pix2pix.system.files import write_text
from pix2pix.training.checkpoint import find_checkpoint
from pix2pix.training.checkpoint_content import leaves
from pix2pix.training.checkpoint_files import Search, find_pairs
from tests.reliability import runs
from tests.reliability.faults import BALLAST, BETWEEN, RUNNING, Subject, choose
from tests.reliability.runner import environment

PAIRS, BATCH = 96, 2  # 48 steps an epoch, about half a second
LIFE_SECONDS = 5.0  # of training before a fault, at most
TALLY_SECONDS = 180.0
ENDLESS = 1_000_000  # epochs
START_SHARE = 0.12  # of the processes that get a signal before their first step
DAMAGE_SHARE = 0.3  # of the starts with a damaged checkpoint, if there are two
MOST_FAILED_STARTS = 5  # in a row


@dataclass
class Tally:
    """What has happened so far; kept in state.json."""

    seed: int
    cycle: int = 0
    elapsed: float = 0.0  # seconds
    phase: str = "faults"  # then "finish", "calm", "done"
    failed_starts: int = 0  # in a row
    resumes: int = 0
    fallbacks: int = 0
    unreadable: int = 0
    restored: int = 0  # times that this program put back its own copy of the run
    lost_most: int = 0  # updates that a kill lost, by metrics.csv
    lost_seconds_most: float = 0.0
    ended: dict[str, dict[str, int]] = field(default_factory=dict)  # kind of fault -> how it ended -> count
    unexpected: list[str] = field(default_factory=list)

    def count(self, kind: str, how: str) -> None:
        """Count the end of a fault; keep the text of unexpected ones."""
        if how.startswith("unexpected"):
            self.unexpected.append(f"cycle {self.cycle}, {kind}: {how}")
            how = "unexpected"
        counts = self.ended.setdefault(kind, {})
        counts[how] = counts.get(how, 0) + 1

    def lines(self) -> list[str]:
        """Return the tally for people."""
        faults = sum(sum(counts.values()) for counts in self.ended.values())
        head = (
            f"{self.elapsed / 60:.1f} min, {faults} faults in {self.cycle} processes, {self.resumes} resumes, "
            f"{self.unreadable} unreadable, {self.fallbacks} fallbacks, {len(self.unexpected)} unexpected, "
            f"copy put back {self.restored} times, lost at most {self.lost_most} updates "
            f"({self.lost_seconds_most:.1f} s of training)"
        )
        ends = (
            f"  {kind}: {', '.join(f'{count} {how}' for how, count in sorted(counts.items()))}"
            for kind, counts in sorted(self.ended.items())
        )
        repeated = Counter(text.partition(", ")[2] for text in self.unexpected)
        return [head, *ends, *(f"  {count} x {text}" for text, count in repeated.most_common(20))]


class Soak:
    """One soak in one folder."""

    def __init__(self, work: Path, seed: int, minutes: float) -> None:
        self.work, self.minutes = work, minutes
        self.state_file, self.log_file, self.messages = work / "state.json", work / "soak.log", work / "messages.txt"
        self.disk, self.data, self.backup = work / "disk", work / "data", work / "backup"
        self.run = self.disk / "run"
        saved = json.loads(self.state_file.read_text(encoding="utf-8")) if self.state_file.exists() else {"seed": seed}
        self.tally = Tally(**saved)
        self.began = time.monotonic() - self.tally.elapsed
        self.tallied = time.monotonic()

    # ---- the whole ---------------------------------------------------------------------------------------------

    def main(self) -> bool:
        """Run all phases; return whether everything was as it should be."""
        self._prepare()
        while self.tally.phase == "faults" and self._time_left():
            self._cycle()
            self._note()
        if self.tally.phase in ("faults", "finish"):
            self.tally.phase = "finish"
            self._note()
            self._finish()
            self.tally.phase = "calm"
            self._note()
        equal = self._compare()
        controls = self._controls()
        self.tally.phase = "done"
        self._note(always=True)
        self.log(f"equal: {equal}; {controls}")
        return equal and not self.tally.unreadable and not self.tally.unexpected

    def _time_left(self) -> bool:
        """Return whether to go on with faults: the run without faults must fit into the time too."""
        trained = self._progress().get("seconds", 0.0)
        return time.monotonic() - self.began + 1.25 * trained + 60 < self.minutes * 60

    def _prepare(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        _end_leftover(self.run)
        if not self.data.exists():
            runs.make_data(self.data, train=PAIRS, val=4, test=1, size=32)
        self.disk.mkdir(exist_ok=True)
        if not os.path.ismount(self.disk) and os.geteuid() == 0:
            words = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(self.disk)]
            subprocess.run(words, capture_output=True)
        self.has_disk = os.path.ismount(self.disk)
        (self.disk / BALLAST).unlink(missing_ok=True)
        if not self.run.exists() and self.backup.exists():
            self._restore()
        where = "a file system of 96 MB in memory" if self.has_disk else "the usual disk; none can be filled"
        self.log(f"seed {self.tally.seed}, cycle {self.tally.cycle}, phase {self.tally.phase}, run folder on {where}")

    # ---- one process and its faults ----------------------------------------------------------------------------

    def _cycle(self) -> None:
        tally, known = self.tally, len(self.tally.unexpected)
        tally.cycle += 1
        rng = random.Random(f"{tally.seed} {tally.cycle}")
        before = self._step()
        damage = self._damage(rng, before)
        subject = self._start(rng)
        if damage is None and rng.random() < START_SHARE:
            self._end_at_start(subject, rng)
        elif self._began(subject, damage, before):
            time.sleep(rng.uniform(0, LIFE_SECONDS) * rng.random())
            self._fault(subject, rng)
        _end(subject)
        if len(tally.unexpected) > known:
            shutil.copy(self.messages, self.work / f"unexpected_{tally.cycle}.txt")
        self._after(before)

    def _damage(self, rng: random.Random, before: int) -> str | None:
        """Sometimes damage the newest checkpoint, where there is an older one to fall back to; return the kind."""
        if not before or rng.random() > DAMAGE_SHARE:
            return None
        steps = [pair.values["step"] for pair in find_pairs(self.run / "checkpoints", Search())]
        if len(steps) < 2 or not 0 < steps[1] < steps[0]:
            return None
        kind = choose(BETWEEN, rng)
        BETWEEN[kind][1](self.run, rng)
        return kind

    def _began(self, subject: Subject, damage: str | None, before: int) -> bool:
        """Wait until the training takes steps; judge where it begins. Returns whether it runs as it should."""
        step = self._wait_for_start(subject)
        if step is None:
            code = subject.process.poll()
            everything = damage == "checkpoints removed"  # once there is a model, such a run is refused as misuse
            how = "still not training" if code is None else subject.judge(code, {1, 2} if everything else {1})
            if damage is None:
                self.tally.failed_starts += 1
                self.tally.count("start", how if how.startswith("unexpected") else f"unexpected: refused: {how}")
                self._stop_if_hopeless(subject)
            else:
                refused = how if how.startswith("unexpected") or everything else f"unexpected: no fallback: {how}"
                self.tally.count(damage, "refused" if refused == how in ("exit 1", "exit 2") else refused)
            _end(subject)
            self._restore()
            return False
        self.tally.failed_starts = 0
        self.tally.resumes += before > 0
        if damage is None:
            if step != before:
                self.tally.count("start", f"unexpected: resumed from step {step}, but the checkpoint holds {before}")
            return True
        if damage == "description flipped" and step == before:
            self.tally.count(damage, "harmless")  # the state has a hash of its own; the comparison at the end tells
            return True
        if 0 < step < before:
            self.tally.fallbacks += 1
            self.tally.count(damage, "fell back")
            return True
        how = "began again at step 0" if step == 0 else "unexpected: the damage was not noticed"
        self.tally.count(damage, how if damage == "checkpoints removed" else how.replace("began", "unexpected: began"))
        _end(subject)
        self._restore()
        return False

    def _fault(self, subject: Subject, rng: random.Random) -> None:
        kind = choose(RUNNING, rng)
        while kind == "loader killed" and not runs.children(subject.process.pid):
            kind = choose(RUNNING, rng)
        if kind == "disk full" and not self.has_disk:
            kind = "file size limit"
        reached = self._logged()
        how = RUNNING[kind][1](subject, rng)
        self.tally.count(kind, how)
        if "not refused" in how:  # two trainings have written into the folder
            self._restore()
        elif kind == "SIGKILL":
            self._note_loss(max(reached, self._logged()))

    def _end_at_start(self, subject: Subject, rng: random.Random) -> None:
        """Send a signal before the first step; how the process ends does not matter, only what it leaves."""
        number = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        time.sleep(rng.uniform(0.1, 5))
        if subject.process.poll() is None:
            subject.process.send_signal(number)
        subject.wait(20)
        self.tally.count(f"{number.name} while starting", "ended")

    def _after(self, before: int) -> None:
        """Check what a process has left, and keep a copy of it."""
        try:
            step = self._step()
        except Exception as error:  # whatever a damaged checkpoint raises
            self.tally.unreadable += 1
            self.tally.count("checkpoint", f"unexpected: unreadable: {error}")
            self._restore()
            return
        if not self.run.exists():
            return  # ended before it had made its folder
        if step == 0 < before:  # checkpoints/ was removed at the end
            self._restore()
            return
        new = self.work / "backup.new"
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(self.run, new, ignore=shutil.ignore_patterns("tensorboard"), copy_function=shutil.copy2)
        shutil.rmtree(self.backup, ignore_errors=True)
        new.rename(self.backup)

    # ---- tools -------------------------------------------------------------------------------------------------

    def _command(self, run: Path, epochs: int, seed: int = 0, workers: int = 0) -> list[str]:
        words = ("--batch-size", BATCH, "--ema", "0.9", "--validate-every", "5", "--discriminator-epochs", "2")
        more = ("--epochs", epochs, "--seed", seed, "--workers", workers)
        return runs.train_command(self.data, run, *(str(word) for word in words + more))

    def _start(self, rng: random.Random) -> Subject:
        """Start the training; the number of loader processes may change at every resumption."""
        words = self._command(self.run, ENDLESS, workers=rng.choice([0, 0, 1, 2]))
        with self.messages.open("wb") as file:
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=file)
        write_text(self.work / "pid", str(process.pid))
        return Subject(process, self.run, self.messages, words)

    def _wait_for_start(self, subject: Subject) -> int | None:
        """Return the step from which the training goes on; None if it does not within 90 s."""
        until = time.monotonic() + 90
        while time.monotonic() < until:
            said = subject.said()
            if found := re.search(r"^resuming from epoch \d+, step (\d+)", said, re.MULTILINE):
                return int(found[1])
            if re.search(r"^epoch \d+:", said, re.MULTILINE):
                return 0
            if subject.process.poll() is not None:
                return None
            time.sleep(0.02)
        return None

    def _progress(self) -> dict[str, Any]:
        """Read the progress of the newest checkpoint; empty before there is one."""
        loaded = find_checkpoint(self.run / "checkpoints")
        return {} if loaded is None else vars(loaded.progress)

    def _step(self) -> int:
        return int(self._progress().get("step", 0))

    def _logged(self) -> tuple[int, float]:
        """Return step and seconds of the newest whole line of metrics.csv."""
        try:
            lines = (self.run / "metrics.csv").read_text(encoding="utf-8").split("\n")[1:-1]
            cells = lines[-1].split(",")
            return int(cells[0]), float(cells[4])
        except (OSError, IndexError, ValueError):
            return 0, 0.0

    def _note_loss(self, reached: tuple[int, float]) -> None:
        try:
            progress = self._progress()
        except Exception:  # counted as unreadable afterwards
            return
        self.tally.lost_most = max(self.tally.lost_most, reached[0] - progress.get("step", 0))
        lost = reached[1] - progress.get("seconds", 0.0)
        self.tally.lost_seconds_most = max(self.tally.lost_seconds_most, round(lost, 2))

    def _restore(self) -> None:
        """Put back the copy of the run."""
        shutil.rmtree(self.run, ignore_errors=True)
        if self.backup.exists():
            shutil.copytree(self.backup, self.run, copy_function=shutil.copy2)
        self.tally.restored += 1

    def _stop_if_hopeless(self, subject: Subject) -> None:
        if self.tally.failed_starts >= MOST_FAILED_STARTS:
            self._note(always=True)
            sys.exit(f"{MOST_FAILED_STARTS} starts in a row have failed: {subject.said()[-2000:]}")

    def log(self, line: str) -> None:
        """Print a line, and append it to the log."""
        print(line, flush=True)
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {line}\n")

    def _note(self, *, always: bool = False) -> None:
        self.tally.elapsed = time.monotonic() - self.began
        write_text(self.state_file, json.dumps(asdict(self.tally), indent=1))
        if always or time.monotonic() - self.tallied > TALLY_SECONDS:
            self.tallied = time.monotonic()
            for line in self.tally.lines():
                self.log(line)

    # ---- the end -----------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Let the training end by itself, one or two epochs after the last fault."""
        epochs = self._progress().get("epoch", 0) + 2
        write_text(self.work / "epochs", str(epochs))
        self._train(self._command(self.run, epochs))

    def _train(self, words: list[str]) -> None:
        done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode:
            self._note(always=True)
            sys.exit(f"exit {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")

    def _compare(self) -> bool:
        """Train without faults, and compare: weights, moments, average, progress, kept model, metrics."""
        epochs, calm = int((self.work / "epochs").read_text(encoding="utf-8")), self.work / "calm"
        shutil.rmtree(calm, ignore_errors=True)
        began = time.monotonic()
        self._train(self._command(calm, epochs))
        different = runs.run_differences(self.run, calm)
        tensors = sum(isinstance(leaf, torch.Tensor) for _, leaf in leaves(runs.saved_state(calm)))
        self.log(
            f"{epochs} epochs, {self._step()} updates; without faults {time.monotonic() - began:.0f} s; compared "
            f"{tensors} tensors of the state, {len(runs.metrics(calm))} rows of metrics: {len(different)} differences"
        )
        for name in different[:20]:
            self.log(f"  differs: {name}")
        return not different

    def _controls(self) -> str:
        """Show that the comparison finds one changed byte, and another seed."""
        state = runs.saved_state(self.work / "calm")
        changed = runs.saved_state(self.work / "calm")
        name, weights = next(iter(changed["generator"].items()))
        flat = weights.contiguous().reshape(-1).view(torch.uint8)
        flat[0] ^= 1
        changed["generator"][name] = flat.view(weights.dtype).reshape(weights.shape)
        found = runs.differences(state, changed)
        short = [self.work / f"control_{seed}" for seed in (0, 1)]
        for seed, folder in enumerate(short):
            shutil.rmtree(folder, ignore_errors=True)
            self._train(self._command(folder, 3, seed))
        others = runs.run_differences(*short)
        self.log(f"controls: one byte changed: {len(found)} difference; another seed: {len(others)} differences")
        if len(found) != 1 or not others:
            sys.exit("the comparison finds nothing: a control passes")
        return "both controls fail as they should"


def _end(subject: Subject) -> None:
    """End the process if it still runs; loader processes end with it."""
    if subject.process.poll() is None:
        subject.process.kill()
    subject.process.wait()


def _end_leftover(run: Path) -> None:
    """End a training of this run that an earlier call of this program has left."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(run) in words and b"pix2pix" in words:
            os.kill(int(folder.name), signal.SIGKILL)


def main() -> int:
    """Run a soak; return 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    work = chosen.work.resolve()
    os.environ.update(environment(work) | {"OMP_NUM_THREADS": str(chosen.threads)})
    return 0 if Soak(work, chosen.seed, chosen.minutes).main() else 1


if __name__ == "__main__":
    sys.exit(main())
