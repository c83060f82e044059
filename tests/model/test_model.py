"""A model folder: the size at which images are presented, its card, and weights that do not fit."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import safetensors.torch
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

from pix2pix.config.io import make_config
from pix2pix.errors import ConfigError, ModelError
from pix2pix.model import Model, build_networks, describe_model, load_model, make_model_config
from pix2pix.model.model_config import ModelConfig, Present, Size
from pix2pix.model.push import _stage
from pix2pix.model.weights import load_weights, save_weights
from tests.untrained import untrained

Scale = tuple[float, float] | None


def model_config(scale: Scale = (1.0, 1.0)) -> ModelConfig:
    config = make_config(
        {
            "data": {"image_size": 64, "source_channels": 3, "target_channels": 3},
            "generator": {"base_channels": 4},
            "discriminator": {"base_channels": 4, "patch_size": 16},
        }
    )
    return make_model_config(config, "image", scale, converts=False, epoch=1, validation={})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = model_config()
    generator, discriminator = build_networks(config.settings)
    Model(generator, discriminator, config).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("scale", "size", "presented"),
    [
        (None, (300, 200), (64, 64)),
        ((0.5, 0.5), (64, 64), (64, 64)),  # an image of image_size keeps its size
        ((0.5, 0.5), (128, 128), (64, 64)),
        ((0.5, 0.5), (256, 512), (128, 256)),
        ((0.5, 0.25), (256, 512), (128, 128)),
        ((0.5, 0.5), (100, 200), (64, 128)),  # no side below image_size, and the proportions stay
        ((0.5, 0.5), (64, 128), (64, 128)),
        ((0.5, 0.5), (66, 66), (64, 64)),
        ((0.5, 0.5), (32, 16), (128, 64)),
        ((2.0, 2.0), (10, 20), (64, 128)),
    ],
)
def test_presented_size(scale: Scale, size: Size, presented: Size) -> None:
    assert model_config(scale).presented_size(size) == presented


def test_info_and_card_state_the_rule_of_the_size(folder: Path) -> None:
    rule = load_model(folder).config.describe_presented_size()
    assert rule == "Every image keeps its size, unless a side is smaller than in 64x64: then it is enlarged."
    assert describe_model(folder)["presented_at"] == rule
    assert rule in (folder / "README.md").read_text(encoding="utf-8")
    assert model_config(None).describe_presented_size() == "Every image is resized to 64x64, whatever its shape."
    assert model_config((0.5, 0.25)).describe_presented_size() == (
        "An image of 64x64 keeps its size; others are scaled by 0.5 x 0.25, as in training, "
        "but no side becomes smaller than in 64x64."
    )


SIDES = st.integers(1, 40_000)
TRAINED = st.one_of(st.none(), st.tuples(*[st.floats(1e-4, 100)] * 2))


@given(
    size=st.tuples(SIDES, SIDES),
    image_size=st.sampled_from([(64, 64), (256, 512), (16_384, 64), (16_384, 16_384)]),
    scale=TRAINED,
    native=st.booleans(),
    present=st.sampled_from(get_args(Present)),
)
@example((128, 128), (64, 64), (0.5, 0.5), False, "auto")
@example((64, 64), (64, 64), (0.5, 0.5), False, "auto")
@example((1, 40_000), (16_384, 16_384), None, False, "auto")
def test_nothing_is_presented_below_image_size(
    size: Size, image_size: Size, scale: Scale, native: bool, present: Any
) -> None:
    """Unless its own size is asked for, or is that of the training."""
    config = configs(image_size, native).model_copy(update={"scale": (1.0, 1.0) if native else scale})
    if config.scale is None and present == "scale":
        with pytest.raises(ConfigError, match="--present scale"):
            config.presented_size(size, present)
        return
    height, width = config.presented_size(size, present)
    if present == "native" or (native and present != "image_size"):
        assert (height, width) == size
        return
    assert height >= image_size[0]
    assert width >= image_size[1]
    if present == "image_size" or (present == "auto" and (size == image_size or scale is None)):
        assert (height, width) == image_size
    elif scale is not None and min(height / image_size[0], width / image_size[1]) > 1.01:
        assert (height, width) == (round(size[0] * scale[0]), round(size[1] * scale[1]))
    elif scale is not None:  # enlarged: the proportions are those of the training
        shape = size[1] * scale[1] / (size[0] * scale[0])
        assert width / height == pytest.approx(shape, rel=1 / 64)


@cache
def configs(image_size: Size, native: bool) -> ModelConfig:
    values: dict[str, Any] = {"data": {"image_size": image_size, "source_channels": 3, "target_channels": 3}}
    values |= {"augment": {"load_size": "native"}} if native else {}
    config = make_config(values | {"discriminator": {"patch_size": 16}, "generator": {"depth": 2}})
    return make_model_config(config, "image", (1.0, 1.0), converts=False, epoch=1, validation={})


def test_a_saved_model_is_the_model(folder: Path) -> None:
    """Whatever the order of memory; the files hold plain tensors that any reader of safetensors understands."""
    model = load_model(folder, discriminator=True)
    model.generator.to(memory_format=torch.channels_last)
    model.save(folder.with_name("again"))
    assert model.discriminator is not None
    for name, network in (("generator", model.generator), ("discriminator", model.discriminator)):
        written = safetensors.torch.load_file(folder.with_name("again") / f"{name}.safetensors")
        assert written.keys() == network.state_dict().keys()
        assert all(torch.equal(written[key], value) for key, value in network.state_dict().items())


def damaged(network: nn.Module, what: str) -> dict[str, torch.Tensor]:
    tensors = dict(network.state_dict())
    if what == "missing":
        del tensors["weight"]
    elif what == "shape":
        tensors["weight"] = torch.zeros(2, 2)
    elif what == "type":
        tensors["weight"] = tensors["weight"].double()
    else:
        tensors["weight"] = tensors["weight"] * float("nan")
    return tensors


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", "tensor weight is in only one of the two"),
        ("shape", r"weight is float32 \(2, 2\), expected float32 \(2, 3\)"),
        ("type", r"weight is float64 \(2, 3\), expected float32 \(2, 3\)"),
        ("values", "weight holds numbers that are not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(what: str, message: str, tmp_path: Path) -> None:
    network, path = nn.Linear(3, 2), tmp_path / "a.safetensors"
    save_weights(network, path)
    load_weights(network, path)
    safetensors.torch.save_file(damaged(network, what), path)
    with pytest.raises(ModelError, match=rf"a\.safetensors: .*{message}"):
        load_weights(network, path)


@pytest.mark.parametrize("verb", ["load", "push"])
def test_a_model_that_a_training_replaces_meanwhile_is_read_anew(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run/model"
    untrained(base_channels=2).save(folder)

    widths = [3, 4, 5]

    def replacing(call: Callable[..., Any]) -> Callable[..., Any]:
        def replaced(*words: Any) -> Any:
            if widths:
                untrained(base_channels=widths.pop(0)).save(folder)
            return call(*words)

        return replaced

    if verb == "load":
        monkeypatch.setattr("pix2pix.model.model.load_weights", replacing(load_weights))
        loaded = load_model(tmp_path / "run", discriminator=True)
    else:
        (tmp_path / "staged").mkdir()
        monkeypatch.setattr(shutil, "copyfile", replacing(shutil.copyfile))
        _stage(folder, tmp_path / "staged", set(), "me/a", None)
        loaded = load_model(tmp_path / "staged", discriminator=True)
    assert not widths
    assert loaded.config.settings.generator.base_channels == 5


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written \(File too large\): '.*/a\.safetensors'"):
            save_weights(nn.Linear(100, 100), tmp_path / "a.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_weights_have_the_permissions_of_other_new_files(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    save_weights(nn.Linear(3, 2), tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_files_of_others_stay_in_a_model_folder(run: Path, tmp_path: Path) -> None:
    model = load_model(run, discriminator=True)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    for _ in range(2):
        model.save(tmp_path / "model")
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "model" / "config.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
