"""Find the checks and run each function in a process of its own, with a time limit and without leaving processes."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reliability.warm import Warm

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MARK = "PIX2PIX_CHECK"
"""Environment variable by which all processes of a check are found."""
SMOKE_SECONDS, FULL_SECONDS = 240.0, 600.0  # several times what they take, for busy machines
GRACE_SECONDS = 3.0  # in which processes that a check has ended may go away


@dataclass(frozen=True)
class Check:
    """A module of a check, without importing it."""

    path: Path
    number: int
    title: str
    alone: bool
    seconds: float | None

    @classmethod
    def read(cls, path: Path) -> "Check":
        """Read the constants of a module `check_NN_name.py`."""
        constants: dict[str, Any] = {}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                try:
                    constants[node.targets[0].id] = ast.literal_eval(node.value)
                except ValueError:
                    continue
        number = int(path.stem.split("_")[1])
        return cls(path, number, constants["TITLE"], constants.get("ALONE", False), constants.get("SECONDS"))


@dataclass(frozen=True)
class Outcome:
    """How one function of a check ended: "returned", "failed", "not run", "broke" or "time out"."""

    ended: str
    figures: str
    seconds: float
    output: str = ""


@dataclass(frozen=True)
class Result:
    """What the check and its control gave."""

    check: Check
    measured: Outcome
    control: Outcome

    @property
    def state(self) -> str:
        """passed, failed or not run."""
        if "not run" in (self.measured.ended, self.control.ended):
            return "not run"
        return "passed" if (self.measured.ended, self.control.ended) == ("returned", "failed") else "failed"

    @property
    def seconds(self) -> float:
        """Seconds of both."""
        return self.measured.seconds + self.control.seconds

    @property
    def figures(self) -> str:
        """The figures of the check, or why it did not pass."""
        ended = self.measured.ended
        return self.measured.figures if ended == "returned" else f"{ended}: {self.measured.figures}"

    @property
    def control_figures(self) -> str:
        """The figures of the control, or why it does not hold."""
        match self.control.ended:
            case "failed":
                return f"control fails as it should: {self.control.figures}"
            case "returned":
                return f"CONTROL PASSES, so the check proves nothing: {self.control.figures}"
            case ended:
                return f"control: {ended}: {self.control.figures}"

    @property
    def line(self) -> str:
        """One line for people."""
        head = f"{self.check.number:2} {self.check.title}: {self.state} ({self.seconds:.0f} s)"
        return f"{head}. {self.figures}; {self.control_figures}"


def find_checks(numbers: list[int] | None = None) -> list[Check]:
    """Return the checks with these numbers, or all, in order. Raises ValueError for an unknown number."""
    checks = sorted((Check.read(path) for path in HERE.glob("check_[0-9]*.py")), key=lambda check: check.number)
    if unknown := set(numbers or ()) - {check.number for check in checks}:
        known = ", ".join(str(check.number) for check in checks)
        raise ValueError(f"there is no check {', '.join(map(str, sorted(unknown)))}; there are {known}")
    return [check for check in checks if not numbers or check.number in numbers]


def run_checks(checks: list[Check], *, full: bool, jobs: int) -> Iterator[Result]:
    """Run checks, `jobs` at a time; then, one by one, those that want the machine alone."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda check: run_check(check, full=full), (c for c in checks if not c.alone))
    yield from (run_check(check, full=full) for check in checks if check.alone)


def run_check(check: Check, *, full: bool, server: Warm | None = None) -> Result:
    """Run a check and its control, each in a process and an empty folder of its own; the server forks faster."""
    return Result(check, *(run_function(check, what, full=full, server=server) for what in ("check", "control")))


def run_function(check: Check, what: str, *, full: bool, server: Warm | None = None) -> Outcome:
    """Run `check` or `control`; end all its processes after the time limit, and whatever it leaves behind."""
    limit = (check.seconds or FULL_SECONDS) if full else SMOKE_SECONDS
    base = Path(tempfile.mkdtemp(prefix=f"check_{check.number:02}_{what}_"))
    marked = Marked(server.mark, server.pid) if server else Marked(uuid.uuid4().hex)
    try:
        return _run(check, [what, "full" if full else "smoke"], base, marked, limit, server)
    finally:
        marked.end(0)
        _remove(base)


def _run(check: Check, chosen: list[str], base: Path, marked: "Marked", limit: float, server: Warm | None) -> Outcome:
    work, result, output = base / "work", base / "result.json", base / "output.txt"
    work.mkdir()
    words = [str(check.path), *chosen, str(work), str(result)]
    began = time.monotonic()
    process = (server.start if server else _start)(words, environment(base) | {MARK: marked.mark}, output)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return Outcome("time out", f"not done in {limit:.0f} s", limit, _tail(output))
    seconds = time.monotonic() - began
    if not result.exists():
        return Outcome("broke", f"its process ended with {code}", seconds, _tail(output))
    found = json.loads(result.read_text(encoding="utf-8"))
    ended, figures = found["ended"], " ".join(found["figures"].split())
    if left := marked.end(GRACE_SECONDS):
        ended, figures = "broke", f"{left} of its processes still ran at its end; {ended}: {figures}"
    return Outcome(ended, figures, seconds, _tail(output))


def _start(words: list[str], environment: dict[str, str], output: Path) -> "subprocess.Popen[bytes]":
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.one", *words], cwd=ROOT, env=environment,
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def environment(base: Path) -> dict[str, str]:
    """Return the environment of a check: one thread, the package of this checkout, no cache of the user, no network."""
    python_path = [str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(python_path),
        "TMPDIR": str(base),
        "XDG_CACHE_HOME": str(base / "cache"),
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _tail(path: Path, most: int = 6000) -> str:
    return path.read_text(encoding="utf-8", errors="replace")[-most:]


@dataclass(frozen=True)
class Marked:
    """The processes that carry a mark in their environment, but for the server that starts them."""

    mark: str
    server: int | None = None

    def end(self, grace: float) -> int:
        """Kill those that are left after `grace` seconds; return how many were."""
        until = time.monotonic() + grace
        while (left := list(self._living())) and time.monotonic() < until:
            time.sleep(0.1)
        for number in left:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return len(left)

    def _living(self) -> Iterator[int]:
        """Yield their numbers; none where the system has no /proc."""
        wanted = f"{MARK}={self.mark}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                mine = wanted in (folder / "environ").read_bytes()  # empty for one that has ended
                if mine and int(folder.name) != self.server:
                    yield int(folder.name)
            except OSError:
                continue


def _remove(base: Path) -> None:
    """Remove a check's folder; first unmount what a killed check has left mounted in it."""
    mounts = Path("/proc/mounts")
    if mounts.exists():
        for line in reversed(mounts.read_text(encoding="utf-8").splitlines()):
            if (place := line.split()[1]).startswith(f"{base}/"):
                subprocess.run(["umount", "-l", place], check=False)
    shutil.rmtree(base, ignore_errors=True)
