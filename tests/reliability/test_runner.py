"""The runner: a check passes if it returns and its control fails, and leaves no process behind."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability import runner
from tests.reliability.__main__ import table
from tests.reliability.runner import MARK, ROOT, Check, environment, run_check, run_function
from tests.reliability.warm import Warm, warm

FAILS = "def control(work):\n    raise AssertionError('3 of 3 unreadable')\n"
LOOKS = """
import tempfile
def check(work, full):
    return f"{full} {list(work.iterdir())} {tempfile.gettempdir() == str(work.parent)}"
"""
TOUCHES = """
import sys
def check(work, full):
    sys.touched = True
    return "x"
def control(work):
    raise AssertionError("touched" if hasattr(sys, "touched") else "untouched")
"""


def check_of(folder: Path, body: str) -> Check:
    path = folder / "check_99_example.py"
    path.write_text(f"TITLE = 'an example'\n{body}", encoding="utf-8")
    return Check.read(path)


@pytest.fixture(scope="module", params=["a new process", "a fork"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm | None]:
    """What starts the functions: nothing, or a server without a module."""
    if request.param == "a new process":
        yield None
    elif sys.platform == "linux":
        with warm(MARK, environment(tmp_path_factory.mktemp("warm")), ROOT, ()) as started:
            yield started
    else:
        pytest.skip("forks are of Linux")


@pytest.mark.parametrize(
    ("body", "state", "words"),
    [
        (LOOKS + FAILS, "passed", "False [] True"),
        (TOUCHES, "passed", "fails as it should: untouched"),
        ("def check(work, full):\n    raise AssertionError('1 of 3 lost')\n" + FAILS, "failed", "failed: 1 of 3 lost"),
        ("def check(work, full): return 'x'\ndef control(work): return 'fine'", "failed", "CONTROL PASSES"),
        ("def check(work, full): return 'x'\ndef control(work): 1 / 0", "failed", "broke: ZeroDivisionError"),
        ("def check(work, full):\n    import os\n    os._exit(3)\n" + FAILS, "failed", "its process ended with 3"),
        (
            "def check(work, full):\n    from tests.reliability import NotRun\n    raise NotRun('no root')\n" + FAILS,
            "not run",
            "no root",
        ),
    ],
    ids=["passes", "apart", "fails", "control passes", "control breaks", "ends", "not run"],
)
def test_states(tmp_path: Path, server: Warm | None, body: str, state: str, words: str) -> None:
    result = run_check(check_of(tmp_path, body), full=False, server=server)
    assert result.state == state, result.line
    assert words in result.line
    assert ("3 of 3 unreadable" in table([result])) == (FAILS in body)


def test_time_limit_and_processes_left_behind(
    tmp_path: Path, server: Warm | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = check_of(
        tmp_path,
        "import subprocess, time\n"
        "def check(work, full): time.sleep(60)\n"
        "def control(work):\n"
        "    subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "    raise AssertionError('all lost')\n",
    )
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.2)
    control = run_function(check, "control", full=False, server=server)
    assert control.figures == "1 of its processes still ran at its end; failed: all lost"
    monkeypatch.setattr(runner, "SMOKE_SECONDS", 0.5)
    assert run_function(check, "check", full=False, server=server).ended == "time out"


def test_unknown_number() -> None:
    with pytest.raises(ValueError, match="there is no check 1000"):
        runner.find_checks([1000])
