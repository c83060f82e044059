"""Studies of a few seconds: what they train, what they leave behind, and that any interruption is only a delay."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from html_page import Page
from PIL import Image

from pix2pix.config.io import merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.errors import ConfigError, RunError
from pix2pix.metrics import segmentation
from pix2pix.model import load_model
from pix2pix.study import jobs
from pix2pix.study.estimate import describe_plan
from pix2pix.study.page import find_above_ceiling
from pix2pix.study.study import Study, plan_study, study
from pix2pix.study.variants import VARIANTS, choose_variants
from pix2pix.system.locks import lock_folder

SMALL: dict[str, Any] = {
    "data": TINY["data"],
    "generator": {"base_channels": 4},
    "discriminator": {"base_channels": 4},
    "training": {"epochs": 1, "batch_size": 2, "precision": "32", "device": "cpu", "samples": 0},
}


@pytest.fixture(scope="module", autouse=True)
def _brief() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation, "SAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def generators(facades: Path, tmp_path_factory: pytest.TempPathFactory, _brief: None) -> tuple[Path, Study]:
    folder = tmp_path_factory.mktemp("study")
    return folder, study("generators", facades, SMALL, run=folder)


def test_every_variant_is_what_its_name_says(facades: Path, tmp_path: Path) -> None:
    plan = plan_study("losses", facades, SMALL, run=tmp_path / "study", seeds=(0, 5))
    assert len(plan.jobs) == 12
    assert len({job.run for job in plan.jobs}) == 12
    weights = {
        job.variant.title: (
            job.config.loss.adversarial_weight,
            job.config.loss.l1_weight,
            job.config.loss.l2_weight,
            job.config.discriminator.conditional,
        )
        for job in plan.jobs
    }
    assert weights == {
        "L1": (0, 100, 0, True),
        "GAN": (1, 0, 0, False),
        "cGAN": (1, 0, 0, True),
        "L1 + GAN": (1, 100, 0, False),
        "L1 + cGAN": (1, 100, 0, True),
        "L2 + cGAN": (1, 0, 100, True),
    }
    assert {job.config.training.seed for job in plan.jobs} == {0, 5}
    shared = [plan_study(kind, facades, SMALL, run=tmp_path).jobs for kind in ("losses", "generators")]
    names = [{job.name: job.key for job in some} for some in shared]
    common = names[0].keys() & names[1].keys()
    assert common == {"unet-l1-seed0", "unet-l1+cgan-70-seed0"}
    assert all(names[0][name] == names[1][name] for name in common), "one training serves both studies"
    assert "12 trainings" in "\n".join(describe_plan(plan, 2))
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("preset", ["slides", "modern"])
def test_variants_without_a_discriminator_leave_out_what_needs_one(facades: Path, tmp_path: Path, preset: str) -> None:
    settings: dict[str, Any] = {"data": SMALL["data"], "loss": {"perceptual_weight": 0.0}}
    if preset == "modern":
        settings["training"] = {"reconstruction_first": 0.0}  # which learns from L1, but some variants have none
    plan = plan_study("losses", facades, settings, run=tmp_path, preset=preset)
    assert ("GAN and cGAN mean hinge and feature matching with weight 10 here" in plan.notes) == (preset == "modern")
    alone, *others = [job.config for job in plan.jobs]
    assert alone.loss.adversarial_weight == alone.loss.feature_matching_weight == alone.training.first_phase.epochs == 0
    assert alone.discriminator.augment == "none"
    whole = choose_settings(facades, preset, None, settings)
    assert all(config.discriminator.augment == whole.discriminator.augment for config in others)
    assert all(config.training.first_phase == whole.training.first_phase for config in others)


def test_patches_that_do_not_fit() -> None:
    assert [variant.patch_size for variant in choose_variants("patches", (256, 256))[0]] == [1, 16, 70, 286]
    smaller, notes = choose_variants("patches", (64, 64))
    assert [variant.patch_size for variant in smaller] == [1, 16, 70, 142]
    assert "142 replace 286" in notes[0]
    smallest, notes = choose_variants("patches", (32, 64))
    assert [variant.patch_size for variant in smallest] == [1, 16, 70]
    assert "286x286 is left out" in notes[0]


def test_patch_size_is_free_where_the_study_does_not_vary_it(facades: Path, tmp_path: Path) -> None:
    patches = merge_settings(SMALL, {"discriminator": {"patch_size": 16}})
    for kind in ("losses", "generators"):
        jobs = plan_study(kind, facades, patches, run=tmp_path / "study").jobs
        sizes = {job.variant.title: job.config.discriminator.patch_size for job in jobs}
        assert set(sizes.values()) == {16, 70}
        assert {title for title, size in sizes.items() if size == 70} == {
            job.variant.title for job in jobs if not job.config.loss.adversarial_weight
        }, "without a discriminator the training is the same with every patch size"
        assert "unet-l1+cgan-16-seed0" in {job.name for job in jobs}
    with pytest.raises(ConfigError, match=r"discriminator\.patch_size: a study varies the patches itself"):
        plan_study("patches", facades, patches, run=tmp_path / "study")


def test_page_table_and_figure(generators: tuple[Path, Study]) -> None:
    folder, done = generators
    titles = [variant.title for variant in VARIANTS["generators"]]
    assert done.page == folder / "generators.html"
    page = Page(done.page)
    page.check_self_contained()
    assert all(text in page.text for text in (*titles, "0.55", "pairs of variants are ordered as in the paper"))
    assert sum(link.startswith("data:image/") for link in page.links) == 3 * (2 + 4)
    with Image.open(folder / "generators.png") as figure:
        assert figure.width > 6 * 128
    results = json.loads((folder / "generators.json").read_text())
    assert results == json.loads(json.dumps(done.results))
    assert list(results["table"]) == titles
    for title, row in results["table"].items():
        metrics = json.loads((Path(row["run"][0]) / "evaluation" / "test" / "metrics.json").read_text())
        assert row["values"]["l1"] == pytest.approx(metrics["l1"], rel=1e-5)
        assert row["intervals"]["l1"] == pytest.approx(metrics["intervals"]["l1"], rel=1e-4)
        assert load_model(row["run"][0]).config.settings.generator.kind in title.lower().replace("-", "_").replace(
            "u_", "u"
        )
    assert sorted(results["order"]["here"]) == sorted(titles)
    assert (results["order"]["of"], results["order"]["by"]) == (6, "label_accuracy")
    assert all(0 < row["values"]["label_iou"] < 1 for row in results["table"].values())


def test_variants_above_real_targets_are_named() -> None:
    table = {"a": {"values": {"label_accuracy": 0.6}}, "b": {"values": {"label_accuracy": 0.5}}, "c": {"values": {}}}
    assert find_above_ceiling({"ceiling": {"pixel_accuracy": 0.558}, "table": table}) == ["a"]
    assert find_above_ceiling({"ceiling": None, "table": table}) == []


def test_targets_that_no_png_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two channels of float32: evaluations write TIFF, and the page shows it."""
    monkeypatch.setitem(VARIANTS, "generators", VARIANTS["generators"][2:])
    rng = np.random.default_rng(0)
    for number in range(8):
        for side, values in (("A", rng.integers(0, 256, (40, 40, 3), np.uint8)), ("B", rng.random((40, 40, 2), "f4"))):
            (tmp_path / "data" / side).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "data" / side / f"{number}.npy", values)
    small = merge_settings(SMALL, {"data": {"direction": "AtoB"}})
    done = study("generators", tmp_path / "data", small, run=tmp_path / "study", segmenter=False)
    assert len(list(tmp_path.glob("study/runs/*/evaluation/test/outputs/*.tif"))) == 2
    assert sum(link.startswith("data:image/") for link in Page(done.page).links) == 2 + 2


