"""Generators with one flaw each, and whether an examination finds that flaw and no other."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.data.loading.dataset import Batch
from pix2pix.evaluation.evaluate import evaluate
from pix2pix.metrics.diagnostics import Health, chosen, examine, gradient_energy, radial_spectrum, thumbnails

CPU = torch.device("cpu")
SIZE, COUNT = 32, 12


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


def examined(function: Callable[[Tensor], Tensor], dropout: float = 0.0) -> Health:
    """The source is the target, so that the identity is a perfect translator."""

    def batches(indices: Sequence[int]) -> Iterator[Batch]:
        yield Batch(TARGETS[list(indices)], TARGETS[list(indices)], torch.tensor(list(indices)))

    return examine(
        Generator(function, dropout).eval(),
        batches,
        COUNT,
        CPU,
        train=thumbnails(TRAINING),
        training_image=lambda index: (f"training {index}", TRAINING[index]),
        names=[f"image {n}" for n in range(COUNT)],
    )


def blurred(images: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), 5, stride=1)


def memory(images: Tensor) -> Tensor:
    """A training target of its own for each."""
    places = [int((TARGETS - image).abs().sum(dim=(1, 2, 3)).argmin()) for image in images]
    return TRAINING[places]


FLAWS = {"source": "ignored", "sharpness": "blurred", "memory": "giving back", "dropout": "gives a choice"}


@pytest.mark.parametrize(
    ("function", "dropout", "found"),
    [
        (lambda images: images, 0.0, set()),
        (lambda images: images, 0.5, {"dropout"}),
        (blurred, 0.0, {"sharpness"}),
        (lambda images: TARGETS[:1].expand_as(images), 0.0, {"source"}),
        (memory, 0.0, {"memory"}),
    ],
    ids=["none", "noisy", "blurred", "constant", "memory"],
)
def test_each_flaw_is_found_and_no_other(function: Callable[[Tensor], Tensor], dropout: float, found: set[str]) -> None:
    health = examined(function, dropout)
    assert {name for name, words in FLAWS.items() if words in health.sentences[name]} == found
    assert health.sentences.keys() == FLAWS.keys()


def test_numbers_against_their_definitions() -> None:
    health = examined(lambda images: images / 2)
    apart = (TARGETS.roll(1, 0) - TARGETS).abs().mean().item() / 2
    expected = {
        "matched_l1": TARGETS.abs().mean().item() / 4,
        "shuffled_l1": (TARGETS.roll(1, 0) / 2 - TARGETS).abs().mean().item() / 2,
        "source_dependence": 0.5,
        "gradient_ratio": 0.25,
        "fine_detail_ratio": 0.25,
    }
    assert {name: health.numbers[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert health.numbers["dropout_movement"] is None
    assert apart > 0
    copies = examined(memory)
    assert (copies.numbers["nearest_ratio"], copies.numbers["remembered"]) == (0, 1)
    first = copies.neighbours[0]
    assert (first.output == first.training).all()
    assert first.nearest == f"training {first.name.removeprefix('image ')}"


def test_noise_is_seeded_and_is_off_afterwards() -> None:
    network = Generator(lambda images: images, 0.5).eval()
    batches = lambda indices: iter([Batch(TARGETS, TARGETS, torch.arange(COUNT))])  # noqa: E731
    first, second = (examine(network, batches, COUNT, CPU).numbers["dropout_movement"] for _ in range(2))
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


def test_chosen_are_spread_evenly() -> None:
    assert chosen(5, 8) == [0, 1, 2, 3, 4]
    assert chosen(101, 5) == [0, 25, 50, 75, 100]
    assert chosen(1, 5) == [0]


def test_an_evaluation_has_it_all(run: Path, facades: Path, tmp_path: Path) -> None:
    metrics = evaluate(run, facades, output=tmp_path / "test", device="cpu").metrics
    assert metrics["health"].keys() >= {"dropout_movement", "source_dependence", "gradient_ratio", "nearest_ratio"}
    page = (tmp_path / "test" / "report.html").read_text("utf-8")
    assert "Is it sharp?" in page
    assert len(re.findall("nearest training target of", page)) == 3
    assert all(sentence.split(" (")[0].split("'")[0] in page for sentence in metrics["health"]["sentences"].values())
    on_train = evaluate(run, facades, split="train", output=tmp_path / "train", device="cpu").metrics
    assert "nearest_ratio" not in on_train["health"], "every target would find itself"
