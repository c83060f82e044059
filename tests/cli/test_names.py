"""Names of files reach a terminal as one line of text, whatever they hold; no name ends a command in a traceback."""

import json
import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pix2pix.data.io import images
from pix2pix.system.progress import ProgressBar

NAMES = [
    os.fsdecode(b"not\xffutf8\xfe.png"),
    "\x1b[2J\x1b[31mescape.png",
    "line\npix2pix: all is well.png",
    "return\r.png",
    "right\u202egnp.png",
    "zero\u200bwidth.png",
    " space .png",
    "-rf.png",
    "L" * 251 + ".png",
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    data = tmp_path / "data\x1b[1m"
    for number, name in enumerate(NAMES):
        images.write(tmp_path / "x.png", np.roll(values, number, 0))
        (data / "train").mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "x.png", data / "train" / name)
    for name in NAMES[:5]:
        (data / "train" / f"broken {name}").write_bytes(b"x")
    return data


def run(*words: str | Path) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([sys.executable, "-m", "pix2pix", *map(str, words)], capture_output=True, check=False)
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    return done


@pytest.mark.skipif(sys.platform != "linux", reason="other systems restrict names")
def test_strange_names_are_checked_and_printed_as_text(pairs: Path) -> None:
    done = run("data", "check", pairs)
    printed = done.stdout + done.stderr
    assert done.returncode == 1
    assert not {0x1B, 0x0D} & set(printed)
    assert "\u202e".encode() not in printed
    assert "\u200b".encode() not in printed
    assert b"pix2pix: all is well" not in [line[:20] for line in printed.splitlines()]
    assert printed.count(b"broken not\\udcffutf8\\udcfe.png") == 1  # not escaped twice
    found = json.loads(run("data", "check", pairs, "--json").stdout)
    assert {Path(problem["path"]).name for problem in found["problems"]} == {f"broken {name}" for name in NAMES[:5]}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems restrict names")
def test_errors_with_names_are_one_line(tmp_path: Path) -> None:
    for words in (("data", "check", tmp_path / "no\x1b[31m\nthing"), ("train", "--\x1b[2J"), ("\x1b[2J",)):
        done = run(*words)
        assert done.returncode in (1, 2)
        assert 0x1B not in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_lines_above_the_bar_are_escaped() -> None:
    shown = StringIO()
    ProgressBar(console=Console(file=shown)).say("a\x1b[2J\nb")
    assert shown.getvalue() == "a\\x1b[2J\\nb\n"
