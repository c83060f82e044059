"""Every depth and number of channels goes in and comes back exactly; a training on it ends in the target's units."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from imagecodecs import png_encode
from numpy.typing import NDArray
from PIL import Image

from pix2pix.cli import main
from pix2pix.config import Data
from pix2pix.config.io import make_config
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.encoding.ranges import RangeEncoding, type_bounds
from pix2pix.data.io import file_facts, images
from pix2pix.data.io.arrays import TYPES, ImageFacts
from pix2pix.data.io.view import View
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.errors import ConfigError, DataError
from pix2pix.inference.translator import Translator

INTEGERS = [name for name in TYPES if name != "float32"]


@st.composite
def any_values(draw: st.DrawFn) -> NDArray[np.generic]:
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 2, 3, 4, 7])))
    dtype = draw(st.sampled_from(TYPES))
    elements = {"allow_nan": False, "allow_infinity": False} if dtype == "float32" else {}
    return draw(arrays(np.dtype(dtype), shape, elements=elements or None))  # type: ignore[arg-type]


# ---- files ---------------------------------------------------------------------------------------------------


@given(any_values(), st.sampled_from([".png", ".tif", ".npy"]))
def test_files_hold_every_type_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: NDArray[np.generic], suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"x{suffix}"
    if not images.can_hold(suffix, values.dtype.name, values.shape[2]):
        with pytest.raises(DataError, match=r"x\.png: cannot be written as '\.png' with .* use .*\.npy"):
            images.write(path, values)
        return
    images.write(path, values)
    again = images.read(path, alpha=True)
    assert again.dtype == values.dtype
    assert np.array_equal(again, values)
    height, width, channels = values.shape
    facts = images.probe(path)
    assert (facts.height, facts.width, facts.dtype) == (height, width, values.dtype.name)
    colour = values.dtype in (np.uint8, np.uint16)
    alpha = (suffix == ".png" and channels in (2, 4)) or (suffix == ".tif" and channels == 4 and colour)
    assert facts.channels == channels - alpha


DEEP = np.random.default_rng(0).integers(0, 65536, (6, 8, 7), dtype=np.uint16)


def tiff(path: Path, values: NDArray[np.generic], **options: object) -> Path:
    tifffile.imwrite(path, values, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("stored", "options"),
    [
        (np.moveaxis(DEEP, 2, 0), {"photometric": "minisblack"}),  # pages
        (np.moveaxis(DEEP, 2, 0), {"ome": True, "photometric": "minisblack", "metadata": {"axes": "CYX"}}),
        (np.moveaxis(DEEP, 2, 0), {"imagej": True, "metadata": {"axes": "CYX"}}),
        (DEEP, {"photometric": "minisblack", "planarconfig": "contig"}),
        (np.moveaxis(DEEP, 2, 0), {"photometric": "minisblack", "planarconfig": "separate"}),
        (np.moveaxis(DEEP, 2, 0), {"photometric": "minisblack", "tile": (16, 16), "compression": "lzw"}),
        (DEEP.astype(">u2"), {"photometric": "minisblack", "planarconfig": "contig", "byteorder": ">"}),
    ],
    ids=["pages", "ome", "imagej", "samples", "planes", "tiles", "big-endian"],
)
def test_channels_of_a_tiff_in_all_places(
    tmp_path: Path, stored: NDArray[np.generic], options: dict[str, object]
) -> None:
    path = tiff(tmp_path / "x.tif", stored, **options)
    assert np.array_equal(images.read(path), DEEP)
    assert images.probe(path) == ImageFacts(6, 8, 7, "uint16")


def test_what_a_tiff_says_of_its_pixels_is_heard(tmp_path: Path) -> None:
    gray = DEEP[..., 0]
    white = tiff(tmp_path / "white.tif", gray, photometric="miniswhite")
    assert np.array_equal(images.read(white)[..., 0], 65535 - gray)
    turned = tiff(tmp_path / "turned.tif", gray, extratags=[(274, "H", 1, 6, True)])
    assert np.array_equal(images.read(turned)[..., 0], np.rot90(gray, -1))
    assert images.probe(turned) == ImageFacts(8, 6, 1, "uint16")
    bits = tiff(tmp_path / "bits.tif", np.stack([gray > 9, gray > 30000]), photometric="minisblack")
    assert np.array_equal(images.read(bits)[..., 1], np.where(gray > 30000, 255, 0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("reduced_first", [False, True])
def test_reduced_copies_of_a_tiff_are_ignored(tmp_path: Path, dtype: type, reduced_first: bool) -> None:
    image, path = DEEP[..., :3].astype(dtype), tmp_path / "x.tif"
    reduced = {"photometric": "rgb", "subfiletype": 1, "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        if reduced_first:
            writer.write(image[::2, ::2], **reduced)
        writer.write(image, photometric="rgb", metadata=None)
        writer.write(image[::2, ::2], **reduced)
        writer.write(image[::4, ::4], **reduced)
    assert np.array_equal(images.read(path), image)
    assert images.probe(path) == ImageFacts(6, 8, 3, np.dtype(dtype).name)


def test_a_volume_in_one_page_is_a_stack(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 256, (1, 4, 32, 32), dtype=np.uint8)
    path = tiff(tmp_path / "x.tif", volume, photometric="minisblack", volumetric=True, tile=(4, 16, 16))
    with pytest.raises(DataError, match="is a stack of planes"):
        images.read(path)
    assert np.array_equal(images.read(path, View(plane=2))[..., 0], volume[0, 2])


def test_webp_in_a_tiff_is_read_exactly(tmp_path: Path) -> None:
    image = DEEP[..., :3].astype(np.uint8)
    options = {"photometric": "rgb", "compression": "webp", "compressionargs": {"lossless": True}}
    assert np.array_equal(images.read(tiff(tmp_path / "x.tif", image, **options)), image)


def test_alpha_is_a_channel_where_it_is_asked_for_and_else_must_hide_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    for dtype in (np.uint8, np.uint16):
        colour = np.random.default_rng(0).integers(0, 200, (6, 8, 4)).astype(dtype)
        path.write_bytes(png_encode(colour))
        assert np.array_equal(images.read(path, alpha=True), colour)
        with pytest.raises(DataError, match=r"x\.png: has transparency.*--source-channels 4"):
            images.read(path)
        colour[..., 3] = np.iinfo(dtype).max
        path.write_bytes(png_encode(colour))
        assert np.array_equal(images.read(path), colour[..., :3])


# ---- values and numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("bounds", [None, (-3.0, 100.5), (17.0, 18.0), (-40000.0, 70000.0)])
def test_every_integer_comes_back(dtype: str, bounds: tuple[float, float] | None) -> None:
    limits = np.iinfo(dtype)
    every = np.arange(limits.min, limits.max + 1).astype(dtype).reshape(-1, 16, 1)
    values = RangeEncoding(dtype, (bounds or type_bounds(dtype) or (0, 1),))
    tensor = values.to_tensor(every)
    assert tensor.dtype == torch.float32
    assert np.array_equal(values.to_array(tensor), every)
    if bounds is None:
        assert (tensor.min(), tensor.max()) == (-1, 1)


@given(any_values(), st.data())
def test_each_channel_has_its_own_bounds(values: NDArray[np.generic], data: st.DataObject) -> None:
    numbers = st.floats(-1e4, 1e4, width=32)
    bounds = tuple((low, low + data.draw(st.floats(1, 1e4, width=32))) for low in
                   (data.draw(numbers) for _ in range(values.shape[2])))  # fmt: skip
    assume(values.dtype != np.float32 or np.abs(values).max() < 1e38)  # twice that is no float32
    kind = RangeEncoding(values.dtype.name, bounds)
    tensor = kind.to_tensor(values)
    for channel, (low, high) in enumerate(bounds):
        expected = (values[..., channel].astype(np.float64) - low) / (high - low) * 2 - 1
        assert np.allclose(tensor[channel], expected, rtol=1e-5, atol=1e-5)
    again = kind.to_array(tensor)
    if values.dtype == np.float32:
        assert np.allclose(again, values, rtol=1e-5, atol=1e-2)
    else:
        assert np.array_equal(again, values)


def pairs_of(folder: Path, stacks: list[NDArray[np.generic]]) -> list[Pair]:
    pairs = []
    for number, values in enumerate(stacks):
        images.write(folder / f"{number}.npy", values)
        pairs.append(Pair(str(number), ImageRef(folder / f"{number}.npy"), ImageRef(folder / f"{number}.npy")))
    return pairs


def source_bounds(data: Data, pairs: list[Pair]) -> Any:
    """The range of the only source."""
    values = prepare_data(data, pairs).sources[0].values
    assert isinstance(values, RangeEncoding)
    return values.bounds


def test_ranges_are_measured_once_for_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again after a change, for other files and by another measure; otherwise no file is opened."""
    monkeypatch.setattr(file_facts, "FRESH_SECONDS", 0)
    rng, reads = np.random.default_rng(0), [0]
    pairs = pairs_of(tmp_path, [rng.normal(size=(9, 8, 2)).astype(np.float32) for _ in range(4)])
    original = images.read

    def counted(*some: Any, **more: Any) -> Any:
        reads[0] += 1
        return original(*some, **more)

    def bounds(kind: str = "measured", count: int = 4) -> tuple[int, Any]:
        reads[0] = 0
        data = Data(source_range=kind, target_range=((0, 1),), cache_dir=str(tmp_path / "cache"))
        found = source_bounds(data, pairs[:count])
        return reads[0], found

    monkeypatch.setattr(images, "read", counted)
    first = bounds()
    assert first[0] == 4
    assert bounds() == (0, first[1])
    assert bounds("percentile")[0] == 4
    assert bounds("percentile")[0] == 0
    assert bounds(count=3)[0] == 3
    images.write(tmp_path / "2.npy", np.full((9, 8, 2), 99, np.float32))
    again = bounds()
    assert (again[0], again[1][0][1]) == (4, 99.0)


