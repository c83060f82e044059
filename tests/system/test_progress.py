"""Lines in place of a bar where there is no terminal, and silence on request."""

import io

import pytest
from rich.console import Console

from pix2pix.system import progress
from pix2pix.system.progress import ProgressBar


def lines(monkeypatch: pytest.MonkeyPatch, *, in_bytes: bool = False) -> tuple[io.StringIO, ProgressBar]:
    """A bar without a terminal that writes a line at every update, a second after the one before."""
    seconds = iter(range(1000))
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.5)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(seconds)))
    text = io.StringIO()
    console = Console(file=text, soft_wrap=True, highlight=False, force_terminal=False, get_time=lambda: 0.0)
    return text, ProgressBar("working", in_bytes=in_bytes, console=console)


def test_plain_lines_hold_count_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    text, bar = lines(monkeypatch)
    for done in (0, 30, 60):
        bar.update(done, 180, "epoch 1/3")
    bar.update(5, None)
    assert text.getvalue().splitlines() == [
        "epoch 1/3: 0 of 180 images",
        "epoch 1/3: 30 of 180 images, 30.0 images/s, 5 s left",
        "epoch 1/3: 60 of 180 images, 30.0 images/s, 4 s left",
        "working: 5 images",
    ]


def test_bytes_are_counted_in_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    text, bar = lines(monkeypatch, in_bytes=True)
    bar.update(0, 10_000_000)
    bar.update(2_000_000, 10_000_000)
    assert text.getvalue().splitlines()[-1] == "working: 2 of 10 MB, 2.0 MB/s, 4 s left"


def test_silent_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(silent=True) as bar:
        bar.say("a line")
        bar.update(1, 2, "work")
    assert capsys.readouterr() == ("", "")
