"""Pairs are found in every layout, matched by name alone, and a split depends on names and seed alone."""

import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix2pix.config import Data
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.data.pairing.pairs import PairSet, carve_splits, describe_unmatched, find_pairs, natural_order
from pix2pix.errors import ConfigError, DataError

CARVE_NOTHING = {"val_fraction": 0, "test_fraction": 0}


def tree(root: Path, *files: str) -> Path:
    """Empty files are enough: nothing here opens an image."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def manifest(root: Path, *rows: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "pairs.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def found(root: Path, **settings: object) -> PairSet:
    return find_pairs(Data.model_validate({"path": str(root), **CARVE_NOTHING, **settings}))


def names(pairs: PairSet, split: str = "train") -> list[str]:
    return [pair.name for pair in pairs.splits[split]]


# ---- layouts -------------------------------------------------------------------------------------------------

TWO_SPLITS = {"train": ["1", "2"], "val": ["3"]}
LAYOUTS: dict[str, tuple[list[str], dict[str, list[str]], tuple[str, str]]] = {
    "side by side": (["train/1.png", "train/2.JPG", "val/3.png"], TWO_SPLITS, ("train/1.png", "train/1.png")),
    "flat": (["1.png", "2.png", "notes.txt"], {"train": ["1", "2"]}, ("1.png", "1.png")),
    "A and B": (
        ["A/train/1.png", "B/train/1.jpg", "A/train/2.png", "B/train/2.png", "A/val/3.png", "B/val/3.png"],
        TWO_SPLITS,
        ("A/train/1.png", "B/train/1.jpg"),
    ),
    "A and B, flat": (["A/1.png", "A/2.png", "B/1.png", "B/2.png"], {"train": ["1", "2"]}, ("A/1.png", "B/1.png")),
    "splits of A and B": (
        ["train/A/1.png", "train/B/1.jpg", "train/A/2.png", "train/B/2.png", "val/A/3.png", "val/B/3.png"],
        TWO_SPLITS,
        ("train/A/1.png", "train/B/1.jpg"),
    ),
    "trainA and trainB": (
        ["trainA/1.png", "trainA/2.png", "trainB/1.png", "trainB/2.png", "valA/3.png", "valB/3.png"],
        TWO_SPLITS,
        ("trainA/1.png", "trainB/1.png"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    files, splits, (a, b) = LAYOUTS[layout]
    root = tree(tmp_path, *files)
    forth, back = found(root), found(root, direction="BtoA")
    assert {split: names(forth, split) for split in forth.splits} == splits
    assert forth.carved == forth.unmatched == ()
    halves = ("left", "right") if a == b else (None, None)
    first = Pair("1", ImageRef(root / a, halves[0]), ImageRef(root / b, halves[1]))
    assert forth.splits["train"][0] == first
    assert back.splits["train"][0] == Pair("1", first.target, first.source)


@pytest.mark.parametrize("inside", ["{side}/{name}.png", "{side}/train/{name}.png", "train/{side}/{name}.png"])
def test_folders_named_source_and_target(tmp_path: Path, inside: str) -> None:
    root = tree(tmp_path, *(inside.format(side=side, name=name) for side in ("source", "target") for name in "12"))
    pairs = found(root)
    assert names(pairs) == ["1", "2"]
    assert pairs.splits["train"][0].target == ImageRef(root / inside.format(side="target", name="1"))
    with pytest.raises(ConfigError, match="already say which side is the source"):
        found(root, direction="BtoA")


def test_sides_in_splits_may_differ_in_names(tmp_path: Path) -> None:
    root = tree(tmp_path, "train/A/21.tif", "train/B/21_m.gif", "train/22.tif", "test/A/1.tif", "test/B/1_m.gif")
    pairs = found(root, target_pattern="{id}_m.gif")
    assert (names(pairs), names(pairs, "test")) == (["21"], ["1"])
    assert pairs.unmatched == ((root / "train/22.tif", "lies beside A and B"),)


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_source_and_target_folders(tmp_path: Path, prefix: str) -> None:
    root = tree(tmp_path, *(f"{side}/{prefix}{name}.png" for side in ("he", "ihc") for name in "12"))
    pairs = find_pairs(Data(source=str(root / "he"), target=str(root / "ihc"), val_fraction=0, test_fraction=0))
    assert names(pairs) == ["1", "2"]
    assert pairs.splits["train"][0].source == ImageRef(root / f"he/{prefix}1.png")
    with pytest.raises(ConfigError, match="already say which side is the source"):
        find_pairs(Data(source=str(root / "he"), target=str(root / "ihc"), direction="BtoA"))
    with pytest.raises(ConfigError, match="are one folder"):
        find_pairs(Data(source=str(root / "he"), target=str(root / "he" / ".")))


@pytest.mark.parametrize("by_file", [True, False])
def test_manifest(tmp_path: Path, by_file: bool) -> None:
    tree(tmp_path, "x/1.png", "y/one.png", "x/2.png", "data/y/two.png")
    root = manifest(
        tmp_path / "data", "source,target,split", "../x/1.png,../y/one.png,train", "../x/2.png,y/two.png,test"
    )
    pairs = found(root / "pairs.csv" if by_file else root)
    assert (names(pairs), names(pairs, "test")) == (["x/1"], ["x/2"])  # safe to write under
    assert pairs.splits["test"][0].target == ImageRef(root / "y/two.png")
    with pytest.raises(ConfigError, match="already say which side is the source"):
        found(root, direction="BtoA")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the header is ''"),
        (["input,target"], "the header is 'input,target', expected source,target"),
        (["source,target"], "no rows"),
        (["source,target", "1.png"], "line 2: expected one value for each"),
        (["source,target", "1.png,1.png,train"], "line 2: has 3 values, but the header names 2 columns"),
        (["source,target", "1.png,9.png"], r"line 2: target .*9\.png is not a file"),
        (["source,target,split", "1.png,1.png,valid"], "line 2: split is 'valid', expected train, val or test"),
        (["source,target", "1.png,1.png", "1.png,2.png"], "lines 2 and 3: several sources have the name 1"),
        (["source,target", ".,1.png"], r"line 2: source '\.' is a folder, expected an image"),
        (["source,target", "..,1.png"], r"line 2: source '\.\.' is a folder, expected an image"),
        (["source;target", "1.png;"], r"line 2: expected one value .* but target is empty"),
        (
            ["source;target", r"C:\data\1.png;2.png"],
            r"line 2: source C:.* names a drive of Windows; give paths relative",
        ),
        (["sep=;", "source;target", "1.png;9.png"], r"line 3: target .*9\.png is not a file"),
        (["source;picture", "1.png;2.png"], "the header is 'source;picture', expected source,target"),
        (["1.png,2.png"], "the header is '1.png,2.png', expected source,target"),
        (["source,target,set", "1.png,2.png,train"], "the header is 'source,target,set', expected source,target"),
        (["source,target,target", "1.png,2.png,2.png"], "the header is 'source,target,target'"),
        (["source,target", "1.png,2.png", '"1.png,2.png'], "not valid CSV after line 2"),
        (["source,target", f"{'x' * 200_000},2.png"], "not valid CSV after line 1 "),
    ],
)
def test_manifest_errors_name_the_line(tmp_path: Path, rows: list[str], message: str) -> None:
    tree(tmp_path, "1.png", "2.png")
    with pytest.raises(DataError, match=message):
        found(manifest(tmp_path, *rows))


@pytest.mark.parametrize("content", [b"source,target\n\x81,x\n", "source,target\n1.png,2.png\n".encode("utf-16-le")])
def test_manifest_that_is_no_csv(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pairs.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"pairs\.csv: not a CSV file"):
        found(tmp_path)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n"])
def test_manifests_as_spreadsheets_write_them(tmp_path: Path, ending: str) -> None:
    """A mark of byte order, ends of lines, blank lines, quoted commas and line breaks, absolute and climbing paths."""
    tree(tmp_path, "data/a.png", "data/b,c.png", "data/d\ne.png", "out/f.png", "out/g.png")
    lines = ["source,target", 'a.png,"b,c.png"', '"b,c.png",a.png', '"d\ne.png",a.png', f"{tmp_path}/out/f.png,a.png",
             "../out/g.png,a.png"]  # fmt: skip
    (tmp_path / "data/pairs.csv").write_bytes(b"\xef\xbb\xbf" + (ending.join(lines) + ending).encode())
    pairs = found(tmp_path / "data")
    inside = f"{tmp_path}/out/f"[1:]
    assert sorted(names(pairs)) == sorted(["a", "b,c", "d\ne", "out/g", inside])
    assert not pairs.unmatched


TABLES: dict[str, bytes] = {
    "semicolons": b"source;target\nx/1.png;y/1.png\n",
    "a delimiter named": b"sep=;\r\nsource;target\r\nx/1.png;y/1.png\r\n",
    "tabs": b"source\ttarget\nx/1.png\ty/1.png\n",
    "UTF-16": "source\ttarget\r\nx/1.png\ty/1.png\r\n".encode("utf-16"),
    "backslashes": b"source,target\nx\\1.png,y\\1.png\n",
    "capitals": b"Source,TARGET,Split\nx/1.png,y/1.png,Train\n",
    "blanks": b" source , target \n x/1.png , y/1.png \n",
    "other columns in another order": b"note,target,age,source\nold,y/1.png,7,x/1.png\n",
    "quoted": b'"source","target"\n"x/1.png","y/1.png"\n',
    "empty cells and rows": b"source;target;;\nx/1.png;y/1.png;;\n;;;\n\n",
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", ["pairs.csv", "Pairs.CSV"])
def test_tables_of_spreadsheets(tmp_path: Path, kind: str, name: str) -> None:
    tree(tmp_path, "x/1.png", "y/1.png")
    (tmp_path / name).write_bytes(TABLES[kind])
    pairs = found(tmp_path)
    assert (names(pairs), pairs.unmatched) == (["x/1"], ())
    assert pairs.splits["train"][0].target.path == tmp_path / "y/1.png"
    assert [path.name for path, _ in pairs.ignored] == (["age", "note"] if "other" in kind else [])


def test_names_of_old_windows_tables(tmp_path: Path) -> None:
    tree(tmp_path, "Müller 1.png", "b.png")
    (tmp_path / "pairs.csv").write_bytes("source;target\nMüller 1.png;b.png\n".encode("cp1252"))
    assert names(found(tmp_path)) == ["Müller 1"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("pairs.csv", b"PK\x03\x04...", r"pairs.csv: is a workbook or an archive, not text: .* Save As, CSV UTF-8"),
        ("pairs.xlsx", b"PK\x03\x04...", r"pairs.xlsx: not read by this name; save it as CSV UTF-8 .* pairs.csv"),
        ("pairs.csv.txt", b"source,target", r"pairs.csv.txt: not read by this name"),
        ("pairs.tsv", b"source\ttarget", r"pairs.tsv: not read by this name"),
    ],
)
def test_tables_that_are_not_text_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tree(tmp_path, "1.png") / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        found(tmp_path)
    with pytest.raises(DataError, match=r"Save As, CSV UTF-8|expected source,target|no rows"):
        found(tmp_path / name)


# ---- several sources -----------------------------------------------------------------------------------------


def _stacked(pairs: PairSet, root: Path, split: str = "train") -> list[tuple[str, ...]]:
    """Of each pair its name and its files, below `root`."""
    return [(pair.name, *(str(ref.path.relative_to(root)) for ref in pair.refs)) for pair in pairs.splits[split]]


THREE = tuple(f"{folder}/{name}.png" for folder in ("source_1", "source_2", "target") for name in ("1", "2"))
IN_THREE = [(name, f"source_1/{name}.png", f"source_2/{name}.png", f"target/{name}.png") for name in ("1", "2")]


@pytest.mark.parametrize("form", ["root", "flags", "manifest", "patterns", "splits"])
def test_several_sources(tmp_path: Path, form: str) -> None:
    root = tree(tmp_path, *THREE)
    wanted = IN_THREE
    if form == "root":
        pairs = found(root)
        assert pairs.layout == "folders source_1, source_2 and target"
    elif form == "flags":  # in the order that is given
        folders = tuple(str(root / name) for name in ("source_2", "source_1"))
        pairs = find_pairs(Data(source=folders, target=str(root / "target"), val_fraction=0, test_fraction=0))
        wanted = [(name, two, one, target) for name, one, two, target in IN_THREE]
    elif form == "manifest":  # in the order of the numbers, wherever the columns stand
        rows = (f"target/{n}.png,source_2/{n}.png,source_1/{n}.png" for n in "12")
        pairs = found(manifest(root, "target,source_2,source_1", *rows) / "pairs.csv")
        wanted = [(f"source_1/{name}", *files) for name, *files in IN_THREE]
    elif form == "patterns":
        root = tree(tmp_path / "one", "1_t1.png", "1_t2.png", "1_seg.png", "2_t1.png", "2_t2.png", "2_seg.png")
        patterns = {"source_pattern": ("{id}_t1.png", "{id}_t2.png"), "target_pattern": "{id}_seg.png"}
        pairs = found(root, **patterns)
        wanted = [(name, f"{name}_t1.png", f"{name}_t2.png", f"{name}_seg.png") for name in "12"]
    else:
        files = [
            f"{folder}/{split}/1.png" for folder in ("source_1", "source_2", "target") for split in ("train", "val")
        ]
        root = tree(tmp_path / "split", *files)
        pairs = found(root)
        assert _stacked(pairs, root, "val") == [("1", "source_1/val/1.png", "source_2/val/1.png", "target/val/1.png")]
        wanted = [("1", "source_1/train/1.png", "source_2/train/1.png", "target/train/1.png")]
    assert (_stacked(pairs, root), pairs.sources, pairs.unmatched) == (wanted, 2, ())


def test_another_second_source_is_another_set(tmp_path: Path) -> None:
    root = tree(tmp_path, *THREE)
    before = found(root).fingerprint()
    (root / "source_2/2.png").write_bytes(b"longer")
    assert found(root).fingerprint() != before


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path, *THREE, "source_1/3.png", "target/3.png")
    assert [(str(path.relative_to(root)), reason) for path, reason in found(root).unmatched] == [
        (f"{folder}/3.png", f"has no partner 3 in {root / 'source_2'}") for folder in ("source_1", "target")
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["source_1/1.png", "source_3/1.png", "target/1.png"], "has source_3 but no source_2; number the sources"),
        (["source_2/1.png", "target/1.png"], "has source_2 but no source_1"),
        (["source_1/1.png", "Source_2/1.png", "target/1.png"], "Source_2: not a known name beside source_1; rename"),
        (["source_1/1.png", "source/1.png", "target/1.png"], "source: not a known name beside source_1; rename"),
        (["source_1/1.png", "source_2/1.png"], "has a folder source_1 but no target"),
        (
            ["source_1/1.png", "source_2/2.png", "target/1.png"],
            r"source_1 and .*source_2: no image name occurs in both .*pattern for",
        ),
        (
            ["source_1/1.png", "source_1/3.png", "source_2/1.png", "target/3.png"],
            "no image name occurs in all of them",
        ),
    ],
)
def test_wrong_folders_of_several_sources(tmp_path: Path, files: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        found(tree(tmp_path, *files))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("source_1,source_3,target", "the header: has source_3 but no source_2"),
        ("source_2,target", "the header: has source_2 but no source_1"),
        ("source,source_1,target", "the header has source and source_1; name the sources"),
        ("source_1,source_1,target", "the header is 'source_1,source_1,target', expected source,target"),
        ("source_1,source_01,target", "the header is 'source_1,source_01,target', expected source,target"),
    ],
)
def test_wrong_columns_of_several_sources(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        found(manifest(tree(tmp_path, "1.png"), header, "1.png,1.png,1.png"))


def test_misused_folders_and_patterns_of_several_sources(tmp_path: Path) -> None:
    root = tree(tmp_path, *THREE)
    with pytest.raises(ConfigError, match="two of --source and --target are one folder"):
        find_pairs(Data(source=(str(root / "source_1"), str(root / "source_1")), target=str(root / "target")))
    with pytest.raises(ConfigError, match="--source-pattern is given 3 times, and each pair has 2 sources"):
        found(root, source_pattern=("{id}.png",) * 3)
    with pytest.raises(ConfigError, match="already say which side is the source"):
        found(root, direction="BtoA")


# ---- names ---------------------------------------------------------------------------------------------------


def test_natural_order_and_depth(tmp_path: Path) -> None:
    root = tree(tmp_path, *(f"train/{name}.png" for name in ("10", "9", "b/2", "b/10", "a1", "-x", "with space")))
    assert names(found(root)) == ["9", "10", "-x", "a1", "b/2", "b/10", "with space"]


@given(st.lists(st.text("ab012/-é²٣"), unique=True))
def test_any_names_have_one_order(stems: list[str]) -> None:
    ref = ImageRef(Path("x"))
    pairs = [Pair(stem, ref, ref) for stem in stems]
    assert sorted(pairs, key=natural_order) == sorted(reversed(pairs), key=natural_order)


def test_composed_and_decomposed_names_match(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    root = tree(tmp_path, f"A/{composed}.png", f"B/{decomposed}.png")
    assert names(found(root)) == [composed]
    with pytest.raises(DataError, match="has the same name, é, as"):
        found(tree(root, f"A/{decomposed}.png"))


def test_what_has_no_partner_is_listed(tmp_path: Path) -> None:
    root = tree(tmp_path, "A/1.png", "A/2.png", "A/x.png", "B/1.png", "B/3.png", "B/X.png")
    pairs = found(root)
    assert names(pairs) == ["1"]
    unmatched = tuple(path for path, _ in pairs.unmatched)
    assert unmatched == tuple(root / name for name in ("A/2.png", "A/x.png", "B/3.png", "B/X.png"))
    assert describe_unmatched(pairs).startswith(f"4 images belong to no pair: {root}/A/2.png")
    assert "and 1 more (the first: has no partner 2 in" in describe_unmatched(pairs)
    assert describe_unmatched(found(tree(tmp_path / "whole", "1.png"))) == ""


def test_images_beside_the_splits_are_no_data(tmp_path: Path) -> None:
    pairs = found(tree(tmp_path, "train/1.png", "sample.png"))
    assert (names(pairs), pairs.unmatched) == (["1"], ())


def test_a_run_among_loose_images_is_no_data(tmp_path: Path) -> None:
    assert names(found(tree(tmp_path, "1.png", "runs/x/samples/epoch_0001.png"))) == ["1"]


def test_order_never_matches(tmp_path: Path) -> None:
    root = tree(tmp_path, *(f"A/{n}_A.png" for n in range(5)), *(f"B/{n}_B.png" for n in range(5)))
    with pytest.raises(DataError, match=r"0_A, 1_A, 2_A and 2 more against 0_B, 1_B, 2_B and 2 more.*or try --source"):
        found(root)


def test_only_images_count(tmp_path: Path) -> None:
    tree(tmp_path, "train/1.png", "train/.2.png", "train/._3.png", "train/Thumbs.db", "train/.git/4.png", "train/5.txt")
    (tmp_path / "train/6.png").mkdir()  # kept, for its reader to report
    (tmp_path / "train/more").symlink_to(tmp_path / "train")
    (tmp_path / "train/7.png").symlink_to("7.png")
    assert names(found(tmp_path)) == ["1", "6", "7"]


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems insist on Unicode")
def test_names_need_not_be_unicode(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / os.fsdecode(b"train/\xff\n.png")).touch()
    pairs = found(tmp_path)
    assert len(names(pairs)) == 1
    assert pairs.fingerprint()


# ---- patterns ------------------------------------------------------------------------------------------------

DRIVE = {"source_pattern": "{id}_training.tif", "target_pattern": "{id}_manual1.gif"}
PATTERNED: dict[str, tuple[list[str], dict[str, str], str, str]] = {
    "one folder": (["21_training.tif", "21_manual1.gif"], DRIVE, "21", "21_training.tif"),
    "splits": (["train/21_training.TIF", "train/21_manual1.gif"], DRIVE, "21", "train/21_training.TIF"),
    "below": (["train/x/1_training.tif", "train/x/1_manual1.gif"], DRIVE, "x/1", "train/x/1_training.tif"),
    "A and B": (["A/21_training.tif", "B/21_manual1.gif"], DRIVE, "21", "A/21_training.tif"),
    "A and B with splits": (
        ["A/train/21_training.tif", "B/train/21_manual1.gif"],
        DRIVE,
        "21",
        "A/train/21_training.tif",
    ),
    "trainA and trainB": (["trainA/21_training.tif", "trainB/21_manual1.gif"], DRIVE, "21", "trainA/21_training.tif"),
    "folders in the pattern": (
        ["train/images/21.tif", "train/masks/21_m.gif"],
        {"source_pattern": "images/{id}.tif", "target_pattern": "masks/{id}_m.gif"},
        "21",
        "train/images/21.tif",
    ),
    "the suffix left open": (
        ["a_rgb.png", "a_depth.PNG"],
        {"source_pattern": "{id}_rgb", "target_pattern": "{id}_depth"},
        "a",
        "a_rgb.png",
    ),
    "special signs": (
        ["s(1)+.png", "t(1)+.png"],
        {"source_pattern": "s({id})+.png", "target_pattern": "t({id})+.png"},
        "1",
        "s(1)+.png",
    ),
}


@pytest.mark.parametrize("layout", PATTERNED)
def test_patterns(tmp_path: Path, layout: str) -> None:
    files, patterns, name, source = PATTERNED[layout]
    pairs = found(tree(tmp_path, *files), **patterns)
    assert (names(pairs), pairs.unmatched) == ([name], ())
    assert pairs.splits["train"][0].source.path == tmp_path / source


def test_one_pattern_is_enough_for_two_folders(tmp_path: Path) -> None:
    root = tree(tmp_path, "A/21.tif", "B/21_m.gif")
    assert names(found(root, target_pattern="{id}_m.gif")) == ["21"]
    assert names(found(root, source_pattern="{id}_m", direction="BtoA")) == ["21"]
    with pytest.raises(ConfigError, match="give both"):
        found(tree(tmp_path / "flat", "21.tif", "21_m.gif"), target_pattern="{id}_m.gif")


def test_what_patterns_leave_is_listed_and_never_guessed(tmp_path: Path) -> None:
    files = ("1_a.png", "1_b.png", "2_a.png", "3_b.png", "a_b.png", "_a.png", "4.png", "5_a.png", "5_a.PNG", "5_b.png")
    pairs = found(tree(tmp_path, *files), source_pattern="{id}_a.png", target_pattern="{id}_b.png")
    assert names(pairs) == ["1"]
    reasons = {path.name: reason.split(" in ")[0].split(" as ")[0] for path, reason in pairs.unmatched}
    assert reasons == {
        "2_a.png": "has no partner 2",
        "3_b.png": "has no partner 3",
        "_a.png": "fits neither pattern",
        "4.png": "fits neither pattern",
        "a_b.png": "has no partner a",
        "5_a.png": "has the same name, 5,",
        "5_a.PNG": "has the same name, 5,",
        "5_b.png": "has no partner 5",
    }


def test_a_file_that_fits_both_patterns_is_in_no_pair(tmp_path: Path) -> None:
    pairs = found(tree(tmp_path, "1_x.png", "y1.png", "y2_x.png"), source_pattern="{id}_x.png", target_pattern="y{id}")
    assert names(pairs) == ["1"]
    assert pairs.unmatched == ((tmp_path / "y2_x.png", "fits both patterns"),)


def test_misused_patterns(tmp_path: Path) -> None:
    for pattern in ("_a.png", "{id}_{id}.png", ""):
        with pytest.raises(ValueError, match=r"write \{id\} once"):
            Data.model_validate({"source_pattern": pattern})
    with pytest.raises(ConfigError, match="a manifest names each file"):
        found(manifest(tmp_path, "source,target"), source_pattern="{id}_a")
    with pytest.raises(ConfigError, match="the patterns already say"):
        found(tree(tmp_path / "x", "1_a.png"), direction="BtoA", source_pattern="{id}_a", target_pattern="{id}_b")


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        (["A/21_training.tif", "A/22_training.tif", "B/21_manual1.gif", "B/22_manual1.gif"],
         '"{id}_training.tif" --target-pattern "{id}_manual1.gif"'),
        (["A/scan1.png", "A/scan2.png", "A/scan10.png", "B/mask1.png", "B/mask2.png", "B/mask10.png"],
         '"scan{id}.png" --target-pattern "mask{id}.png"'),
        (["A/x.png", "A/y.png", "B/1.png", "B/2.png"], None),
        (["A/x1.png", "B/y1.png"], None),
    ],
)  # fmt: skip
def test_an_evident_pattern_is_suggested(tmp_path: Path, files: list[str], hint: str | None) -> None:
    with pytest.raises(DataError) as error:
        found(tree(tmp_path, *files))
    assert (f"or try --source-pattern {hint}" in str(error.value)) if hint else ("try" not in str(error.value))


def test_a_pattern_is_suggested_within_a_folder(tmp_path: Path) -> None:
    root = tree(tmp_path, *(f"{n}{side}" for n in (21, 22, 23) for side in ("_training.tif", "_manual1.gif")))
    with pytest.raises(DataError, match=r'try --source-pattern "\{id\}_manual1.gif" .*or swap the two'):
        found(root, source_pattern="{id}_x", target_pattern="{id}_y")


# ---- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["readme.txt"], r"no known layout of pairs, it has no images and no folders; expected train\|val\|test/"),
        (["photos/1.png", "a/2.png"], "no known layout of pairs, it has the folders a, photos; expected"),
        (
            ["he/1.png", "raw/1.png"],
            "folders he, raw; if .* give --source [^ ]*he --target [^ ]*raw, or the two swapped",
        ),
        ([f"{s}/{n}{s}.png" for s in ("he", "raw") for n in (1, 2, 3)], "; if these are the sides, give --source"),
        (["he/1.png", "if/1.png", "raw/1.png"], "it has the folders he, if, raw; expected"),
        (["train/notes.txt"], "train: no images; expected files ending in"),
        (["train/1.png", "val/x.txt"], "val: no images"),
        (
            ["train/1.png", "train/1.jpg"],
            r"1\.jpg: has the same name, 1, as .*1\.png; pairs are matched by name: keep one",
        ),
        (["train/1.png", "valid/2.png"], "valid: not a known split; rename it to val"),
        (["train/1.png", "Test/2.png"], "Test: not a known split; rename it to test"),
        (["trainA/1.png", "trainB/1.png", "val_B/2.png"], "val_B: not a known split; rename it to valB"),
        (["A/train/1.png", "B/train/1.png", "A/validation/2.png"], "validation: not a known split; rename it to val"),
        (["train/1.png", "A/1.png"], "several layouts at once"),
        (["pairs.csv", "A/1.png"], "give .*/pairs.csv as DATA for the pairs that it lists"),
        (["A/1.png"], "has a folder A but no B"),
        (["B/1.png"], "has a folder B but no A"),
        (["trainA/1.png"], "trainA: has no partner folder .*trainB"),
        (["A/train/1.png", "B/train/1.png", "B/test/1.png"], "B/test: has no partner folder .*A/test"),
        (["train/A/1.png"], "train: has a folder A but no B"),
        (["train/A/1.png", "train/B/1.png", "val/1.png"], "val: expected the folders A and B, as the other splits"),
        (
            ["train/source/1.png", "train/target/1.png", "train/source_1/1.png"],
            "source: not a known name beside source_1",
        ),
        (
            [f"train/{side}/{name}.png" for side in ("photos", "masks") for name in "12"],
            'the names in masks and photos match, .* or give --source-pattern "masks/{id}" --target-pattern "photos/',
        ),
        (
            [f"train/{name}" for n in "123" for name in (f"images/2{n}_training.tif", f"manual/2{n}_manual1.gif")],
            'give --source-pattern "images/{id}_training.tif" --target-pattern "manual/{id}_manual1.gif", or swap',
        ),
        (["1.png", "2.png"], "2 pairs in train: too few to take val from, lower data.val_fraction"),
    ],
)
def test_errors_say_what_to_do(tmp_path: Path, files: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        found(tree(tmp_path, *files), val_fraction=0.45, test_fraction=0.45)
    assert str(error.value).startswith((str(tmp_path), "2 pairs"))


def test_side_by_side_images_in_folders_of_kinds(tmp_path: Path) -> None:
    """Names may repeat in folders of kinds, as long as they are no two sides of pairs."""
    root = tree(tmp_path, "train/cats/1.png", "train/cats/2.png", *(f"train/dogs/{n}.png" for n in (1, 2, 3)))
    assert names(found(root)) == ["cats/1", "cats/2", "dogs/1", "dogs/2", "dogs/3"]


def test_places_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder or manifest"):
        found(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find_pairs(Data(source=str(tmp_path), target=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match="no data is named"):
        find_pairs(Data())


@pytest.mark.parametrize("files", [["train/1.png"], ["A/1.png", "B/1.png"]])
def test_a_locked_folder_is_named(tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, *files)
    locked = tmp_path / Path(files[0]).parent

    def guarded(look: Callable[[str | Path], object], path: str | Path) -> object:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, partial(guarded, getattr(os, name)))
    with pytest.raises(DataError, match=rf"{locked}: cannot be read \(Permission denied\)"):
        found(tmp_path)


# ---- splits and fingerprint ----------------------------------------------------------------------------------


def carved(count: int, seed: int = 0, **present: int) -> dict[str, set[str]]:
    ref = ImageRef(Path("x"))
    numbers = {"train": count, **present}
    splits = {split: [Pair(f"{split}{n}", ref, ref) for n in range(size)] for split, size in numbers.items()}
    after, _ = carve_splits(splits, Data(split_seed=seed))
    return {split: {pair.name for pair in pairs} for split, pairs in after.items()}


def test_carving_is_exact() -> None:
    assert {split: len(pairs) for split, pairs in carved(400).items()} == {"train": 320, "val": 40, "test": 40}
    assert {split: len(pairs) for split, pairs in carved(3).items()} == {"train": 1, "val": 1, "test": 1}
    assert {split: len(pairs) for split, pairs in carved(2).items()} == {"train": 2}
    assert {split: len(pairs) for split, pairs in carved(100, test=7).items()} == {"train": 90, "val": 10, "test": 7}


@given(st.integers(1, 300), st.integers(-5, 5))
def test_carving_partitions_and_depends_on_the_seed_alone(count: int, seed: int) -> None:
    splits = carved(count, seed)
    assert sum(map(len, splits.values())) == count == len(set.union(*splits.values()))
    assert splits == carved(count, seed)


def test_another_seed_carves_otherwise() -> None:
    assert carved(400, 0)["test"] != carved(400, 1)["test"]


def test_carved_splits_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path, *(f"train/{n}.png" for n in range(20)), "val/1.png")
    pairs = found(root, test_fraction=0.1)
    assert pairs.carved == ("test",)
    assert (len(names(pairs)), len(names(pairs, "test"))) == (18, 2)


def test_fingerprint_follows_the_data(tmp_path: Path) -> None:
    here, there = (tree(tmp_path / name, "train/1.png", "train/2.png") for name in ("here", "there"))
    before = found(here).fingerprint()
    assert before == found(there).fingerprint()
    (there / "train/1.png").write_bytes(b"other")
    assert before != found(there).fingerprint()
    assert before != found(tree(here, "train/3.png")).fingerprint()


def test_finding_pairs_needs_no_torch() -> None:
    code = "import sys, pix2pix.data.pairing.pairs; assert not {'torch', 'PIL', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_manifest_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pairs.csv")
    with pytest.raises(DataError, match=r"pairs\.csv: cannot be read \(is a pipe, expected a regular file\)"):
        find_pairs(Data(path=str(tmp_path)))
