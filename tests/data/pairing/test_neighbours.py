"""Folders of other tools, and plain words for sides, are read as they lie; ambiguity is an error."""

from pathlib import Path

import pytest

from pix2pix.config import Data
from pix2pix.data.pairing.layouts import is_layout_name
from pix2pix.data.pairing.pairs import PairSet, find_pairs
from pix2pix.errors import ConfigError, DataError


def tree(root: Path, files: str) -> Path:
    for file in files.split():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def found(root: Path, **settings: object) -> PairSet:
    return find_pairs(Data.model_validate({"path": str(root), "val_fraction": 0, "test_fraction": 0, **settings}))


Row = tuple[str, str, dict[str, tuple[str, ...]], list[str]]
TABLE: dict[str, Row] = {
    "img2img-turbo": (
        "train_A/1.png train_B/1.png test_A/2.png test_B/2.png train_prompts.json test_prompts.json",
        "folders of img2img-turbo: source train_A, target train_B",
        {"train": ("train_A/1.png", "train_B/1.png"), "test": ("test_A/2.png", "test_B/2.png")},
        ["test_prompts.json", "train_prompts.json"],
    ),
    "pix2pixHD": (
        "train_label/1.png train_img/1.jpg train_inst/1.png test_label/2.png test_inst/2.png",
        "folders of pix2pixHD: source train_label, target train_img",
        {"train": ("train_label/1.png", "train_img/1.jpg")},
        ["test_inst", "test_label", "train_inst"],
    ),
    "ZeroCostDL4Mic": (
        "Training_source/1.tif Training_target/1.tif Test_source/2.png Test_target/2.png",
        "folders of ZeroCostDL4Mic: source Training_source, target Training_target",
        {
            "train": ("Training_source/1.tif", "Training_target/1.tif"),
            "test": ("Test_source/2.png", "Test_target/2.png"),
        },
        [],
    ),
    "nnU-Net, one channel": (
        "imagesTr/a_0000.png labelsTr/a.png imagesTs/b_0000.png dataset.json",
        "folders of nnU-Net: source imagesTr (channels 0000), target labelsTr",
        {"train": ("imagesTr/a_0000.png", "labelsTr/a.png")},
        ["dataset.json", "imagesTs"],
    ),
    "nnU-Net, two channels": (
        "imagesTr/a_0000.tif imagesTr/a_0001.tif labelsTr/a.tif imagesTs/b_0000.tif imagesTs/b_0001.tif labelsTs/b.tif",
        "folders of nnU-Net: source imagesTr (channels 0000 and 0001), target labelsTr",
        {
            "train": ("imagesTr/a_0000.tif", "imagesTr/a_0001.tif", "labelsTr/a.tif"),
            "test": ("imagesTs/b_0000.tif", "imagesTs/b_0001.tif", "labelsTs/b.tif"),
        },
        [],
    ),
    "images and masks": (
        "images/1.png masks/1.png notes/1.png texts/1.txt",
        "folders images and masks (source images, target masks)",
        {"train": ("images/1.png", "masks/1.png")},
        ["notes"],
    ),
    "A and B, and more": (
        "A/1.png B/1.png C/deep/1.png overview.png .hidden/1.png notes.txt",
        "folders A and B",
        {"train": ("A/1.png", "B/1.png")},
        ["C", "overview.png"],
    ),
    "more in the splits": (
        "train/A/1.png train/B/1.png train/C/1.png old/1.png",
        "folders A and B in train",
        {"train": ("train/A/1.png", "train/B/1.png")},
        ["old", "C"],
    ),
    "in splits": (
        "train/Image/1.png train/Label/1.png val/Image/2.png val/Label/2.png",
        "folders Image and Label (source Image, target Label) in train and val",
        {"train": ("train/Image/1.png", "train/Label/1.png"), "val": ("val/Image/2.png", "val/Label/2.png")},
        [],
    ),
    "around splits": (
        "images/train/1.png masks/train/1.png images/val/2.png masks/val/2.png",
        "folders images and masks (source images, target masks) with train and val",
        {"train": ("images/train/1.png", "masks/train/1.png"), "val": ("images/val/2.png", "masks/val/2.png")},
        [],
    ),
    "input and target": ("inputs/1.png targets/1.png", "folders inputs and targets (source inputs, target targets)",
                         {"train": ("inputs/1.png", "targets/1.png")}, []),
    "low and high": ("low/1.png high/1.png", "folders low and high (source low, target high)",
                     {"train": ("low/1.png", "high/1.png")}, []),
    "low and GT": ("low/1.png GT/1.png", "folders low and GT (source low, target GT)",
                   {"train": ("low/1.png", "GT/1.png")}, []),
}  # fmt: skip


