"""Presets: every way to ask for one gives the same settings, and the documents show these."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pix2pix.cli.commands.train import train
from pix2pix.config import Config, Settings
from pix2pix.config.presets import DEFAULT_PRESET, PRESETS, choose_settings, preset_values
from pix2pix.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs" / "training.md"


def write_table() -> str:
    """The table of the documents: each setting that a preset fixes, and its value in all of them."""
    fixed = {f"{section}.{name}" for row in PRESETS.values() for section, part in row.settings.items() for name in part}
    names = [
        (section, name)
        for section, field in Settings.model_fields.items()
        for name in getattr(field.annotation, "model_fields", ())
        if f"{section}.{name}" in fixed
    ]
    assert len(names) == len(fixed), "a preset fixes a setting that does not exist"
    configs = {name: choose_settings(None, name, None, {}) for name in PRESETS}
    lines = [f"| setting | {' | '.join(f'`{name}`' for name in configs)} |", "|---" * (1 + len(configs)) + "|"]
    for section, name in names:
        cells = [show(getattr(getattr(config, section), name)) for config in configs.values()]
        lines.append(f"| `{section}.{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def show(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(show, value))
    if isinstance(value, float | int):
        return f"{value:g}"
    return "–" if value is None else str(value)


def test_the_documents_show_every_preset() -> None:
    text = DOCS.read_text("utf-8")
    assert write_table() in text, f"{DOCS} needs this table:\n\n{write_table()}"
    assert all(name in (train.__doc__ or "") for name in PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_and_gives_what_it_fixes(name: str) -> None:
    config = choose_settings("pairs", name, None, {})
    values, defaults = config.model_dump(), Config().model_dump()
    for section, part in PRESETS[name].settings.items():
        defaults[section] |= part
    defaults["data"]["path"] = "pairs"
    assert values == defaults
    preset_values(name)["training"]["epochs"] = -1  # a copy
    assert choose_settings("pairs", name, None, {}) == config


@pytest.mark.parametrize(
    ("preset", "given", "gone"),
    [
        ("modern", {"ema": 0.9}, "ema_images"),
        ("modern", {"discriminator_epochs": 3}, "reconstruction_first"),
        ("slides", {"reconstruction_first": 0.1}, "discriminator_epochs"),
    ],
)
def test_a_presets_choice_gives_way_to_the_other_way_of_choosing_it(
    tmp_path: Path, preset: str, given: dict[str, Any], gone: str
) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(yaml.safe_dump({"training": given}))
    by_flag, by_file = choose_settings(None, preset, None, {"training": given}), choose_settings(None, preset, file, {})
    assert by_flag == by_file
    training = by_flag.training.model_dump()
    assert training[gone] == Config().training.model_dump()[gone]
    assert {name: training[name] for name in given} == given


def test_the_default_and_unknown_names() -> None:
    assert choose_settings("pairs", None, None, {}) == choose_settings("pairs", DEFAULT_PRESET, None, {})
    with pytest.raises(ConfigError, match=r"there is no preset `papr`; did you mean `paper`\?"):
        preset_values("papr")
