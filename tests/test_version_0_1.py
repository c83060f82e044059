"""Runs, models and settings files that version 0.1.0 wrote are read, used and resumed (tests/fixtures/version_0_1)."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from pix2pix import Translator
from pix2pix.cli import main
from pix2pix.config.io import make_config, read_yaml, to_yaml

FIXTURE = Path(__file__).parent / "fixtures" / "version_0_1"
AS_TYPED = [
    "train", "data/facades", "--run", "runs/unfinished", "--direction", "BtoA", "--image-size", "32",
    "--generator.depth", "3", "--base-channels", "2", "--discriminator.patch-size", "16", "--batch-size", "2",
    "--precision", "32", "--device", "cpu", "--samples", "0", "--epochs", "4", "--ema", "0.9", "--best-by", "last",
]  # fmt: skip
"""The command that began the unfinished run, without words for what has no influence on the weights."""
NAMES = ("g_adversarial", "g_l1", "g_l2", "d_real", "d_fake", "l1", "l2", "psnr", "ssim")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of everything, as the current folder, since the files name each other by relative paths."""
    copy = tmp_path / "version_0_1"
    shutil.copytree(FIXTURE, copy)
    monkeypatch.chdir(copy)
    torch.set_num_threads(1)
    return copy


def pix2pix(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command; returns what it printed to stdout."""
    capsys.readouterr()
    main(list(words))
    return capsys.readouterr().out


def inputs(name: str) -> Any:
    """The first test picture of the facades, or of the stacks."""
    if name == "stacks":
        with Image.open("data/stacks/source_2/test/test_0.png") as labels:
            return [np.load("data/stacks/source_1/test/test_0.npy"), np.asarray(labels.convert("RGB"))]
    with Image.open("data/facades/test/0001.png") as pair:
        return np.asarray(pair)[:, pair.width // 2 :]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


# ---- models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "run"), [("facades", "finished"), ("stacks", "stacks")])
@pytest.mark.usefixtures("folder")
def test_translations_are_those_of_0_1(name: str, run: str) -> None:
    expected = np.load(f"expected/{name}.npy")
    for place in (f"runs/{run}", f"runs/{run}/model"):
        output = np.asarray(Translator.from_pretrained(place)(inputs(name)))
        assert (output.dtype, output.shape) == (expected.dtype, expected.shape)
        assert np.abs(output.astype(int) - expected.astype(int)).max() <= 1  # level, of 256 and of 60,000


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("finished", ["photos"]),
        ("stacks", ["data/stacks/source_1/test", "data/stacks/source_2/test"]),
    ],
)
def test_files_are_translated(run: str, words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = folder / "photos"
    photos.mkdir()
    Image.fromarray(inputs("facades")).save(photos / "0001.png")
    pix2pix(capsys, "translate", f"runs/{run}", *words, "--output", "out", "--device", "cpu")
    files = (path for path in (folder / "out").rglob("*") if path.is_file())
    written = sorted(path.name for path in files if not path.name.startswith("."))  # without the record
    assert written == (["0001.png"] if run == "finished" else ["test_0.npy", "test_1.npy"])


@pytest.mark.usefixtures("folder")
def test_info_describes_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    facades = json.loads(pix2pix(capsys, "info", "runs/finished", "--json"))
    assert (facades["pix2pix"], facades["channels"], facades["direction"]) == ("0.1.0", "3 -> 3", "BtoA")
    stacks = json.loads(pix2pix(capsys, "info", "runs/stacks/model", "--json"))
    assert stacks["channels"] == "5 -> 1"
    assert "uint16 from -100 to 3100" in json.dumps(stacks)


# ---- runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("run", "data"), [("finished", "data/facades"), ("stacks", "data/stacks")])
def test_evaluations_repeat(run: str, data: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((folder / f"runs/{run}/evaluation/test/metrics.json").read_text())
    words = ["evaluate", f"runs/{run}", data, "--output", "evaluated", "--device", "cpu", "--json"]
    now = json.loads(pix2pix(capsys, *words))
    assert (now["images"], now["split"]) == (before["images"], before["split"])
    assert {name: now[name] for name in NAMES} == pytest.approx({name: before[name] for name in NAMES}, rel=1e-5)


@pytest.mark.usefixtures("folder")
def test_runs_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "runs/finished", "runs/unfinished", "runs/stacks", "--device", "cpu"]
    results = json.loads(pix2pix(capsys, *words, "--json"))
    assert results["runs"].keys() == {"finished", "unfinished", "stacks"}
    assert Path(pix2pix(capsys, *words, "--output", "compared").split()[-1]).exists()


@pytest.mark.parametrize("words", [AS_TYPED, [*AS_TYPED[:4], "--config", "runs/unfinished/config.yaml"]])
def test_an_unfinished_run_goes_on_to_the_same_weights(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same as of the run that nothing interrupted, in 0.1: bitwise on one kind of processor."""
    pix2pix(capsys, *words)
    for name in ("generator.safetensors", "discriminator.safetensors"):
        expected = safetensors.torch.load_file(folder / "expected/whole" / name)
        reached = safetensors.torch.load_file(folder / "runs/unfinished/model" / name)
        assert reached.keys() == expected.keys()
        for key, tensor in expected.items():
            torch.testing.assert_close(reached[key], tensor, rtol=1e-6, atol=1e-6)
    before, now = rows(folder / "expected/whole/metrics.csv"), rows(folder / "runs/unfinished/metrics.csv")
    assert [(row["step"], row["split"]) for row in now] == [(row["step"], row["split"]) for row in before]
    for row, wanted in zip(now, before, strict=True):
        values = {name: float(row[name]) for name in NAMES if wanted[name]}
        assert values == pytest.approx({name: float(wanted[name]) for name in NAMES if wanted[name]}, rel=2e-5)


def test_a_finished_run_is_finished(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = (folder / "runs/finished/model/generator.safetensors").read_bytes()
    pix2pix(capsys, "train", "data/facades", "--run", "runs/finished", "--config", "runs/finished/config.yaml")
    assert (folder / "runs/finished/model/generator.safetensors").read_bytes() == weights


def test_a_run_of_several_sources_goes_on_in_more_epochs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its checkpoint is not in the fixture, so it begins anew; its settings, saved and as typed today, are the same."""
    shutil.rmtree(folder / "runs/stacks/model")  # otherwise it is refused: a trained run has lost its checkpoint
    words = ["data/stacks", "--run", "runs/stacks", "--config", "runs/stacks/config.yaml", "--epochs", "3"]
    pix2pix(capsys, "train", *words)
    assert rows(folder / "runs/stacks/metrics.csv")[-1]["epoch"] == "3"


# ---- settings --------------------------------------------------------------------------------------------------


def test_old_words_in_files_are_read() -> None:
    old = make_config(read_yaml(FIXTURE / "settings/every_old_word.yaml"))
    assert old.training.update_order == "two-pass"
    assert old.data.direction == "BtoA"
    kept = make_config(read_yaml(FIXTURE / "settings/yes_and_no.yaml"))
    assert kept.training.update_order == "one-pass"
    assert kept.data.cache == "none"
    for config in (old, kept):
        words = to_yaml(config)
        assert "shared" not in words
        assert "exact" not in words


@pytest.mark.parametrize("run", ["finished", "unfinished", "stacks"])
def test_saved_settings_are_read(run: str) -> None:
    path = FIXTURE / "runs" / run / "config.yaml"
    config = make_config(read_yaml(path), str(path))
    assert config.data.image_size == (32, 32)
    assert config.provenance["pix2pix"] == "0.1.0"
    assert make_config({**read_yaml(path)}) == config
