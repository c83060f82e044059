"""Curves and pages from runs that are long, new, empty, broken or hostile."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from html_page import Page
from PIL import Image

from pix2pix.config import Config
from pix2pix.config.training import FirstPhase
from pix2pix.data.io.arrays import Pixels
from pix2pix.errors import ModelError
from pix2pix.metrics.error_map import Window
from pix2pix.reports.curves import curve_svgs, draw_curves, read_metrics
from pix2pix.reports.evaluation_page import write_evaluation_report
from pix2pix.reports.examples import Example, Gallery, Standing
from pix2pix.reports.pages import write_run_report
from pix2pix.reports.pictures import error_view, view
from pix2pix.reports.render import format_number

pytestmark = pytest.mark.usefixtures("drawn")

HEADER = "step,epoch,images_seen,split,seconds,learning_rate,images_per_second,"
HEADER += "g_adversarial,g_l1,g_l2,d_real,d_fake,l1,psnr,ssim\n"
HOSTILE = '<script>alert("&")'

METRICS: dict[str, Any] = {
    "model": "runs/facades", "data": "facades", "split": "test", "images": 40, "norm_statistics": "image",
    "dropout": False, "epoch": 57, "direction": "BtoA",
    "g_adversarial": 1.3264, "g_l1": 0.3552, "d_real": 0.9085, "d_fake": 0.4148,
    "l1": 0.1776, "psnr": 13.214, "ssim": 0.3123,
    "baselines": {
        "mean_target": {"g_l1": 0.45, "l1": 0.225, "psnr": 12.1, "ssim": 0.3312},
        "source": {"g_l1": 0.8, "l1": 0.4, "psnr": 6.9, "ssim": 0.11},
    },
}  # fmt: skip


def pixels(*shape: int) -> Pixels:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def csv_of(epochs: int) -> str:
    """Training falls steadily; validation is best in epoch 1, then in epoch 3."""
    rows = []
    for epoch in range(1, epochs + 1):
        head = f"{epoch * 80},{epoch},{epoch * 320}"
        rows.append(f"{head},train,{epoch * 60},0.0002,5.3,1.5,{1 / epoch:.6g},0.2,0.5,0.6,,,\n")
        l1 = {1: 0.01, 3: 0.0321}.get(epoch, 0.2)
        rows.append(f"{head},val,{epoch * 60},0.0002,5.3,1.6,{2 * l1:.6g},,0.7,0.8,{l1},21.352,0.5\n")
    return HEADER + "".join(rows)


def example(name: str, title: str, size: tuple[int, int] = (32, 48)) -> Example:
    window = Window(4, 6, 8, 8)
    source, output, target = (view(pixels(*size, channels), window) for channels in (1, 3, 3))
    errors = error_view(np.full(size, 0.04, np.float32), window)
    standings = {"l1": Standing(1, 3, (title,)), "psnr": Standing(2, 3, ())}
    return Example(name, size, {"l1": 0.0815, "psnr": 9.87}, standings, window, source, output, target, errors)


# ---- metrics.csv and curves ----------------------------------------------------------------------------------


def test_metrics_are_read_with_types(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert read_metrics(path) == []
    path.write_text(csv_of(2))
    train, *_, val = read_metrics(path)
    assert (train.step, train.epoch, train.images_seen, train.split) == (80, 1, 320, "train")
    assert (train.seconds, train.learning_rate, train.images_per_second) == (60, 2e-4, 5.3)
    assert train.values == {"g_adversarial": 1.5, "g_l1": 1, "g_l2": 0.2, "d_real": 0.5, "d_fake": 0.6}
    assert val.split == "val"
    assert "g_l2" not in val.values
    assert val.values["psnr"] == 21.352


@pytest.mark.parametrize("broken", ["step,epoch\n1,2\n", HEADER + "80,one,320,train,60,,,,,,,,,,\n"])
def test_broken_metrics_are_named(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(broken)
    with pytest.raises(ModelError, match=r"metrics\.csv, line 2: "):
        read_metrics(path)


@pytest.mark.parametrize("text", [None, HEADER, csv_of(1), csv_of(40).replace("21.352", "inf")])
def test_curves_are_a_picture(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)
    output = tmp_path / "new" / "curves.png"
    draw_curves(tmp_path / "metrics.csv", output, phase=FirstPhase(2, "discriminator warm-up"))
    with Image.open(output) as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 1
    assert [file.name for file in output.parent.iterdir()] == ["curves.png"]


def test_curves_show_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(csv_of(3))
    rows = read_metrics(path)
    vanilla = curve_svgs(rows, phase=FirstPhase(1, "discriminator warm-up"))
    assert len(vanilla) == 6  # none for the constant learning rate
    path.write_text(csv_of(3).replace("0.0002", "0.0001", 1))
    assert [svg.count("learning rate of Adam") for svg in curve_svgs(read_metrics(path))] == [*[0] * 5, 1, 0]
    assert ["log 2 = chance" in svg for svg in vanilla] == [True, False, True, *[False] * 3]
    assert all("discriminator warm-up" in svg for svg in vanilla)
    assert all(f"{term}, {split}" in vanilla[2] for term in ("d_real", "d_fake") for split in ("train", "val"))
    for row in rows:
        row.values.pop("g_adversarial")
        row.values["d_augment"] = 0.0
    (never,) = [svg for svg in curve_svgs(rows) if "d_augment, train" in svg]
    assert "\N{MINUS SIGN}" not in never, "the axis of a probability begins at 0"
    for row in rows:
        row.values.pop("d_augment")
    plain = curve_svgs(rows, adversarial="lsgan")
    assert len(plain) == 5
    assert not any("log 2" in svg or "discriminator warm-up" in svg for svg in plain)


# ---- the page of an evaluation -------------------------------------------------------------------------------


def test_evaluation_page_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    titles = ("best", "median", "worst")
    scores = [{"l1": 0.1 + n / 100, "psnr": math.inf if n == 0 else 20 - n} for n in range(8)]
    gallery = Gallery([example(f"{title}_{HOSTILE}", title) for title in titles], span=255.0)
    write_evaluation_report(path, METRICS, gallery, scores=scores)
    page = Page(path)
    page.check_self_contained()
    pictures = [link for link in page.links if link.startswith("data:image/png")]
    assert len(pictures) == 3 * 2 + 1 + 3 * 4 * 2  # of the metric, legend, cards
    assert [link for link in page.links if link.startswith("#image")] == ["#image-1", "#image-2", "#image-3"]
    assert "better than both baselines on l1 and psnr, but not on ssim" in page.text
    for text in ("1.3264", "0.3552", "0.9085", "0.4148", "17.8 %", "13.21 dB", "0.3312", "0.4000", "0.693", "57"):
        assert text in page.text
    for title in titles:
        assert f"{title}_{HOSTILE}" in page.text
        assert f"l1 0.0815 {title}" in page.text
    assert page.text.count("psnr 9.87 dB 2 of 3") == 3
    assert "0.05 (12.75) or more" in page.text
    assert page.text.count("8x8 pixels from row 4, column 6 of 32x48.") == 3
    assert page.source.count("left: 12.5%; top: 12.5%; width: 16.67%; height: 25.0%") == 6  # output and difference
    assert page.source.count("<svg") == 2  # no image has an SSIM


def differences_of_l1(to_mean: list[float], to_source: list[float]) -> dict[str, Any]:
    return {"mean_target": {"l1": to_mean}, "source": {"l1": to_source}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"psnr": math.inf}, "PSNR ∞ dB"),
        ({"psnr": None}, "It is better than both baselines on l1, but not on ssim."),  # infinite, in strict JSON
        ({"ssim": 0.9}, "It is better than both baselines on l1, psnr and ssim."),
        ({"l1": 0.9, "psnr": 1.0, "ssim": 0.0}, "It is not better than both baselines on l1, psnr and ssim."),
        ({"baselines": {"mean_target": METRICS["baselines"]["mean_target"]}}, "better than the baseline on l1"),
        ({"baselines": {}}, "No baselines were measured."),
        (
            {"baseline_differences": differences_of_l1([-0.002, 0.001], [-0.3, -0.2])},
            "It is better than both baselines on psnr, but not on ssim. It is not clearly better on l1: the 95 % "
            "interval of a difference includes 0.",
        ),
        ({"baseline_differences": differences_of_l1([0.001, 0.002], [-0.3, -0.2])}, "psnr, but not on l1 and ssim."),
        ({"baseline_differences": differences_of_l1([-0.2, -0.1], [-0.3, -0.2])}, "on l1 and psnr, but not on ssim."),
        ({"missing": {"fid": "no weights", "kid": "no weights"}}, "fid and kid were not measured: no weights."),
        ({"missing": {"fid": "no weights"}}, "fid was not measured: no weights."),
        ({"fid": 3.2, "features": "Textures"}, "fid and kid use the features of the network Textures in place of"),
        ({"d_real": None, "d_fake": None, "g_adversarial": None}, "without a discriminator"),
        ({"model": HOSTILE, "data": HOSTILE}, HOSTILE),
        ({"images": 1}, "On 1 test image the output"),
    ],
)
def test_evaluation_page_says_what_is_the_case(tmp_path: Path, change: Mapping[str, Any], text: str) -> None:
    path = tmp_path / "report.html"
    write_evaluation_report(path, {**METRICS, **change}, Gallery())
    page = Page(path)
    page.check_self_contained()
    assert text in page.text


def test_large_pictures_are_jpeg_and_reduced(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_evaluation_report(path, METRICS, Gallery([example("photo", "only image", (1400, 1800))]))
    page = Page(path)
    kinds = [match[1] for link in page.links if (match := re.match(r"data:image/(\w+)", link))]
    assert kinds == ["jpeg", "jpeg", "png", *["jpeg", "png"] * 3, "png", "png"]
    assert "The whole image is shown reduced." in page.text
    assert path.stat().st_size < 1e6


def test_numbers_are_shown_for_people() -> None:
    cases = [(0.12345, ""), (21.352, "dB"), (-1.5, ""), (math.inf, "dB"), (math.nan, ""), (None, "")]
    assert [format_number(*case) for case in cases] == ["0.1235", "21.35 dB", "−1.5000", "∞ dB", "–", "–"]


# ---- the page of a run ---------------------------------------------------------------------------------------


def make_run(folder: Path) -> Path:
    (folder / "samples").mkdir(parents=True)
    (folder / "model").mkdir()
    training = {"epochs": 12, "discriminator_epochs": 2, "best_by": "l1"}
    config = Config.model_validate({"training": training, "discriminator": {"scales": 2, "spectral_norm": True}})
    settings = config.model_dump(mode="json") | {"provenance": {"note": HOSTILE}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "metrics.csv").write_text(csv_of(10))
    for name in ("epoch_1", "epoch_9", "epoch_10"):
        Image.fromarray(pixels(60, 90, 3)).save(folder / "samples" / f"{name}.png")
    for split in ("te st#1", "val"):
        (folder / "evaluation" / split).mkdir(parents=True)
        (folder / "evaluation" / split / "metrics.json").write_text(json.dumps(METRICS | {"split": split}))
    (folder / "evaluation" / "te st#1" / "report.html").write_text("")
    return folder


def test_a_damaged_sheet_is_named_on_the_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "samples/epoch_10.png").write_bytes(b"\x89PNG\r\n")
    text = Page(write_run_report(folder)).text
    assert f"{folder / 'samples/epoch_10.png'}: cannot be shown" in text
    assert "epoch 1\n" in text


def test_run_page_is_complete(tmp_path: Path) -> None:
    folder = make_run(tmp_path / HOSTILE)
    path = write_run_report(folder)
    assert path == folder / "report.html"
    page = Page(path)
    page.check_self_contained(allowed=("evaluation/te%20st%231/report.html",))
    assert page.text.count(HOSTILE) >= 3  # title, commands and provenance, as text
    assert "10 of 12 epochs done. Best by validation l1: epoch 3, with 0.0321." in page.text
    assert "All metrics are best in epoch 3." in page.text
    assert "10 min 00 s" in page.text
    assert page.source.count("<svg") == 6
    assert 'Sample sheet of epoch 1"' in page.source
    assert 'Sample sheet of epoch 10"' in page.source
    assert "Sample sheet of epoch 9" not in page.source
    assert "unet, patch size 70 at 2 scales, spectral norm" in page.text
    for text in ("val, best epoch 3", "21.35 dB", "0.9085", "but not on ssim", "discriminator_epochs: 2"):
        assert text in page.text
    assert f"pix2pix translate '{folder}' IMAGES" in page.text
    assert f"from_pretrained({json.dumps(str(folder))})" in page.text
    again = path.read_bytes()
    assert write_run_report(folder).read_bytes() == again


@pytest.mark.parametrize("metrics", [None, HEADER])
def test_run_page_says_what_is_absent(tmp_path: Path, metrics: str | None) -> None:
    if metrics is not None:
        (tmp_path / "metrics.csv").write_text(metrics)
    page = Page(write_run_report(tmp_path))
    page.check_self_contained()
    for text in (
        "No epoch has been finished",
        "No sample sheet",
        "Nothing has been validated",
        "None yet",
        "No model has been kept",
        "no config.yaml",
    ):
        assert text in page.text


@pytest.mark.parametrize(("kept", "outdated"), [(57, False), (60, True)])
def test_an_evaluation_of_an_older_model_is_marked(tmp_path: Path, kept: int, outdated: bool) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "model" / "config.json").write_text(json.dumps({"epoch": kept}))
    text = "Measured on epoch 57; the model is now epoch 60: run pix2pix evaluate again."
    assert Page(write_run_report(folder)).text.replace("`", "").count(text) == (2 if outdated else 0)


def test_broken_evaluation_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "evaluation" / "val" / "metrics.json").write_text("{")
    (folder / "metrics.csv").unlink()
    with pytest.raises(ModelError, match=r"evaluation.val.metrics\.json"):
        write_run_report(folder)
