"""Run checks in forks of one process that has imported their modules, and so save each the seconds of the imports.

Trainings in such forks draw no figures, which would take longer than they do.

`python -m tests.reliability.warm MODULE...` imports the modules, then reads a job from each line: it forks a process,
answers with its number, and, when it has ended, with its exit code.
"""

import importlib
import json
import multiprocessing
import os
import select
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

MODULES = ("pytest", "pix2pix.cli.app", "pix2pix.cli.commands.train", "pix2pix.reports.curves",
           "pix2pix.training.train", "tests.reliability.runs", "tests.reliability.served",
           "tests.blank_figures")  # fmt: skip


class Fork:
    """A process that the server has forked; waits as Popen does."""

    def __init__(self, server: "subprocess.Popen[bytes]", job: dict[str, Any]) -> None:
        self._server = server
        assert server.stdin is not None
        server.stdin.write(json.dumps(job).encode() + b"\n")
        self.pid = self._answer()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises TimeoutExpired."""
        if not select.select([self._server.stdout], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("a check", timeout or 0)
        return self._answer()

    def _answer(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())


class Warm:
    """The server, as its parent sees it. All processes of its checks carry its mark, and so does itself."""

    def __init__(self, server: "subprocess.Popen[bytes]", mark: str) -> None:
        self.pid, self.mark, self._server = server.pid, mark, server

    def start(self, words: Sequence[str], environment: dict[str, str], output: Path) -> Fork:
        """Start `tests.reliability.one` with these words as the leader of a process group; output goes to a file."""
        output.touch()
        return Fork(self._server, {"words": [*words], "environment": environment, "output": str(output)})


@contextmanager
def warm(name: str, environment: dict[str, str], folder: Path, modules: Sequence[str] = MODULES) -> Iterator[Warm]:
    """Start the server in a folder, with its mark in the environment variable `name`; end it after the block."""
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-m", "tests.reliability.warm", *modules], cwd=folder, env=environment | {name: mark},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True,
    ) as server:  # fmt: skip
        try:
            yield Warm(server, mark)
        finally:
            assert server.stdin is not None
            server.stdin.close()  # at which it ends


# ---- inside ----------------------------------------------------------------------------------------------------


def serve() -> None:
    """Fork a process for each line."""
    for line in sys.stdin:
        process = multiprocessing.get_context("fork").Process(target=_run, kwargs=json.loads(line))
        process.start()
        assert process.pid is not None
        with suppress(OSError):  # the process may have done so itself
            os.setpgid(process.pid, process.pid)
        print(process.pid, flush=True)
        process.join()
        print(process.exitcode, flush=True)


def _run(words: list[str], environment: dict[str, str], output: str) -> None:
    from tests.reliability import one

    with suppress(OSError):
        os.setpgid(0, 0)
    descriptor = os.open(output, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)
    os.environ.update(environment)
    tempfile.tempdir = None  # TMPDIR is another one now
    one.main(*words)


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    if blank := sys.modules.get("tests.blank_figures"):
        blank.curves._make_figure = blank.BlankFigure
    serve()
