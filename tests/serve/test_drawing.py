"""How sources can be drawn: palettes, lines, examples from a run's sheets and from folders."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pix2pix.data.checks.contact_sheet import draw_sheet
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels
from pix2pix.errors import ConfigError
from pix2pix.serve.drawing import choose_drawing
from pix2pix.serve.engine import Facts, SourceFacts
from pix2pix.serve.examples import cut_sheet, find_examples
from pix2pix.serve.options import Options
from pix2pix.serve.palettes import name_colours, read_palette
from pix2pix.synthetic.facades import CLASSES, facade

RGB, GRAY = SourceFacts("source", 3, "uint8"), SourceFacts("source", 1, "uint8")


def drawn_lines(*, white: bool = True) -> Pixels:
    pixels = np.full((40, 40, 1), 255 if white else 0, np.uint8)
    pixels[5:35, 10] = pixels[20, 5:35] = 0 if white else 255
    return pixels


def photo(channels: int = 3) -> Pixels:
    ramp = np.linspace(0, 255, 40, dtype=np.uint8)
    return np.stack([ramp[None, :] + np.zeros((40, 1), np.uint8)] * channels, axis=2)


def test_colours_of_samples_are_classes_with_the_names_of_the_set() -> None:
    drawing = choose_drawing(RGB, [facade(n, 64)[1] for n in range(3)], "auto", None)
    assert drawing.kind == "labels"
    assert [one.name for one in drawing.classes] == [name for name, _ in CLASSES]
    lossy = [tuple(min(255, level + 1) for level in colour) for name, colour in CLASSES if name != "sill"]
    named = name_colours([*lossy, (157, 6, 27)], complete=False)  # the last is a mixture of two
    assert [one.name for one in named] == [name for name, _ in CLASSES]
    assert {one.name for one in name_colours([*lossy, (157, 6, 27)], complete=True)} >= {"class 1", "class 12"}
    coarse = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 4, (8, 8)), 8, 0), 8, 1)
    other = np.array([(250, 250, 250), (9, 9, 9), (90, 160, 90), (200, 40, 160)], np.uint8)[coarse]
    unnamed = choose_drawing(RGB, [other], "auto", None)
    assert {one.name for one in unnamed.classes} == {"class 1", "class 2", "class 3", "class 4"}
    assert "#5aa05a" in {one.color for one in unnamed.classes}


@pytest.mark.parametrize(
    ("source", "sample", "draw", "kind"),
    [
        (GRAY, drawn_lines(), "auto", "lines"),
        (RGB, np.repeat(drawn_lines(white=False), 3, 2), "auto", "lines"),
        (RGB, photo(), "auto", "image"),
        (GRAY, photo(1), "auto", "image"),
        (GRAY, None, "auto", "image"),
        (GRAY, None, "lines", "lines"),
        (RGB, facade(1, 64)[1], "image", "image"),
        (SourceFacts("source", 1, "uint16"), None, "auto", "image"),
        (SourceFacts("source", 1, "uint8", ("0", "7", "255")), None, "auto", "labels"),
        (SourceFacts("source", 3, "uint8", ("#ff0000", "#00ff00")), None, "auto", "labels"),
    ],
)
def test_kinds(source: SourceFacts, sample: Pixels | None, draw: str, kind: str) -> None:
    drawing = choose_drawing(source, [] if sample is None else [sample], draw, None)  # type: ignore[arg-type]
    assert drawing.kind == kind
    if sample is not None and kind == "lines":
        assert drawing.background == ("#ffffff" if sample.mean() > 127 else "#000000")


def test_unknown_colours_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give --palette FILE"):
        choose_drawing(RGB, [], "labels", None)
    with pytest.raises(ConfigError, match=r"--palette p\.csv: is for --draw labels, and --draw lines has no classes"):
        Options(draw="lines", palette=Path("p.csv"))
    for name, text in {"a.json": "[]", "b.json": "{", "c.csv": "sky,blue\nsea,#00f\n", "d.csv": "a,#000000"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError, match=name):
            read_palette(tmp_path / name)
    (tmp_path / "e.csv").write_text("name,color\nsky,#0000FF\nsea,#00ff00\n")
    (tmp_path / "f.json").write_text(json.dumps({"sky": "#0000ff", "sea": "#00ff00"}))
    assert read_palette(tmp_path / "e.csv") == read_palette(tmp_path / "f.json")


@pytest.mark.parametrize("side", [32, 160])
def test_examples_come_back_from_a_sheet(side: int, tmp_path: Path) -> None:
    rows = [(label, photo_, photo_) for photo_, label in (facade(n, side) for n in range(2))]
    facts = Facts(3, (RGB,), 3, "uint8", (side, side), 1, noise=False)
    sheet = draw_sheet(rows, ["source", "output", "target"])
    for example, (label, _, target) in zip(cut_sheet(sheet, facts), rows, strict=True):
        np.testing.assert_array_equal(example.sources[0], label)
        np.testing.assert_array_equal(example.target, target)
    (tmp_path / "samples").mkdir()
    images.write(tmp_path / "samples" / "epoch_0003.png", sheet)
    assert len(find_examples(tmp_path / "model", facts, None)) == 2
    assert cut_sheet(sheet[:, :-1], facts) == []


def test_examples_of_a_folder_are_split_as_in_the_training(tmp_path: Path) -> None:
    target, label = facade(0, 32)
    images.write(tmp_path / "a.png", np.hstack([target, label]))
    facts = Facts(3, (RGB,), 3, "uint8", (32, 32), 1, noise=False, half="right")
    (example,) = find_examples(tmp_path / "x", facts, tmp_path)
    np.testing.assert_array_equal(example.sources[0], label)
    np.testing.assert_array_equal(example.target, target)
    with pytest.raises(ConfigError, match="holds no pictures"):
        find_examples(tmp_path / "x", facts, tmp_path / "nothing")


def test_transparent_examples_lie_on_white_and_unreadable_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "read me.txt").write_text("no picture")
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(tmp_path / "drawing.png")
    (example,) = find_examples(tmp_path / "x", Facts(3, (RGB,), 3, "uint8", (32, 32), 1, noise=False), tmp_path)
    np.testing.assert_array_equal(example.sources[0], np.full((32, 32, 3), 255))
    (tmp_path / "broken.png").write_bytes(b"no PNG")
    with pytest.raises(ConfigError, match=r"--examples: .*broken\.png: "):
        find_examples(tmp_path / "x", Facts(3, (RGB,), 3, "uint8", (32, 32), 1, noise=False), tmp_path)
    (tmp_path / "broken.png").unlink()
    np.save(tmp_path / "heights.npy", np.zeros((32, 32), np.float32))
    with pytest.raises(
        ConfigError, match=r"heights\.npy: expected gray or RGB of 8 or 16 bits, found 1 channel of float32"
    ):
        find_examples(tmp_path / "x", Facts(3, (RGB,), 3, "uint8", (32, 32), 1, noise=False), tmp_path)
