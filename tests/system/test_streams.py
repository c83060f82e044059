"""A terminal or pipe that is gone ends nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LINES = """
import sys
from pix2pix.system.progress import ProgressBar
from pix2pix.system.streams import say
say("first")
sys.stdin.readline()
with ProgressBar("working") as bar:
    for number in range(3):
        bar.say("more")
        say("more")
open(sys.argv[1], "w").write("to the end")
"""


def test_an_ended_reader_of_messages_ends_no_command(tmp_path: Path) -> None:
    """As in `pix2pix train ... 2>&1 | tee log`, where Ctrl-C ends tee first."""
    with subprocess.Popen(
        [sys.executable, "-c", LINES, str(tmp_path / "done")], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stdin is not None
        assert process.stderr.readline() == "first\n"
        process.stderr.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(60) == 0
    assert (tmp_path / "done").read_text() == "to the end"


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_a_closed_terminal_ends_no_command(tmp_path: Path) -> None:
    """SIGHUP is noted, and the messages that follow go nowhere."""
    code = (
        "import fcntl, os, signal, sys, termios, time; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # the tests may run under nohup
        "from pix2pix.system.signals import note_stop_signals\n"
        "from pix2pix.system.streams import say\n"
        "with note_stop_signals() as noted:\n"
        "    say('first')\n"
        "    while not noted(): time.sleep(0.01)\n"
        "    say('second'); print('third'); sys.stdout.flush()\n"
        "open(sys.argv[1], 'w').write(str(noted()))\n"
    )
    ours, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "done")],
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(terminal)
        assert os.read(ours, 5) == b"first"
        os.close(ours)  # hangs up
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert (tmp_path / "done").read_text() == "1"
