"""Functions in processes that the launcher starts: what they return, what they raise, and how they end."""

import functools
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pix2pix.distributed.launcher import launch
from pix2pix.distributed.worker import main as run_worker
from pix2pix.errors import Interrupted, RunError
from pix2pix.system.signals import REPEAT_SECONDS, note_stop_signals

FOLDER = Path(__file__).parent
SCRIPT = """
import functools, pathlib, sys
from pix2pix.distributed.launcher import launch
from pix2pix.errors import Interrupted
from test_launcher import note_and_stay
try:
    launch(functools.partial(note_and_stay, pathlib.Path(sys.argv[1])), 2, timeout=60, environment={})
except Interrupted as interrupted:
    sys.exit(128 + interrupted.signal)
"""


@pytest.fixture(autouse=True)
def found_by_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes import this module."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def note_and_stay(folder: Path) -> None:
    """Leave a file once signals are noted, one for each signal, and never end."""
    rank = os.environ["RANK"]
    with note_stop_signals() as noted:
        (folder / f"ready.{rank}").touch()
        while not noted():
            time.sleep(0.01)
        (folder / f"noted.{rank}").touch()
        time.sleep(600)


def wait_for(folder: Path, what: str) -> None:
    deadline = time.monotonic() + 120
    while len(list(folder.glob(what))) < 2:
        assert time.monotonic() < deadline, f"{what} within two minutes"
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_second_signal_ends_all_ranks_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], stderr=subprocess.DEVNULL)
    with process:
        try:
            wait_for(tmp_path, "ready.*")
            process.send_signal(signal.SIGTERM)
            wait_for(tmp_path, "noted.*")
            time.sleep(1.2 * REPEAT_SECONDS)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 143
        finally:
            process.kill()


def end_in_rank_1() -> str:
    if os.environ["RANK"] == "1":
        os._exit(7)
    time.sleep(600)
    return "never"


def test_a_rank_that_ends_without_a_word_is_named() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(
        RunError, match=rf"rank 1 on {socket.gethostname()} ended with exit code 7; the last checkpoint"
    ):
        launch(end_in_rank_1, 2, timeout=60, environment={})
    assert signal.getsignal(signal.SIGTERM) is before


def raise_error(error: BaseException) -> None:
    raise error


def passed_on(error: BaseException, folder: Path) -> Any:
    """What a worker that raises an error leaves for the launcher."""
    (folder / "call.pickle").write_bytes(pickle.dumps(functools.partial(raise_error, error)))
    with pytest.raises(SystemExit, match="1"):
        run_worker(folder)
    (path,) = folder.glob("*.error")
    return pickle.loads(path.read_bytes())


@pytest.mark.parametrize(
    "error",
    [Interrupted(2, "run"), OSError(28, "No space left on device", "run/state.pt"), RuntimeError("CUDA out of memory")],
    ids=lambda error: type(error).__name__,
)
def test_an_error_passes_to_the_launcher(tmp_path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    found = passed_on(error, tmp_path)
    assert type(found) is type(error)
    assert (str(found), vars(found)) == (str(error), vars(error))


def test_an_unexpected_error_of_a_rank_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    error = RuntimeError("one of the variables needed for gradient computation\nhas been modified: " + 70 * "line\n")
    found = passed_on(error, tmp_path)
    assert isinstance(found, RunError)
    expected = rf"rank 1 on {socket.gethostname()} failed in test_launcher.py, line \d+, with RuntimeError: one of "
    assert re.match(expected, str(found))
    assert "\n" not in str(found)
