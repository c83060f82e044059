"""Outputs of `translate` and `evaluate` keep what surrounds the pixels of their sources and targets."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from pix2pix.data.io import images
from pix2pix.data.io.surroundings import Surroundings
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.evaluation.write import output_path, write_output
from pix2pix.inference.huge import Tiling
from pix2pix.inference.pipeline import Options, translate_files
from pix2pix.inference.translator import Translator
from tests.inference.small_models import make_model, noise

GEO = Surroundings(geo=((33550, 12, 3, (10.0, 10.0, 0.0)), (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0))))
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(make_model())


@pytest.mark.parametrize("tile", [None, 32])
def test_a_translation_keeps_the_georeference(translator: Translator, tmp_path: Path, tile: int | None) -> None:
    images.write(tmp_path / "in/x.tif", noise(40, 48, 3), GEO)
    done = translate_files(translator, [tmp_path / "in"], tmp_path / "out", Options(tiling=Tiling(tile)))
    assert not done.failed
    assert not done.lost
    assert images.read_surroundings(tmp_path / "out/x.tif") == GEO


@pytest.mark.parametrize(("half", "kept"), [("left", GEO.geo), ("right", ())])
def test_a_right_half_has_another_origin(translator: Translator, tmp_path: Path, half: str, kept: object) -> None:
    images.write(tmp_path / "in/x.tif", noise(32, 64, 3), GEO)
    done = translate_files(translator, [tmp_path / "in"], tmp_path / "out", Options(half=half))  # type: ignore[arg-type]
    assert not done.failed
    assert images.read_surroundings(tmp_path / "out/x.tif").geo == kept
    assert [what.partition(" ")[0] for what in done.lost] == ["georeference"] * (half == "right")


def test_what_is_lost_is_reported_once(translator: Translator, tmp_path: Path) -> None:
    gray = Translator(make_model(3, 1))
    for number in range(2):
        place = tmp_path / f"in/{number}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(noise(32, 32, 3)).save(place, icc_profile=ICC, dpi=(300, 300))
    done = translate_files(gray, [tmp_path / "in"], tmp_path / "gray")
    assert {what: len(sources) for what, sources in done.lost.items()} == {
        "colour profile (the outputs are not colours of its kind)": 2
    }
    done = translate_files(translator, [tmp_path / "in"], tmp_path / "colour")
    assert not done.lost
    with Image.open(tmp_path / "colour/0.png") as output:
        assert output.info["icc_profile"] == ICC
        assert round(output.info["dpi"][0]) == 300


def test_an_output_of_an_evaluation_is_placed_as_its_target(tmp_path: Path) -> None:
    model = make_model()
    images.write(tmp_path / "target.tif", noise(40, 80, 3), GEO)
    pair = Pair("x", ImageRef(tmp_path / "source.tif"), ImageRef(tmp_path / "target.tif"))
    write_output(tmp_path, pair, model, noise(20, 20, 3))
    path = output_path(tmp_path, pair, model)
    assert path.suffix == ".tif"
    assert np.array_equal(images.read(path), noise(20, 20, 3))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].tags[33550].value == (40.0, 20.0, 0.0)


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_a_stack_comes_back_as_a_stack(tmp_path: Path, kind: str) -> None:
    translator = Translator(make_model(1, 1))
    planes, wanted = noise(3, 32, 36), []
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.3}
    options = {"ome": True, "metadata": metadata}
    if kind == "imagej":
        size = {"axes": "ZYX", "spacing": 0.3, "unit": "um"}
        options = {"imagej": True, "resolution": (10, 10), "metadata": size}
    tifffile.imwrite(tmp_path / "x.tif", planes, **options)  # type: ignore[arg-type]
    for number, plane in enumerate(planes):
        images.write(tmp_path / f"single/{number}.png", plane[..., None])
    done = translate_files(translator, [tmp_path / "single"], tmp_path / "singles")
    wanted = [images.read(path)[..., 0] for path in sorted(done.written)]
    done = translate_files(translator, [tmp_path / "x.tif"], tmp_path / "out")
    assert not done.failed
    with tifffile.TiffFile(tmp_path / "out/x.tif") as output:
        assert output.is_ome if kind == "ome" else output.is_imagej
        assert output.series[0].axes == "ZYX"
        assert np.array_equal(output.asarray(), np.stack(wanted))
    again = images.read_surroundings(tmp_path / "out/x.tif")
    assert again.voxel == pytest.approx((0.3, 0.1, 0.1))
    assert translate_files(translator, [tmp_path / "x.tif"], tmp_path / "out").already


def test_a_stack_of_as_many_planes_as_the_model_has_channels_is_one_picture(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", noise(3, 32, 36), imagej=True, metadata={"axes": "ZYX"})
    np.save(tmp_path / "y.npy", noise(3, 32, 36))
    done = translate_files(Translator(make_model(3, 1)), [tmp_path / "x.tif", tmp_path / "y.npy"], tmp_path / "out")
    assert not done.failed
    assert images.read(tmp_path / "out/x.tif").shape == (32, 36, 1)
    assert np.array_equal(images.read(tmp_path / "out/x.tif"), images.read(tmp_path / "out/y.npy"))
