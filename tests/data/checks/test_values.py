"""What values look like, said by check and train: pixels without data, few values, unused bits."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import TINY
from PIL import Image

from pix2pix.cli import main
from pix2pix.config.io import make_config, merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.data.checks.check import check
from pix2pix.data.checks.report import CheckReport
from pix2pix.data.checks.values import End
from pix2pix.data.encoding.nodata import find_holes
from pix2pix.data.encoding.prepared import PreparedData, prepare_data
from pix2pix.data.io import images
from pix2pix.data.loading.dataset import make_dataset
from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.inference.translator import Translator
from pix2pix.training.plan import make_plan
from pix2pix.training.train import train_with
from tests.inference.small_models import make_model


def pairs_of(root: Path, source: Any, target: Any, tag: str | None = None) -> Path:
    """Six pairs of arrays, made by functions of a random generator; TIFF sources may have a nodata tag."""
    for n in range(6):
        rng = np.random.default_rng(n)
        for side, make in (("A", source), ("B", target)):
            values = make(rng)
            (root / side).mkdir(parents=True, exist_ok=True)
            if values.dtype == np.uint8:
                Image.fromarray(values).save(root / side / f"{n}.png")
            else:
                tags = [(42113, 2, 0, tag, True)] if tag else []
                tifffile.imwrite(root / side / f"{n}.tif", values, extratags=tags, metadata=None)
    return root


def photo(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (32, 32, 3), np.uint8)


def dem(hole: float, dtype: type = np.float32, low: float = 200) -> Any:
    """Heights from `low` on, with a hole of the value `hole`."""

    def make(rng: np.random.Generator) -> np.ndarray:
        values = (low + 700 * rng.random((32, 32))).astype(dtype)
        values[:8, :16] = hole
        return values

    return make


def levels(low: float, high: float, dtype: type) -> Any:
    def make(rng: np.random.Generator) -> np.ndarray:
        values = rng.random((32, 32)) * (high - low) + low
        return (values if dtype is np.float32 else np.rint(values)).astype(dtype)

    return make


def look(root: Path, **data: Any) -> tuple[CheckReport, Any]:
    config = make_config(merge_settings(TINY, {"data": {"path": str(root), "direction": "AtoB", **data}}))
    return check(config.data), config


LOWEST = float(np.finfo(np.float32).min)


@pytest.mark.parametrize(
    ("tag", "hole", "dtype"),
    [("-9999", -9999, np.float32), (repr(LOWEST), LOWEST, np.float32), ("nan", np.nan, np.float32),
     ("-32768", -32768, np.int16), ("-9999", np.nan, np.float32)],
)  # fmt: skip
def test_a_nodata_tag_is_read_and_holes_are_filled(tmp_path: Path, tag: str, hole: float, dtype: type) -> None:
    root = pairs_of(tmp_path, dem(hole, dtype), photo, tag)
    report, config = look(root)
    assert report.ok
    assert "by the tag GDAL_NODATA; 768 of 6,144 values, filled with mean (--source-fill)" in report.notes[0]
    plan = make_plan(config, report)
    ((low, high),) = plan.prepared.sources[0].values.bounds
    assert 200 <= low < high <= 900
    mean = plan.prepared.sources[0].fill[0]
    assert 500 < mean < 600
    dataset = make_dataset(report.pairs.splits["train"], plan.prepared, config.data)
    assert dataset.load_one(0).source.abs().max() <= 1
    assert torch.allclose(dataset.load_one(0).source[0, 0, :8, :16], torch.tensor(2 * (mean - low) / (high - low) - 1))
    again = PreparedData.from_settings(plan.config.data)
    assert again == plan.prepared


@pytest.mark.parametrize(("side", "flag"), [("A", "--nodata=-9999"), ("B", "--mask-value=-9999")])
def test_tags_of_all_files_are_read_and_must_agree(tmp_path: Path, side: str, flag: str) -> None:
    root = pairs_of(tmp_path, dem(-9999), dem(-9999))
    for n in range(1, 6):  # the first has no tag
        value = -1 if n == 1 else -9999
        tags = [(42113, 2, 0, str(value), True)]
        tifffile.imwrite(root / f"{side}/{n}.tif", dem(value)(np.random.default_rng(n)), extratags=tags, metadata=None)
    report, config = look(root, cache_dir=str(tmp_path / "cache"))
    ((path, reason),) = report.problems
    assert path == root / f"{side}/1.tif"
    assert f"GDAL_NODATA says -1, but that of {root / side}/" in reason
    assert reason.endswith(flag)
    assert any("-9999 marks pixels without data, by the tag" in note for note in report.notes)
    with pytest.raises(DataError, match=r"1\.tif: its tag GDAL_NODATA says -1"):
        prepare_data(config.data, [pair for pairs in report.pairs.splits.values() for pair in pairs])
    assert look(root, nodata=-9999, mask_value=-9999)[0].ok


def test_the_least_value_of_each_channel_fills_8_bits(tmp_path: Path) -> None:
    """Also where the range is that of the type."""

    def colours(rng: np.random.Generator) -> np.ndarray[Any, Any]:
        values = rng.integers((20, 60, 90), 250, (32, 32, 3)).astype(np.uint8)
        values[:4, :4] = 255
        return values

    report, config = look(pairs_of(tmp_path, colours, photo), nodata=255, source_fill="minimum")
    (source,) = prepare_data(config.data, report.pairs.splits["train"]).sources
    assert source.fill == (20, 60, 90)


def test_the_fill_is_a_choice(tmp_path: Path) -> None:
    root = pairs_of(tmp_path, dem(-9999), photo)
    for fill, wanted in (("minimum", 200), ("0", 0), ("450", 450)):
        report, config = look(root, nodata=-9999, source_fill=fill)
        assert prepare_data(config.data, report.pairs.splits["train"]).sources[0].fill[0] == pytest.approx(
            wanted, abs=2
        )


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (dem(-9999), photo, r"source: -9999 stands in 768 of 6,144 .* give --nodata=-9999"),
        (photo, dem(-9999), r"target: -9999 stands in .* give --mask-value=-9999"),
        (photo, dem(65535, np.uint16), r"target: 65535 .* give --mask-value=65535"),
        (photo, levels(0, 4095, np.uint16), r"target: values fit in 12 of 16 bits; .*--target-range=0,4095"),
        (levels(0, 1000, np.uint16), photo, r"source: values fit in 10 of 16 bits; .*--source-range=0,1023"),
        (photo, levels(0.01, 0.98, np.float32), r"target: values lie between 0 and 1; .*--target-range=0,1"),
        (levels(0, 7, np.uint8), photo, r"source: uint8 values from 0 to 7 only, .* give --source-kind labels"),
        (levels(0, 255, np.uint8), photo, None),
        (photo, levels(0, 60000, np.uint16), None),
        (photo, levels(-5, 5, np.float32), None),
    ],
)  # fmt: skip
def test_what_is_odd_about_values_is_said_with_the_flag(tmp_path: Path, source: Any, target: Any, said: Any) -> None:
    report, _ = look(pairs_of(tmp_path, source, target))
    if said is None:
        assert not report.notes
    else:
        (note,) = report.notes
        assert re.search(said, note), note
        assert f"note         {note}" in report.to_text()
        assert json.loads(json.dumps(report.to_json()))["notes"] == [note]


def classes(ignored: float, dtype: type, pixels: int) -> Any:
    """Classes from 0 to 5, and an ignored value at some pixels."""

    def make(rng: np.random.Generator) -> np.ndarray:
        values: np.ndarray = levels(0, 5, dtype)(rng)
        values[0, :pixels] = ignored
        return values

    return make


@pytest.mark.parametrize("pixels", [1, 30])  # a few do not count as holes, yet they hide the few values
@pytest.mark.parametrize(("ignored", "dtype"), [(255, np.uint8), (65535, np.uint16), (-9999, np.int16)])
def test_an_ignored_value_does_not_hide_classes(tmp_path: Path, ignored: int, dtype: type, pixels: int) -> None:
    root = pairs_of(tmp_path, photo, classes(ignored, dtype, pixels))
    report, config = look(root)
    asked = f"from 0 to 5 and {ignored} of .*--target-kind labels .* also --mask-value={ignored}"
    with pytest.raises(ConfigError, match=asked):
        make_plan(config, report)
    report, config = look(root, target_kind="labels", mask_value=ignored)
    assert (
        make_plan(config, report).prepared.target.values.describe()
        == f"6 classes 0, 1, 2 and 3 more, {ignored} is ignored"
    )
    report, config = look(root, target_range="type" if dtype is np.uint8 else "measured")
    make_plan(config, report)


def test_classes_saved_as_floats_are_named(tmp_path: Path) -> None:
    report, config = look(pairs_of(tmp_path, photo, levels(0, 5, np.float32)), target_kind="labels")
    with pytest.raises(DataError, match=r"has 1 channel of float32, .*; save classes as uint8 or uint16"):
        make_plan(config, report)


def test_a_few_hot_pixels_are_no_holes(tmp_path: Path) -> None:
    def hot(rng: np.random.Generator) -> np.ndarray:
        values: np.ndarray = levels(100, 900, np.uint16)(rng)
        values[0, 0] = 65535
        return values

    assert not look(pairs_of(tmp_path, hot, photo))[0].notes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("top", [1, 7])
def test_targets_of_few_values_are_asked_about(tmp_path: Path, dtype: type, top: int) -> None:
    root = pairs_of(tmp_path, photo, levels(0, top, dtype))
    report, config = look(root)
    with pytest.raises(ConfigError, match=r"only values from 0 to .*--target-kind labels .*--target-range measured"):
        make_plan(config, report)
    for choice, wanted in (
        ({"target_kind": "labels"}, f"{top + 1} classes 0, 1"),
        ({"target_range": "measured"}, "from 0 to"),
    ):
        report, config = look(root, **choice)
        assert wanted in make_plan(config, report).prepared.target.values.describe()


def test_sources_of_few_values_get_the_measured_range(tmp_path: Path) -> None:
    report, config = look(pairs_of(tmp_path, levels(0, 1, np.uint8), photo))
    assert make_plan(config, report).prepared.sources[0].values.bounds == ((0, 1),)


def test_nan_without_a_tag_is_a_problem_with_a_way_on(tmp_path: Path) -> None:
    root = pairs_of(tmp_path, dem(np.nan), photo)
    report, _ = look(root)
    assert all("give --nodata nan; otherwise replace them" in reason for _, reason in report.problems)
    assert look(root, nodata="nan")[0].ok
    assert "give --mask-value nan" in look(pairs_of(tmp_path / "b", photo, dem(np.nan)))[0].problems[0].reason


def test_a_range_beyond_what_networks_can_hold_is_refused(tmp_path: Path) -> None:
    report, config = look(pairs_of(tmp_path, dem(LOWEST), photo))
    with pytest.raises(DataError, match=r"beyond 1e\+38: .* give --nodata=-3\.40282347e\+38"):
        make_plan(config, report)


def test_no_model_with_a_number_that_is_not_finite_is_saved(tmp_path: Path) -> None:
    model = make_model()
    with torch.no_grad():
        next(model.generator.parameters()).flatten()[0] = torch.nan
    with pytest.raises(ModelError, match="not finite; the model is not saved"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_outputs_have_no_data_where_their_sources_have_none(tmp_path: Path) -> None:
    root = pairs_of(tmp_path / "data", dem(-9999), dem(-1234567, low=0), "-9999")
    settings = {"data": {"mask_value": -1234567, "direction": "AtoB"}, "training": {"epochs": 1}}
    train_with(choose_settings(root, None, None, merge_settings(TINY, settings)), tmp_path / "run")
    main(["translate", str(tmp_path / "run"), str(root / "A/0.tif"), "--output", str(tmp_path / "whole")])
    main(
        ["translate", str(tmp_path / "run"), str(root / "A/0.tif"), "--output", str(tmp_path / "tiles"), "--tile", "32"]
    )
    holes = find_holes(images.read(root / "A/0.tif")[..., 0], -9999)
    assert holes is not None
    assert holes.sum() == 128
    array = Translator.from_pretrained(tmp_path / "run")(images.read(root / "A/0.tif"))
    for output in (images.read(tmp_path / "whole/0.tif"), images.read(tmp_path / "tiles/0.tif"), array):
        assert ((output[..., 0] == -1234567) == holes).all()
    assert float(images.read_surroundings(tmp_path / "whole/0.tif").nodata) == -1234567


def test_transparency_of_label_maps_is_ignored_and_said(tmp_path: Path) -> None:
    root = pairs_of(tmp_path, levels(0, 3, np.uint8), photo)
    for path in (root / "A").iterdir():
        image = Image.fromarray(np.asarray(Image.open(path)), "P")
        image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200])
        image.save(path, transparency=0)
    assert all("--source-kind labels" in reason for _, reason in look(root)[0].problems)
    report, config = look(root, source_kind="labels")
    assert report.ok
    assert report.notes == ("source: transparency is ignored (6 files); the colours of label maps are enough",)
    plan = make_plan(config, report)
    assert plan.prepared.sources[0].describe() == "4 classes #000000, #0000c8, #00c800 and 1 more"
    make_dataset(report.pairs.splits["train"], plan.prepared, config.data).load_one(0)


@pytest.mark.parametrize(
    ("pixels", "files", "given", "said"),
    [
        (1, 1, {}, r"source: the class 9 has 1 pixel in all files together, in .*5\.png: too few .*correct the file"),
        (4, 2, {}, r"source: the class 9 has 8 pixels in all files together, in .*\.png and 1 more: too few"),
        (5, 2, {}, None),  # a rare class
        (2, 5, {}, None),
        (1, 1, {"source_labels": ("0", "80", "160", "240", "9")}, None),  # meant
    ],
)
def test_classes_that_hardly_a_pixel_has_are_named(
    tmp_path: Path, pixels: int, files: int, given: dict[str, Any], said: str | None
) -> None:
    def blocks(rng: np.random.Generator) -> np.ndarray:
        return np.kron(rng.permutation(16).reshape(4, 4) % 4 * 80, np.ones((16, 16))).astype(np.uint8)

    root = pairs_of(tmp_path, blocks, lambda rng: rng.integers(0, 256, (64, 64, 3), np.uint8))
    for number in range(6 - files, 6):
        values = np.array(Image.open(root / f"A/{number}.png"))
        values[7, :pixels] = 9
        Image.fromarray(values).save(root / f"A/{number}.png")
    notes = look(root, source_kind="labels", **given)[0].notes
    assert len(notes) == (said is not None)
    assert said is None or re.match(said, notes[0]), notes


def test_ends_join() -> None:
    first, second = End(0, 2, 3.0), End(1, 5, None)
    assert first.join(second, 1) == second.join(first, 1) == End(0, 2, 1)
    assert End(0, 1, 5).join(End(0, 2, 4), 1) == End(0, 3, 4)
    assert End(9, 1, 5).join(End(7, 2, None), -1) == End(9, 1, 7)


@pytest.mark.parametrize(
    ("unknown", "dtype", "tag", "settings"),
    [
        (-9999, np.float32, "-9999", {}),
        (LOWEST, np.float32, repr(LOWEST), {}),
        (-32768, np.int16, None, {"mask_value": -32768, "target_range": "measured"}),
        (np.nan, np.float32, None, {"mask_value": "nan"}),
        (255, np.uint8, None, {"mask_value": 255, "target_kind": "labels"}),
        (255, np.uint8, None, {"mask_value": "#ffffff", "target_kind": "labels"}),
    ],
)
def test_targets_without_a_known_pixel_are_problems(
    tmp_path: Path, unknown: float, dtype: type, tag: str | None, settings: dict[str, Any]
) -> None:
    channels = (3,) * (settings.get("mask_value") == "#ffffff")

    def target(rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 3, (32, 32, *channels)).astype(dtype)

    root = pairs_of(tmp_path, photo, target, tag)
    (name,) = {path.name for path in root.glob("B/3.*")}
    empty = np.full((32, 32, *channels), unknown, dtype)
    if dtype is np.uint8:
        Image.fromarray(empty).save(root / "B" / name)
    else:
        tifffile.imwrite(root / "B" / name, empty, metadata=None)
    ((path, reason),) = look(root, **settings)[0].problems
    assert path.name == name
    assert reason.startswith("holds only ")
    assert reason.endswith("marks unknown pixels, so there is nothing to learn: remove the pair")
    report, config = look(root, skip_bad=True, **settings)
    assert sum(report.without_bad().counts.values()) == 5
    make_plan(config, report.without_bad())
