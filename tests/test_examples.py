"""The scripts in examples/ run as they stand, on tiny images and networks."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
from PIL import Image

import pix2pix
from pix2pix.synthetic.facades import make_facades

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = ("--image-size", "32", "--base-channels", "4", "--epochs", "1")


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _tiny_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 70x70 PatchGAN sees no patch of 32 pixels."""
    train = pix2pix.train
    tiny = {"discriminator": {"patch_size": 16}, "device": "cpu", "precision": "32"}
    monkeypatch.setattr(pix2pix, "train", lambda *words, **fields: train(*words, **fields, **tiny))


def test_train_and_translate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_facades(tmp_path / "pairs", train=3, val=1, test=2, size=32)
    load("train_and_translate").main([str(tmp_path / "pairs"), "--work", str(tmp_path), *SMALL])
    assert "test: l1 0." in capsys.readouterr().out
    with Image.open(tmp_path / "photo.png") as photo:
        assert (photo.size, photo.mode) == ((32, 32), "RGB")


def test_sixteen_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("sixteen_bit").main(["--work", str(tmp_path), "--pairs", "4", *SMALL])
    assert "uint16 (32, 32)" in capsys.readouterr().out
    output = tifffile.imread(tmp_path / "output.tif")
    assert output.dtype == np.uint16
    assert output.max() > 255


def test_feature_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_facades(tmp_path / "pairs", train=3, val=1, test=8, size=32)
    run = pix2pix.train(tmp_path / "pairs", run=tmp_path / "run", image_size=32, base_channels=4, epochs=1)
    load("feature_network").main([str(run.path), str(tmp_path / "pairs"), "--output", str(tmp_path / "own")])
    assert "fid " in capsys.readouterr().out
    assert (tmp_path / "own" / "metrics.json").exists()
    assert not (run.path / "evaluation").exists()


def test_gallery(tmp_path: Path) -> None:
    words = ["--output", str(tmp_path / "gallery.png"), "--work", str(tmp_path), "--pairs", "4", "--held-out", "2"]
    load("gallery").main([*words, "--tasks", "labels", "holes", "--rows", "2", *SMALL, "--scale", "1"])
    with Image.open(tmp_path / "gallery.png") as picture:
        assert picture.mode == "RGB"
        assert picture.width > 6 * 32
