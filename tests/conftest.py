"""Small real data for every test: procedural facades, and a model trained on them for a few seconds."""

import gc
import os
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from blank_figures import MAKE_FIGURE, BlankFigure
from hypothesis import settings

from pix2pix.config.presets import choose_settings
from pix2pix.metrics import perceptual
from pix2pix.reports import curves
from pix2pix.synthetic.facades import make_facades
from pix2pix.training.train import train_with

settings.register_profile("untimed", deadline=None)  # how long an example takes is no test
settings.load_profile("untimed")

TINY = {
    "data": {"direction": "BtoA", "image_size": 32},
    "generator": {"base_channels": 4},
    "discriminator": {"base_channels": 4, "patch_size": 16},
    "training": {"epochs": 2, "batch_size": 2, "precision": "32", "device": "cpu", "samples": 2},
}
"""Settings of a training that takes a second or two."""
LONG = ("tests/reliability/", "tests/distributed/", "tests/benchmarks/", "tests/study/", "tests/test_")
"""Tests of whole commands and real processes."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file together, as `--dist loadfile` does, but share out the reliability checks singly.

    The tests of the page stay together, since they share a browser and a service.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if "serve/browser" in nodeid:
                return "serve/browser"
            return nodeid if "reliability/test_smoke" in nodeid else super()._split_scope(nodeid)

    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # the order is that of the items
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, then with large files, so that no process is left alone at the end."""
    counts = Counter(item.path for item in items)

    def is_short(item: pytest.Item) -> bool:
        return not any(name in item.path.as_posix() for name in LONG)

    items.sort(key=lambda item: (is_short(item), -counts[item.path]))


def pytest_collection_finish() -> None:
    """Keep torch and three thousand tests out of every later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept between runs is kept for this run of the tests only; two threads in all from the beginning."""
    _two_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads in all, no colours and no hub, whatever the machine says."""
    _two_threads()  # also after a test that asked for others
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def _quick() -> Iterator[None]:
    """No figure is drawn, but with `drawn`; no disk is waited for; the network of ST-LPIPS is read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "_make_figure", BlankFigure)
        patch.setattr(os, "fsync", lambda file: os.fstat(file if isinstance(file, int) else file.fileno()))
        patch.setattr(perceptual, "load_st_lpips", cache(perceptual.load_st_lpips))
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures as users get them."""
    monkeypatch.setattr(curves, "_make_figure", MAKE_FIGURE)


def _two_threads() -> None:
    at_once = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    torch.set_num_threads(max(1, min(2, os.cpu_count() or 1) // at_once))


@pytest.fixture(scope="session")
def facades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Side-by-side facades, 10/3/3 of 40x40: larger than what is trained at, so that pairs are resized."""
    folder = tmp_path_factory.mktemp("data") / "facades"
    make_facades(folder, train=10, val=3, test=3, size=40)
    return folder


@pytest.fixture(scope="session")
def run(facades: Path, _quick: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the facades; tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "_make_figure", MAKE_FIGURE)
        train_with(choose_settings(facades, None, None, TINY), folder)
    return folder
