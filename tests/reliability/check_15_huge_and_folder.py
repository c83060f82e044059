"""A huge TIFF in tiles, two tilings of a smaller one, a folder killed again and again, and outputs over sources."""

import contextlib
import hashlib
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tifffile
from numpy.typing import NDArray

from pix2pix.data.io import images
from pix2pix.data.io.row_reader import RowReader, open_rows
from pix2pix.errors import ConfigError, DataError
from pix2pix.inference import huge
from pix2pix.inference.huge import Tiling, translate_huge
from pix2pix.inference.jobs import Job
from pix2pix.inference.memory import Budget
from pix2pix.inference.record import NAME
from pix2pix.inference.tiles import Axis
from pix2pix.inference.translate import translate
from pix2pix.inference.translator import Translator
from tests.inference.small_models import seams
from tests.reliability.runs import call, command
from tests.untrained import untrained

TITLE = "a huge image in bounded memory without seams; a folder killed while it is translated; sources stay"
SECONDS = 900.0
BLOB, TILE = 97, 512  # pixels of a blob of the source; of a tile of its file
MOST_MEMORY = 1.5e9  # bytes resident, of which Python, torch and the model take about half
PLAIN_WRITES = """
import sys, time
from pix2pix.system import files
def plainly(path, write, before_rename=None):
    import io
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO(); write(content); content = content.getvalue()
    with path.open("wb") as file:
        half = len(content) // 2
        file.write(content[:half]); file.flush(); time.sleep(0.3); file.write(content[half:])
    return lambda: None
files.begin_to_write = plainly
from pix2pix.cli import main
main(sys.argv[1:])
"""


def check(work: Path, full: bool) -> str:
    """Return the figures; `full` takes 20,000 x 20,000 pixels and 18 kills."""
    model = save_model(work / "model")
    side, kills, pictures = (20_000, 18, 160) if full else (1500, 1, 12)
    figures = [measure_huge(work, model, side), measure_seams(work, model, Tiling(160, 64))]
    figures.append(measure_kills(work, model, kills, pictures, command()))
    figures.append(measure_overwriting(work, model))
    return "; ".join(figures)


def control(work: Path) -> str:
    """Translate tiles without an overlap, each with statistics of its own; write outputs under their final names."""
    model = save_model(work / "model")
    found = []
    with mock.patch.object(huge, "uses_image_statistics", return_value=False):
        for measure in (
            lambda: measure_seams(work, model, Tiling(160, 0)),
            lambda: measure_kills(work, model, 2, 12, [*command()[:1], "-c", PLAIN_WRITES]),
        ):
            try:
                return measure()
            except AssertionError as error:
                found.append(str(error).splitlines()[0])
    raise AssertionError("; ".join(found))


def save_model(folder: Path) -> Path:
    """Save an untrained U-Net of depth 5 whose norms use the statistics of the image."""
    untrained().save(folder)
    return folder


# ---- a huge image ----------------------------------------------------------------------------------------------


