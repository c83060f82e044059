"""The first stop signal is noted or raised, a second one of either kind ends the process, threads are left alone."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pix2pix.errors import Interrupted
from pix2pix.system.signals import STOP_SIGNALS, note_stop_signals, raise_interrupted


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


@pytest.mark.parametrize(("first", "second"), [("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT"), ("SIGINT", "SIGINT")])
def test_a_second_signal_of_either_kind_ends_at_once(first: str, second: str) -> None:
    code = (
        "import os, signal\n"
        "from pix2pix.system.signals import note_stop_signals\n"
        "with note_stop_signals() as noted:\n"
        f"    os.kill(os.getpid(), signal.{first})\n"
        "    print(noted(), flush=True)\n"
        f"    os.kill(os.getpid(), signal.{second})\n"
        "    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == -getattr(signal, second)
    assert done.stdout.split() == [str(int(getattr(signal, first)))]


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
