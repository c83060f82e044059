"""Prepared data is what settings and files say, survives being written as settings, and rejects other files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pix2pix.config import Data
from pix2pix.config.io import make_config, read_yaml, to_yaml
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import PreparedData, prepare_data
from pix2pix.data.encoding.ranges import RangeEncoding
from pix2pix.data.io import images
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.errors import ConfigError, DataError


def pairs_of(folder: Path, sources: int = 1) -> list[Pair]:
    """Label maps or 16-bit depths as sources, float32 targets with two channels."""
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(3):
        labels = np.array([[0, 85, 170], [170, 85, 0]], np.uint8).repeat(8, 0).repeat(8, 1)[..., None]
        depth = rng.integers(40, 4000, (16, 24, 1)).astype(np.uint16)
        depth[0, :2, 0] = 40, 4000
        files = [("labels.png", labels), ("depth.png", depth)][-sources:]
        files.append(("target.tif", rng.normal(size=(16, 24, 2)).astype(np.float32)))
        for name, values in files:
            images.write(folder / f"{number}_{name}", values)
        first, *more, target = (ImageRef(folder / f"{number}_{name}") for name, _ in files)
        pairs.append(Pair(str(number), first, target, tuple(more)))
    return pairs


@pytest.mark.parametrize(
    ("sources", "settings"),
    [
        (1, {}),
        (1, {"source_range": "0,5000", "target_range": "percentile", "mask_value": -1}),
        (1, {"source_channels": 3}),
        (2, {"sources": {"1": {"kind": "labels"}}}),
        (2, {"sources": {"1": {"kind": "labels", "label_tolerance": 2}, "2": {"range": "type"}}}),
    ],
)
def test_what_is_resolved_survives_a_file_of_settings(tmp_path: Path, sources: int, settings: dict[str, Any]) -> None:
    config = make_config({"data": settings})
    prepared = prepare_data(config.data, pairs_of(tmp_path, sources))
    resolved = prepared.to_settings(config.data)
    written = to_yaml(config.model_copy(update={"data": resolved}))
    (tmp_path / "config.yaml").write_text(written, encoding="utf-8")
    again = make_config(read_yaml(tmp_path / "config.yaml")).data
    assert again == resolved
    assert PreparedData.from_settings(again, converts=prepared.converts) == prepared


def test_channels_types_ranges_and_classes_are_those_of_the_files(tmp_path: Path) -> None:
    data = make_config({"data": {"sources": {"1": {"kind": "labels"}}}}).data
    prepared = prepare_data(data, pairs_of(tmp_path, 2))
    assert [image.name for image in prepared.images] == ["source 1", "source 2", "target"]
    assert prepared.sources[0].values == LabelEncoding(("0", "85", "170"))
    assert prepared.sources[1].values == RangeEncoding("uint16", ((40, 4000),))
    assert (prepared.target.file_type, prepared.out_channels, prepared.in_channels) == ("float32", 2, 4)
    assert prepared.source_slices == (slice(0, 3), slice(3, 4))
    assert prepared.decoded_slices == (slice(0, 1), slice(1, 2), slice(2, 4))
    assert prepared.decoded_type == np.float32
    assert not prepared.converts


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"data\.source_channels is not set, expected a number"),
        ({"source_channels": 1}, r"data\.target_channels is not set"),
        ({"source_channels": 1, "target_channels": 1, "source_kind": "labels"}, r"data\.source_labels is not set"),
        (
            {"source_channels": 1, "target_channels": 1, "target_type": "uint8", "target_range": "measured"},
            r"data\.target_range is measured, expected numbers",
        ),
        (
            {"source_channels": 3, "target_channels": 1, "source_type": "int16", "source_range": ((0, 1), (0, 2))},
            r"data\.source_range has 2 bounds, expected one for each channel",
        ),
    ],
)
def test_settings_that_leave_something_open(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PreparedData.from_settings(Data.model_validate(settings))


def test_files_unlike_those_of_the_training_are_named(tmp_path: Path) -> None:
    pairs = pairs_of(tmp_path)
    prepared = prepare_data(Data(), pairs)
    prepared.refuse_other_files(pairs)
    images.write(pairs[0].source.path, np.zeros((16, 24, 3), np.uint8))
    with pytest.raises(DataError, match=r"0_depth\.png: the source has 3 channels, but the model was trained on 1"):
        prepared.refuse_other_files(pairs)
    with pytest.raises(DataError, match="the pairs have 2 sources each, but the model was trained on 1"):
        prepared.refuse_other_files(pairs_of(tmp_path / "two", 2))
