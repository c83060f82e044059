"""Outputs among the pairs, and pairs among the outputs, in every layout and however the data are named."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pix2pix.config import Data
from pix2pix.data.pairing.nesting import refuse_data_inside, refuse_inside_data
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import ConfigError

LAYOUTS = {
    "splits": ["train/1.png", "test/1.png"],
    "sides": ["A/1.png", "B/1.png"],
    "sides with splits": ["A/train/1.png", "B/train/1.png"],
    "splits with sides": ["train/A/1.png", "train/B/1.png"],
    "trainA": ["trainA/1.png", "trainB/1.png"],
    "source": ["source/1.png", "target/1.png"],
    "sources": ["source_1/1.png", "source_2/1.png", "target/1.png"],
    "one folder": ["1.png", "2.png"],
    "manifest": ["pairs.csv", "images/1.png"],
}
SEARCHED = {
    "splits": ["train/run", "test", "test/x/y"],
    "sides": ["A/run", "B", "A"],
    "sides with splits": ["A/run", "A/train/run"],
    "splits with sides": ["train/run", "train/A/run"],
    "trainA": ["trainA/run", "trainB"],
    "source": ["source/run", "target/run"],
    "sources": ["source_2/run"],
    "one folder": [],
    "manifest": [],
}
NAMES = ["val", "Train", "validation", "A", "testB", "source_3", "source", "target", "valid/deep"]
"""Folders that would be taken for a part of the data at the next start."""
FREE = ["runs/facades", "results", "runs"]

Naming = Callable[[Path, Path], str]
NAMINGS: dict[str, Naming] = {
    "plain": lambda data, _: str(data),
    "dots": lambda data, _: f"{data}/../{data.name}",
    "link": lambda data, elsewhere: os.fspath(link(elsewhere / "link", data)),
    "relative": lambda data, _: os.path.relpath(data),
}


def link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def make(folder: Path, layout: str) -> Path:
    for name in LAYOUTS[layout]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("source,target\nimages/1.png,images/1.png\n" if name.endswith("csv") else "")
    return folder


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_that_is_searched_is_refused(
    layout: str, naming: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = make(tmp_path / "data", layout)
    named = Data(path=NAMINGS[naming](data, tmp_path))
    for inside in (".", *SEARCHED[layout], *NAMES):
        for folder in (data / inside, tmp_path / "x" / ".." / "data" / inside):
            with pytest.raises(ConfigError, match=r"lies in the data, .* give a folder outside the data with --run"):
                refuse_inside_data(folder, named)
    for outside in (*FREE, "../run", "../data-2"):
        refuse_inside_data(data / outside, named)


def test_named_folders(tmp_path: Path) -> None:
    make(tmp_path, "sides")
    data = Data(source=(str(tmp_path / "A"),), target=str(tmp_path / "A" / ".." / "B"))
    for inside in ("A", "A/run", "B/x/y"):
        with pytest.raises(ConfigError, match="lies in the data"):
            refuse_inside_data(tmp_path / inside, data)
    refuse_inside_data(tmp_path / "run", data)


def test_patterns_search_everything(tmp_path: Path) -> None:
    for name in ("1_in.png", "1_out.png"):
        (tmp_path / name).write_text("")
    data = Data(path=str(tmp_path), source_pattern=("{id}_in.png",), target_pattern="{id}_out.png")
    with pytest.raises(ConfigError, match="lies in the data"):
        refuse_inside_data(tmp_path / "runs" / "x", data)


def test_a_linked_side_is_searched_where_it_lies(tmp_path: Path) -> None:
    data, real = make(tmp_path / "data", "sides"), tmp_path / "real"
    (data / "A").rename(real)
    (data / "A").symlink_to(real)
    with pytest.raises(ConfigError, match="lies in the data"):
        refuse_inside_data(real / "run", Data(path=str(data)))


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_data_inside_are_refused(layout: str, naming: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = make(tmp_path / "run" / "data", layout)
    config = Data(path=NAMINGS[naming](data, tmp_path), val_fraction=0, test_fraction=0)
    files = [ref.file for pairs in find_pairs(config).splits.values() for pair in pairs for ref in pair.refs]
    for run in (tmp_path / "run", data, link(tmp_path / "linked run", tmp_path / "run")):
        with pytest.raises(ConfigError, match="holds the data, such as"):
            refuse_data_inside(run, config, files)
    refuse_data_inside(tmp_path / "other", config, files)
    (tmp_path / "empty").mkdir()
    refuse_data_inside(tmp_path / "empty", config, files)


def test_single_files_that_link_into_the_run_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "1.png").write_text("")
    data = make(tmp_path / "data", "splits")
    (data / "train" / "1.png").unlink()
    (data / "train" / "1.png").symlink_to(tmp_path / "run" / "1.png")
    with pytest.raises(ConfigError, match="holds the data, such as"):
        refuse_data_inside(tmp_path / "run", Data(path=str(data)), [str(data / "train" / "1.png")])
