"""Planes, chosen channels and axes of one file: read as said, asked about otherwise."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pix2pix.config import Data
from pix2pix.config.legacy import upgrade_settings
from pix2pix.data.checks.check import check
from pix2pix.data.io import high_depth, images
from pix2pix.data.io.row_reader import open_rows
from pix2pix.data.io.view import View, count_planes
from pix2pix.data.loading.dataset import read_pair
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import DataError

STACK = np.random.default_rng(0).integers(0, 65536, (2, 3, 2, 20, 24), dtype=np.uint16)  # TZCYX


def stack(path: Path, axes: str, **options: Any) -> np.ndarray[Any, Any]:
    """Write the part of STACK that has these axes."""
    values = STACK[tuple(slice(None) if axis in axes else 0 for axis in "TZCYX")]
    metadata = {"axes": axes, **options.pop("metadata", {})}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        tifffile.imwrite(path, values, photometric="minisblack", metadata=metadata, **options)
    return values


@pytest.mark.parametrize("kind", ["ome", "imagej"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("axes", "planes"), [("ZYX", "Z"), ("TYX", "T"), ("ZCYX", "Z"), ("TZYX", "TZ"), ("TZCYX", "TZ"), ("CYX", "")]
)
def test_planes_are_read_one_by_one_or_as_channels(
    tmp_path: Path, kind: str, axes: str, planes: str, compression: str | None
) -> None:
    path = tmp_path / "x.tif"
    values = stack(path, axes, **{kind: True}, compression=compression)
    whole = np.moveaxis(values, (-2, -1), (0, 1)).reshape(20, 24, -1)
    assert np.array_equal(images.read(path, View(stacked=True)), whole)
    assert images.probe(path, View(stacked=True)).channels == whole.shape[2]
    with open_rows(path, View(stacked=True)) as rows:
        assert np.array_equal(rows.read(3, 9), whole[3:9])
    found = images.find_planes(path)
    assert "".join(axis for axis, _ in found) == planes
    if not planes:
        return
    with pytest.raises(DataError, match=r"x\.tif: is a stack of planes \(.* --planes pictures .* --planes channels"):
        images.probe(path)
    channels = 2 if "C" in axes else 1
    wanted = values.reshape(-1, channels, 20, 24)
    for number in range(count_planes(found)):
        assert np.array_equal(images.read(path, View(plane=number)), np.moveaxis(wanted[number], 0, -1))
    with open_rows(path, View(plane=1)) as rows:
        assert np.array_equal(rows.read(3, 9), np.moveaxis(wanted[1], 0, -1)[3:9])


def test_planes_in_another_order_than_the_channels(tmp_path: Path) -> None:
    values = np.moveaxis(STACK[0], 1, 0)  # CZYX
    tifffile.imwrite(tmp_path / "x.tif", values, ome=True, metadata={"axes": "CZYX"}, photometric="minisblack")
    assert np.array_equal(images.read(tmp_path / "x.tif", View(plane=2)), np.moveaxis(values[:, 2], 0, -1))


def test_pages_without_a_meaning_are_channels_unless_asked_for_as_pictures(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, STACK[0, :, 0], photometric="minisblack", metadata=None)
    assert np.array_equal(images.read(path), np.moveaxis(STACK[0, :, 0], 0, -1))
    assert count_planes(images.find_planes(path)) == 3
    assert np.array_equal(images.read(path, View(plane=1))[..., 0], STACK[0, 1, 0])


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3)])
def test_lerc_of_8_bits_is_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    kind = "rgb" if len(shape) == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "x.tif", values, compression="lerc", photometric=kind)
    assert np.array_equal(images.read(tmp_path / "x.tif").squeeze(), values)


# ---- axes of arrays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 20, 24), (3, 20, 24), (5, 64, 64), (30, 64, 64)])
def test_an_unclear_first_axis_is_asked_about(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    np.save(tmp_path / "x.npy", values)
    many = "1 channel or 1 plane of" if shape[0] == 1 else f"{shape[0]} channels or {shape[0]} planes of"
    with pytest.raises(DataError, match=rf"which may be {many} .* --npy-axes CYX, .* ZYX or --npy-axes YXC"):
        images.probe(tmp_path / "x.npy")
    assert np.array_equal(images.read(tmp_path / "x.npy", View(axes="YXC")), values)
    assert np.array_equal(images.read(tmp_path / "x.npy", View(axes="CYX")), values.transpose(1, 2, 0))
    assert np.array_equal(images.read(tmp_path / "x.npy", View(axes="ZYX", plane=0)), values[0, ..., None])
    assert high_depth.fitting_axes(tmp_path / "x.npy", shape[0]) == "CYX"
    assert high_depth.fitting_axes(tmp_path / "x.npy", shape[2]) == "YXC"
    assert high_depth.fitting_axes(tmp_path / "x.npy", 1) == ("CYX" if shape[0] == 1 else "ZYX")


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 200), (145, 145, 31), (20, 24, 1), (2, 5, 7)])
def test_other_arrays_are_rows_of_pixels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    assert images.probe(tmp_path / "x.npy").size == shape[:2]


def test_doubles_and_four_axes_say_what_to_type(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((20, 24)))
    with pytest.raises(DataError, match=r"holds float64 .* numpy\.save\(path, values\.astype\('float32'\)"):
        images.read(tmp_path / "x.npy")
    stack(tmp_path / "y.npy", "TZYX")
    with pytest.raises(DataError, match="name the axes of others, such as --npy-axes ZYX"):
        images.read(tmp_path / "y.npy")
    assert images.find_planes(tmp_path / "y.npy", "TZYX") == (("T", 2), ("Z", 3))
    assert np.array_equal(images.read(tmp_path / "y.npy", View(axes="TZYX", plane=4))[..., 0], STACK[1, 1, 0])


@pytest.mark.parametrize("axes", ["YX", "CYXX", "QYX", "C"])
def test_axes_are_checked(axes: str) -> None:
    with pytest.raises(ValueError, match="expected Y, X and at least one of C, Z and T"):
        Data(npy_axes=axes)


# ---- pairs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two stacks of 3 and 2 planes, and a single picture."""
    for side, (name, axes, index) in product("AB", [("x", "ZYX", 0), ("y", "TYX", 0), ("z", "YX", 0)]):
        values = STACK[:, 0, index] if axes == "TYX" else STACK[0, :, index] if axes == "ZYX" else STACK[0, 0, 0]
        place = tmp_path / f"{side}/{name}.tif"
        place.parent.mkdir(exist_ok=True)
        tifffile.imwrite(place, values, ome=True, metadata={"axes": axes}, photometric="minisblack")
    return tmp_path


