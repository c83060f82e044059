"""A training in a process of its own, which does a step when it is told to.

In one process, what one training asks of the allocator the others would have too.

`python -m benchmarks.worker TASK` reads lines: it answers `step` by its seconds and `peak` by the most memory that the
process has had so far, in bytes. TASK is JSON: who trains (`ours`; `train`, the whole command, once, before it answers;
`reference`; `modern`, the reference with bf16 and fused Adam; `nobody`, which only imports torch), the batch, our
precision and update order, the sizes and folders.
"""

import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from pix2pix.errors import RunError

Who = Literal["ours", "train", "reference", "modern", "nobody"]


class Worker:
    """The process, as its parent sees it. Raises RunError where it fails."""

    def __init__(self, who: Who, task: dict[str, Any]) -> None:
        self.who = who
        command = [sys.executable, "-m", "benchmarks.worker", json.dumps(task | {"who": who})]
        self._stderr: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, text=True
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._process.communicate()  # it ends with its input
        self._stderr.close()

    def step(self) -> float:
        """Seconds."""
        return self._ask("step")

    def peak(self) -> float:
        """Bytes."""
        return self._ask("peak")

    def _ask(self, what: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(what + "\n")
            self._process.stdin.flush()
        if answer := self._process.stdout.readline():
            return float(answer)
        code = self._process.wait()
        self._stderr.seek(0)
        reason = (self._stderr.read().strip().splitlines() or [f"exit code {code}"])[-1]
        raise RunError(f"the process that was measured ({self.who}) failed: {reason}")


# ---- inside ----------------------------------------------------------------------------------------------------


def answer(task: dict[str, Any]) -> None:
    """Train as TASK says, a step for each line."""
    with tempfile.TemporaryDirectory(prefix="worker-", dir=task["scratch"]) as scratch:
        step = _training(task, Path(scratch))
        for line in sys.stdin:
            if line.strip() == "peak":
                print(peak_bytes(), flush=True)
                continue
            began = time.perf_counter()
            step()
            print(time.perf_counter() - began, flush=True)


def _training(task: dict[str, Any], scratch: Path) -> Callable[[], object]:
    import torch

    if task["who"] == "nobody":
        return lambda: None

    from benchmarks.conditions import Conditions

    torch.set_num_threads(task["threads"])
    conditions = Conditions(
        image_size=task["image_size"],
        base_channels=task["base_channels"],
        pairs=Path(task["pairs"]),
        scratch=scratch,
    )
    if task["who"] == "train":
        from pix2pix.training.train import train_with

        train_with(conditions.config(epochs=2), scratch / "run")
        return lambda: None

    source, target = conditions.batch(task["batch"])
    if task["who"] == "ours":
        from benchmarks.ours import OurTraining

        config = conditions.config(batch_size=task["batch"], precision=task["precision"], order=task["order"])
        ours = OurTraining(config, scratch / "steps")
        return lambda: ours.step(source, target)

    from benchmarks.reference import Reference
    from pix2pix.config import resolved_depth

    depth = resolved_depth(conditions.config().generator, (conditions.image_size, conditions.image_size))
    reference = Reference(depth=depth, base=conditions.base_channels, modern=task["who"] == "modern")
    return lambda: reference.step(source, target)


def peak_bytes() -> int:
    """Return the most memory that this process had resident at once."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):  # not Linux
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    answer(json.loads(sys.argv[1]))
