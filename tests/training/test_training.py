"""Whole trainings of a second or two: what a run folder holds, what resuming gives, what is refused."""

import csv
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from conftest import TINY

from pix2pix.config import Training
from pix2pix.config.io import merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.config.recorded import CHOICES
from pix2pix.errors import ConfigError, Interrupted, RunError
from pix2pix.model import load_model
from pix2pix.networks.convolution import Conv, ConvTranspose
from pix2pix.networks.cpu.choice import Algorithm
from pix2pix.system.progress import ProgressBar
from pix2pix.training import checkpoint, discriminator_augment
from pix2pix.training.checkpoint import SAVE_SHARE
from pix2pix.training.inspection import inspect_and_plan
from pix2pix.training.run_folder import begin_run
from pix2pix.training.setup import make_trainer
from pix2pix.training.train import plan_only, train_with
from pix2pix.training.trainer import Trainer
from pix2pix.training.validation import Validation
from tests.reliability.runs import differences, saved_state

NO_STOP: Callable[[], int | None] = lambda: None  # noqa: E731


def trainer(pairs_in: Path, folder: Path, /, *, save_share: float = SAVE_SHARE, **settings: Any) -> Trainer:
    """A training that is about to begin, or to be resumed, in `folder`."""
    with ProgressBar() as bar:
        plan, pairs, _ = inspect_and_plan(choose_settings(pairs_in, None, None, merge_settings(TINY, settings)), bar)
        begin_run(folder, plan.config, overwrite=False)
        return make_trainer(plan, pairs.splits, folder, bar, save_share=save_share)


def stop_after(updates: int) -> Callable[[], int | None]:
    """A stop signal that comes after so many updates."""
    calls = iter(range(1, updates + 1))
    return lambda: None if next(calls, updates) < updates else signal.SIGINT


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    for row in found:
        assert row["split"] == "val" or 0 <= float(row["loading_share"]) <= 1
        del row["seconds"], row["images_per_second"], row["loading_share"]
    return found


# ---- a run -----------------------------------------------------------------------------------------------------


def test_a_run_folder_explains_itself(run: Path) -> None:
    expected = ["checkpoints", "config.yaml", "curves.png", "metrics.csv", "model", "report.html", "samples"]
    assert set(expected) <= {path.name for path in run.iterdir()}
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["data"]["source_channels"] == 3
    assert settings["generator"]["depth"] == 5
    assert {"pix2pix", "torch", "python", "data_fingerprint", *CHOICES} == settings["provenance"].keys()
    assert [(row["epoch"], row["split"]) for row in rows(run)] == [(e, s) for e in "12" for s in ("train", "val")]
    assert all(float(row[name]) > 0 for row in rows(run) for name in ("g_adversarial", "g_l1", "d_real", "d_fake"))
    assert all(float(row["psnr"]) > 0 for row in rows(run) if row["split"] == "val")
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["epoch_0001.png", "epoch_0002.png"]
    assert {path.name for path in (run / "model").iterdir()} - {"evaluation.json"} == {
        "README.md",
        "config.json",
        "discriminator.safetensors",
        "generator.safetensors",
        "samples.jpg",
    }  # fmt: skip; other tests may have evaluated this run
    records = {".pix2pix-files"}  # of evaluations by other tests
    assert {path.name for path in run.rglob(".*")} - records == {".pix2pix-run"}, "nothing temporary stays"


def test_the_kept_model_is_the_best_epoch(facades: Path, tmp_path: Path) -> None:
    for best_by, best in (("l1", min), ("psnr", max), ("last", None)):
        folder = tmp_path / best_by
        trainer(facades, folder, training={"epochs": 3, "best_by": best_by, "samples": 0}).fit(NO_STOP)
        card = load_model(folder).config
        validation = [row for row in rows(folder) if row["split"] == "val"]
        epochs = {float(row[best_by]): int(row["epoch"]) for row in validation} if best else {0.0: 3}
        assert card.epoch == epochs[(best or min)(epochs)]


