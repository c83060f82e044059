"""`train --from MODEL`: whose weights a training begins with, what it takes over, and what it needs later."""

import functools
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import pix2pix
from pix2pix.config.io import nest_settings, read_yaml
from pix2pix.config.presets import choose_settings, preset_values
from pix2pix.errors import ConfigError, ModelError
from pix2pix.model import load_model
from pix2pix.system.files import sha256
from pix2pix.training import parent as parents
from pix2pix.training.checkpoint import find_checkpoint
from pix2pix.training.train import plan_only

FAST: dict[str, Any] = {"direction": "BtoA", "precision": "32", "device": "cpu", "samples": 0, "batch_size": 4}


def train(facades: Path, folder: Path, **settings: Any) -> Path:
    return pix2pix.train(facades, run=folder, **(FAST | {"epochs": 1} | settings)).path


@pytest.fixture(scope="module")
def parent(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a run's model, which may be removed."""
    return Path(shutil.copytree(run / "model", tmp_path_factory.mktemp("parent") / "old"))


def test_a_run_begins_with_its_parent_and_resumes_without_it(
    facades: Path, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Networks and size are the parent's, the first outputs too; later epochs have the same bits as in one go."""
    folder = Path(shutil.copytree(parent, tmp_path / "old"))
    digest, epoch = sha256(folder / "generator.safetensors"), load_model(folder).config.epoch
    once = train(facades, tmp_path / "once", epochs=2, from_model=str(folder), ema=0.5, learning_rate=1e-12)
    said = capsys.readouterr().err
    assert f"parent       old, epoch {epoch}, SHA-256 {digest[:12]}" in said
    assert re.search(r"generator: weights of (\d+) of \1 layers are kept", said)
    assert "optimisers and the schedule of their rates begin anew" in said
    before, after = (load_model(one, discriminator=True) for one in (folder, once))
    for network in ("generator", "discriminator"):
        new = getattr(after, network).state_dict()
        for name, tensor in getattr(before, network).state_dict().items():
            if "running" not in name and "num_batches" not in name:
                torch.testing.assert_close(tensor, new[name], rtol=0, atol=1e-6)
    card = (once / "model" / "README.md").read_text("utf-8")
    assert f"The training began with the weights of old, epoch {epoch} (SHA-256 {digest})." in card
    assert read_yaml(once / "config.yaml")["provenance"]["parent"] == "old"
    assert str(tmp_path) not in (once / "model" / "config.json").read_text("utf-8")

    twice = train(facades, tmp_path / "twice", from_model=str(folder), ema=0.5, learning_rate=1e-12)
    shutil.rmtree(folder)
    train(facades, twice, epochs=2, from_model=str(folder), ema=0.5, learning_rate=1e-12)
    first, second = (find_checkpoint(one / "checkpoints") for one in (once, twice))
    assert first is not None
    assert second is not None
    for name, tensor in first.tensors["generator"].items():
        assert torch.equal(tensor, second.tensors["generator"][name])
    with pytest.raises(ModelError, match="no such model"):
        train(facades, tmp_path / "third", from_model=str(folder))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source_channels": 1}, "source: 1 channel, each the mean of 3 before, times 3/1"),
        (
            {"image_size": 16, "discriminator": {"patch_size": 1}},
            "depth: 5 before, 4 now; the outer layers are the same",
        ),
        ({"discriminator": {"spectral_norm": True}}, "discriminator: weights of"),
        ({"direction": "AtoB"}, "direction: BtoA before, AtoB now"),
        ({"base_channels": 8}, "has no layer that fits these settings (unet, 8 base channels)"),
        ({"generator": {"kind": "resnet"}}, "has no layer that fits these settings (resnet, 4 base channels)"),
        ({"run": "."}, "is the run . itself; its own command with more --epochs goes on"),
        ({"from_model": "a.onnx"}, "a.onnx: an ONNX file holds no weights that can be trained"),
        ({"from_model": "a.pth"}, "`pix2pix convert a.pth --output MODEL` makes one"),
        (
            {key: value for key, value in preset_values("modern").items() if key != "generator"},
            "recipe: nearest to paper before, to modern now; --preset paper keeps its losses",
        ),
    ],
)
def test_what_differs_is_said(
    facades: Path, parent: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, settings: dict[str, Any],
    words: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(parent if "run" in settings else tmp_path)
    Path("a.pth").touch()
    chosen = {"from_model": str(parent), **FAST, **settings}
    run = chosen.pop("run", None)
    folder = None if run is None else Path(run)
    try:
        inherit = functools.partial(parents.inherit_settings, folder, False)
        plan_only(choose_settings(facades, None, None, nest_settings(chosen), inherit), folder)
    except (ConfigError, ModelError) as error:
        print(error)
    out, err = capsys.readouterr()
    assert words in out + err
    assert [path.name for path in tmp_path.iterdir()] in ([], ["a.pth"])


def test_a_parent_that_changed_before_the_first_step_is_refused(
    facades: Path, parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        parents, "_describe_origin", lambda *_: {"parent": "old", "parent_epoch": "1", "parent_sha256": next(digests)}
    )
    digests = iter("ab")
    with pytest.raises(ConfigError, match="its weights have changed since this run was planned"):
        train(facades, tmp_path / "run", from_model=str(parent))


def test_more_epochs_of_a_linear_schedule_are_refused_with_what_to_do(facades: Path, tmp_path: Path) -> None:
    small = {"image_size": 32, "base_channels": 2, "discriminator": {"patch_size": 16}, "schedule": "linear"}
    train(facades, tmp_path / "run", **small)
    with pytest.raises(ConfigError, match=r"epochs was 1, now 2; its schedule .* begin another --run with --from"):
        train(facades, tmp_path / "run", epochs=2, **small)
