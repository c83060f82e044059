"""What `auto` becomes on each kind of machine, and what a run keeps of it when it is resumed on another."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml
from conftest import TINY

from pix2pix.config import Config
from pix2pix.config.io import make_config, merge_settings, read_yaml
from pix2pix.config.presets import choose_settings
from pix2pix.config.recorded import CHOICES, apply_choices, record_choices
from pix2pix.distributed.environment import choose_processes
from pix2pix.errors import ConfigError
from pix2pix.system import hardware
from pix2pix.training.changed_settings import changed_settings
from pix2pix.training.machine import choose_machine, continue_choices, describe_continued
from pix2pix.training.run_folder import begin_run, open_run
from pix2pix.training.train import plan_only, train_with


class Machine(NamedTuple):
    """A kind of machine, and what `auto` is there."""

    gpus: int = 0
    mps: bool = False
    bf16: bool = False  # of the processor or the GPU
    expected: tuple[str, str, str, int] = ("cpu", "32", "fast", 1)


MACHINES = {
    "old processor": Machine(),
    "new processor": Machine(bf16=True, expected=("cpu", "bf16", "fast", 1)),
    "old GPU": Machine(gpus=1, expected=("cuda", "32", "native", 1)),
    "new GPU": Machine(gpus=1, bf16=True, expected=("cuda", "bf16", "native", 1)),
    "four GPUs": Machine(gpus=4, bf16=True, expected=("cuda", "bf16", "native", 4)),
    "Mac": Machine(mps=True, bf16=True, expected=("mps", "32", "native", 1)),
}


def pretend(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch find the devices of a kind of machine."""
    gpus, mps, bf16, _ = MACHINES[machine]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(hardware, "has_bf16", lambda: bf16)


def settings(**training: object) -> Config:
    return make_config({"training": training})


def begun_on(machine: str, monkeypatch: pytest.MonkeyPatch, **training: object) -> Config:
    """The settings that a run on a machine saves."""
    pretend(machine, monkeypatch)
    asked = settings(**training)
    settled, _ = choose_processes(asked, {})
    resolved = settled.model_copy(update={"training": choose_machine(settled.training)})
    return record_choices(resolved, asked.training)


