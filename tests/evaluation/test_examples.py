"""The images on the page of an evaluation, read back from its files, for every kind of target."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from html_page import Page
from numpy.typing import NDArray
from torch import nn

from pix2pix.config.io import make_config, merge_settings
from pix2pix.data.io import images
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.evaluation.examples import read_gallery
from pix2pix.evaluation.pairs import present_pairs
from pix2pix.evaluation.write import output_path, write_output
from pix2pix.metrics.label_score import LabelScore
from pix2pix.metrics.pixel import ImageScore
from pix2pix.metrics.segmentation import Segmenter
from pix2pix.model import Model, make_model_config
from pix2pix.reports.evaluation_page import write_evaluation_report

SIZE = (40, 40)
BLOCK = slice(20, 26), slice(8, 14)  # of the planted error
NUMBERS = {"model": "runs/x", "split": "test", "l1": 0.1, "psnr": 20.0, "ssim": 0.5, "d_real": None, "missing": {}}
CLASS_NUMBERS = NUMBERS | {
    "classes": {"each": []}, "mean_iou": 0.5, "pixel_accuracy": 0.9, "l1": None, "psnr": None, "ssim": None,
}  # fmt: skip


def make_model(data: dict[str, Any], size: tuple[int, int]) -> Model:
    settings = {"data": {"image_size": size, "direction": "AtoB", **data}, "generator": {"kind": "unet", "depth": 3}}
    config = make_config(merge_settings(TINY, settings))
    card = make_model_config(config, "image", (1.0, 1.0), converts=False, epoch=1, validation={})
    return Model(nn.Identity(), None, card)


def make_pairs(folder: Path, count: int, target: NDArray[Any], suffix: str) -> list[Pair]:
    source = np.random.default_rng(0).integers(0, 2, (*target.shape[:2], 1), np.uint8) * 255
    pairs = []
    for name in map(str, range(count)):
        images.write(folder / f"source/{name}.png", source)
        images.write(folder / f"target/{name}{suffix}", target)
        pairs.append(Pair(name, ImageRef(folder / f"source/{name}.png"), ImageRef(folder / f"target/{name}{suffix}")))
    return pairs


def plant_error(model: Model, target: torch.Tensor, number: int) -> torch.Tensor:
    """Return an output that is right but for one block; the block is worse, the higher the number."""
    output = target.clone()
    rows, columns = BLOCK
    output[:, rows, columns] *= -1 if model.predicts_classes else -0.2 - number / 5
    return output


def random_target(channels: int, dtype: str, size: tuple[int, int] = SIZE) -> NDArray[Any]:
    values = 0.2 + 0.8 * np.random.default_rng(1).random((*size, channels))
    return values.astype(dtype) if dtype == "float32" else (values * np.iinfo(dtype).max).astype(dtype)


def holed(target: NDArray[Any]) -> NDArray[Any]:
    target[:5, :5] = np.nan
    return target


CLASSES = np.where(np.indices(SIZE)[0][..., None] < 18, 7, 0).astype(np.uint8)
IMAGE: dict[str, Any] = {"source_channels": 1}
KINDS = {
    "photo": (random_target(3, "uint8"), {"target_channels": 3}, 3, "own units. The scale"),
    "16-bit": (
        random_target(1, "uint16"), {"target_channels": 1, "target_type": "uint16", "target_range": [[0, 65535]]}, 3,
        "own units. The scale",
    ),
    "five channels": (
        random_target(5, "float32"), {"target_channels": 5, "target_type": "float32", "target_range": [[0, 1]]}, 3,
        "the first three are shown as colours",
    ),
    "two channels": (
        random_target(2, "float32"), {"target_channels": 2, "target_type": "float32", "target_range": [[0, 1], [0, 9]]},
        3, "the first one is shown",
    ),
    "holes": (
        holed(random_target(1, "float32")),
        {"target_channels": 1, "target_type": "float32", "target_range": [[0, 1]], "mask_value": "nan"}, 3,
        "Gray is unknown",
    ),
    "classes": (
        CLASSES, {"target_channels": 1, "target_kind": "labels", "target_labels": ["0", "7"]}, 3, "wrong class"
    ),
    "one": (random_target(3, "uint8"), {"target_channels": 3}, 1, "This image, large"),
    "two": (random_target(3, "uint8"), {"target_channels": 3}, 2, "large, from best to worst"),
    "wide": (random_target(3, "uint8", (32, 800)), {"target_channels": 3}, 1, "The whole image is shown reduced."),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_target(kind: str, tmp_path: Path) -> None:
    target, data, count, words = KINDS[kind]
    model = make_model(IMAGE | data, (target.shape[0], target.shape[1]))
    suffix = ".npy" if target.dtype == "float32" else ".png"
    pairs = make_pairs(tmp_path, count, target, suffix)
    dataset = present_pairs(pairs, model)
    metric = "pixel_accuracy" if model.predicts_classes else "l1"
    scores = []
    for number, pair in enumerate(pairs):
        output = plant_error(model, dataset.load_one(number).target[0], number)
        write_output(tmp_path, pair, model, model.target_values.to_array(output))
        scores.append(ImageScore(number, {metric: (1 - number / 10 if metric != "l1" else number / 10)}))
    gallery = read_gallery(tmp_path, scores, dataset, model, None)
    assert [one.name for one in gallery.examples] == [pair.name for pair in pairs]
    for one in gallery.examples:
        inside = np.zeros(target.shape[:2], bool)
        inside[one.window.top : one.window.top + one.window.height, one.window.left : one.window.left + 10**4] = True
        inside[:, one.window.left + one.window.width :] = False
        assert inside[BLOCK].all()
    assert gallery.scale.unknown == (kind == "holes")
    page = tmp_path / "report.html"
    write_evaluation_report(page, (CLASS_NUMBERS if model.predicts_classes else NUMBERS) | {"images": count}, gallery)
    read = Page(page)
    read.check_self_contained()
    assert words in read.text
    assert len([link for link in read.links if link.startswith("#image")]) == count


def test_only_chosen_images_are_read(tmp_path: Path) -> None:
    """Of five pairs with outputs of three, of which the others are in the middle."""
    model = make_model(IMAGE | {"target_channels": 3}, SIZE)
    pairs = make_pairs(tmp_path, 7, random_target(3, "uint8"), ".png")
    dataset = present_pairs(pairs, model)
    for number in (0, 3, 6):
        output = plant_error(model, dataset.load_one(number).target[0], number)
        write_output(tmp_path, pairs[number], model, model.target_values.to_array(output.clamp(-1, 1)))
    scores = [ImageScore(number, {"l1": number / 10, "psnr": -float(number)}) for number in range(7)]
    gallery = read_gallery(tmp_path, scores, dataset, model, None)
    assert [one.name for one in gallery.examples] == ["0", "3", "6"]
    assert [row.cells for row in gallery.rows] == [{"best": 0, "median": 1, "worst": 2}]  # both metrics in one row
    assert not output_path(tmp_path, pairs[1], model).exists()


def test_labels_are_read_from_output_and_target(tmp_path: Path) -> None:
    """By a segmenter that calls bright pixels class 1."""
    model = make_model(IMAGE | {"target_channels": 1}, SIZE)
    (pair,) = pairs = make_pairs(tmp_path, 1, np.zeros((*SIZE, 1), np.uint8), ".png")
    images.write(pair.target.path, images.read(pair.source.path))  # a target that shows its labels
    dataset = present_pairs(pairs, model)
    write_output(tmp_path, pair, model, 255 - images.read(pair.target.path))
    network = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        network.weight[:] = torch.tensor([-1.0, 1.0])[:, None, None, None]
        network.bias.zero_()  # type: ignore[union-attr]
    labels = LabelScore(Segmenter(network, ((0,), (255,)), torch.device("cpu")))
    gallery = read_gallery(tmp_path, [ImageScore(0, {"l1": 1.0, "label_accuracy": 0.0})], dataset, model, labels)
    views = gallery.examples[0].labels
    assert views is not None
    assert (views.source == views.target).all()
    assert (views.output == 255 - views.source).all()
    assert (views.errors == 1).all()
    write_evaluation_report(tmp_path / "report.html", NUMBERS | {"images": 1}, gallery)
    page = Page(tmp_path / "report.html")
    page.check_self_contained()
    assert "labels read from the output" in page.text
