"""Targets that are label maps: trained and measured as classes, and written as the label maps that they were."""

import csv
import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TINY
from PIL import Image

from pix2pix.cli import main
from pix2pix.config.io import make_config, merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.loading.dataset import make_dataset
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import ConfigError, DataError, Interrupted
from pix2pix.evaluation.evaluate import evaluate
from pix2pix.inference.translator import Translator
from pix2pix.losses import class_logits, class_terms
from pix2pix.metrics.classes import class_metrics
from pix2pix.metrics.pixel import ImageScore, mean_scores
from pix2pix.training.train import train_with
from tests.reliability.runs import differences, saved_state
from tests.training.test_training import NO_STOP, stop_after, trainer

LABELS = merge_settings(TINY, {"data": {"direction": "AtoB", "target_kind": "labels"}})


@pytest.fixture(scope="module")
def label_run(facades: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "labels"
    train_with(choose_settings(facades, None, None, LABELS), folder)
    return folder


def test_classes_are_trained_measured_and_written(label_run: Path, facades: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader((label_run / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert all(row["g_cross_entropy"] and row["g_adversarial"] and not row["g_l1"] for row in rows)
    assert all(0 < float(row["mean_iou"]) < float(row["pixel_accuracy"]) < 1 for row in rows if row["split"] == "val")
    main(["evaluate", str(label_run), str(facades)])
    metrics = json.loads((label_run / "evaluation/test/metrics.json").read_text())
    assert metrics["l1"] is metrics["psnr"] is metrics["g_l1"] is None
    assert metrics["mean_iou"] == pytest.approx(metrics["classes"]["iou"], abs=1e-6)
    assert sum(one["share"] for one in metrics["classes"]["each"]) == pytest.approx(1)
    assert set(metrics["baselines"]) == {"mean_target"}
    assert "not measured" in " ".join(metrics["notes"])
    assert "sharpness" not in metrics["diagnostics"]["sentences"]
    page = (label_run / "evaluation/test/report.html").read_text(encoding="utf-8")
    assert "of the pixels have the right class" in page
    assert "g_cross_entropy" in (label_run / "report.html").read_text(encoding="utf-8")

    photo = tmp_path / "photo.jpg"  # a lossy name must not make a lossy label map
    Image.open(next(facades.glob("test/*"))).crop((0, 0, 40, 40)).save(photo)
    for name, more in {"whole": [], "tiles": ["--tile", "32", "--overlap", "0"]}.items():
        main(["translate", str(label_run), str(photo), "--output", str(tmp_path / name), *more])
        with Image.open(tmp_path / name / "photo.png") as image:
            assert (image.mode, image.size) == ("P", (40, 40))
            colours = {"#" + bytes(colour).hex() for _, colour in image.convert("RGB").getcolors()}
        assert colours <= {one["class"] for one in metrics["classes"]["each"]}
    answer = Translator.from_pretrained(label_run)(Image.open(photo))
    assert (answer.mode, answer.size) == ("RGB", (40, 40))
    with pytest.raises(ConfigError, match="--weights: is for metrics of photos"):
        evaluate(label_run, facades, output=tmp_path / "again", weights=[tmp_path])


def test_resuming_gives_the_same_bits(facades: Path, tmp_path: Path) -> None:
    trainer(facades, tmp_path / "whole", **LABELS).fit(NO_STOP)
    with pytest.raises(Interrupted):
        trainer(facades, tmp_path / "parts", **LABELS).fit(stop_after(6))
    trainer(facades, tmp_path / "parts", **LABELS).fit(lambda: None if signal else 0)
    assert not differences(saved_state(tmp_path / "whole"), saved_state(tmp_path / "parts"))


def masks(root: Path, top: int, dtype: type = np.uint8) -> Path:
    """Photos, and masks of 0 and `top` with a border of 255."""
    for n in range(8):
        values = np.zeros((40, 40), dtype)
        values[n : n + 20, 8:30] = top
        photo = np.random.default_rng(n).integers(0, 255, (40, 40), np.uint8)
        values[-3:] = 255
        for folder, array in (("A", photo), ("B", values)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{n}.png")
    return root


@pytest.mark.parametrize(("top", "dtype"), [(1, np.uint8), (1000, np.uint16)])
def test_class_numbers_come_back_and_255_is_ignored(tmp_path: Path, top: int, dtype: type) -> None:
    root, run = masks(tmp_path / "data", top, dtype), tmp_path / "run"
    settings = merge_settings(LABELS, {"data": {"mask_value": 255}, "training": {"epochs": 1, "best_by": "last"}})
    config = choose_settings(root, None, None, settings)
    pairs = find_pairs(config.data).splits["train"]
    prepared = prepare_data(config.data, pairs)
    assert prepared.target.describe() == f"2 classes 0, {top}, 255 is ignored"
    batch = make_dataset(pairs, prepared, config.data).load_one(0)
    assert batch.mask is not None
    assert not batch.mask[0, :, -1].any()
    assert (batch.target.sum(1)[batch.mask[:, 0]] == 0).all()  # one class has 1, the other -1
    if top > 255:
        assert prepared.target_values.to_array(batch.target[0]).dtype == dtype
        return
    train_with(config, run)
    main(["translate", str(run), str(root / "A/3.png"), "--output", str(tmp_path / "out")])
    with Image.open(tmp_path / "out/3.png") as image:
        values = np.asarray(image)
    assert values.dtype == dtype
    assert set(np.unique(values)) <= {0, top}


def test_cross_entropy_is_of_known_pixels_and_keeps_its_gradient() -> None:
    logits = (torch.randn(2, 3, 4, 4) * 30).requires_grad_()  # probabilities below the precision of 1 - p
    classes = torch.randint(0, 3, (2, 4, 4))
    target = F.one_hot(classes, 3).permute(0, 3, 1, 2).float() * 2 - 1
    mask = (torch.rand(2, 1, 4, 4) > 0.4).expand(2, 3, 4, 4)
    value = class_terms(logits, target, mask)["g_cross_entropy"]
    wanted = -logits.log_softmax(1).gather(1, classes[:, None])[:, 0][mask[:, 0]].mean()
    assert torch.isclose(value, wanted)
    value.backward()
    assert logits.grad is not None
    assert not logits.grad[~mask].any()
    wrong = (logits.argmax(1) != classes) & mask[:, 0]
    assert (logits.grad.abs().sum(1)[wrong] > 0).all()
    probabilities = torch.tensor([0.25, 0.5, 0.25]).reshape(1, 3, 1, 1) * 2 - 1
    assert torch.allclose(class_logits(probabilities).softmax(1) * 2 - 1, probabilities)


def test_mean_iou_counts_the_pixels_of_all_images_together() -> None:
    true = torch.tensor([[[0, 0, 0, 1]], [[0, 0, 1, 1]]])
    read = torch.tensor([[[0, 0, 0, 0]], [[0, 0, 1, 1]]])
    images = [F.one_hot(one, 2).permute(0, 3, 1, 2).float() * 2 - 1 for one in (read, true)]
    values, confusions = class_metrics(*images)
    assert values["pixel_accuracy"].tolist() == [0.75, 1]
    assert values["mean_iou"].tolist() == [0.375, 1]
    scores = [ImageScore(n, {name: value[n].item() for name, value in values.items()}, confusions[n]) for n in range(2)]
    assert mean_scores(scores)["mean_iou"] == pytest.approx((5 / 6 + 2 / 3) / 2)
    hidden, _ = class_metrics(*images, torch.zeros(2, 2, 1, 4, dtype=torch.bool))
    assert all(math.isnan(value) for name in hidden for value in hidden[name].tolist())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data": {"target_labels": "0,1"}}, "add --target-kind labels"),
        ({"data": {"target_kind": "labels"}, "training": {"best_by": "psnr"}}, "choose mean_iou, pixel_ac"),
        ({"training": {"best_by": "mean_iou"}}, "add --target-kind labels"),
        ({"data": {"target_kind": "labels", "target_range": "measured"}}, "classes have no range"),
        ({"data": {"mask_value": "#ff0000"}}, "colours are for label maps"),
        ({"data": {"target_kind": "labels", "mask_value": "nan"}}, "integers or colours"),
        ({"data": {"target_kind": "labels"}, "loss": {"adversarial_weight": 0, "cross_entropy_weight": 0}},
         "--cross-entropy-weight"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_config(settings)


def test_data_that_have_no_classes_are_named(tmp_path: Path, facades: Path) -> None:
    photos = choose_settings(facades, None, None, merge_settings(LABELS, {"data": {"direction": "BtoA"}}))
    with pytest.raises(DataError, match=r"targets have more .*colours.*--target-labels"):
        prepare_data(photos.data, find_pairs(photos.data).splits["train"])
    few = choose_settings(masks(tmp_path, 0), None, None, merge_settings(LABELS, {"data": {"mask_value": 255}}))
    with pytest.raises(ConfigError, match="the targets have only one class"):
        prepare_data(few.data, find_pairs(few.data).splits["train"])


@pytest.mark.parametrize("classes", [("0", "1"), ("0", "1", "2", "7"), ("0", "255"), ("#000000", "#0000ff")])
def test_classes_are_drawn_so_that_an_eye_can_tell_them_apart(classes: tuple[str, ...]) -> None:
    encoding = LabelEncoding(classes)
    table = encoding.display_table.astype(int)
    for n, one in enumerate(table):
        assert all(np.abs(one - other).sum() >= 100 for other in table[:n])
    nothing = encoding.to_viewable(torch.full((len(classes), 64, 64), -1.0)).reshape(64 * 64, -1)
    hatch = {tuple(colour) for colour in np.unique(nothing, axis=0)}
    assert len(hatch) == 2, "pixels without a class are hatched"
    assert not hatch & {tuple(colour) for colour in table}