@pytest.mark.parametrize("layout", TABLE)
def test_neighbours(tmp_path: Path, layout: str) -> None:
    files, description, splits, ignored = TABLE[layout]
    pairs = found(tree(tmp_path, files))
    assert pairs.layout == description
    refs = {
        split: tuple(str(ref.path.relative_to(tmp_path)) for ref in of[0].refs) for split, of in pairs.splits.items()
    }
    assert refs == splits
    assert pairs.unmatched == ()
    assert [path.name for path, _ in pairs.ignored] == ignored
    assert all(is_layout_name(name.split("/")[0]) for of in splits.values() for name in of)


@pytest.mark.parametrize("layout", ["img2img-turbo", "pix2pixHD", "nnU-Net, one channel", "images and masks"])
def test_the_other_direction(tmp_path: Path, layout: str) -> None:
    files, description, splits, _ = TABLE[layout]
    pairs = found(tree(tmp_path, files), direction="BtoA")
    first = pairs.splits["train"][0]
    assert tuple(str(ref.path.relative_to(tmp_path)) for ref in first.refs) == splits["train"][::-1]
    assert pairs.layout != description


@pytest.mark.parametrize("layout", ["ZeroCostDL4Mic", "nnU-Net, two channels", "input and target"])
def test_a_direction_that_the_names_exclude(tmp_path: Path, layout: str) -> None:
    with pytest.raises(ConfigError, match="already say which side is the source; leave --direction out"):
        found(tree(tmp_path, TABLE[layout][0]), direction="BtoA")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            "images/1.png masks/1.png labels/1.png",
            r"several folders may be sides .*/images --target .*/masks, --source",
        ),
        ("train/images/1.png train/masks/1.png train/gt/1.png", r"train: several folders may be sides of pairs"),
        ("train_A/1.png train_B/1.png train_label/1.png train_img/1.png", r"several layouts at once \(train_A and "),
        ("train_A/1.png train_B/1.png A/1.png B/1.png", r"several layouts at once .*or name the folders with --source"),
        ("images/1.png labels/1.txt", r"labels: no images; .*; 1 not an image file by its name"),
    ],
)
def test_ambiguity_is_an_error(tmp_path: Path, files: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        found(tree(tmp_path, files))


def test_images_beside_the_words_are_named(tmp_path: Path) -> None:
    pairs = found(tree(tmp_path, "images/1.png masks/1.png overview.png"))
    assert pairs.unmatched == ((tmp_path / "overview.png", "lies beside images and masks"),)


def test_a_case_that_lacks_a_channel_is_named(tmp_path: Path) -> None:
    pairs = found(
        tree(tmp_path, "imagesTr/a_0000.png imagesTr/a_0001.png imagesTr/b_0000.png labelsTr/a.png labelsTr/b.png")
    )
    assert [pair.name for pair in pairs.splits["train"]] == ["a"]
    assert [path.name for path, _ in pairs.unmatched] == ["b_0000.png", "b.png"]


def test_the_migration_page_lists_every_row() -> None:
    page = (Path(__file__).parents[3] / "docs" / "migration.md").read_text("utf-8")
    for files, *_ in TABLE.values():
        assert files.split()[0].split("/")[0].casefold() in page.casefold()
