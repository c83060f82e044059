"""Folders as people have them: everything strange is named with a reason, or ignored as documented; nothing waits."""

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

from PIL import Image

from tests.data.checks.hazards import GOOD, HAZARDS, encoded, picture, seed
from tests.reliability import runs

TITLE = "strange folders: each file is named or ignored, and nothing waits"
SECONDS = 240
PLAIN_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Start of a command line that takes the right to read everything from root (Linux)."""


def check_pairs(data: Path, *before: str, timeout: float = 120) -> dict[str, Any]:
    """Run `data check --json`, which must find something wrong, without a traceback."""
    words = runs.command("data", "check", data, "--json", "--cache-dir", data.parent / "cache")
    done = runs.call([*before, *words], timeout=timeout)
    assert "Traceback" not in done.stderr, done.stderr[-500:]
    assert done.returncode == 1, f"exit {done.returncode}: {done.stderr[-300:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def named_reasons(found: dict[str, Any]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for problem in (*found["problems"], *found["unmatched"], *found["warnings"]):
        name = Path(problem["path"]).name
        reasons[name] = f"{reasons.get(name, '')} {problem['reason']}"
    return reasons


def hazards(work: Path) -> str:
    """Check a folder with every known hazard."""
    data = seed(work / "hazards")
    found = check_pairs(data)
    reasons, ignored = named_reasons(found), {Path(path).name for path in found["ignored"]}
    wrong = [
        f"{name}: {reasons.get(hazard.a, 'not named')!r}"
        for name, hazard in HAZARDS.items()
        if (hazard.said and hazard.said not in reasons.get(hazard.a, "")) or (not hazard.said and hazard.a in reasons)
    ]
    shown = {hazard.a for hazard in HAZARDS.values() if not hazard.said}
    figures = f"{len(HAZARDS) - len(wrong)} of {len(HAZARDS)} hazards handled"
    assert not wrong, f"{figures}; {'; '.join(wrong[:5])}"
    assert shown <= ignored, f"{figures}; not in the list of ignored: {sorted(shown - ignored)}"
    return figures


def special_files(work: Path) -> str:
    """Pipes, sockets, devices and a file without permission, named as images or as pairs.csv; as a plain user."""
    data = seed(work / "special", "one colour")
    (data / "A/flat.png").unlink()
    (data / "B/flat.png").unlink()
    a = data / "A"
    os.mkfifo(a / "pipe.png")
    os.mkfifo(a / "pipe_array.npy")
    here = os.getcwd()
    os.chdir(a)  # the address of a socket may have 107 bytes
    try:
        socket.socket(socket.AF_UNIX).bind("socket.png")
    finally:
        os.chdir(here)
    (a / "zero.png").symlink_to("/dev/zero")
    (a / "closed.png").write_bytes(encoded("PNG"))
    (a / "closed.png").chmod(0)
    for name in ("pipe", "pipe_array", "socket", "zero", "closed"):
        picture().save(data / "B" / f"{name}.png")
    names = {
        "pipe.png": "is a pipe",
        "socket.png": "is a socket",
        "zero.png": "is a device",
        "pipe_array.npy": "is a pipe",
    }
    names["closed.png"] = "Permission denied"
    before = PLAIN_USER if not os.geteuid() and shutil.which("setpriv") else ()
    reasons = named_reasons(check_pairs(data, *before, timeout=60))
    wrong = [f"{name}: {reasons.get(name)}" for name, said in names.items() if said not in reasons.get(name, "")]
    assert not wrong, f"{len(names) - len(wrong)} of {len(names)} special files named; {'; '.join(wrong)}"
    (data / "manifest").mkdir()
    os.mkfifo(data / "manifest/pairs.csv")
    done = runs.call(runs.command("data", "check", data / "manifest"), timeout=60)
    assert done.returncode == 1, done.stderr[-300:]
    assert "is a pipe" in done.stderr, done.stderr[-300:]
    return f"{len(names) + 1} of {len(names) + 1} special files named"


def vanishing(work: Path) -> str:
    """Remove a file of the training pairs while it is trained on: one sentence that names it, and exit 1."""
    data, run = runs.make_data(work / "vanishing"), work / "run"
    words = runs.train_command(data, run, "--epochs", "5000", "--cache", "none", "--cache-dir", str(work / "cache"))
    with runs.started(words) as process:
        runs.wait_until(lambda: (run / "metrics.csv").exists(), what="metrics.csv")
        gone = sorted((data / "train").iterdir())[0]
        gone.unlink()
        _, said = process.communicate(timeout=60)
    last = (said.strip().splitlines() or [""])[-1]
    assert process.returncode == 1, f"exit {process.returncode}: {last}"
    assert gone.name in last, last
    assert "Traceback" not in said, said[-500:]
    return "a file that vanishes in training is named"


def trained_anyway(work: Path) -> str:
    """Train with --skip-bad on the good pairs among the hazards."""
    done = runs.call(runs.train_command(work / "hazards", work / "skipped", "--epochs", "1", "--skip-bad"))
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-300:]}"
    refused = runs.call(runs.train_command(work / "hazards", work / "refused", "--epochs", "1"))
    assert refused.returncode == 1, f"exit {refused.returncode}"
    assert "Traceback" not in refused.stderr, refused.stderr[-500:]
    assert len(refused.stderr.strip().splitlines()[-1].split("\n")) == 1
    return f"trained on {GOOD}+ pairs with --skip-bad"


def check(work: Path, full: bool) -> str:
    """Check the folders by the command; at full scale also train on them."""
    figures = [hazards(work), special_files(work)]
    if full:
        figures += [vanishing(work), trained_anyway(work)]
    return "; ".join(figures)


def control(work: Path) -> str:
    """Read the folder with Pillow and count the files that an error names."""
    data = seed(work / "hazards")
    named = asked = 0
    for name, hazard in HAZARDS.items():
        path = data / "A" / hazard.a
        if not hazard.said or not path.is_file():  # opening a pipe would never end
            continue
        asked += 1
        try:
            with Image.open(path) as image:
                image.convert("RGB")
        except Exception as error:
            named += str(path) in str(error) and name != ""
    figures = f"{named} of {asked} hazards named"
    assert named == asked, figures
    return figures
