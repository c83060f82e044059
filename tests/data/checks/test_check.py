"""The report names everything wrong with a data set at once, from headers or from pixels."""

import contextlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pix2pix.config import Data
from pix2pix.data.checks import scan
from pix2pix.data.checks.check import check
from pix2pix.data.checks.label_maps import list_colours
from pix2pix.data.checks.report import CheckReport
from pix2pix.data.io import file_facts, images
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.pairing.pairs import find_pairs, same_data
from pix2pix.errors import DataError

RNG = np.random.default_rng(0)


def noise(height: int = 6, width: int = 8, channels: int = 3) -> Pixels:
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
    assert seen[0] == (1, 12)
    assert seen[-1] == (12, 12)
    assert seen == sorted(seen)
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
        "A/0.png": "cannot be read as an image (it is empty, 0 bytes): remove or replace it",
        "B/0.png": "cannot be read as an image (not a PNG, JPEG, BMP, WebP, GIF, AVIF, JPEG 2000, TIFF or .npy): "
        "remove or replace it",
        "A/1.png": f"is 6x8 (HxW), but its target {folder}/B/1.png is 6x9; the two images of a pair need one size: "
        "--resize-source resizes each source to its target, `pix2pix data align DATA --output NEW` writes all "
        "pairs anew at one size",
        "A/2.png": f"has 3 channels, but 1 as in {8 if decode else 9} of {9 if decode else 10} sources is expected; "
        "set --source-channels 1 or 3 to convert",
        "A/6.png": "is a folder, expected a regular file",
    }
    in_pixels = {"A/4.png": found.get("A/4.png", "")}
    assert found == (expected | in_pixels if decode else expected)
    assert not decode or found["A/4.png"].startswith("cannot be read as an image")
    flat = [(folder / "B/3.png", "is one flat colour")] if decode else []
    assert [tuple(warning) for warning in report.warnings] == flat
    assert not report.ok
    assert [path for path, _ in report.unmatched] == [folder / "A/lonely.png"]
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
    images.write(tmp_path / "train/1.png", noise(8, 16))
    images.write(tmp_path / "train/2.png", noise(8, 15))
    images.write(tmp_path / "train/3.png", np.concatenate([noise(8, 8), np.zeros((8, 8, 3), np.uint8)], axis=1))
    report = check(Data(path=str(tmp_path)), decode=decode)
    assert report.native_size == (8, 8)
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


# ---- what is remembered --------------------------------------------------------------------------------------


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], tuple[list[str], CheckReport]]:
    """A check of a folder, with a memory of its own -> the names of the files that were opened, and the report."""
    monkeypatch.setattr(file_facts, "FRESH_SECONDS", 0)
    opened: list[str] = []
    original = scan.inspect_file
    monkeypatch.setattr(
        scan, "inspect_file", lambda file, *rest: (opened.append(Path(file).name), original(file, *rest))[1]
    )

    def look(folder: Path) -> tuple[list[str], CheckReport]:
        opened.clear()
        report = check(Data(path=str(folder), cache_dir=str(tmp_path / "memory")))
        return sorted(opened), report

    return look


def sides(root: Path) -> Path:
    """Four side-by-side files: good, flat on the right, odd, broken."""
    images.write(root / "train/good.png", noise(8, 16))
    images.write(root / "train/flat.png", np.concatenate([noise(8, 8), np.zeros((8, 8, 3), np.uint8)], axis=1))
    images.write(root / "train/odd.png", noise(8, 15))
    (root / "train/broken.png").write_bytes(b"no image")
    return root


