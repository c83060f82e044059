"""The lock of a run: one process has it, the others are told who, and it heals after every kind of death."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pix2pix.errors import InUseError
from pix2pix.system import locks
from pix2pix.system.locks import LOCK, find_holder, hold_lock

HOLD = "import sys, time; from pathlib import Path; from pix2pix.system.locks import hold_lock\n"
HOLD += "with hold_lock(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"


@pytest.fixture(params=["flock", "no locks"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Also a file system without locks, which only the heartbeat helps."""
    monkeypatch.setattr(locks, "HEARTBEAT", 0.05)
    monkeypatch.setattr(locks, "PATIENCE", 0.4)
    if request.param == "no locks":
        monkeypatch.setattr(locks, "_flock", lambda *_: False)
    return str(request.param)


def holding(folder: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
    return process


def write_lock(folder: Path, **values: Any) -> None:
    known = {"host": socket.gethostname(), "pid": os.getpid(), "since": "yesterday", "kernel": locks._kernel()}
    (folder / LOCK).write_text(json.dumps(known | {"started": "1"} | values))


def test_one_holder_and_its_name(kind: str, tmp_path: Path) -> None:
    with hold_lock(tmp_path):
        assert find_holder(tmp_path) is not None
        with pytest.raises(InUseError, match=f"is in use by process {os.getpid()} on {socket.gethostname()} since 20"):
            hold_lock(tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == []
    with hold_lock(tmp_path):
        pass


def test_another_process_and_its_kill(kind: str, tmp_path: Path) -> None:
    process = holding(tmp_path)
    with pytest.raises(InUseError, match=f"process {process.pid} on"):
        hold_lock(tmp_path).__enter__()
    process.kill()
    process.wait()
    assert (tmp_path / LOCK).exists()
    assert find_holder(tmp_path) is None
    began = time.monotonic()
    with hold_lock(tmp_path):
        assert time.monotonic() - began < 0.2, "a dead process is not waited for"


def test_a_fork_does_not_keep_the_lock_of_a_killed_parent(tmp_path: Path) -> None:
    """As loader workers do, which outlive it for some seconds."""
    code = HOLD.replace("time.sleep(60)", "os.fork() or time.sleep(60); time.sleep(60)").replace("sys,", "sys, os,", 1)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    try:
        with hold_lock(tmp_path):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "values",
    [
        {"pid": 2**22 + 1},
        {"started": "1"},  # the number of a dead process, used again
        {"kernel": "another boot"},
        {"host": "gone", "kernel": "other"},
    ],
    ids=["dead", "number used again", "reboot", "another machine"],
)
def test_a_stale_lock_heals(kind: str, tmp_path: Path, values: dict[str, Any]) -> None:
    write_lock(tmp_path, **values)
    with hold_lock(tmp_path):
        holder = find_holder(tmp_path)
        assert holder is not None
        assert holder.pid == os.getpid()
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("content", [b"", bytes(100), b'{"host": "a", "pi'])
def test_a_torn_lock_heals(kind: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK).write_bytes(content)
    with hold_lock(tmp_path):
        pass


def test_a_living_holder_on_another_machine_is_seen_by_its_heartbeat(kind: str, tmp_path: Path) -> None:
    write_lock(tmp_path, host="other", kernel="other")
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.05):
            os.utime(tmp_path / LOCK)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(InUseError, match="on other since yesterday"):
            hold_lock(tmp_path).__enter__()
    finally:
        done.set()
        thread.join()


def test_the_holder_touches_its_file(kind: str, tmp_path: Path) -> None:
    with hold_lock(tmp_path):
        before = (tmp_path / LOCK).stat().st_mtime_ns
        time.sleep(0.2)
        assert (tmp_path / LOCK).stat().st_mtime_ns > before


@pytest.mark.parametrize(
    "make",
    [
        lambda path, own: path.write_text("mine"),
        lambda path, own: path.symlink_to(own),
        lambda path, _: os.mkfifo(path),
    ],
)
def test_a_file_of_others_is_no_lock(kind: str, tmp_path: Path, make: Callable[[Path, Path], object]) -> None:
    own = tmp_path / "own.txt"
    own.write_text("thesis")
    make(tmp_path / LOCK, own)
    with pytest.raises(OSError, match=LOCK):
        hold_lock(tmp_path).__enter__()
    assert own.read_text() == "thesis"
    assert not (tmp_path / LOCK).is_file() or (tmp_path / LOCK).read_text() in ("mine", "thesis")
    assert find_holder(tmp_path) is None


def test_a_folder_that_is_removed_meanwhile_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with hold_lock(folder):
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        (folder / LOCK).write_text("of another process")
    assert (folder / LOCK).read_text() == "of another process"


def _race(folder: Path, start: Any, results: Any) -> None:
    start.wait()
    try:
        with hold_lock(folder):
            results.put("held")
            time.sleep(0.5)
    except InUseError:
        results.put("refused")


def test_of_many_at_once_one_gets_it(kind: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        write_lock(tmp_path, pid=2**22 + 1)  # all find it stale
        start, results = context.Event(), context.Queue()
        racers = [context.Process(target=_race, args=(tmp_path, start, results)) for _ in range(6)]
        for racer in racers:
            racer.start()
        start.set()
        outcomes = [results.get(timeout=20) for _ in racers]
        for racer in racers:
            racer.join()
        assert sorted(outcomes) == ["held"] + ["refused"] * 5