def test_bounds_are_as_asked_or_measured_on_the_pairs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stacks = [rng.normal(size=(50, 40, 2)).astype(np.float32) * [1, 100] + [0, 5] for _ in range(4)]
    stacks = [values.astype(np.float32) for values in stacks]
    pairs, both = pairs_of(tmp_path, stacks), np.concatenate(stacks).reshape(-1, 2)
    measured = source_bounds(Data(), pairs)
    assert np.allclose(measured, np.stack([both.min(axis=0), both.max(axis=0)], axis=1))
    percentile = source_bounds(Data(source_range="percentile"), pairs)
    assert np.allclose(percentile, np.percentile(both, [0.5, 99.5], axis=0).T)
    assert source_bounds(make_config({"data": {"source_range": "-5,7.5"}}).data, pairs) == ((-5, 7.5),)
    with pytest.raises(ConfigError, match=r"data\.source_range type: the sources hold float32 values"):
        source_bounds(Data(source_range="type"), pairs)
    stacks[2][3, 4, 1] = np.nan
    images.write(tmp_path / "2.npy", stacks[2])
    with pytest.raises(DataError, match=r"2\.npy: holds nan at row 3, column 4, channel 1"):
        source_bounds(Data(), pairs)


def test_targets_bounds_must_be_values_that_can_be_written(tmp_path: Path) -> None:
    pairs = pairs_of(tmp_path, [np.zeros((4, 4, 1), np.uint16)])
    with pytest.raises(ConfigError, match=r"data\.target_range -5,7: the targets hold uint16 values"):
        prepare_data(Data(target_range=((-5, 7),)), pairs)
    with pytest.raises(ConfigError, match=r"data\.source_range.*7,7 is not a range"):
        make_config({"data": {"source_range": "7,7"}})


