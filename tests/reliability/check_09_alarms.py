"""Check 9: alarms of real trainings: sick ones are told, healthy ones are not."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pix2pix.data.io import images
from pix2pix.reports import alarms
from pix2pix.training.train import train
from tests.reliability.runs import make_data

TITLE = "alarms: four sick trainings are told, healthy ones are silent"
BASE: dict[str, Any] = {
    "direction": "BtoA", "image_size": 32, "batch_size": 1, "precision": "32", "device": "cpu", "samples": 0,
    "validate_every": 2, "epochs": 30, "generator": {"base_channels": 8},
    "discriminator": {"base_channels": 8, "patch_size": 16},
}  # fmt: skip


def rearranged(data: Path, folder: Path, arrange: Callable[[list[np.ndarray]], list[np.ndarray]]) -> Path:
    """Copy side-by-side pairs with their right halves, the sources of BtoA, replaced by `arrange`."""
    for split in ("train", "val"):
        paths = sorted((data / split).iterdir())
        pairs = [images.read(path) for path in paths]
        width = pairs[0].shape[1] // 2
        sources = arrange([pair[:, width:] for pair in pairs])
        (folder / split).mkdir(parents=True)
        for path, pair, source in zip(paths, pairs, sources, strict=True):
            images.write(folder / split / f"{path.stem}.png", np.concatenate([pair[:, :width], source], axis=1))
    return folder


def edge_maps(folder: Path) -> Path:
    """Write drawings that are mostly white, of rectangles: most pixels of the targets are at the ends of the range."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            drawing, photo = np.full((40, 40, 1), 255, np.uint8), np.full((40, 40, 1), 60, np.uint8)
            for _ in range(3):
                y, x, side = (int(one) for one in generator.integers((2, 2, 6), (25, 25, 12)))
                photo[y : y + side, x : x + side] = 200
                drawing[y : y + side, [x, x + side - 1]] = drawing[[y, y + side - 1], x : x + side] = 0
            images.write(folder / split / f"{number}.png", np.concatenate([drawing, photo], axis=1))
    return folder


def run(data: Path, folder: Path, **settings: Any) -> list[str]:
    """Train and return the lines about alarms."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        train(data, run=folder, **BASE | settings)
    lines = [line for line in said.getvalue().splitlines() if line.startswith("alarm")]
    report = (folder / "report.html").read_text(encoding="utf-8")
    for line in lines:
        meaning = line.partition(": ")[2].removeprefix("no longer: ").partition(":")[0].rstrip(".")
        assert meaning.split(",")[0] in report, f"not in the report: {meaning}"
    return lines


def sick(work: Path, data: Path) -> dict[str, tuple[str, Callable[[Path], list[str]]]]:
    """Return the name of each sick training -> the words of its alarm, and the training."""
    blank = rearranged(data, work / "blank", lambda sources: [np.full_like(one, 128) for one in sources])
    many = make_data(work / "many", train=24, val=24)  # with few pairs, sources fit other targets by chance
    shuffled = rearranged(many, work / "shuffled", lambda sources: sources[3:] + sources[:3])
    slow = {"adversarial_weight": 1e-3, "learning_rate": 1e-3}
    return {
        "constant": ("The output is constant", lambda folder: run(blank, folder)),
        "ignored": ("The source is ignored", lambda folder: run(shuffled, folder, epochs=20)),
        "ends": ("Most output pixels are at the ends", lambda folder: run(data, folder, learning_rate=0.3)),
        "saturated": ("The discriminator is saturated", lambda folder: run(blank, folder, epochs=60, **slow)),
    }


def healthy(work: Path, data: Path) -> dict[str, Callable[[Path], list[str]]]:
    """Return the name of each healthy training -> the training."""
    few, drawings = make_data(work / "few", train=4, val=3, seed=7), edge_maps(work / "drawings")
    return {
        "facades": lambda folder: run(data, folder),
        "drawings": lambda folder: run(drawings, folder, direction="BtoA"),
        "four pairs": lambda folder: run(few, folder, epochs=90),
        "photo to labels": lambda folder: run(data, folder, direction="AtoB"),
        "l1 alone": lambda folder: run(data, folder, adversarial_weight=0),
        "lsgan": lambda folder: run(data, folder, adversarial="lsgan", seed=1),
        "hinge": lambda folder: run(data, folder, adversarial="hinge", seed=2),
        "batches": lambda folder: run(data, folder, batch_size=4, epochs=80),
        "warm-up": lambda folder: run(data, folder, discriminator_epochs=4),
        "running statistics": lambda folder: run(data, folder, norm_statistics="running", seed=3),
    }


def check(work: Path, full: bool) -> str:
    data = make_data(work / "data", train=12, val=5)
    cases = sick(work, data)
    for name in cases if full else ("constant",):
        words, begin = cases[name]
        lines = begin(work / f"sick-{name}")
        assert any(line.startswith("alarm since epoch") and words in line for line in lines), f"{name}: {lines}"
    calm = healthy(work, data)
    for name in calm if full else ("drawings",):
        lines = calm[name](work / f"healthy-{name}")
        assert not lines, f"healthy {name}: {lines}"
    return f"{len(cases) if full else 1} sick trainings told, {len(calm) if full else 1} healthy ones silent"


def control(work: Path) -> str:
    """Switch the thresholds off: a sick training is silent."""
    data = make_data(work / "data", train=12, val=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alarms, "LASTING", 10**6)
        words, begin = sick(work, data)["constant"]
        lines = begin(work / "run")
    assert lines, f"no alarm where the thresholds are off: {words!r} is not said"
    return "an alarm without thresholds"