def data(folder: Path, **settings: Any) -> Data:
    return Data(path=str(folder), val_fraction=0, test_fraction=0, **settings)


def test_every_plane_is_a_pair(mixed: Path) -> None:
    found = find_pairs(data(mixed, planes="pictures"))
    assert [pair.name for pair in found.splits["train"]] == ["x_z0", "x_z1", "x_z2", "y_t0", "y_t1", "z"]
    assert np.array_equal(read_pair(found.splits["train"][1])[0][..., 0], STACK[0, 1, 0])
    report = check(data(mixed, planes="pictures", cache_dir=str(mixed / "cache")))
    assert report.ok
    assert report.sizes == {"20x24": 6}
    assert found.fingerprint() != find_pairs(data(mixed)).fingerprint()
    assert find_pairs(data(mixed, planes="channels")).fingerprint() == find_pairs(data(mixed)).fingerprint()


def test_stacks_of_one_file_stay_in_one_split(mixed: Path) -> None:
    settings = Data(path=str(mixed), planes="pictures", val_fraction=0.3, test_fraction=0.3)
    splits = find_pairs(settings).splits
    files = [{pair.source.file for pair in pairs} for pairs in splits.values()]
    assert len(files) == 3
    assert sum(map(len, files)) == 3


def test_stacks_are_asked_about_and_mixed_depths_are_named(mixed: Path) -> None:
    asked = check(data(mixed))
    assert sum("--planes pictures" in reason for _, reason in asked.problems) == 4
    assert asked.to_text().count("--planes pictures") == 2, "once for each depth"
    report = check(data(mixed, planes="channels"))
    reasons = [reason for path, reason in report.problems if path.name == "y.tif"]
    assert len(reasons) == 2
    assert all("choose them with --" in reason and "1 or 3" not in reason for reason in reasons)
    stack(mixed / "A/x.tif", "TYX", ome=True)
    unmatched = find_pairs(data(mixed, planes="pictures")).unmatched
    assert [path.name for path, _ in unmatched] == ["x.tif"]
    assert unmatched[0].reason.startswith("has planes: 2, but its target")
    assert "save both with as many, or move both" in unmatched[0].reason
    assert "--planes channels" in unmatched[0].reason


def test_channels_of_one_file_are_source_and_target(tmp_path: Path) -> None:
    for name in "xyz":
        names = {"Channel": {"Name": ["DAPI", "GFP"]}}
        stack(tmp_path / f"{name}.ome.tif", "CYX", ome=True, metadata=names)
    for source, target in (("0", "1"), ("DAPI", "GFP")):
        found = find_pairs(data(tmp_path, source_from=source, target_from=target))
        assert found.layout == f"source (channels {source}) and target (channels {target}) in one file"
        read = read_pair(found.splits["train"][0])
        assert [np.array_equal(values[..., 0], STACK[0, 0, at]) for at, values in enumerate(read)] == [True, True]
    report = check(data(tmp_path, source_from=["GFP", "DAPI"], target_from="2", cache_dir=str(tmp_path / "cache")))
    assert report.source_channels == 2
    assert "has 2 channels, numbered from 0, named DAPI and GFP, but not 2" in report.problems[0].reason


def test_what_older_runs_meant_by_stacks_and_arrays() -> None:
    old = {"data": {"path": "x"}, "provenance": {"pix2pix": "0.1.0"}}
    assert upgrade_settings(old)["data"] == {"path": "x", "planes": "channels", "npy_axes": "YXC"}
    written = {"data": {"planes": "ask"}, "provenance": {"pix2pix": "0.1.0"}}
    assert upgrade_settings(written) == written
    assert upgrade_settings({"data": {"path": "x"}}) == {"data": {"path": "x"}}