def test_unchanged_files_are_not_opened_again(
    tmp_path: Path, looked: Callable[[Path], tuple[list[str], CheckReport]]
) -> None:
    folder = sides(tmp_path / "data")
    opened, first = looked(folder)
    assert opened == ["broken.png", "flat.png", "good.png", "odd.png"]
    assert len(first.problems) == 2
    assert len(first.warnings) == 1
    opened, second = looked(folder)
    assert opened == []
    assert second == first
    images.write(folder / "train/broken.png", noise(8, 16))
    (folder / "train/odd.png").unlink()
    opened, third = looked(folder)
    assert opened == ["broken.png"]
    assert not third.problems
    shutil.move(folder / "train/good.png", folder / "train/better.png")  # its content is the same, its name is not
    assert looked(folder)[0] == ["better.png"]


def test_the_same_size_and_time_do_not_hide_a_change(
    tmp_path: Path, looked: Callable[[Path], tuple[list[str], CheckReport]]
) -> None:
    folder = sides(tmp_path / "data")
    looked(folder)
    path = folder / "train/broken.png"
    before = path.stat()
    path.write_bytes(b"no IMAGE")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert looked(folder)[0] == ["broken.png"]


def test_a_question_of_another_kind_is_another_question(
    tmp_path: Path, looked: Callable[[Path], tuple[list[str], CheckReport]]
) -> None:
    """One file as two halves, and as a whole; by its header only."""
    folder = sides(tmp_path / "data")
    for name in ("broken", "flat"):
        (folder / f"train/{name}.png").unlink()
    assert looked(folder)[0] == ["good.png", "odd.png"]
    rows = "".join(f"../data/train/{name}.png,../data/train/{name}.png\n" for name in ("good", "odd"))
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/pairs.csv").write_text("source,target\n" + rows)
    folder = tmp_path / "whole"
    opened, report = looked(folder)
    assert opened == ["good.png", "odd.png"]
    assert report.ok
    assert report.sizes == {"8x16": 1, "8x15": 1}
    assert check(Data(path=str(folder), cache_dir=str(tmp_path / "memory")), decode=False).sizes == report.sizes