def test_what_is_done_is_not_done_again(
    generators: tuple[Path, Study], facades: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, done = generators
    trained: list[str] = []
    monkeypatch.setattr(jobs, "train_with", lambda config, run: trained.append(run.name))
    assert study("generators", facades, SMALL, run=folder).results == done.results
    assert trained == []
    name = "unet-l1-seed0"
    record = (folder / "runs" / name / jobs.DONE).read_bytes()
    (folder / "runs" / name / jobs.DONE).unlink()
    study("generators", facades, SMALL, run=folder)
    assert trained == [name]
    assert (folder / "runs" / name / jobs.DONE).read_bytes() == record


def test_another_budget_needs_another_folder(generators: tuple[Path, Study], facades: Path) -> None:
    folder, _ = generators
    with pytest.raises(ConfigError, match=r"holds a run with other settings: .* was .*another --run"):
        study("generators", facades, merge_settings(SMALL, {"data": {"image_size": 64}}), run=folder)


@pytest.mark.parametrize(
    ("change", "choices", "words"),
    [
        ({"loss": {"l1_weight": 3.0}}, {}, "loss.l1_weight: a study varies the losses itself"),
        ({"training": {"seed": 3}}, {}, "--seeds"),
        ({}, {"seeds": (1, 1)}, "different numbers"),
        ({}, {"processes": 0}, "--processes 0"),
    ],
)
def test_misuse(facades: Path, tmp_path: Path, change: Any, choices: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        study("losses", facades, merge_settings(SMALL, change), run=tmp_path / "study", **choices)
    assert not (tmp_path / "study").exists()


def test_killed_and_gone_on_with(facades: Path, tmp_path: Path) -> None:
    """SIGKILL of a study of two processes: they save and end by themselves, and the same study goes on."""
    folder = tmp_path / "study"
    flags = ["--image-size", "32", "--base-channels", "4", "--epochs", "4000", "--batch-size", "2", "--samples", "0"]
    flags += [
        "--direction",
        "BtoA",
        "--precision",
        "32",
        "--device",
        "cpu",
        "--processes",
        "2",
        "--run",
        str(folder),
        "--no-segmenter",
    ]
    command = [sys.executable, "-m", "pix2pix", "study", "generators", str(facades), *flags]
    names = ("encoder_decoder-l1-seed0", "encoder_decoder-l1+cgan-70-seed0")
    logs = [folder / "logs" / name / "log.txt" for name in names]
    deadline = time.monotonic() + 120
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:
        try:
            while not all(log.exists() and "epoch 2:" in log.read_text() for log in logs):
                assert parent.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            with pytest.raises(OSError, match="another process"), lock_folder(logs[0].parent):
                pass
        finally:
            parent.kill()
    while not all("interrupted and saved" in log.read_text() for log in logs):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    saved = {name: json.loads((folder / "runs" / name / "checkpoints/state.json").read_text()) for name in names}
    assert all(progress["epoch"] >= 2 for progress in saved.values())
    last = max(progress["epoch"] for progress in saved.values()) + 1
    longer = merge_settings(SMALL, {"training": {"epochs": last}})
    plan = plan_study("generators", facades, longer, run=folder, segmenter=False)
    jobs.run_jobs(plan.jobs[:1], 1, None)
    assert plan.jobs[0].done
    resumed = (folder / "runs" / names[0] / "metrics.csv").read_text().splitlines()
    assert [int(line.split(",")[1]) for line in resumed[1:] if ",train," in line] == list(range(1, last + 1))


def test_a_training_that_fails_is_named(facades: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    plan = plan_study("generators", facades, SMALL, run=folder, segmenter=False)
    plan.jobs[1].run.mkdir(parents=True)
    (plan.jobs[1].run / "something.txt").write_text("of somebody else")
    with pytest.raises(RunError, match=rf"{plan.jobs[1].name.replace('+', '.')} failed: .*not a run folder.*log.txt"):
        jobs.run_jobs(plan.jobs[:2], 2, None)
    assert plan.jobs[0].done, "the others go on"