def test_the_kept_epoch_has_a_sample_sheet(facades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the regular ones; that of the epoch that was kept before is removed."""
    scores, run = iter([0.5, 0.4, 0.3, 0.6, 0.2, 0.9]), Validation.run
    monkeypatch.setattr(Validation, "_samples_are_due", lambda _, epoch: epoch in (1, 6))
    monkeypatch.setattr(Validation, "run", lambda *given: run(*given) | {"l1": next(scores)})
    trainer(facades, tmp_path, training={"epochs": 6, "samples": 1, "best_by": "l1"}).fit(NO_STOP)
    assert sorted(path.stem for path in (tmp_path / "samples").iterdir()) == ["epoch_0001", "epoch_0005", "epoch_0006"]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, "last"),
        ({"training": {"patience": 2}}, "l1"),
        ({"loss": {"adversarial_weight": 0.0}}, "l1"),
        ({"training": {"best_by": "psnr"}}, "psnr"),
    ],
)
def test_which_epoch_is_kept(facades: Path, settings: dict[str, Any], kept: str) -> None:
    config = choose_settings(facades, None, None, merge_settings(TINY, settings))
    plan, *_ = inspect_and_plan(config, ProgressBar(silent=True))
    assert plan.config.training.best_by == kept


def test_training_lowers_the_validation_error(facades: Path, tmp_path: Path) -> None:
    training = {"epochs": 5, "batch_size": 1, "norm_statistics": "image"}
    trainer(facades, tmp_path / "run", training=training, optimizer={"learning_rate": 2e-3}).fit(NO_STOP)
    errors = [float(row["g_l1"]) for row in rows(tmp_path / "run") if row["split"] == "val"]
    assert errors[-1] < 0.95 * errors[0]


def test_patience_ends_a_run(facades: Path, tmp_path: Path) -> None:
    training = {"epochs": 50, "patience": 2, "norm_statistics": "image", "samples": 0}
    still = {"optimizer": {"learning_rate": 1e-30}}  # every validation is the first one again
    progress = trainer(facades, tmp_path / "run", training=training, **still).fit(NO_STOP)
    assert (progress.best_epoch, progress.epoch, progress.finished) == (1, 3, True)


def test_validation_every_few_epochs(facades: Path, tmp_path: Path) -> None:
    """After the first, the last, and those between; sheets with them; `last` is kept after every one."""
    training = {"epochs": 8, "validate_every": 3, "samples": 1}
    for best_by, kept in (("l1", {1, 3, 6, 8}), ("last", {8})):
        folder = tmp_path / best_by
        progress = trainer(facades, folder, training=training | {"best_by": best_by}).fit(NO_STOP)
        validated = {int(row["epoch"]) for row in rows(folder) if row["split"] == "val"}
        assert validated == {1, 3, 6, 8}
        assert {path.stem for path in (folder / "samples").iterdir()} == {f"epoch_{epoch:04}" for epoch in validated}
        assert progress.best_epoch in kept
    every = [Training(epochs=epochs).validation_epochs for epochs in (1, 100, 199, 200, 1000)]
    assert every == [1, 2, 3, 4, 20]
    assert Training(epochs=1000, patience=5).validation_epochs == 1


def test_without_a_validation_split(facades: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    for path in sorted((facades / "train").iterdir())[:3]:
        (data / "train" / path.name).write_bytes(path.read_bytes())
    folder = tmp_path / "run"
    progress = trainer(data, folder, data={"val_fraction": 0.0, "test_fraction": 0.0}).fit(NO_STOP)
    assert progress.finished
    assert load_model(folder).config.epoch == 2
    assert {row["split"] for row in rows(folder)} == {"train"}


# ---- the same run, in pieces -----------------------------------------------------------------------------------

HARD: dict[str, Any] = {
    "training": {"epochs": 3, "batch_size": 3, "discriminator_epochs": 1, "ema": 0.9, "samples": 1, "keep_every": 2},
    "optimizer": {"schedule": "linear"},
}
"""Everything that could be forgotten: 10 pairs in batches of 3, so 4 updates an epoch, the last of one pair."""
ALONE: dict[str, Any] = {
    "training": HARD["training"]
    | {"discriminator_epochs": 0, "reconstruction_first": 0.34, "ema": 0.0, "ema_images": 50.0},
    "optimizer": {"schedule": "linear", "discriminator_learning_rate": 4e-4, "warmup_images": 20},
    "discriminator": {"augment": "adaptive"},
    "loss": {"feature_matching_weight": 10.0},
}
"""The same with G alone at first, rates that rise during the first two epochs, and a half-life that grows."""


def train_whole(facades: Path, folder: Path, settings: dict[str, Any]) -> Path:
    trainer(facades, folder, **settings).fit(NO_STOP)
    return folder


@pytest.fixture(scope="module")
def whole(facades: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_whole(facades, tmp_path_factory.mktemp("whole") / "run", HARD)


@pytest.fixture(scope="module")
def alone(facades: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_whole(facades, tmp_path_factory.mktemp("alone") / "run", ALONE)


@pytest.mark.parametrize(
    ("kind", "cuts", "workers"),
    [
        pytest.param("whole", (1,), 0, id="step 1"),
        pytest.param("whole", (4,), 0, id="end of warm-up"),
        pytest.param("alone", (2, 3), 0, id="G alone, then mid-epoch"),
        pytest.param("alone", (4,), 0, id="end of G alone"),
        pytest.param("whole", (1, 1), 0, id="twice in one epoch"),
        pytest.param("whole", (8, 2), 0, id="epoch end"),
        pytest.param("alone", (11,), 0, id="last batch"),
        pytest.param("whole", (5,), 2, id="workers"),
    ],
)
def test_resumed_is_uninterrupted(
    facades: Path, tmp_path: Path, request: pytest.FixtureRequest, kind: str, cuts: tuple[int, ...], workers: int
) -> None:
    folder, whole = tmp_path / "run", request.getfixturevalue(kind)
    settings = merge_settings({"whole": HARD, "alone": ALONE}[kind], {"data": {"workers": workers}})
    for cut in cuts:
        with pytest.raises(Interrupted, match="interrupted and saved"):
            trainer(facades, folder, **settings).fit(stop_after(cut))
    trainer(facades, folder, **settings).fit(NO_STOP)
    assert not differences(saved_state(folder), saved_state(whole))
    assert rows(folder) == rows(whole)
    for name, epochs in (("model", range(1, 4)), ("models/epoch-0002", [2])):
        first, second = (load_model(run / name, discriminator=True) for run in (folder, whole))
        assert (first.config.epoch, first.config.validation) == (second.config.epoch, second.config.validation)
        assert first.config.epoch in epochs
        assert not differences(first.generator.state_dict(), second.generator.state_dict())
    assert [path.name for path in (folder / "models").iterdir()] == ["epoch-0002"]


WIDE: dict[str, Any] = {
    "data": {"image_size": 128, "val_fraction": 0.0, "test_fraction": 0.0},
    "generator": {"base_channels": 8},
    "discriminator": {"base_channels": 8, "patch_size": 70},
    "training": {"epochs": 2, "batch_size": 5, "samples": 0},
}
"""Large enough that every algorithm of a convolution is used: im2col, Winograd's and torch's own."""


@pytest.mark.parametrize("order", ["two-pass", "one-pass"])
def test_resumed_is_uninterrupted_with_every_algorithm(facades: Path, tmp_path: Path, order: str) -> None:
    """Nothing that only a process knows has a part in the result."""
    settings = merge_settings(WIDE, {"training": {"update_order": order}})
    used = set[str]()
    with pytest.MonkeyPatch.context() as patch:
        for kind in (Conv, ConvTranspose):
            choose = kind.algorithm
            patch.setattr(kind, "algorithm", lambda layer, x, choose=choose: used.add(a := choose(layer, x)) or a)
        trainer(facades, tmp_path / "whole", **settings).fit(NO_STOP)
    assert used == set(get_args(Algorithm))
    for _ in range(2):
        with pytest.raises(Interrupted):
            trainer(facades, tmp_path / "run", **settings).fit(stop_after(1))
    trainer(facades, tmp_path / "run", **settings).fit(NO_STOP)
    assert not differences(saved_state(tmp_path / "run"), saved_state(tmp_path / "whole"))


PARTS: dict[str, dict[str, Any]] = {
    "patches": {
        "discriminator": {"spectral_norm": True, "norm": "none", "scales": 2, "augment": "adaptive"},
        "loss": {"adversarial": "hinge", "feature_matching_weight": 10.0, "perceptual_weight": 1.0},
        "training": {"update_order": "one-pass"},
    },
    "classes": {
        "data": {"source_kind": "labels"},
        "discriminator": {
            "kind": "classes", "patch_size": 70, "spectral_norm": True, "augment": "fixed", "augment_probability": 0.5
        },
        "training": {"update_order": "two-pass"},
    },
}  # fmt: skip


@pytest.mark.parametrize("parts", PARTS)
def test_resumed_is_uninterrupted_with_every_part(
    facades: Path, tmp_path: Path, parts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discriminators and terms beyond the paper's; the probability of the augmentation moves fast."""
    monkeypatch.setattr(discriminator_augment, "IMAGES_TO_ONE", 20)
    monkeypatch.setattr(discriminator_augment, "TARGET", -2.0)
    settings = merge_settings({"data": {"test_fraction": 0.0}, "training": {"samples": 0}}, PARTS[parts])
    trainer(facades, tmp_path / "whole", **settings).fit(NO_STOP)
    with pytest.raises(Interrupted):
        trainer(facades, tmp_path / "run", **settings).fit(stop_after(7))
    trainer(facades, tmp_path / "run", **settings).fit(NO_STOP)
    assert not differences(saved_state(tmp_path / "run"), saved_state(tmp_path / "whole"))
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    first, second = rows(tmp_path / "run")[0], rows(tmp_path / "run")[2]
    assert float(second["d_augment"]) > float(first["d_augment"]) or parts == "classes"
    assert all(row["d_real_accuracy"] and row["g_adversarial"] for row in rows(tmp_path / "run"))


def test_at_first_the_generator_learns_alone(facades: Path, alone: Path, tmp_path: Path) -> None:
    """D keeps its first weights and is not measured; rates rise; that epoch is not kept for its lower L1."""
    for steps in (1, 4):
        with pytest.raises(Interrupted):
            trainer(facades, tmp_path / str(steps), **ALONE).fit(stop_after(steps))
    early, later = saved_state(tmp_path / "1"), saved_state(tmp_path / "4")
    assert not differences(early["discriminator"], later["discriminator"])
    assert not differences(early["discriminator_optimizer"]["state"], later["discriminator_optimizer"]["state"])
    assert differences(early["generator"], later["generator"])
    of_d = ("d_real", "d_fake_accuracy", "d_augment", "g_adversarial", "g_feature_matching")
    measured = {(row["epoch"], name) for row in rows(alone) for name in of_d if row[name] and row["split"] == "train"}
    assert measured == {(epoch, name) for epoch in "23" for name in of_d}
    assert [bool(row["d_real"]) for row in rows(alone) if row["split"] == "val"] == [False, True, True]
    assert all(row["g_l1"] for row in rows(alone))
    rates = [float(row["learning_rate"]) for row in rows(alone) if row["split"] == "train"]
    assert rates == pytest.approx([1e-4, 2e-4, 1e-4])
    assert load_model(alone).config.epoch > 1


def test_another_seed_is_another_run(facades: Path, whole: Path, tmp_path: Path) -> None:
    """The control: equality above is no accident."""
    trainer(facades, tmp_path / "run", **merge_settings(HARD, {"training": {"seed": 1}})).fit(NO_STOP)
    assert differences(saved_state(tmp_path / "run")["generator"], saved_state(whole)["generator"])


def test_more_epochs_go_on_from_the_end(facades: Path, tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    trainer(facades, once, training={"epochs": 3}).fit(NO_STOP)
    for epochs in (1, 3):
        trainer(facades, twice, training={"epochs": epochs}).fit(NO_STOP)
    assert not differences(saved_state(once)["generator"], saved_state(twice)["generator"])


def test_ctrl_c_saves_and_the_same_command_goes_on(facades: Path, tmp_path: Path) -> None:
    """In a real process: exit 130 after a whole update, then to the end."""
    words = ["train", str(facades), "--run", str(tmp_path / "run"), "--direction", "BtoA", "--image-size", "32"]
    words += ["--base-channels", "4", "--discriminator.patch-size", "16", "--epochs", "100000", "--device", "cpu"]
    command = [sys.executable, "-m", "pix2pix", *words, "--samples", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 1:"):
                break
        os.kill(process.pid, signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert f"pix2pix: interrupted and saved in {tmp_path / 'run'}" in said
    done = saved_state(tmp_path / "run")["progress"]
    command[command.index("100000")] = str(done["epoch"] + 2)
    resumed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"resuming from epoch {done['epoch']}, step {done['step']}" in resumed.stderr
    assert saved_state(tmp_path / "run")["progress"]["epoch"] == done["epoch"] + 2


# ---- folders and refusals --------------------------------------------------------------------------------------


def test_runs_are_numbered_and_never_overwritten(
    facades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = choose_settings(facades, None, None, merge_settings(TINY, {"training": {"epochs": 1}}))
    other = choose_settings(facades, None, None, merge_settings(TINY, {"training": {"epochs": 1, "seed": 1}}))
    assert [str(train_with(settings).path) for settings in (config, config, other)] == [
        "runs/facades",
        "runs/facades-2",
        "runs/facades-3",
    ]


def test_a_changed_setting_is_named(facades: Path, run: Path) -> None:
    before = (run / "config.yaml").read_text()
    for change, named in (
        ({"loss": {"l1_weight": 10.0}}, "loss.l1_weight was 100.0, now 10.0"),
        ({"generator": {"depth": 4}}, "generator.depth was 5, now 4"),
    ):
        with pytest.raises(ConfigError, match=named):
            train_with(choose_settings(facades, None, None, merge_settings(TINY, change)), run)
    assert (run / "config.yaml").read_text() == before


def test_changed_data_are_named(facades: Path, run: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    for path in sorted((facades / "train").iterdir()):
        (data / "train" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ConfigError, match="the data have changed"):
        train_with(choose_settings(data, None, None, TINY), run)


def test_a_damaged_checkpoint_is_named_and_the_one_before_gives_the_same_bits(
    facades: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    trainer(facades, folder, save_share=math.inf, **HARD).fit(NO_STOP)  # saves after each epoch
    checkpoint = folder / "checkpoints" / "state.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    capsys.readouterr()
    trainer(facades, folder, **HARD).fit(NO_STOP)
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "state.pt: damaged" in said
    assert "going on from previous.pt of step 8, so 4 steps (1 epoch, " in said
    assert not differences(saved_state(folder), saved_state(whole))
    assert rows(folder) == rows(whole)
    first, second = load_model(folder, discriminator=True), load_model(whole, discriminator=True)
    assert (first.config.epoch, first.config.validation) == (second.config.epoch, second.config.validation)
    assert not differences(first.generator.state_dict(), second.generator.state_dict())


def test_without_an_intact_checkpoint_nothing_is_removed(facades: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    trainer(facades, folder, training={"epochs": 1}).fit(NO_STOP)
    for name in ("state.pt", "previous.pt"):
        (folder / "checkpoints" / name).write_bytes(b"")
    before = sorted((folder / "checkpoints").iterdir())
    with pytest.raises(RunError, match=r"no checkpoint can be used \(state\.pt: .*; previous\.pt: .*--overwrite"):
        trainer(facades, folder, training={"epochs": 1})
    assert sorted((folder / "checkpoints").iterdir()) == before


def test_a_disk_that_fails_ends_the_run_at_the_last_checkpoint(
    facades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    going = trainer(facades, folder, save_share=math.inf, training={"epochs": 3})  # saves after each epoch
    sync = os.fsync

    def full(file: int) -> None:
        if going.progress.epoch == 2 and ".state.pt" in os.readlink(f"/proc/self/fd/{file}"):
            raise OSError(28, "No space left on device")
        sync(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*state\.pt"):
        going.fit(NO_STOP)
    monkeypatch.undo()
    assert trainer(facades, folder, training={"epochs": 3}).progress.epoch == 1
    assert [path.name for path in (folder / "checkpoints").iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize(("share", "epochs"), [(math.inf, [0, 1, 2, 3, 4]), (1e-9, [0, 4])])
def test_short_epochs_are_not_all_saved(
    facades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, epochs: list[int]
) -> None:
    """But the first and the last are, whatever saving takes."""
    saved: list[int] = []
    save = checkpoint.save_checkpoint
    monkeypatch.setattr(
        checkpoint, "save_checkpoint", lambda *given, **also: saved.append(given[2].epoch) or save(*given, **also)
    )
    trainer(facades, tmp_path / "run", save_share=share, training={"epochs": 4}).fit(NO_STOP)
    assert saved == epochs


def test_numbers_that_are_not_finite_are_never_saved(facades: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    going = trainer(facades, folder)
    with torch.no_grad():
        next(going.state.generator.parameters()).fill_(float("nan"))
    with pytest.raises(RunError, match="became nan in epoch"):
        going.fit(NO_STOP)
    assert not (folder / "checkpoints").exists()
    assert not (folder / "model").exists()


def test_a_warm_up_as_long_as_the_training_is_refused(facades: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="warmup_images 20 is as long as the whole training, which sees 20 pairs"):
        trainer(facades, tmp_path / "run", optimizer={"warmup_images": 20})


def test_bottleneck_norm_refuses_a_last_batch_of_one(facades: Path) -> None:
    settings = {"generator": {"bottleneck_norm": True}, "training": {"batch_size": 3}}
    with ProgressBar() as bar, pytest.raises(ConfigError, match="bottleneck_norm"):
        inspect_and_plan(choose_settings(facades, None, None, merge_settings(TINY, settings)), bar)


def test_the_setting_that_was_typed_is_named(facades: Path, tmp_path: Path) -> None:
    """Not the load_size that follows from it."""
    folder = tmp_path / "run"
    trainer(facades, folder)
    with pytest.raises(ConfigError, match=r"data\.image_size was \(32, 32\), now \(64, 64\)"):
        plan_only(choose_settings(facades, None, None, merge_settings(TINY, {"data": {"image_size": 64}})), folder)
