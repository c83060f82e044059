"""Classes out of label maps, also lossy ones; a segmenter that is trained once; scores against their definitions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image

from pix2pix.cli import main
from pix2pix.config import Data
from pix2pix.config.io import merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import ConfigError, DataError
from pix2pix.evaluation.evaluate import evaluate
from pix2pix.metrics import segmentation
from pix2pix.metrics.label_score import score_labels
from pix2pix.metrics.palette import find_palette, label_pixels, parse_palette
from pix2pix.model import load_model
from pix2pix.reports.curves import read_metrics
from pix2pix.synthetic.facades import facade
from pix2pix.system.written import RECORD
from pix2pix.training.train import train_with

COLOURS = [(0, 0, 255), (255, 85, 0), (0, 255, 255), (255, 255, 0)]


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "SAMPLES", 60)


def sources(folder: Path, suffix: str, pictures: list[Pixels]) -> tuple[Pair, ...]:
    for n, pixels in enumerate(pictures):
        path = folder / f"A/train/{n}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=75)
        images.write(folder / f"B/train/{n}.png", pixels)
    data = Data(path=str(folder), val_fraction=0.0, test_fraction=0.0)
    return find_pairs(data).splits["train"]


def blocks(seed: int, size: int = 96) -> Pixels:
    """A map of rectangles in all of COLOURS."""
    rng = np.random.default_rng(seed)
    classes = np.kron(rng.integers(0, 4, (4, 4)), np.ones((size // 4, size // 4), int))
    return np.array(COLOURS, np.uint8)[classes]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_classes_are_found_also_in_lossy_maps(tmp_path: Path, suffix: str) -> None:
    pairs = sources(tmp_path, suffix, [blocks(n) for n in range(6)])
    palette = find_palette(pairs)
    assert len(palette) == 4
    for colour in COLOURS:
        assert min(np.abs(np.subtract(colour, found)).max() for found in palette) <= (0 if suffix == ".png" else 8)
    labels = label_pixels(pairs[0], palette, (48, 48))
    restored = np.array(palette)[labels.numpy()]
    assert (np.abs(restored - blocks(0)[::2, ::2]).max(axis=-1) <= 8).mean() > 0.97


def test_photos_are_no_label_maps(tmp_path: Path) -> None:
    pairs = sources(tmp_path, ".png", [facade(n, 64)[0] for n in range(4)])
    with pytest.raises(DataError, match="not label maps of 2 to 64 colours"):
        find_palette(pairs)


def test_palettes_by_name(tmp_path: Path) -> None:
    assert parse_palette("#0000ff, ff5500") == [(0, 0, 255), (255, 85, 0)]
    (tmp_path / "colours.txt").write_text("#0000ff\n#ff5500\n")
    assert parse_palette(str(tmp_path / "colours.txt")) == [(0, 0, 255), (255, 85, 0)]
    for wrong in ("#0000ff", "blue,red", "#0000ff,#0000ff", "#0000ff,#00"):
        with pytest.raises(ConfigError, match="--palette"):
            parse_palette(wrong)


def test_scores_by_hand() -> None:
    """Three classes, of which the last is not there but is read once."""
    counts = torch.tensor([[6, 1, 1], [2, 2, 0], [0, 0, 0]]).double()
    expected = {"pixel_accuracy": 8 / 12, "class_accuracy": (6 / 8 + 2 / 4) / 2, "iou": (6 / 10 + 2 / 5) / 2}
    assert score_labels(counts) == pytest.approx(expected)


def test_evaluate_reads_labels_and_keeps_the_segmenter(
    run: Path, facades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, words = tmp_path / "segmenter", ["evaluate", str(run), str(facades), "--device", "cpu"]
    main([*words, "--segmenter-folder", str(place), "--output", str(tmp_path / "out")])
    assert "labels read from" in capsys.readouterr().out
    metrics: dict[str, Any] = json.loads((tmp_path / "out" / "metrics.json").read_text())
    labels = metrics["labels"]
    assert metrics["label_accuracy"] == pytest.approx(labels["pixel_accuracy"], abs=1e-6)
    for values in (labels, labels["ceiling"]):
        assert all(0 < values[name] < 1 for name in ("pixel_accuracy", "class_accuracy", "iou"))
        low, high = values["intervals"]["pixel_accuracy"]
        assert low <= values["pixel_accuracy"] <= high
    assert sum(one["share"] for one in labels["classes"]) == pytest.approx(1)
    assert labels["ceiling"]["pixel_accuracy"] > labels["pixel_accuracy"], "the model is hardly trained"
    assert "Labels read from the outputs" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert {path.name for path in place.iterdir()} == {segmentation.WEIGHTS, segmentation.DESCRIPTION, RECORD}

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr(segmentation, "train_segmenter", refuse)
        again = evaluate(run, facades, segmenter_folder=place, output=tmp_path / "again", device="cpu").metrics
    assert again["labels"]["iou"] == pytest.approx(labels["iou"])
    (place / segmentation.WEIGHTS).write_bytes(b"torn")
    healed = evaluate(run, facades, segmenter_folder=place, output=tmp_path / "healed", device="cpu").metrics
    assert healed["labels"]["iou"] == pytest.approx(labels["iou"], rel=1e-3), "seeded"


def test_an_interrupted_segmenter_training_goes_on(
    run: Path, facades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation, "SAVE_SECONDS", 0.0)
    whole = evaluate(run, facades, segmenter_folder=tmp_path / "whole", output=tmp_path / "1", device="cpu").metrics

    def stop(done: int, total: int, what: str) -> None:
        if "training the segmenter" in what and done > total // 2:
            raise KeyboardInterrupt

    place = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, facades, segmenter_folder=place, output=tmp_path / "2", device="cpu", progress=stop)
    assert (place / segmentation.STATE).exists()
    cut = evaluate(run, facades, segmenter_folder=place, output=tmp_path / "2", device="cpu").metrics
    assert cut["labels"] == whole["labels"]


def test_a_training_may_be_judged_by_its_labels(facades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = merge_settings(TINY, {"training": {"epochs": 3, "best_by": "label_accuracy", "samples": 0}})
    run = train_with(choose_settings(facades, None, None, settings), tmp_path / "run").path
    val = {row.epoch: row.values["label_accuracy"] for row in read_metrics(run / "metrics.csv") if row.split == "val"}
    card = load_model(run).config
    assert len(val) == 3
    assert val[card.epoch] == max(val.values())
    monkeypatch.setattr(segmentation, "train_segmenter", None)  # it is there
    metrics = evaluate(run, facades, split="val", segmenter=True, device="cpu").metrics
    assert metrics["label_accuracy"] == pytest.approx(card.validation["label_accuracy"])
    assert metrics["label_accuracy"] == pytest.approx(metrics["labels"]["pixel_accuracy"])
    assert "labels read from the output" in (run / "evaluation/val/report.html").read_text("utf-8")
    other = choose_settings(facades, None, None, merge_settings(settings, {"data": {"direction": "AtoB"}}))
    with pytest.raises(ConfigError, match=r"best_by label_accuracy cannot be measured: .* not label maps .*; choose"):
        train_with(other, tmp_path / "other")
    assert not (tmp_path / "other").exists()
