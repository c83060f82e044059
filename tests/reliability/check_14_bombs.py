"""Files of a few bytes that claim huge images, or expand to huge parts: refused at once, in bounded memory."""

import json
import subprocess
import sys
from pathlib import Path

from tests.reliability.hostile import BOMBS, one_colour_webp

TITLE = "decompression bombs are refused before they are decoded"
SECONDS_EACH, MEGABYTES_EACH = 3.0, 250.0
"""Limits for one file; a process that has imported the readers is measured from there on."""

READ = """
import json, sys, time
from pathlib import Path
import imagecodecs, tifffile
from pix2pix.data.io import images, limits
from pix2pix.errors import DataError

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024

if sys.argv[2] == "unlimited":
    limits.PIXELS_PER_BYTE = dict.fromkeys(limits.PIXELS_PER_BYTE, 2**40)
before, began = peak(), time.monotonic()
try:
    said = str(images.read(Path(sys.argv[1])).shape)
    refused = False
except DataError as error:
    said, refused = str(error), True
print(json.dumps([refused, said, time.monotonic() - began, peak() - before]))
"""


def read(path: Path, budget: str = "limited") -> tuple[bool, str, float, float]:
    """Read a file in a process of its own: whether it is refused, the words, seconds, and megabytes at the peak."""
    words = [sys.executable, "-c", READ, str(path), budget]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=120, check=False)
    if done.returncode:
        return False, f"exit {done.returncode}: {done.stderr[-200:]}", 0.0, 0.0
    refused, said, seconds, megabytes = json.loads(done.stdout)
    return refused, said, seconds, megabytes


def measure(work: Path, names: list[str], budget: str = "limited") -> str:
    slowest = largest = 0.0
    wrong = []
    for name in names:
        path = work / name
        path.write_bytes(BOMBS[name]())
        refused, said, seconds, megabytes = read(path, budget)
        slowest, largest = max(slowest, seconds), max(largest, megabytes)
        named = said.startswith(f"{path}: ")
        if not (refused and named and seconds < SECONDS_EACH and megabytes < MEGABYTES_EACH):
            wrong.append(f"{name}: {said[-120:]}, {seconds:.1f} s, {megabytes:.0f} MB")
    figures = f"{len(names) - len(wrong)} of {len(names)} refused, at most {slowest:.2f} s and {largest:.0f} MB"
    assert not wrong, f"{figures}; {'; '.join(wrong)}"
    return figures


def check(work: Path, full: bool) -> str:
    """Read every bomb in a process of its own."""
    return measure(work, sorted(BOMBS) if full else ["claims.gif", "claims_16.png", "one_colour.webp", "tile.tif"])


def control(work: Path) -> str:
    """Read without the budget of pixels for each byte."""
    BOMBS["one_colour.webp"] = lambda: one_colour_webp(9000)  # takes fewer seconds than the largest
    return measure(work, ["one_colour.webp"], "unlimited")
