"""What each metric would have kept, and the samples of these epochs side by side."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from html_page import Page
from PIL import Image

from pix2pix.config import Config
from pix2pix.data.checks.contact_sheet import cut_columns, draw_sheet
from pix2pix.data.io.arrays import Pixels
from pix2pix.reports.curves import Row
from pix2pix.reports.epochs import describe_choices, find_best_epoch, list_choices, measured_metrics
from pix2pix.reports.pages import write_run_report

L1 = {1: 0.30, 2: 0.20, 3: 0.10, 4: 0.12, 5: 0.15}
SSIM = {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.5, 5: 0.4}


def row(epoch: int, **values: float) -> Row:
    return Row(epoch * 10, epoch, epoch * 10, "val", 1.0 * epoch, 2e-4, 5.0, values)


def validations() -> list[Row]:
    return [row(epoch, l1=L1[epoch], l2=L1[epoch] ** 2, psnr=20 - L1[epoch], ssim=SSIM[epoch]) for epoch in L1]


def test_metrics_and_the_epochs_that_they_prefer() -> None:
    rows = validations()
    assert [measure.name for measure in measured_metrics(rows)] == ["l1", "psnr", "ssim"], "l2 ranks as psnr"
    choices = list_choices(rows, 0, 3, {2: "models/epoch-0002", 3: "model", 4: "models/epoch-0004"})
    assert [(one.epoch, one.best_by, one.marks, one.model) for one in choices] == [
        (3, ["l1", "psnr"], ["kept"], "model"),
        (4, ["ssim"], [], "models/epoch-0004"),
        (5, [], ["last"], ""),
    ]
    said = describe_choices(choices)
    assert said == "The metrics prefer different epochs: epoch 3 by l1 and psnr; epoch 4 by ssim."
    assert list_choices(rows, 3, None, {})[0].best_by == ["l1", "psnr", "ssim"], "the first phase does not count"
    best = find_best_epoch(rows, "l1", 3)
    assert best is not None
    assert best.epoch == 4


def test_an_epoch_without_validation_and_a_run_without_one() -> None:
    unvalidated = Row(60, 6, 60, "train", 6.0, 2e-4, 5.0, {})
    *_, newest, kept = list_choices([*validations(), unvalidated], 0, 6, {6: "model"})
    assert (newest.epoch, newest.marks) == (5, ["last validated"])
    assert (kept.epoch, kept.marks, kept.values) == (6, ["kept"], {})
    assert list_choices([unvalidated], 0, 6, {}) == []
    assert describe_choices([]) == ""


def sheet(value: int, rows: int = 2, sources: int = 1) -> Pixels:
    """A sheet of flat images: sources 10, 11, ..., the output `value`, the target 200."""
    values = (*range(10, 10 + sources), value, 200)
    return draw_sheet([[np.full((130, 140, 3), one, np.uint8) for one in values]] * rows, [str(one) for one in values])


@pytest.mark.parametrize("sources", [1, 3])
def test_a_sheet_is_cut_into_the_columns_that_were_drawn(sources: int) -> None:
    columns = cut_columns(sheet(90, sources=sources), sources + 2)
    assert columns is not None
    assert [int(column[70, 70, 0]) for column in columns] == [*range(10, 10 + sources), 90, 200]
    assert {column.shape for column in columns} == {(2 * 136 + 1, 142, 3)}
    assert cut_columns(np.zeros((50, 90, 3), np.uint8), 3) is None


def test_the_page_shows_both_side_by_side(tmp_path: Path) -> None:
    for name, epochs in (("samples", ()), ("model", ()), ("models/epoch-0004", (4,))):
        (tmp_path / name).mkdir(parents=True)
        for epoch in epochs:
            (tmp_path / name / "config.json").write_text(json.dumps({"epoch": epoch}))
    (tmp_path / "model/config.json").write_text(json.dumps({"epoch": 3}))
    settings = Config.model_validate({"training": {"epochs": 5, "best_by": "l1"}}).model_dump(mode="json")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    names = "step,epoch,images_seen,split,seconds,learning_rate,images_per_second,l1,psnr,ssim"
    lines = [f"{e}0,{e},{e}0,val,{e},0.0002,5,{L1[e]},{20 - L1[e]},{SSIM[e]}" for e in L1]
    (tmp_path / "metrics.csv").write_text("\n".join([names, *lines, ""]))
    for epoch in (1, 2, 3, 5):
        Image.fromarray(sheet(epoch)).save(tmp_path / f"samples/epoch_{epoch:04}.png")
    (tmp_path / "samples/mine.png").write_bytes(b"of others")
    page = Page(write_run_report(tmp_path))
    page.check_self_contained()
    for text in ("3 kept", "4models/epoch-0004/", "5 last", "epoch 1", "epoch 3, kept", "epoch 5, last", "target"):
        assert text in page.text, text
    assert "epoch 2" not in page.text
    assert page.source.count("of the samples") == 5
