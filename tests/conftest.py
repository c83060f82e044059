"""Small real data for every test: procedural facades, and a model trained on them for a few seconds."""

import os
from pathlib import Path

import pytest
import torch

from pix2pix.data.facades import make_facades
from pix2pix.presets import chosen_settings
from pix2pix.training.train import train_with

TINY = {
    "data": {"direction": "BtoA", "image_size": 32, "cache": True},
    "generator": {"base_channels": 4},
    "discriminator": {"base_channels": 4, "patch_size": 16},
    "training": {"epochs": 2, "batch_size": 2, "precision": "32", "device": "cpu", "samples": 2},
}
"""Settings of a training that takes a second or two."""


@pytest.fixture(autouse=True)
def _repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads, no colours and no hub, whatever the machine says."""
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def facades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Side-by-side facades, 10/3/3 of 40x40: larger than what is trained at, so that pairs are resized."""
    folder = tmp_path_factory.mktemp("data") / "facades"
    make_facades(folder, train=10, val=3, test=3, size=40)
    return folder


@pytest.fixture(scope="session")
def run(facades: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the facades; tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train_with(chosen_settings(facades, None, None, TINY), folder)
    return folder
