"""Whatever lies in a folder of pairs is taken, or named with a reason: nothing ends the look, or takes the memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hazards import HAZARDS, seed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes, links and names that are no text")

CHECK = """
import resource, sys
import torch, pix2pix.data.checks.check  # whose libraries take addresses of their own
from pix2pix.cli import main
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (3 << 30),) * 2)
main(["data", "check", *sys.argv[1:]])
"""


def test_every_defect_is_listed_in_one_look_and_little_memory(tmp_path: Path) -> None:
    """3 GB of addresses are enough for torch and threads, and not for one of the images that claim 60000x60000."""
    root = seed(tmp_path / "data")
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(root), "--json"], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    said: dict[str, list[str]] = {}
    for finding in [*report["problems"], *report["unmatched"], *report["warnings"]]:
        said.setdefault(finding["path"], []).append(finding["reason"])
    ignored = set(report["ignored"])
    for name, hazard in HAZARDS.items():
        path = os.path.join(root, "A", hazard.a)
        if hazard.said:
            assert any(hazard.said in reason for reason in said.get(path, [])), (name, said.get(path))
        else:
            assert path in ignored, name
    assert len(HAZARDS) >= 50
    assert not any("good" in path for path in said)


@pytest.mark.parametrize("name", HAZARDS)
def test_each_defect_alone(name: str, tmp_path: Path) -> None:
    from pix2pix.config import Data
    from pix2pix.data.checks.check import check

    report = check(Data(path=str(seed(tmp_path / "data", name))))
    hazard = HAZARDS[name]
    found = [reason for path, reason in (*report.left_out, *report.warnings) if path.name == hazard.a]
    assert any(hazard.said in reason for reason in found) == bool(hazard.said)
    assert report.without_bad().ok
    assert "\n".join(report.to_text().splitlines()) == report.to_text()


def test_the_rest_is_trained_on_and_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pix2pix.cli import main

    root, run = seed(tmp_path / "data", "no bytes", "no partner", "another size", "NaN"), tmp_path / "run"
    flags = ["--image-size", "32", "--base-channels", "4", "--discriminator.patch-size", "16", "--epochs", "1",
             "--samples", "1", "--device", "cpu", "--val-fraction", "0.2", "--test-fraction", "0.3"]  # fmt: skip
    with pytest.raises(SystemExit):
        main(["train", str(root), "--run", str(run), *flags])
    assert "--skip-bad" in capsys.readouterr().err
    assert not run.exists()
    main(["train", str(root), "--run", str(run), *flags, "--skip-bad"])
    left_out = (run / "left_out.txt").read_text()
    assert all(HAZARDS[name].said in left_out for name in ("no bytes", "no partner", "another size", "NaN"))
    assert "good" not in left_out
    assert "all of them in left_out.txt" in capsys.readouterr().err
    main(["evaluate", str(run), str(root)])