def write_source(path: Path, side: int) -> None:
    """Write blobs that become brighter from left to right, tile by tile."""
    blobs = np.random.default_rng(0).integers(0, 255, (side // BLOB + 9, side // BLOB + 9, 3)).astype(np.float32)

    def tiles() -> Iterator[NDArray[np.uint8]]:
        for top in range(0, side, TILE):
            for left in range(0, side, TILE):
                y, x = ((np.arange(TILE) + at) / BLOB for at in (top, left))
                (row, down), (column, right) = ((at.astype(int), (at % 1).astype(np.float32)) for at in (y, x))
                lines = blobs[row] * (1 - down)[:, None, None] + blobs[row + 1] * down[:, None, None]
                tile = lines[:, column] * (1 - right)[:, None] + lines[:, column + 1] * right[:, None]
                yield (tile * (0.2 + 0.7 * (left + np.arange(TILE)) / side)[:, None]).clip(0, 255).astype(np.uint8)

    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path, tiles(), shape=(side, side, 3), dtype="uint8", tile=(TILE, TILE), photometric="rgb", compression="zlib"
    )


def measure_huge(work: Path, model: Path, side: int) -> str:
    """Translate in a process of its own; measure its memory, and the step across borders of tiles in the output."""
    source = work / "huge.tif"
    write_source(source, side)
    began = time.monotonic()
    tile, overlap = (512, 64) if side > 5000 else (256, 64)
    flags = ("--device", "cpu", "--memory", "0.8", "--tile", str(tile), "--overlap", str(overlap))
    process = subprocess.Popen(command("translate", model, source, "--output", work / "out", *flags))
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.05)
    seconds = time.monotonic() - began
    assert process.returncode == 0, f"exit {process.returncode}"
    borders = [at for at in seams(Axis.plan(-(-side // 32) * 32, tile, overlap)) if at < side]
    with open_rows(work / "out/huge.tif") as reader:
        assert reader.facts.size == (side, side)
        across = seam(np.concatenate([reader.read(at, at + 8) for at in range(0, side - 8, side // 40)]), borders)
        steps = {at: row_step(reader, at) for at in [*borders, *range(32, side, 32 * max(1, side // 3000))]}
    there = np.mean([steps[at] for at in borders])
    down = abs(there / np.mean([step for at, step in steps.items() if at not in borders]) - 1)
    (work / "out/huge.tif").unlink()
    assert peak < MOST_MEMORY, f"{peak / 1e9:.2f} GB for {side}x{side}"
    assert max(across, down) < 0.1, f"steps across borders differ by {across:.1%} and {down:.1%}"
    return (
        f"{side}x{side} in {seconds:.0f} s with {peak / 1e9:.2f} GB resident, "
        f"steps across borders of tiles differ by {across:.1%} (columns) and {down:.1%} (rows)"
    )


def row_step(reader: RowReader, at: int) -> float:
    """Return the mean step from the row above a row to it."""
    return float(np.abs(np.diff(reader.read(at - 1, at + 1).astype(np.float32), axis=0)).mean())


def resident(number: int) -> int:
    """Return the largest resident memory of a process so far, in bytes (Linux)."""
    try:
        lines = Path(f"/proc/{number}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def seam(image: NDArray[Any], borders: list[int]) -> float:
    """Return how far the mean step across the borders of tiles differs from that elsewhere: 0 for none.

    Elsewhere are the other multiples of 32, where the layers of the generator are in the same phase.
    """
    steps = np.zeros(image.shape[1])
    for row in image:
        steps[1:] += np.abs(np.diff(row.astype(np.float32), axis=0)).mean(axis=1)
    others = sorted(set(range(32, image.shape[1], 32)).difference(borders))
    return float(abs(steps[borders].mean() / steps[others].mean() - 1))


def measure_seams(work: Path, model: Path, tiling: Tiling) -> str:
    """Compare a tiling with the whole image and with another grid, where all fit into memory."""
    translator, source = Translator.from_pretrained(model, device="cpu"), work / "small.tif"
    write_source(source, 640)
    budget = Budget.of(translator.model, translator.device, 4e9)
    outputs = {}
    for name, tiles in {"tiled": tiling, "shifted": Tiling(192, tiling.overlap), "whole": Tiling(1024, 0)}.items():
        translate_huge(translator, Job((source,), Path(source.name)), work / f"{name}.tif", tiles, budget)
        outputs[name] = images.read(work / f"{name}.tif").astype(float)
    axis = Axis.plan(640, tiling.tile or 0, tiling.overlap or 0)
    step = abs(seam(outputs["tiled"], seams(axis)) - seam(outputs["whole"], seams(axis)))
    apart = np.abs(outputs["tiled"] - outputs["shifted"]).mean() / outputs["whole"].std()
    figures = (
        f"against one whole, steps at borders differ by {step:.1%}; two grids differ by {apart:.1%} of the contrast"
    )
    assert step < 0.05, figures
    assert apart < 0.15, figures
    return figures


# ---- a folder --------------------------------------------------------------------------------------------------


def measure_kills(work: Path, model: Path, kills: int, pictures: int, start: list[str]) -> str:
    """Kill a translation at random moments while it writes; then the same command does the rest."""
    rng, sources, output = random.Random(0), work / "photos", work / "translated"
    for number in range(pictures):
        noise = np.random.default_rng(number).integers(0, 256, (192, 256, 3), dtype=np.uint8)
        images.write(sources / f"{number % 3}/{number:03}.png", noise)
    before, torn, at_kills = hashes(sources), 0, []
    words = [*start, *command("translate", model, sources, "--device", "cpu", "--batch-size", "1")[3:]]
    for _ in range(kills):
        there = len(finished(output))
        process = subprocess.Popen([*words, "--output", str(output)], stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while process.poll() is None and len(finished(output)) <= there and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.wait()
        torn += sum(not is_whole(path) for path in finished(output))
        at_kills.append(len(finished(output)))
    assert not torn, f"{torn} torn outputs under their final names after {kills} kills"
    last = call([*words, "--output", str(output)])
    assert last.returncode == 0, last.stderr
    assert f"{at_kills[-1]:,} were there already" in last.stderr, f"{at_kills[-1]} were there, but: {last.stderr}"
    translate(model, sources, output=work / "calm", device="cpu", batch_size=1)
    assert hashes(output) == hashes(work / "calm"), "outputs differ from those of a calm run, or files were left"
    assert hashes(sources) == before, "sources changed"
    twice = (output / NAME).read_bytes().count(b'["') - pictures
    assert twice <= 2 * kills, f"{twice} outputs were made twice"
    return (
        f"{kills} kills at {at_kills[0]} to {at_kills[-1]} of {pictures} outputs: 0 torn, 0 left, "
        f"{twice} made twice, all {pictures} as in a calm run, sources untouched"
    )


def finished(folder: Path) -> list[Path]:
    """Return the files that carry the name of an output."""
    return [path for path in folder.rglob("*.png") if not path.name.startswith(".")]


def is_whole(path: Path) -> bool:
    """Return whether an output can be decoded."""
    try:
        return images.read(path).shape == (192, 256, 3)
    except ValueError:
        return False


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every file but the record."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def measure_overwriting(work: Path, model: Path) -> str:
    """Aim outputs at inputs, and at files of the user."""
    photos = work / "mine/photos"
    for name in ("a.png", "photos/a.png"):
        images.write(photos / name, np.full((40, 40, 3), len(name), np.uint8))
    before, refused = hashes(work / "mine"), 0
    with working_in(work / "mine"):
        for inputs, output in (("photos", "."), ("photos", "photos"), ("photos/a.png", "photos/photos")):
            try:
                translate(model, inputs, output=output, device="cpu")
            except (ConfigError, DataError) as error:
                refused += "another --output" in str(error)
    assert hashes(work / "mine") == before, "files of the user were replaced"
    assert refused == 3, f"{refused} of 3 refused"
    return "3 of 3 outputs over files of the user refused"


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a folder within the block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
