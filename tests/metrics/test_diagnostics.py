"""Generators with one flaw each, and whether an examination finds that flaw and no other."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.data.loading.dataset import Batch
from pix2pix.evaluation.evaluate import evaluate
from pix2pix.metrics.diagnostics import (
    Diagnostics,
    TrainingTargets,
    choose_evenly,
    conclude_memory,
    diagnose,
    make_thumbnails,
)
from pix2pix.metrics.sharpness import gradient_energy, grid_energy, radial_spectrum

CPU = torch.device("cpu")
SIZE, COUNT = 32, 24


class Generator(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor], dropout: float = 0.0) -> None:
        super().__init__()
        self.function, self.noise = function, nn.Dropout(dropout)

    def forward(self, source: Tensor) -> Tensor:
        output: Tensor = self.noise(self.function(source)).clamp(-1, 1)
        return output


def pictures(count: int, seed: int) -> Tensor:
    """Smooth pictures with some fine detail."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 2 - 1
    smooth = F.interpolate(coarse, (SIZE, SIZE), mode="bilinear")
    return (smooth + 0.2 * torch.randn(count, 3, SIZE, SIZE, generator=generator)).clamp(-1, 1)


TARGETS, TRAINING = pictures(COUNT, 1), pictures(30, 2)


BATCH = Batch(TARGETS, TARGETS, torch.arange(COUNT))
"""The source is the target, so that the identity is a perfect translator."""


def examined(function: Callable[[Tensor], Tensor], dropout: float = 0.0) -> Diagnostics:
    training = TrainingTargets(make_thumbnails(TRAINING), lambda index: (f"training {index}", TRAINING[index]))
    names = [f"image {n}" for n in range(COUNT)]
    return diagnose(Generator(function, dropout).eval(), BATCH, CPU, names=names, training=training)


def blurred(images: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), 5, stride=1)


def memory(images: Tensor) -> Tensor:
    """A training target of its own for each."""
    places = [int((TARGETS - image).abs().sum(dim=(1, 2, 3)).argmin()) for image in images]
    return TRAINING[places]


def with_grid(images: Tensor) -> Tensor:
    """Every second row and column is lighter."""
    grid = torch.zeros(SIZE, SIZE)
    grid[::2, ::2] = 0.3
    return images + grid


FLAWS = {
    "source": "output is constant",
    "sharpness": "blurred",
    "memory": "may copy",
    "dropout": "several answers",
    "grid": "outputs have a",
}


@pytest.mark.parametrize(
    ("function", "dropout", "flaws"),
    [
        (lambda images: images, 0.0, set()),
        (lambda images: images, 0.5, {"dropout"}),
        (blurred, 0.0, {"sharpness"}),
        (with_grid, 0.0, {"grid"}),
        (lambda images: TARGETS[:1].expand_as(images), 0.0, {"source"}),
        (memory, 0.0, {"memory"}),
    ],
    ids=["none", "noisy", "blurred", "grid", "constant", "memory"],
)
def test_each_flaw_is_found_and_no_other(function: Callable[[Tensor], Tensor], dropout: float, flaws: set[str]) -> None:
    found = examined(function, dropout)
    assert {name for name, words in FLAWS.items() if words in found.sentences[name]} == flaws
    assert found.sentences.keys() == FLAWS.keys()


