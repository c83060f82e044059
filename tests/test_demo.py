"""The demo's own path, with fewer and smaller pictures."""

import sys
from pathlib import Path

import pytest
from conftest import TINY

from pix2pix import demo as verb
from pix2pix.cli import main


@pytest.mark.usefixtures("drawn")
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("TRAIN", 4), ("VAL", 2), ("TEST", 2), ("SETTINGS", TINY)):
        monkeypatch.setattr(sys.modules[verb.__module__], name, value)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time it is done already
        main(["demo"])
        said = capsys.readouterr()
        assert said.out.splitlines()[-1] == "runs/demo/report.html"
        assert "test (2 images)" in said.out
    report = (tmp_path / "runs/demo/report.html").read_text("utf-8")
    assert "the mean training target" in report
    assert len(list((tmp_path / "runs/demo-data/train").iterdir())) == 4
