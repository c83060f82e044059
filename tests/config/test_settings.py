"""Settings: their layers, their errors, and the words of version 0.1."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pix2pix
from pix2pix.config.config import Config, Settings, resolved_depth
from pix2pix.config.io import make_config, nest_settings
from pix2pix.config.legacy import REMOVED, RENAMED, VALUES, upgrade_settings
from pix2pix.config.presets import choose_settings
from pix2pix.errors import ConfigError


def test_the_settings_know_nothing_of_the_command_line() -> None:
    """Nor of torch: they are read before it is imported."""
    code = (
        "import sys, pix2pix.config, pix2pix.config.presets\n"
        "heavy = {'cyclopts', 'torch', 'numpy', 'pix2pix.cli'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_old_word_has_one_of_today() -> None:
    """What 0.1 calls otherwise exists under today's name only."""
    fields = {
        f"{section}.{name}"
        for section, field in Settings.model_fields.items()
        if section != "provenance"
        for name in field.annotation.model_fields  # type: ignore[union-attr]
    }
    assert set(RENAMED.values()) <= fields
    assert not (set(RENAMED) | set(REMOVED)) & fields
    for setting, words in VALUES.items():
        section, _, name = setting.partition(".")
        for new in words.values():
            assert make_config({section: {name: new}})
        for old in words:
            with pytest.raises(ConfigError):
                make_config({section: {name: old}})
            assert make_config(upgrade_settings({section: {name: old}}))


@pytest.mark.parametrize("values", [None, 3, "data", [1], {"data": 3}, {"data": {1: 2}}, {"training": {"seed": [1]}}])
def test_what_is_no_setting_of_0_1_stays_as_it_is(values: object) -> None:
    assert upgrade_settings(values) == values


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"parts": {}}, "there is no setting `parts`; did you mean `sources`?"),
        ({"cache_gigabytes": 3}, "no setting `cache_gigabytes` any more: decoded pairs are kept in memory only"),
        ({"update_order": "exact"}, "did you mean 'two-pass'?"),
        ({"epoch": 3}, "did you mean `epochs`?"),
        ({"training": {"epoch": 3}}, "did you mean `training.epochs`?"),
        ({"epochs": "many"}, "training.epochs = 'many': expected a whole number"),
        ({"epochs": 2.5}, "training.epochs = 2.5: expected a whole number"),
        ({"l1_weight": "much"}, "loss.l1_weight = 'much': expected a number"),
        ({"flip": "often"}, "augment.flip = 'often': expected true or false"),
        ({"workers": -1}, "data.workers = -1: expected 'auto' or 0 or more"),
        ({"workers": "x"}, "data.workers = 'x': expected 'auto' or a whole number"),
        ({"devices": 0}, "training.devices = 0: expected 'auto' or 1 or more"),
        ({"cache": "disk"}, "data.cache = 'disk': expected 'auto', 'memory' or 'none'"),
        ({"ema": 0.9, "ema_images": 100}, "training.ema_images are two ways to give one moving average"),
        ({"ema_images": 0}, "training.ema_images = 0: expected a number above 0"),
        ({"keep_every": 201}, "training.keep_every 201 keeps no model: it must be at most training.epochs, 200"),
        ({"discriminator_epochs": 1, "reconstruction_first": 0.1}, "trains D alone at first, and"),
        ({"discriminator_epochs": 200}, "training.discriminator_epochs 200 leaves the generator untrained"),
        ({"reconstruction_first": 0.9, "epochs": 1}, "untrained: raise --epochs, or add --reconstruction-first 0"),
        ({"reconstruction_first": 0.1, "adversarial_weight": 0}, "other settings need: add --reconstruction-first 0"),
        (
            {"reconstruction_first": 0.1, "l1_weight": 0},
            "but their weights are 0: give --l1-weight, or add --reconstru",
        ),
        (
            {"preset": "modern", "adversarial_weight": 0, "reconstruction_first": 0.1},
            "add --discriminator.augment none --feature-matching-weight 0 --reconstruction-first 0",
        ),
        (
            {"preset": "modern", "source_kind": "labels", "discriminator": {"kind": "classes"}},
            "discriminator.kind classes has no patches, which other settings need: add --adversarial vanilla "
            "--feature-matching-weight 0",
        ),
        ({"perceptual_weight": 1, "target_kind": "labels"}, "targets are label maps: add --perceptual-weight 0"),
        ({"reconstruction_first": 0.1, "epochs": 1}, "raise --epochs, or add --reconstruction-first 0"),
        ({"preset": "modern", "discriminator": {"augment_probability": 0.3}}, "augment fixed: add that, or leave it"),
        ({"ema_images": 100, "ema": 0.5, "preset": "modern"}, "two ways to give one moving average"),
    ],
)
def test_python_gets_the_suggestions_of_the_command_line(fields: dict[str, object], said: str) -> None:
    plain = {name: value for name, value in fields.items() if name != "preset"}
    with pytest.raises(ConfigError, match=re.escape(said)):
        choose_settings(None, fields.get("preset"), None, nest_settings(plain))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=re.escape(said)):
        pix2pix.train("nowhere", **fields)