def test_numbers_against_their_definitions() -> None:
    found = examined(lambda images: images / 2)
    apart = (TARGETS.roll(1, 0) - TARGETS).abs().mean().item() / 2
    expected = {
        "matched_l1": TARGETS.abs().mean().item() / 4,
        "shuffled_l1": (TARGETS.roll(1, 0) / 2 - TARGETS).abs().mean().item() / 2,
        "source_dependence": 0.5,
        "gradient_ratio": 0.25,
        "fine_detail_ratio": 0.25,
    }
    assert {name: found.numbers[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert found.numbers["dropout_movement"] is None
    assert apart > 0
    copies = examined(memory)
    assert (copies.numbers["nearest_ratio"], copies.numbers["remembered"]) == (0, 1)
    first = copies.neighbours[0]
    assert (first.output == first.training).all()
    assert first.nearest == f"training {first.name.removeprefix('image ')}"


@pytest.mark.parametrize(
    ("ratio", "remembered", "words"),
    [
        (0.4, 0.1, "may copy training images"),
        (0.9, 0.8, "Either the outputs are inaccurate, or the model copies training images"),
        (0.9, 0.1, "no sign that the model copies"),
        (0.7, 0.1, "nearer to training targets than real targets are"),
        (float("nan"), 0.0, "Real targets repeat training targets"),
    ],
)
def test_memory_claims_no_more_than_its_numbers(ratio: float, remembered: float, words: str) -> None:
    assert words in conclude_memory(ratio, remembered)


def test_too_few_images_give_numbers_and_no_conclusion() -> None:
    few = Batch(TARGETS[:5], TARGETS[:5], torch.arange(5))
    training = TrainingTargets(make_thumbnails(TRAINING), lambda index: (f"training {index}", TRAINING[index]))
    for function in (blurred, memory, lambda images: TARGETS[:1].expand_as(images)):
        found = diagnose(Generator(function).eval(), few, CPU, names="abcde", training=training)
        assert found.numbers["gradient_ratio"] is not None
        for question in ("source", "sharpness", "grid", "memory"):
            assert found.sentences[question].endswith(
                "5 images are too few to conclude anything (20 or more are needed)."
            )


def test_what_cannot_be_told_is_not_claimed() -> None:
    """Targets that are all the same do not make the output constant, and flat ones do not make it sharp."""
    flat = torch.zeros_like(TARGETS)
    found = diagnose(Generator(lambda images: images).eval(), Batch(TARGETS, flat, torch.arange(COUNT)), CPU)
    assert "All targets are the same" in found.sentences["source"]
    assert "no edges to compare with" in found.sentences["sharpness"]
    weak = examined(lambda images: 0.2 * images + 0.8 * TARGETS.mean(dim=0))
    assert "depends on its source, but less" in weak.sentences["source"]


def test_noise_is_seeded_and_is_off_afterwards() -> None:
    network = Generator(lambda images: images, 0.5).eval()
    first, second = (diagnose(network, BATCH, CPU).numbers["dropout_movement"] for _ in range(2))
    assert first == second
    assert first is not None
    assert first > 0.01
    assert not network.noise.training


def test_spectrum_of_a_wave_is_a_peak() -> None:
    across = torch.arange(64) * (2 * torch.pi * 16 / 64)  # a quarter of a cycle a pixel
    wave = torch.sin(across).expand(1, 1, 64, 64)
    frequencies, power = radial_spectrum(wave)
    assert frequencies[int(np.argmax(power))] == pytest.approx(0.25, abs=0.5 / 24)
    assert power.max() > 100 * np.median(power)
    assert gradient_energy(wave).item() == pytest.approx(1.0, rel=0.02)  # mean (sin(x + pi/2) - sin x)^2


@pytest.mark.parametrize(("height", "width", "levels"), [(16, 32, 6), (32, 32, 4), (64, 64, 1), (96, 130, 1)])
def test_a_grid_of_few_levels_is_seen(height: int, width: int, levels: int) -> None:
    """One of 2 and one of 4 pixels, on half of the area; noise, smooth and plain images have none."""
    torch.manual_seed(0)
    walks = torch.randn(24, 1, height, width).cumsum(2).cumsum(3)  # as in photos, less power at higher frequencies
    smooth = walks / walks.abs().amax(dim=(2, 3), keepdim=True)
    down, across = torch.arange(height)[:, None], torch.arange(width)
    checks = 1 - 2 * ((down + across) % 2)
    cells = torch.randn(4, 4)[down % 4, across % 4]
    assert grid_energy(smooth) < 1.3
    assert grid_energy(torch.rand(24, 3, height, width)) < 1.3
    assert grid_energy(torch.zeros(2, 3, height, width)) == pytest.approx(1)
    for grid in (checks, cells):
        assert grid_energy(smooth + grid * (across < width / 2) * levels / 127.5) > 1.3
        assert grid_energy(smooth + grid * 4 * levels / 127.5) > 5


def test_chosen_images_are_spread_evenly() -> None:
    assert choose_evenly(5, 8) == [0, 1, 2, 3, 4]
    assert choose_evenly(101, 5) == [0, 25, 50, 75, 100]
    assert choose_evenly(1, 5) == [0]


def test_an_evaluation_has_it_all(run: Path, facades: Path, tmp_path: Path) -> None:
    metrics = evaluate(run, facades, output=tmp_path / "test", device="cpu").metrics
    assert metrics["diagnostics"].keys() >= {"dropout_movement", "source_dependence", "gradient_ratio", "nearest_ratio"}
    page = (tmp_path / "test" / "report.html").read_text("utf-8")
    assert "Is it sharp?" in page
    assert len(re.findall("nearest training target of", page)) == 3
    assert all(
        sentence.split(" (")[0].split("'")[0] in page for sentence in metrics["diagnostics"]["sentences"].values()
    )
    on_train = evaluate(run, facades, split="train", output=tmp_path / "train", device="cpu").metrics
    assert "nearest_ratio" not in on_train["diagnostics"], "every target would find itself"
