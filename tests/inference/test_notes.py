"""What a translation does to files before the model sees them is right, and is said in one line for each kind."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from pix2pix.data.io import images
from pix2pix.data.io.arrays import to_pil
from pix2pix.errors import ConfigError
from pix2pix.inference.huge import Tiling
from pix2pix.inference.pipeline import Options, Translated, translate_files
from pix2pix.inference.translate import translate
from pix2pix.inference.translator import Translator
from pix2pix.model import Model
from tests.inference.small_models import make_model, noise


def model(scale: Any = (0.5, 0.5), **changes: Any) -> Model:
    small = make_model(scale=scale)
    return Model(small.generator, None, small.config.model_copy(update=changes))


def run(translator: Translator, folder: Path, **options: Any) -> Translated:
    return translate_files(translator, [folder / "in"], folder / "out", Options(overwrite=True, **options))


# ---- sizes -----------------------------------------------------------------------------------------------------


def test_other_sizes_are_said_in_one_line(tmp_path: Path) -> None:
    """Files of 64x64 were trained at 32x32."""
    translator = Translator(model())
    images.write(tmp_path / "in/a.png", noise(32, 32, 3))
    assert run(translator, tmp_path).notes == ()
    images.write(tmp_path / "in/b.png", noise(64, 64, 3))
    images.write(tmp_path / "in/c.png", noise(20, 10, 3))
    (note,) = run(translator, tmp_path).notes
    assert note.startswith("resized 2 images of between 20x10 and 64x64 (HxW) to between 32x32 and 64x32 for the model")
    assert "--present" in note
    assert run(Translator(model(), present="native"), tmp_path).notes == ()


def test_another_choice_shows_another_size_and_another_output(tmp_path: Path) -> None:
    path = tmp_path / "in/a.png"
    images.write(path, noise(64, 96, 3))
    shown = {
        present: np.asarray(Translator(model(), present=present)(Image.open(path)))
        for present in ("auto", "scale", "image_size", "native")
    }
    assert np.array_equal(shown["auto"], shown["scale"])
    for one, other in (("auto", "image_size"), ("auto", "native"), ("image_size", "native")):
        assert not np.array_equal(shown[one], shown[other])
    translator = Translator(model(), present="native")
    run(translator, tmp_path)
    assert np.array_equal(images.read(tmp_path / "out/a.png"), shown["native"])
    with pytest.raises(ConfigError, match=r"--present scale: .*several sizes"):
        Translator(model(None), present="scale")
    with pytest.raises(ConfigError, match="--present whole: expected auto, image_size, scale, native"):
        Translator(model(), present="whole")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--precision int8: expected 32 or bf16"):
        Translator(model(), precision="int8")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"--background \(1, 2, 3\): expected a colour"):
        Translator(model(), background=(1, 2, 3))  # type: ignore[arg-type]


def test_a_small_image_for_a_model_of_a_huge_size_is_refused_with_the_way_on(tmp_path: Path) -> None:
    small = model(None)
    data = small.config.settings.data.model_copy(update={"image_size": (4096, 4096)})
    settings = small.config.settings.model_copy(update={"data": data})
    huge = Model(small.generator, None, small.config.model_copy(update={"settings": settings}))
    images.write(tmp_path / "in/a.png", noise(40, 60, 3))
    ((_, reason),) = run(Translator(huge), tmp_path, memory=5e8).failed
    assert "the model sees it at 4096x4096; --present native" in reason
    assert not run(Translator(huge, present="native"), tmp_path, memory=5e8).failed


# ---- side-by-side files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [None, 32])
@pytest.mark.parametrize("half", ["left", "right"])
def test_the_half_of_the_source_is_taken(tmp_path: Path, half: str, tile: int | None) -> None:
    translator = Translator(model(half=half))
    both = noise(64, 128, 3)
    images.write(tmp_path / "in/a.png", both)
    source = both[:, :64] if half == "left" else both[:, 64:]
    tiling = Tiling(tile, 0 if tile else None)
    notes = run(translator, tmp_path, tiling=tiling).notes
    assert notes[0] == f"took the {half} half of 1 side-by-side file: --half whole takes all"
    expected = translator(np.ascontiguousarray(source)).astype(int)
    assert np.abs(images.read(tmp_path / "out/a.png") - expected).max() <= 1


HALVES: dict[str, tuple[dict[str, Any], tuple[int, int], str, int, str]] = {
    "a source alone": ({"half": "left"}, (64, 64), "auto", 64, ""),
    "of another size": ({"half": "left"}, (100, 200), "auto", 200, "took 1 file whole: .*give --half left"),
    "of another shape": ({"half": "left"}, (64, 100), "auto", 100, ""),
    "asked to be whole": ({"half": "left"}, (64, 128), "whole", 128, ""),
    "asked for the other": ({"half": "left"}, (64, 128), "right", 64, "took the right half of 1"),
    "a model of other files": ({}, (64, 128), "auto", 128, ""),
    "an older model, asked": ({}, (64, 128), "left", 64, "took the left half of 1"),
    "several sizes": ({"half": "left", "scale": None}, (50, 100), "auto", 100, "took 1 file whole"),
}


@pytest.mark.parametrize("case", HALVES)
def test_a_half_is_taken_only_where_it_is_evident_or_asked_for(tmp_path: Path, case: str) -> None:
    changes, size, choice, width, note = HALVES[case]
    images.write(tmp_path / "in/a.png", noise(*size, 3))
    result = run(Translator(model(**changes)), tmp_path, half=choice)
    assert not result.failed
    assert images.probe(tmp_path / "out/a.png").size == (size[0], width)
    found = [text for text in result.notes if text.startswith("took")]
    assert len(found) == bool(note)
    if note:
        assert re.search(note, found[0])


def test_an_odd_width_has_no_half(tmp_path: Path) -> None:
    images.write(tmp_path / "in/a.png", noise(9, 11, 3))
    result = run(Translator(model()), tmp_path, half="left")
    assert "is 11 pixels wide" in result.failed[0][1]
    with pytest.raises(ConfigError, match="--half middle: expected auto, left, right, whole"):
        translate("model", "in", output="out", half="middle")  # type: ignore[arg-type]


# ---- channels --------------------------------------------------------------------------------------------------


def drawing(folder: Path, name: str) -> Any:
    """Write a drawing of a kind, and return what it is in RGB over white."""
    pixels, opacity = noise(32, 32, 3), noise(32, 32)
    path = folder / name
    if name == "gray.png":
        images.write(path, pixels[..., :1])
        return np.repeat(pixels[..., :1], 3, axis=2)
    if name == "palette.png":
        palette = to_pil(pixels).quantize(8)
        palette.save(path)
        return np.asarray(palette.convert("RGB"))
    if name == "bits.png":
        Image.fromarray(opacity > 100).save(path)
        return np.repeat((opacity > 100)[..., None] * np.uint8(255), 3, axis=2)
    rgba = np.dstack([pixels, opacity])
    share = opacity[..., None] / 255
    if name == "clear.tif":
        tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=["unassalpha"])
    else:
        Image.fromarray(rgba).save(path)
    return np.rint(pixels * share + 255 * (1 - share)).astype(np.uint8)


@pytest.mark.parametrize("tile", [None, 16])
def test_drawings_of_any_kind_are_brought_to_the_channels(tmp_path: Path, tile: int | None) -> None:
    translator = Translator(make_model(depth=4))
    (tmp_path / "in").mkdir()
    kinds = ["gray.png", "palette.png", "bits.png", "clear.png", "clear.tif"]
    expected = {name: translator(drawing(tmp_path / "in", name)).astype(int) for name in kinds}
    result = run(translator, tmp_path, tiling=Tiling(tile, 0 if tile else None))
    assert not result.failed
    assert result.notes == (
        "gray was repeated to 3 channels (2 images); transparent pixels were laid over white (2 images): "
        "--strict refuses such images",
    )
    if tile is None:
        for name, output in expected.items():
            assert np.abs(images.read(tmp_path / "out" / name) - output).max() <= 1, name
    strict = run(Translator(make_model(depth=4), strict=True), tmp_path)
    assert {path.name for path, _ in strict.failed} == {"gray.png", "bits.png", "clear.png", "clear.tif"}


def test_colour_becomes_gray_for_a_model_of_gray_but_depth_is_not_guessed(tmp_path: Path) -> None:
    pixels = noise(32, 32, 3)
    images.write(tmp_path / "in/a.png", pixels)
    images.write(tmp_path / "in/deep.png", pixels.astype(np.uint16) * 200)
    result = run(Translator(make_model(source=1)), tmp_path)
    assert result.notes == ("colour became its luminance (1 image): --strict refuses such images",)
    expected = Translator(make_model(source=1))(np.asarray(to_pil(pixels).convert("L")))
    assert np.array_equal(images.read(tmp_path / "out/a.png"), expected)
    ((path, reason),) = result.failed
    assert path.name == "deep.png"
    assert "holds uint16 values, but the model translates uint8" in reason
