"""Runs that began under earlier defaults go on with what they recorded, or are refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import TINY
from numpy.typing import NDArray
from PIL import Image

from pix2pix.config import Config
from pix2pix.config.io import merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.config.recorded import record_choices
from pix2pix.errors import ConfigError
from pix2pix.system.progress import ProgressBar
from pix2pix.training.inspection import inspect_and_plan
from pix2pix.training.run_folder import begin_run
from pix2pix.training.train import plan_only

Array = NDArray[Any]
WIDE = ((0.0, 255.0),)
SETTINGS = merge_settings(TINY, {"data": {"direction": "AtoB"}})
EARLIER = {"nodata": None, "source_fill": "mean", "mask_value": None}


def gray(levels: int) -> Array:
    return np.random.default_rng(0).integers(0, levels, (9, 40, 40)).astype(np.uint8)


def write_png(path: Path, values: Array) -> None:
    Image.fromarray(values).save(path)


def write_stack(path: Path, values: Array) -> None:
    tifffile.imwrite(path, np.stack([values] * 3).astype(np.uint16), imagej=True, metadata={"axes": "ZYX"})


def write_tagged(path: Path, values: Array) -> None:
    tifffile.imwrite(path, values.astype(np.float32), extratags=[(42113, "s", 0, "-9999", True)])


def with_hole(path: Path, values: Array) -> None:
    write_tagged(path, np.where(np.arange(40) < 3, -9999.0, values))


def make(root: Path, writers: dict[str, Callable[[Path, Array], None]], levels: dict[str, int]) -> Path:
    """Write pairs; each folder has a writer and a number of levels."""
    for folder, write in writers.items():
        (root / folder).mkdir(parents=True)
        for n, values in enumerate(gray(levels.get(folder, 200))):
            write(root / folder / f"{n}.{'png' if write is write_png else 'tif'}", values)
    return root


def begin_earlier(folder: Path, config: Config, recorded: dict[str, Any], **explicit: Any) -> None:
    """Begin a run as an earlier version did: with `explicit` to plan it today, and `recorded` in its settings."""
    asked = config.model_copy(update={"data": config.data.model_copy(update=explicit)})
    with ProgressBar(silent=True) as bar:
        plan, _, _ = inspect_and_plan(asked, bar)
    settings = record_choices(plan.config, config.training)
    begin_run(folder, settings.model_copy(update={"data": settings.data.model_copy(update=recorded)}), overwrite=False)


@pytest.mark.parametrize(
    ("writers", "levels", "explicit", "recorded"),
    [
        ({"source": write_png, "target": write_png}, {"source": 20}, {}, {"source_range": WIDE}),
        ({"source": write_png, "target": write_png}, {"target": 20}, {"target_range": "type"}, {}),
        ({"source": write_stack, "target": write_png}, {}, {"planes": "channels"}, {}),
        ({"source": write_tagged, "target": write_tagged}, {}, {}, EARLIER),
    ],
    ids=["few levels in the source", "few levels in the target", "planes", "tag of no pixel"],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_run_of_earlier_defaults_goes_on(
    writers: Any, levels: Any, explicit: Any, recorded: Any, named: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    config = choose_settings(str(make(tmp_path / "data", writers, levels)), None, None, SETTINGS)
    begin_earlier(Path("runs/data"), config, recorded, **explicit)
    plan_only(config, Path("runs/data") if named else None)
    said = capsys.readouterr().err
    assert f"run          {Path('runs/data')}:" in said
    assert said.count("pairs   ") == 1  # the plan is said once
    if not named:  # with other settings a new run begins, by the defaults of today
        explicit = {"planes": "channels"} if "planes" in explicit else {"target_range": "measured"} if levels else {}
        changes = merge_settings(SETTINGS, {"data": explicit, "loss": {"l1_weight": 7}})
        other = choose_settings(config.data.path, None, None, changes)
        plan_only(other)
        assert f"run          {Path('runs/data-2')} (" in capsys.readouterr().err


@pytest.mark.parametrize("holed", ["source", "target"])
def test_a_run_that_learned_a_tag_as_a_value_is_refused(holed: str, tmp_path: Path) -> None:
    writers = {"source": write_tagged, "target": write_tagged} | {holed: with_hole}
    config = choose_settings(str(make(tmp_path / "data", writers, {})), None, None, SETTINGS)
    begin_earlier(tmp_path / "run", config, EARLIER)
    with pytest.raises(ConfigError, match=rf"GDAL_NODATA, so it learned -9999 of the {holed} .* another --run"):
        plan_only(config, tmp_path / "run")