# ---- a training from the command line ------------------------------------------------------------------------

TINY = ["--image-size", "32", "--base-channels", "4", "--discriminator.patch-size", "16", "--epochs", "2",
        "--batch-size", "2", "--samples", "1", "--device", "cpu"]  # fmt: skip


def pix2pix(*words: object) -> None:
    main([str(word) for word in words])


def ramps(count: int) -> list[NDArray[np.float64]]:
    """Smooth pictures (44, 36) in [0, 1], none square."""
    rng = np.random.default_rng(0)
    noise = [np.cumsum(np.cumsum(rng.normal(size=(44, 36)), 0), 1) for _ in range(count)]
    return [(each - each.min()) / (each.max() - each.min()) for each in noise]


def sixteen_bits(folder: Path) -> str:
    """8-bit sources; 16-bit gray PNG targets of 12 bits."""
    for number, ramp in enumerate(ramps(6)):
        images.write(folder / f"A/{number}.png", (ramp * 255).astype(np.uint8)[..., None])
        images.write(folder / f"B/{number}.png", (ramp * 4000 + 95).astype(np.uint16)[..., None])
    return ".png"


def seven_channels(folder: Path) -> str:
    """float32 TIFF sources of seven channels in other units each; int16 TIFF targets."""
    for number, ramp in enumerate(ramps(6)):
        stack = np.stack([ramp * 10.0**power - power for power in range(7)], axis=2)
        images.write(folder / f"A/{number}.tif", stack.astype(np.float32))
        images.write(folder / f"B/{number}.tif", (ramp * 3000 - 1000).astype(np.int16)[..., None])
    return ".tif"


@pytest.mark.parametrize(
    ("make", "dtype", "bounds"), [(sixteen_bits, "uint16", (95, 4095)), (seven_channels, "int16", (-1000, 2000))]
)
def test_from_files_to_the_targets_units(
    tmp_path: Path,
    make: Callable[[Path], str],
    dtype: str,
    bounds: tuple[int, int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    suffix = make(data)
    pix2pix("train", data, "--run", run, "--target-range", f"{bounds[0]},{bounds[1]}", "--dry-run", *TINY)
    pix2pix("train", data, "--run", run, *TINY)
    assert f"{dtype} from {bounds[0]} to {bounds[1]}" in capsys.readouterr().err
    pix2pix("evaluate", run, data, "--json")
    assert 0 < json.loads(capsys.readouterr().out)["l1"] < 1
    pix2pix("translate", run, data / "A", "--output", tmp_path / "out")
    pix2pix("data", "preview", data, "--augmented", "--output", tmp_path / "sheet.png")
    translator = Translator.from_pretrained(run, device="cpu")
    for written in [tmp_path / f"out/0{suffix}", *(run / "evaluation/test/outputs").iterdir()]:
        output = images.read(written)
        assert written.suffix == suffix
        assert output.dtype == dtype
        assert bounds[0] <= output.min() < output.max() <= bounds[1]
    source = images.read(data / f"A/0{suffix}")
    assert np.array_equal(translator(source), images.read(tmp_path / f"out/0{suffix}"))
    other = tmp_path / "other.npy"
    images.write(other, source.astype(np.int8 if source.dtype == np.uint8 else np.uint8))
    with pytest.raises(SystemExit) as exit:
        main(["translate", str(run), str(other), "--output", str(tmp_path / "none")])
    assert exit.value.code == 1
    assert "but the model translates" in capsys.readouterr().err
    if dtype == "uint16":
        assert translator(Image.new("L", (32, 32))).mode == "I;16"
