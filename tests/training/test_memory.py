"""Trainings that no memory here can hold are refused with figures; everything else is left alone."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pix2pix.config import Config, Generator
from pix2pix.config.io import make_config
from pix2pix.errors import ConfigError
from pix2pix.model import build_networks
from pix2pix.system.hardware import free_memory, total_memory
from pix2pix.training.memory import least_memory, refuse_impossible


def settings(size: int = 256, channels: int = 64, **training: object) -> Config:
    return make_config(
        {
            "data": {"image_size": size, "source_channels": 3, "target_channels": 3},
            "generator": {"base_channels": channels},
            "discriminator": {"base_channels": channels},
            "training": {"device": "cpu", "precision": "32", **training},
        }
    )


@pytest.mark.parametrize("kind", ["unet", "encoder_decoder", "resnet"])
def test_the_estimate_counts_the_outputs_of_the_layers(kind: str) -> None:
    config = settings(size=64, channels=4).model_copy(update={"generator": Generator(kind=kind, base_channels=4)})
    generator, _ = build_networks(config)
    outputs = []
    for module in generator.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda _, __, output: outputs.append(output.numel()))
    image = generator(torch.zeros(1, 3, 64, 64))
    assert least_memory(config)[1] == 4 * (sum(outputs) - image.numel())


def test_the_estimate_grows_with_the_batch() -> None:
    weights, batch = least_memory(settings())
    assert weights // 12 // 10**6 == 57  # millions of weights of the paper's networks
    assert least_memory(settings(batch_size=4))[1] == 4 * batch
    assert least_memory(settings(precision="bf16"))[1] == batch / 2


def test_only_the_impossible_is_refused() -> None:
    sixteen = 16 * 10**9
    refuse_impossible(settings(), sixteen)
    refuse_impossible(settings(size=1024, channels=128), sixteen)
    refuse_impossible(settings(size=16384, channels=1024), 0)  # unknown
    for config in (settings(channels=1024), settings(size=16384), settings(batch_size=65_536)):
        with pytest.raises(ConfigError, match=r"needs .* GB of memory or more .*, but there are 16 GB; lower --base"):
            refuse_impossible(config, sixteen)


def test_the_memory_of_a_container_is_its_limit(tmp_path: Path) -> None:
    assert total_memory(tmp_path) >= free_memory(tmp_path) > 0
    (tmp_path / "memory.max").write_text("1000000\n", encoding="ascii")
    assert total_memory(tmp_path) == 1_000_000
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    assert total_memory(tmp_path) > 10**9