@pytest.mark.parametrize(
    ("image_size", "generator", "expected"),
    [
        (256, {}, 8),
        (128, {}, 7),
        (512, {}, 8),
        ((96, 64), {}, 5),
        (256, {"bottleneck_size": 4}, 6),
        (128, {"bottleneck_size": 4}, 5),
        (32, {"bottleneck_size": 4}, 3),
        (96, {"bottleneck_size": 4}, 4),
        ((96, 64), {"bottleneck_size": 4}, 4),
        (1024, {"bottleneck_size": 4}, 8),
        (256, {"bottleneck_size": 4, "depth": 8}, 8),
        (64, {"bottleneck_size": 33, "kind": "resnet"}, 1),
        (64, {"bottleneck_size": 33}, "too small for generator.bottleneck_size 33: the smaller side needs 66 pixels"),
        (40, {"bottleneck_size": 4}, "its sides can be halved evenly only 3 times"),
    ],
    ids=str,
)
def test_the_depth_follows_from_the_sizes(
    image_size: int | tuple[int, int], generator: dict[str, object], expected: int | str
) -> None:
    values = {"data": {"image_size": image_size}, "generator": generator, "discriminator": {"patch_size": 16}}
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=re.escape(expected)):
            make_config(values)
    else:
        config = make_config(values)
        assert resolved_depth(config.generator, config.data.image_size) == expected


def test_a_setting_without_its_section_is_found() -> None:
    config = make_config(nest_settings({"epochs": 3, "base_channels": 8, "flip": False}))
    assert isinstance(config, Config)
    assert (config.training.epochs, config.augment.flip) == (3, False)
    assert (config.generator.base_channels, config.discriminator.base_channels) == (8, 8)


def test_paths_and_numbers_of_numpy_are_taken() -> None:
    flat = {"target": Path("b"), "source": [Path("a"), "c"], "image_size": np.int64(64), "epochs": np.int32(2)}
    config = choose_settings(None, None, None, nest_settings(flat | {"from_model": Path("runs/x")}))
    assert (config.data.source, config.data.target, config.data.image_size) == (("a", "c"), "b", (64, 64))
    assert (config.training.epochs, config.training.from_model) == (2, str(Path("runs/x")))
    asked: list[str] = []
    inherit = lambda parent, data: asked.append(parent) or {}  # noqa: E731
    choose_settings("d", None, None, nest_settings({"from_model": Path("runs/x")}), inherit)
    assert asked == [str(Path("runs/x"))]


def test_a_word_in_place_of_a_section_is_not_replaced_by_other_settings(tmp_path: Path) -> None:
    said = re.escape("generator: expected settings by name below it, not 'resnet'")
    with pytest.raises(ConfigError, match=said):
        nest_settings({"generator": "resnet", "base_channels": 8})
    (tmp_path / "a.yaml").write_text("generator: resnet\n", "utf-8")
    with pytest.raises(ConfigError, match=said):
        choose_settings("d", None, tmp_path / "a.yaml", nest_settings({"base_channels": 8}))