@pytest.mark.parametrize("machine", MACHINES)
def test_auto_stays_auto_and_is_recorded(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = begun_on(machine, monkeypatch)
    assert {getattr(saved.training, name) for name in CHOICES} == {"auto"}
    became = apply_choices(saved)
    device, precision, convolutions, devices = MACHINES[machine].expected
    assert became.training == settings(
        device=device, precision=precision, convolutions=convolutions, devices=devices, nodes=1
    ).training  # fmt: skip
    assert became.provenance == {}


def test_a_provenance_that_was_edited_is_named() -> None:
    with pytest.raises(ConfigError, match=r"provenance: devices = 'many': expected"):
        apply_choices(make_config({"provenance": {"devices": "many"}}))


@pytest.mark.parametrize(
    ("began", "now", "flags", "kept"),
    [
        ("new processor", "new GPU", {}, ("cpu", "bf16", "fast")),
        ("new processor", "new GPU", {"device": "cuda"}, ("cuda", "bf16", "native")),
        ("old processor", "new processor", {}, ("cpu", "32", "fast")),
        ("old processor", "Mac", {"device": "mps"}, ("mps", "32", "native")),
        ("new GPU", "four GPUs", {}, ("cuda", "bf16", "native")),
        ("old GPU", "new GPU", {}, ("cuda", "32", "native")),
        ("new GPU", "new processor", {}, "training.device: the run was trained on cuda, .* --device cpu to go on"),
        (
            "new GPU",
            "old processor",
            {"device": "cpu"},
            "trained in bf16, for which cpu has no hardware .* --precision",
        ),
        ("new GPU", "old processor", {"device": "cpu", "precision": "bf16"}, ("cpu", "bf16", "fast")),
        ("new processor", "old processor", {}, "training.precision: the run was trained in bf16"),
        ("new processor", "Mac", {"device": "mps"}, "for which mps has no hardware"),
    ],
)
def test_a_resumed_run_keeps_its_arithmetic(
    began: str, now: str, flags: dict[str, str], kept: tuple[str, ...] | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = begun_on(began, monkeypatch)
    here = begun_on(now, monkeypatch, **flags)
    old = apply_choices(saved).model_copy(update={"provenance": {}})  # as earlier versions saved it
    for before in (saved, old):
        if isinstance(kept, str):
            with pytest.raises(ConfigError, match=kept):
                continue_choices(here, before)
            continue
        found = continue_choices(here, before)
        training = apply_choices(found).training
        assert (training.device, training.precision, training.convolutions) == kept
        assert found.training == here.training, "the settings stay what was asked for"
        said = describe_continued(apply_choices(here).training, training)
        assert (said is None) == (kept == MACHINES[now].expected[:3] or kept[0] == flags.get("device"))


def test_a_run_of_a_device_that_is_gone_is_not_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where --run was left out: the data's next free folder would hide that nothing was resumed."""
    monkeypatch.chdir(tmp_path)
    begin_run(Path("runs/pairs"), begun_on("new GPU", monkeypatch), overwrite=False)
    here = begun_on("new processor", monkeypatch)
    refused = r"runs/pairs: cannot be resumed as it began: training.device: .* on cuda.*; give --device cpu"
    with pytest.raises(ConfigError, match=refused):
        open_run(None, "pairs", here, lambda _: None, overwrite=False).__enter__()
    assert not Path("runs/pairs-2").exists()
    moved = begun_on("new processor", monkeypatch, device="cpu")
    with open_run(None, "pairs", moved, lambda _: None, overwrite=False) as choice:
        assert choice.folder == Path("runs/pairs")


# ---- whole commands --------------------------------------------------------------------------------------------

AUTO = merge_settings(TINY, {"training": {"device": "auto", "precision": "auto"}})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_goes_on_in_its_arithmetic_and_fewer_epochs_change_nothing(
    facades: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained in 32 bits, on a machine that by now has bf16."""
    monkeypatch.setattr(hardware, "has_bf16", lambda: True)
    pretend("new processor", monkeypatch)
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    before = contents(folder)
    fewer = choose_settings(facades, None, None, merge_settings(AUTO, {"training": {"epochs": 1}}))
    for act in (train_with, plan_only):
        act(fewer, folder)
        said = capsys.readouterr().err
        assert f"{folder}: is trained to epoch 2 already, so --epochs 1 changes nothing; give --epochs 3 or mo" in said
        assert contents(folder) == before

    more = choose_settings(facades, None, None, merge_settings(AUTO, {"training": {"epochs": 3, "threads": 1}}))
    done = train_with(more, folder)
    said = capsys.readouterr().err
    assert (
        "goes on as it began, with cpu, float32 arithmetic, fast convolutions (this machine would choose cpu, bf"
        in said
    )
    assert "machine      cpu, 1 thread of " in said
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert (saved["training"]["precision"], saved["provenance"]["precision"]) == ("auto", "32")
    assert set(done.metrics) == {"train", "val"}
    assert apply_choices(make_config(read_yaml(folder / "config.yaml"))).training.precision == "32"


def test_a_run_goes_on_with_what_picked_its_model() -> None:
    """Earlier versions recorded `l1` for `auto`."""
    asked = Config()
    fixed = {"device": "cpu", "precision": "32", "convolutions": "fast", "devices": 1, "nodes": 1}
    last, l1 = (
        asked.model_copy(update={"training": asked.training.model_copy(update={**fixed, "best_by": best_by})})
        for best_by in ("last", "l1")
    )
    now = continue_choices(record_choices(last, asked.training), l1)
    assert apply_choices(now).training.best_by == "l1"
    assert not list(changed_settings(l1, now))
    waits = asked.training.model_copy(update={"patience": 2})
    patient = last.model_copy(update={"training": l1.training.model_copy(update={"patience": 2})})
    waiting = continue_choices(record_choices(patient, waits), last)
    assert apply_choices(waiting).training.best_by == "l1"
    assert not list(changed_settings(last, waiting))
    asked_again = continue_choices(record_choices(last, last.training), l1)
    assert [name for name, *_ in changed_settings(l1, asked_again)] == ["training.best_by"]
