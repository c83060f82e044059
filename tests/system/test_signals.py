"""The first stop signal is noted or raised, a second one of any kind ends the process, threads are left alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pix2pix.errors import Interrupted
from pix2pix.system.signals import STOP_SIGNALS, interruptible, note_stop_signals, raise_interrupted


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_is_noted(number: int) -> None:
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    with note_stop_signals() as noted:
        assert noted() is None
        os.kill(os.getpid(), number)
        assert noted() == number
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_is_raised(number: int, tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as raised, raise_interrupted(tmp_path):
        os.kill(os.getpid(), number)
    assert (raised.value.signal, raised.value.folder) == (number, tmp_path)


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def run_python(code: str, *arguments: str) -> tuple[int, str, float]:
    """Run code in a process; return its exit code, what it printed, and the seconds since it printed `go`."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        began = time.monotonic()
        said = process.stdout.read()
    return process.returncode, said, time.monotonic() - began


SECOND = """
import hashlib, os, signal, subprocess, sys, time
from pix2pix.system.signals import note_stop_signals
first, second, pause = sys.argv[1:]
with note_stop_signals() as noted:
    os.kill(os.getpid(), int(first))
    print("go", flush=True)
    print(noted(), flush=True)
    time.sleep(float(pause))
    subprocess.Popen(["kill", f"-{second}", str(os.getpid())])
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**7)  # computes for seconds without looking at signals
    print("still here", flush=True)
"""


@POSIX
@pytest.mark.parametrize(
    ("first", "second"), [("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT"), ("SIGINT", "SIGINT"), ("SIGHUP", "SIGUSR1")]
)
def test_a_second_signal_of_any_kind_ends_at_once(first: str, second: str) -> None:
    numbers = [getattr(signal, name) for name in (first, second)]
    code, said, seconds = run_python(SECOND, *map(str, map(int, numbers)), "0.7")
    assert (code, said.split()) == (128 + numbers[1], [str(int(numbers[0]))])
    assert seconds < 3


@POSIX
def test_a_signal_that_is_sent_twice_counts_once() -> None:
    """`timeout`, a closed shell and SLURM send two."""
    number = str(int(signal.SIGTERM))
    code, said, _ = run_python(SECOND.replace("10**7", "10**5"), number, number, "0")
    assert (code, said.splitlines()) == (0, [number, "still here"])


@POSIX
def test_what_nohup_ignores_stays_ignored() -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from pix2pix.system.signals import handled_signals, note_stop_signals\n"
        "with note_stop_signals() as noted:\n"
        "    print('go', flush=True); os.kill(os.getpid(), signal.SIGHUP); print(noted(), len(handled_signals()))\n"
    )
    assert run_python(code)[:2] == (0, "None 3\n")


@POSIX
def test_a_signal_during_an_import_ends_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntry:\n    print('go', flush=True); time.sleep(9)\nexcept: pass\n")
    code = (
        f"import os, signal, sys, threading; sys.path.insert(0, {str(tmp_path)!r}); sys.stderr = sys.stdout\n"
        "os.dup2(1, 2)\n"
        "from pix2pix.system.signals import raise_interrupted\n"
        "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()\n"
        "with raise_interrupted():\n    import slow\n"
    )
    code_, said, seconds = run_python(code)
    assert (code_, said) == (143, "pix2pix: interrupted; run the same command again\n")
    assert seconds < 5


@POSIX
def test_a_wait_ends_at_a_signal() -> None:
    with note_stop_signals() as noted:
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Interrupted), interruptible():
            time.sleep(30)
        assert noted() == signal.SIGTERM


@POSIX
def test_a_process_ends_with_its_parent(tmp_path: Path) -> None:
    child = (
        "import os, signal, time; from pix2pix.system.signals import follow_parent, ignore_stop_signals\n"
        "ignore_stop_signals(); follow_parent(os.getppid(), signal.SIGKILL); print(os.getpid(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
    )
    parent = f"import os, subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); p.wait()"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while _lives(number) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _lives(number)


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_another_thread_changes_no_handlers(tmp_path: Path) -> None:
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    seen: list[object] = []

    def work() -> None:
        with note_stop_signals() as noted, raise_interrupted(tmp_path):
            seen.extend([noted(), [signal.getsignal(each) for each in STOP_SIGNALS]])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None, before]
