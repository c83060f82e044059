"""The report names everything wrong with a data set at once, from headers or from pixels."""

import json
from pathlib import Path

import numpy as np
import pytest

from pix2pix.config import Data
from pix2pix.data import images
from pix2pix.data.check import CheckReport, check
from pix2pix.errors import DataError

RNG = np.random.default_rng(0)


def noise(height: int = 6, width: int = 8, channels: int = 3) -> images.Pixels:
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve good pairs in A and B."""
    for number in range(12):
        images.write(tmp_path / f"A/{number}.png", noise(channels=1))
        images.write(tmp_path / f"B/{number}.png", noise())
    return tmp_path


def problems(report: CheckReport, root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): reason for path, reason in report.problems}


@pytest.mark.parametrize("decode", [True, False])
def test_a_good_set(folder: Path, decode: bool) -> None:
    seen: list[tuple[int, int]] = []
    report = check(Data(path=str(folder)), decode=decode, progress=lambda *counts: seen.append(counts))
    assert report.ok
    assert report.counts == {"train": 10, "val": 1, "test": 1}
    assert report.carved == ("val", "test")
    assert report.sizes == {"6x8": 12}
    assert report.native_size == (6, 8)
    assert (report.source_channels, report.target_channels) == (1, 3)
    assert seen == [(done, 12) for done in range(1, 13)]
    assert check(Data(path=str(folder), direction="BtoA"), decode=decode).source_channels == 3


@pytest.mark.parametrize("decode", [True, False])
def test_all_problems_are_reported(folder: Path, decode: bool) -> None:
    (folder / "A/0.png").write_bytes(b"")
    (folder / "B/0.png").write_text("no image either")
    images.write(folder / "B/1.png", noise(width=9))
    images.write(folder / "A/2.png", noise(channels=3))
    images.write(folder / "B/3.png", np.full((6, 8, 3), 7, np.uint8))
    whole = (folder / "A/4.png").read_bytes()
    (folder / "A/4.png").write_bytes(whole[:-30])
    images.write(folder / "A/5.png", noise(10, 20, 1))
    images.write(folder / "B/5.png", noise(10, 20, 3))
    (folder / "A/6.png").unlink()
    (folder / "A/6.png").mkdir()
    images.write(folder / "A/lonely.png", noise())

    report = check(Data(path=str(folder)), decode=decode)
    found = problems(report, folder)
    expected = {
        "A/0.png": "cannot be read as an image (not an 8-bit PNG, JPEG, BMP, WebP, GIF or TIFF): remove or replace it",
        "B/0.png": "cannot be read as an image (not an 8-bit PNG, JPEG, BMP, WebP, GIF or TIFF): remove or replace it",
        "A/1.png": f"is 6x8 (HxW), but its target {folder}/B/1.png is 6x9; the two images of a pair need one size",
        "A/2.png": f"has 3 channels, but {8 if decode else 9} of {9 if decode else 10} sources have 1; "
        "set --source-channels 1 or 3 to convert",
        "A/6.png": "is a folder, expected an image file",
    }
    in_pixels = {"A/4.png": found.get("A/4.png", "")}
    assert found == (expected | in_pixels if decode else expected)
    assert not decode or found["A/4.png"].startswith("cannot be read as an image")
    flat = [(folder / "B/3.png", "is one flat colour")] if decode else []
    assert [tuple(warning) for warning in report.warnings] == flat
    assert not report.ok
    assert report.unmatched == (folder / "A/lonely.png",)
    assert report.native_size is None
    assert list(report.sizes)[0] == "6x8"  # noqa: RUF015

    text = report.to_text()
    assert all(f"{path}: {reason}" in text for path, reason in report.problems)
    assert str(folder / "A/lonely.png") in text
    assert len(json.loads(json.dumps(report.to_json()))["problems"]) == len(report.problems)


def test_channels_that_will_be_converted_are_no_problem(folder: Path) -> None:
    images.write(folder / "A/2.png", noise())
    assert not check(Data(path=str(folder))).ok
    report = check(Data(path=str(folder), source_channels=3))
    assert report.ok
    assert report.source_channels == 3


@pytest.mark.parametrize("decode", [True, False])
def test_side_by_side(tmp_path: Path, decode: bool) -> None:
    images.write(tmp_path / "train/1.png", noise(6, 16))
    images.write(tmp_path / "train/2.png", noise(6, 15))
    images.write(tmp_path / "train/3.png", np.concatenate([noise(6, 8), np.zeros((6, 8, 3), np.uint8)], axis=1))
    report = check(Data(path=str(tmp_path)), decode=decode)
    assert report.native_size == (6, 8)
    found = problems(report, tmp_path)
    assert found["train/2.png"] == "is 15 pixels wide; two images side by side need an even width"
    assert len(report.problems) == 1
    assert [reason for _, reason in report.warnings] == (["its right half is one flat colour"] if decode else [])


def test_no_pairs_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no known layout of pairs"):
        check(Data(path=str(tmp_path)))


def test_nothing_readable(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").touch()
    report = check(Data(path=str(tmp_path)))
    assert (report.source_channels, report.native_size, len(report.problems)) == (None, None, 3)
    assert "source ?" in report.to_text()