def test_an_interrupted_look_keeps_what_it_has_seen(
    tmp_path: Path, looked: Callable[[Path], tuple[list[str], CheckReport]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        images.write(tmp_path / f"data/train/{number}.png", noise(8, 16))
    counting = scan.inspect_file
    fortieth = find_pairs(Data(path=str(tmp_path / "data"))).splits["train"][39].target.file

    def interrupted(file: str, *rest: object) -> object:
        if file == fortieth:
            raise KeyboardInterrupt
        return counting(file, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(scan, "inspect_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            looked(tmp_path / "data")
    assert len(looked(tmp_path / "data")[0]) <= 60 - 39


@pytest.mark.parametrize("damage", [lambda old: b"", lambda old: old[:100], lambda old: old[:72] + bytes(len(old))])
def test_a_broken_memory_is_made_anew(
    damage: Callable[[bytes], bytes], tmp_path: Path, looked: Callable[[Path], tuple[list[str], CheckReport]]
) -> None:
    folder = sides(tmp_path / "data")
    _, first = looked(folder)
    (database,) = (tmp_path / "memory").glob("*.sqlite")
    database.write_bytes(damage(database.read_bytes()))
    assert looked(folder) == (["broken.png", "flat.png", "good.png", "odd.png"], first)
    assert looked(folder) == ([], first)


@pytest.mark.parametrize("kind", ["text", "damaged", "database", "link"])
def test_a_file_of_others_in_its_place_is_never_touched(
    kind: str,
    tmp_path: Path,
    looked: Callable[[Path], tuple[list[str], CheckReport]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    import sqlite3

    folder = sides(tmp_path / "data")
    _, first = looked(folder)
    (database,) = (tmp_path / "memory").glob("*.sqlite")
    database.unlink()
    own = tmp_path / "own.sqlite" if kind == "link" else database
    if kind == "text":
        own.write_bytes(b"no database at all, but long enough to be one" * 50)
    elif kind == "damaged":
        own.write_bytes(b"SQLite format 3\0" * 90)
    else:
        with contextlib.closing(sqlite3.connect(own)) as connection, connection:
            connection.execute("CREATE TABLE letters (text)")
    if kind == "link":
        database.symlink_to(own)
    before = own.read_bytes()
    for _ in range(2):
        assert looked(folder) == (["broken.png", "flat.png", "good.png", "odd.png"], first)
        assert "is a file of another program" in caplog.text
    assert own.read_bytes() == before
    assert database.is_symlink() == (kind == "link")


def test_a_foreign_memory_is_made_anew(tmp_path: Path, looked: Callable[[Path], tuple[list[str], CheckReport]]) -> None:
    import sqlite3

    folder = sides(tmp_path / "data")
    _, first = looked(folder)
    (database,) = (tmp_path / "memory").glob("*.sqlite")
    for change in (
        "UPDATE facts SET answer = '[7]'",
        "DROP TABLE facts",
        "ALTER TABLE facts DROP COLUMN answer",
    ):
        connection = sqlite3.connect(database)
        with connection:
            connection.execute(change)
        connection.close()
        opened, report = looked(folder)
        assert (len(opened), report) == (4, first)
        assert looked(folder)[0] == []


def test_without_a_place_to_remember_it_is_said_and_done(
    tmp_path: Path, looked: Callable[[Path], tuple[list[str], CheckReport]], caplog: pytest.LogCaptureFixture
) -> None:
    folder = sides(tmp_path / "data")
    (tmp_path / "memory").write_text("a file where the folder would be")
    for _ in range(2):
        caplog.clear()
        assert len(looked(folder)[0]) == 4
        (record,) = caplog.records
        assert str(tmp_path / "memory") in record.getMessage()


def test_a_file_changed_just_now_is_looked_at_again(tmp_path: Path) -> None:
    """Its times could stay the same if it changed once more."""
    images.write(tmp_path / "1.png", noise())
    assert file_facts.file_stamp(str(tmp_path / "1.png")) is None
    assert file_facts.file_stamp(str(tmp_path / "none.png")) is None


# ---- what deserves a look ------------------------------------------------------------------------------------


def warned(report: CheckReport) -> dict[str, str]:
    return {path.name: reason for path, reason in report.warnings}


def test_an_image_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    for split, number in (("train", 1), ("train", 2), ("val", 3), ("test", 4)):
        images.write(tmp_path / f"{split}/{number}.png", noise(8, 16))
    first, second = (images.read(tmp_path / f"train/{number}.png") for number in (1, 2))
    images.write(tmp_path / "val/leak.bmp", first)  # the same pixels in another file
    images.write(tmp_path / "train/again.png", first)
    images.write(tmp_path / "test/half.png", np.concatenate([second[:, :8], noise(8, 8)], axis=1))
    images.write(tmp_path / "train/contrary.png", np.concatenate([second[:, :8], noise(8, 8)], axis=1))
    images.write(tmp_path / "train/mirror.png", np.concatenate([noise(8, 8)] * 2, axis=1) // 2)
    images.write(tmp_path / "train/same.png", np.concatenate([second[:, 8:]] * 2, axis=1))
    report = check(Data(path=str(tmp_path)))
    assert report.ok
    found = warned(report)
    assert found["leak.bmp"] == "the pair of val/leak is also that of train/1: val is not an independent test"
    assert found["again.png"] == "the pair train/again is train/1 again"
    assert found["half.png"] == "the source of test/half is also that of train/2: test is not an independent test"
    assert found["contrary.png"] == "the source of train/contrary is also that of train/2, with another target"
    assert found["same.png"] == "same: its source and its target are the same image"
    assert "1.png" not in found
    assert [path.name for path, _ in report.warnings][:2] == ["half.png", "leak.bmp"] or report.warnings[0][1].endswith(
        "not an independent test"
    )


def test_a_file_that_a_manifest_names_twice_in_a_row_is_told(tmp_path: Path) -> None:
    for name in "abc":
        images.write(tmp_path / f"{name}.png", noise(8, 8))
    rows = ["source,target", "a.png,b.png", "c.png,c.png"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows), encoding="utf-8")
    report = check(Data(path=str(tmp_path)))
    assert warned(report) == {"c.png": "c: its source and its target are the same image"}


def test_values_that_are_no_numbers_and_colours(folder: Path) -> None:
    for number in range(12):
        images.write(folder / f"A/{number}.png", np.full((6, 8, 1), number % 3 * 100, np.uint8))
    report = check(Data(path=str(folder)))
    assert report.sources is not None
    assert report.targets is not None
    assert set(report.sources.colours or ()) == {"00", "64", "c8"}
    assert (report.sources.low, report.sources.high) == (0, 200)
    assert report.targets.colours is None  # all of them together have too many
    deep = RNG.normal(size=(6, 8, 1)).astype(np.float32)
    (folder / "B/1.png").unlink()
    deep[2, 3], deep[0, 0] = np.nan, np.inf
    np.save(folder / "B/1.npy", deep)
    (problem,) = [reason for path, reason in check(Data(path=str(folder))).problems if path.name == "1.npy"][:1]
    assert problem == "holds NaN or infinity in 2 of 48 values: replace them, or remove the pair"
    deep[0, 0] = 0
    np.save(folder / "B/1.npy", deep)
    report = check(Data(path=str(folder), mask_value="nan"))  # a hole, and another type than most
    assert [reason.split(",")[0] for path, reason in report.problems if path.name == "1.npy"] == [
        "has 1 channel",
        "holds float32 values",
    ]


def test_shifted_targets_are_told(tmp_path: Path) -> None:
    for number in range(12):
        scene = np.kron(noise(30, 30, 1)[..., 0], np.ones((8, 8), np.uint8))[..., None]
        down = 24 if number == 7 else 6
        images.write(tmp_path / f"A/{number}.png", scene[60:188, 20:148])
        images.write(tmp_path / f"B/{number}.png", 255 - scene[60 - down : 188 - down, 20:148])
    report = check(Data(path=str(tmp_path)))
    assert report.alignment is not None
    assert report.alignment.reliable
    assert report.alignment.median == (6, 0)
    (told,) = report.warnings
    assert told.path.name == "7.png"
    assert told.reason.startswith("seems to lie 24 px below its source, while most targets lie 6 px below theirs")
    assert "most targets lie 6 px below their sources" in report.to_text()


def test_unlike_pictures_give_no_shift(folder: Path) -> None:
    report = check(Data(path=str(folder)))
    assert report.alignment is not None
    assert not report.alignment.reliable
    assert "too few to judge" in report.to_text()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes")
def test_names_that_are_not_unicode_are_pairs_like_any_other(tmp_path: Path) -> None:
    """Facts about them are stored too, and what is stored is text."""
    for name in (b"good.png", b"odd\xff.png"):
        for side in (b"A", b"B"):
            images.write(Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), side, name))), noise(16, 16))
    for _ in range(2):  # measured, then remembered
        report = check(Data(path=str(tmp_path), cache_dir=str(tmp_path / "cache")))
        assert report.ok
        assert sum(report.counts.values()) == 2
        time.sleep(0.15)  # a file changed a moment ago is not remembered


def test_many_findings_are_cut_short_for_readers_only(tmp_path: Path) -> None:
    images.write(tmp_path / "train/good.png", noise(8, 16))
    for number in range(200):
        (tmp_path / f"train/{number}.png").write_bytes(b"x")
    images.write(tmp_path / "train/odd\nname.png", noise(8, 15))
    report = check(Data(path=str(tmp_path)))
    assert len(report.to_json()["problems"]) == 201
    text = report.to_text()
    assert "and 197 more of this kind" in text
    assert "odd\\nname.png: is 15 pixels wide" in text
    assert len(text.splitlines()) < 30


def test_what_is_left_without_the_bad_pairs(folder: Path) -> None:
    (folder / "A/0.png").write_bytes(b"")
    images.write(folder / "B/1.png", noise(width=9))
    images.write(folder / "A/lonely.png", noise())
    report = check(Data(path=str(folder)))
    rest = report.without_bad()
    assert rest.ok
    assert {pair.name for pairs in rest.pairs.splits.values() for pair in pairs} == {str(n) for n in range(2, 12)}
    assert {path.name for path, _ in report.left_out} == {"0.png", "1.png", "lonely.png"}
    whole = {split: {pair.name for pair in pairs} for split, pairs in report.pairs.splits.items()}
    assert all({pair.name for pair in pairs} <= whole[split] for split, pairs in rest.pairs.splits.items())
    assert rest.fingerprint != report.fingerprint


# ---- large files, and how long it took -------------------------------------------------------------------------


def test_colours_of_a_large_label_map_are_counted_in_parts() -> None:
    labels = np.kron(np.uint8([[0, 90], [180, 0]]), np.ones((21, 12), np.uint8))[:41, :23, None]
    labels[40, 22] = 7  # in the last part alone
    whole = list_colours(labels)
    assert list_colours(labels, block_pixels=50) == whole == ("00", "07", "5a", "b4")


def test_the_report_says_how_long_it_took_and_draws_a_sheet(
    facades: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pix2pix.cli import main

    main(["data", "check", str(facades), "--preview", str(tmp_path / "sheet.png")])
    said = capsys.readouterr()
    assert re.search(r"inspected    \d+ files in \d+\.\d s, \S+ s per 1,000 files", said.out)
    assert "sheet.png" in said.err
    assert images.read(tmp_path / "sheet.png").shape[2] == 3
    with pytest.raises(SystemExit, match="2"):
        main(["data", "check", str(facades), "--preview", str(facades / "sheet.png")])
    assert "could be read as an image" in capsys.readouterr().err


def test_the_fingerprint_covers_contents_and_compares_with_one_of_sizes(tmp_path: Path) -> None:
    for name in "abcd":
        images.write(tmp_path / f"data/{name}.bmp", noise(8, 16, 3))
    before = check(Data(path=str(tmp_path / "data")))
    sizes = before.pairs.fingerprint()
    images.write(tmp_path / "data/a.bmp", 255 - images.read(tmp_path / "data/a.bmp"))  # of the same size
    after = check(Data(path=str(tmp_path / "data")))
    assert after.pairs.fingerprint() == sizes
    assert not same_data(before.fingerprint, after.fingerprint)
    assert same_data(before.fingerprint, before.fingerprint)
    assert same_data(sizes, after.fingerprint)  # a run of version 0.1
    images.write(tmp_path / "data/e.bmp", noise(8, 16, 3))
    assert not same_data(sizes, check(Data(path=str(tmp_path / "data"))).fingerprint)


def test_splits_are_carved_from_what_is_left(folder: Path) -> None:
    """20 pairs of which 10 are bad: 8, 1 and 1 are left, unless a run took them as earlier versions carved them."""
    for number in range(12, 20):
        images.write(folder / f"A/{number}.png", noise(channels=1))
        images.write(folder / f"B/{number}.png", noise())
    whole = check(Data(path=str(folder)))
    for pair in [*whole.pairs.splits["test"], *whole.pairs.splits["val"], *whole.pairs.splits["train"][:6]]:
        pair.source.path.write_bytes(b"")
    report = check(Data(path=str(folder)))
    left = report.without_bad()
    assert left.counts == {"train": 8, "val": 1, "test": 1}
    assert left.pairs.carved == ("val", "test")
    as_before = replace(report.pairs, splits={"train": whole.pairs.splits["train"][6:]})
    old = report.without_bad([as_before.fingerprint(report.contents)])
    assert old.counts == {"train": 10}
