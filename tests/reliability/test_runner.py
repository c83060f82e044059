"""The runner: a check passes if it returns and its control fails, and leaves no process behind."""

from pathlib import Path

import pytest

from tests.reliability import runner
from tests.reliability.__main__ import table
from tests.reliability.runner import Check, run_check

FAILS = "def control(work):\n    raise AssertionError('3 of 3 unreadable')\n"


def check_of(folder: Path, body: str) -> Check:
    path = folder / "check_99_example.py"
    path.write_text(f"TITLE = 'an example'\n{body}", encoding="utf-8")
    return Check.read(path)


@pytest.mark.parametrize(
    ("body", "state", "words"),
    [
        ("def check(work, full):\n    return f'{full} {list(work.iterdir())}'\n" + FAILS, "passed", "False []"),
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
    ids=["passes", "fails", "control passes", "control breaks", "ends", "not run"],
)
def test_states(tmp_path: Path, body: str, state: str, words: str) -> None:
    result = run_check(check_of(tmp_path, body), full=False)
    assert result.state == state, result.line
    assert words in result.line
    assert ("3 of 3 unreadable" in table([result])) == (FAILS in body)


def test_time_limit_and_processes_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SMOKE_SECONDS", 1.0)
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.2)
    body = (
        "import subprocess, time\n"
        "def check(work, full): time.sleep(60)\n"
        "def control(work):\n"
        "    subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "    raise AssertionError('all lost')\n"
    )
    result = run_check(check_of(tmp_path, body), full=False)
    assert result.measured.ended == "time out"
    assert result.control.figures == "1 of its processes still ran at its end; failed: all lost"


def test_unknown_number() -> None:
    with pytest.raises(ValueError, match="there is no check 1000"):
        runner.find_checks([1000])
