"""How often validations measure ST-LPIPS and KID by VGG, and what they cost."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from torch import nn

from pix2pix.config.io import merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.errors import ConfigError
from pix2pix.model import build_networks
from pix2pix.networks import st_lpips
from pix2pix.networks.pretrained import WeightsUnavailableError
from pix2pix.system.progress import ProgressBar
from pix2pix.training import perceptual_validation
from pix2pix.training.inspection import inspect_and_plan
from pix2pix.training.perceptual_validation import describe_perceptual, perceptual_epochs
from pix2pix.training.plan import Plan
from pix2pix.training.train import train_with


def plan(facades: Path, **training: Any) -> Plan:
    settings = merge_settings(TINY, {"training": {"epochs": 100, **training}})
    return inspect_and_plan(choose_settings(facades, None, None, settings), ProgressBar(silent=True))[0]


@pytest.mark.parametrize(
    ("share", "training", "epochs", "words"),
    [
        (0.01, {}, 2, "with st_lpips and kid_vgg after every 2 epochs, about 1.0 % of the training"),
        (0.05, {}, 4, "every 4 epochs, about 2.5 % of the training"),
        (0.05, {"validate_every": 1}, 2, "every 2 epochs"),
        (0.05, {"validation_perceptual": "always"}, 2, "every 2 epochs, about 5.0 % of the training"),
        (0.05, {"validation_perceptual": "never"}, 0, "without st_lpips and kid_vgg: --validation-perceptual never"),
        (0.05, {"validation_perceptual": "never", "best_by": "kid_vgg"}, 2, "every 2 epochs"),
        (9.0, {}, 0, "without st_lpips and kid_vgg, which would slow so small a training"),
        (9.0, {"best_by": "st_lpips", "validate_every": 1}, 1, "after every epoch"),
    ],
)
def test_how_often_they_are_measured(
    facades: Path, monkeypatch: pytest.MonkeyPatch, share: float, training: dict[str, Any], epochs: int, words: str
) -> None:
    monkeypatch.setattr(perceptual_validation, "_share", lambda plan: share)
    made = plan(facades, **training)
    assert perceptual_epochs(made) == epochs
    assert words in (describe_perceptual(made) or "")


def test_without_the_package_a_run_goes_on(facades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = merge_settings(TINY, {"training": {"epochs": 1, "samples": 0, "validation_perceptual": "always"}})
    config = choose_settings(facades, None, None, settings)
    run = train_with(config, tmp_path / "run")
    assert run.metrics["val"]["st_lpips"] > 0
    assert "kid_vgg" in run.metrics["val"]

    def absent(network: str) -> Path:
        raise WeightsUnavailableError("needs it")

    monkeypatch.setattr("pix2pix.metrics.perceptual.find_weights", absent)
    with pytest.raises(ConfigError, match="validation_perceptual always is not possible: needs it; or leave it out"):
        train_with(config, tmp_path / "run")
    longer = {"training": {"epochs": 2, "validation_perceptual": "auto"}}
    resumed = train_with(choose_settings(facades, None, None, merge_settings(settings, longer)), tmp_path / "run")
    assert "st_lpips" not in resumed.metrics["val"]
    assert "l1" in resumed.metrics["val"]


def products_a_pixel(network: nn.Module, *inputs: torch.Tensor) -> float:
    found: list[int] = []

    def note(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        places = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        found.append(layer.weight.numel() * places.shape[-2:].numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(note)
    network(*inputs)
    return sum(found) / inputs[0].shape[-2:].numel()


def test_products_are_about_those_of_the_convolutions() -> None:
    settings = {"data": {"source_channels": 3, "target_channels": 3}, "generator": {"base_channels": 32}}
    config = choose_settings(None, None, None, settings)
    with torch.device("meta"):
        vgg = nn.Sequential(*st_lpips._vgg16())
        generator, discriminator = build_networks(config)
        image = torch.empty(2, 3, 256, 256)
        of_vgg = products_a_pixel(vgg, image)
        of_step = 3 * products_a_pixel(generator, image) + 6 * products_a_pixel(discriminator, image, image)
    assert pytest.approx(of_vgg, rel=0.1) == perceptual_validation.VGG_PRODUCTS
    assert perceptual_validation._products_of_step(config) / 256**2 == pytest.approx(of_step, rel=0.1)
