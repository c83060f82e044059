"""What comes out of a Translator is what the network saw in training, in the kind, size and depth that went in."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from pix2pix.data.encoding import tensors
from pix2pix.data.io import images
from pix2pix.data.io.arrays import to_pil
from pix2pix.data.loading.dataset import PairDataset
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.data.transforms.padding import pad_to_multiple
from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.inference.jobs import Shard
from pix2pix.inference.memory import needed_memory
from pix2pix.inference.pipeline import Options, translate_files
from pix2pix.inference.record import NAME as RECORD
from pix2pix.inference.translate import translate
from pix2pix.inference.translator import Translator
from pix2pix.model import Model, build_networks, load_model
from pix2pix.networks import set_norm_statistics
from tests.inference.small_models import SIZE, Scale, make_model, noise


def floats(pixels: NDArray[np.uint8], dtype: Any = np.float32) -> NDArray[Any]:
    """[-1, 1] by a way of its own."""
    return (pixels.astype(np.float64) / 255 * 2 - 1).astype(dtype)


@cache
def translating(source: int = 3, target: int = 3, scale: Scale = (1.0, 1.0)) -> Translator:
    """One for many tests, which leave it as it is."""
    return Translator(make_model(source, target, scale))


# ---- kind, size, depth ---------------------------------------------------------------------------------------


def channels_first(pixels: NDArray[Any]) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


KINDS: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
    "PIL": to_pil,
    "uint8 array": lambda pixels: pixels,
    "read-only array": lambda pixels: np.broadcast_to(pixels, pixels.shape),
    "mirrored view": lambda pixels: pixels[:, ::-1][:, ::-1],
    "float32 array": floats,
    "float64 array": lambda pixels: floats(pixels, np.float64),
    "float16 array": lambda pixels: floats(pixels, np.float16),
    "uint8 tensor": channels_first,
    "float tensor": lambda pixels: channels_first(floats(pixels)),
    "bfloat16 tensor": lambda pixels: channels_first(floats(pixels)).bfloat16(),
    "uint8 batch": lambda pixels: channels_first(pixels)[None].repeat(2, 1, 1, 1),
    "float batch": lambda pixels: channels_first(floats(pixels))[None].repeat(2, 1, 1, 1),
}


def as_levels(result: Any) -> NDArray[np.float64]:
    """Any kind -> (H, W, C) in levels of 0 to 255, a batch by its first."""
    if isinstance(result, Tensor):
        first = result[0] if result.ndim == 4 else result
        array = first.permute(1, 2, 0).double().numpy()
        whole = result.dtype == torch.uint8
    else:
        array = np.asarray(result).astype(np.float64)
        whole = np.asarray(result).dtype == np.uint8
    array = array[..., None] if array.ndim == 2 else array
    return array if whole else (array + 1) * 127.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_kind_comes_back(kind: str, channels: int) -> None:
    translator = translating(channels, channels)
    pixels = noise(20, 45, channels)
    picture = KINDS[kind](pixels)
    result = translator(picture)
    assert type(result) is type(picture)
    if isinstance(picture, Image.Image):
        assert (result.mode, result.size) == (picture.mode, picture.size)
    else:
        assert result.dtype == picture.dtype
        assert tuple(result.shape) == tuple(picture.shape)
    expected = as_levels(translator(channels_first(floats(pixels))))
    assert np.ptp(expected) > 20, "a flat picture proves nothing"
    coarse = 3.0 if "16" in kind else 0.51  # the input itself is rounded to 8 to 11 bits, or the output to a level
    np.testing.assert_allclose(as_levels(result), expected, atol=coarse)


def test_gray_to_colour_and_back() -> None:
    up, down = translating(1, 3), translating(3, 1)
    gray, colour = noise(33, 31), noise(33, 31, 3)
    assert up(gray).shape == (33, 31, 3)
    assert up(Image.fromarray(gray)).mode == "RGB"
    assert np.array_equal(np.asarray(up(Image.fromarray(gray))), up(gray))
    assert down(colour).shape == (33, 31, 1)
    assert down(Image.fromarray(colour)).mode == "L"
    assert translating(1, 1)(gray).shape == (33, 31)


def test_an_output_is_an_ordinary_tensor() -> None:
    source = torch.zeros(3, SIZE, SIZE, requires_grad=True)
    output = translating()(source, floats=(-1, 1))
    assert not output.requires_grad
    output.add_(1)
    (output * torch.ones(1, requires_grad=True)).sum().backward()
    assert torch.equal(source, torch.zeros(3, SIZE, SIZE))


@settings(max_examples=10)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 110),
    scale=st.sampled_from([None, (1.0, 1.0), (0.5, 0.8), (1.3, 0.1)]),
)
@example(1, 1, None)
@example(1, 1, (0.1, 0.1))
@example(7, 50, (1.0, 1.0))
@example(33, 31, (1.0, 1.0))
@example(100, 40, (0.8, 0.8))
def test_any_size_comes_back(height: int, width: int, scale: Scale) -> None:
    output = translating(scale=scale)(floats(noise(height, width, 3)), floats=(-1, 1))
    assert output.shape == (height, width, 3)
    assert np.isfinite(output).all()
    assert np.abs(output).max() <= 1


# ---- the picture that training saw -----------------------------------------------------------------------------


def test_native_size_is_the_generator_itself() -> None:
    model = make_model()
    source = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    with torch.no_grad():
        expected = model.generator(source)
    torch.testing.assert_close(Translator(model)(source), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [(0.8, 1.6), None])
def test_pictures_are_presented_at_the_scale_of_training(scale: Scale) -> None:
    model = make_model(scale=scale)
    source = torch.rand(1, 3, 40, 20) * 2 - 1
    with torch.no_grad():
        output = model.generator(functional.resize(source, [SIZE, SIZE], antialias=True))
        expected = functional.resize(output, [40, 20], antialias=True)
    torch.testing.assert_close(Translator(model)(source), expected.clamp(-1, 1), rtol=0, atol=1e-6)


def test_other_sizes_are_padded_by_reflection_and_cut() -> None:
    model = make_model()
    source = floats(noise(40, 50, 3))
    padded = np.pad(source, [(0, 24), (0, 14), (0, 0)], mode="reflect")
    with torch.no_grad():
        expected = model.generator(channels_first(padded)[None])[0, :, :40, :50]
    output = Translator(model)(channels_first(source))
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


@settings(max_examples=30)
@given(height=st.integers(1, 20), width=st.integers(1, 40), multiple=st.sampled_from([1, 4, 16]))
def test_reflected_is_numpys_reflect(height: int, width: int, multiple: int) -> None:
    x = np.arange(2 * height * width, dtype=np.float32).reshape(1, 2, height, width)
    expected = np.pad(x, [(0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple)], mode="reflect")
    assert np.array_equal(pad_to_multiple(torch.from_numpy(x), multiple).numpy(), expected)


def test_the_default_is_what_a_training_batch_of_one_shows() -> None:
    """Norm statistics "image": the picture of training mode, but for the noise."""
    model = make_model()
    source = torch.rand(3, 3, SIZE, SIZE) * 2 - 1
    shown = Translator(model)(source)
    model.generator.train()
    for layer in model.generator.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    with torch.no_grad():
        expected = torch.cat([model.generator(one[None]) for one in source])
    torch.testing.assert_close(shown, expected, rtol=0, atol=1e-5)


def test_running_statistics_are_those_of_training(run: Path, facades: Path) -> None:
    """A run in batches keeps averages; its Translator shows what its validation measured."""
    model = load_model(run)
    assert model.config.norm_statistics == "running"
    assert model.config.scale == (0.8, 0.8)
    data = model.config.settings.data.model_copy(update={"path": str(facades)})
    pair = find_pairs(data).splits["val"][0]
    source, _, _ = PairDataset([pair], model.prepared)[0, 0]
    with torch.no_grad():
        validated = model.generator(source[None])
        by_image = make_like(model, "image").generator(source[None])
    whole = tensors.to_tensor(images.read(pair.source.path, pair.source.half))
    translated = functional.resize(Translator(model)(whole), [SIZE, SIZE], antialias=True)
    # The way to the file's size and back blurs a little; other statistics are another picture.
    assert (translated - validated[0]).abs().mean() < 0.02
    assert (by_image - validated).abs().mean() > 0.03


def make_like(model: Model, statistics: Any) -> Model:
    generator, _ = build_networks(model.config.settings)
    generator.load_state_dict(model.generator.state_dict())
    set_norm_statistics(generator, statistics)
    return Model(generator.eval(), None, model.config)


# ---- deterministic, and not ------------------------------------------------------------------------------------


def test_the_default_is_deterministic_and_draws_nothing() -> None:
    translator = Translator(make_model())
    picture = noise(40, 33, 3)
    state = torch.get_rng_state()
    first = translator(picture)
    assert np.array_equal(first, translator(picture))
    assert torch.equal(state, torch.get_rng_state())
    again = Translator(make_model())
    assert np.array_equal(first, again(picture))


def test_dropout_varies_and_repeats_by_seed() -> None:
    picture = noise(40, 33, 3)
    plain, noisy = Translator(make_model())(picture), Translator(make_model(), dropout=True)
    torch.manual_seed(7)
    first, second = noisy(picture), noisy(picture)
    torch.manual_seed(7)
    assert np.array_equal(first, noisy(picture))
    assert np.array_equal(second, noisy(picture))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, plain)


USELESS: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 3}, "--seed 3: is that of dropout, and it is off: add --dropout, or --samples 4"),
    "background": ({"strict": True, "background": "red"}, "--background red: --strict refuses transparent images"),
    "no several sources": ({"source_pattern": "{id}.png"}, "--source-pattern matches the folders of several sources"),
    "engine": ({"engine": "onnxruntime"}, "--engine onnxruntime: runs exported files"),
    "one sample": ({"uncertainty": True}, "--uncertainty: needs at least two samples"),
}


@pytest.mark.parametrize("name", USELESS)
def test_choices_that_change_nothing_are_refused(name: str, tmp_path: Path) -> None:
    make_model().save(tmp_path / "model")
    Image.fromarray(noise(SIZE, SIZE, 3)).save(tmp_path / "a.png")
    choices, words = USELESS[name]
    with pytest.raises(ConfigError, match=words):
        translate(tmp_path / "model", tmp_path / "a.png", output=tmp_path / "out", **choices)
    assert not (tmp_path / "out").exists()


def test_a_half_of_several_sources_is_refused(tmp_path: Path) -> None:
    run = Path(__file__).parents[1] / "fixtures/version_0_1/runs/stacks"
    with pytest.raises(ConfigError, match="--half left: is for files that hold two images"):
        translate(run, [tmp_path, tmp_path], output=tmp_path / "out", half="left")


def test_dropout_of_a_model_without_any_is_refused() -> None:
    model = make_model()
    for module in model.generator.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with pytest.raises(ModelError, match="--dropout: the model was trained without dropout"):
        Translator(model, dropout=True)


def test_a_translator_without_dropout_undoes_one_with() -> None:
    model = make_model()
    expected = Translator(make_model())(noise(SIZE, SIZE, 3))
    Translator(model, dropout=True)
    assert np.array_equal(Translator(model)(noise(SIZE, SIZE, 3)), expected)


@pytest.mark.parametrize("statistics", ["image", "running"])
@pytest.mark.parametrize("size", [(SIZE, SIZE), (50, 21)])
def test_a_batch_is_its_pictures_one_by_one(statistics: str, size: tuple[int, int]) -> None:
    translator = Translator(make_model(statistics=statistics))
    batch = torch.rand(3, 3, *size) * 2 - 1
    one_by_one = torch.stack([translator(one) for one in batch])
    torch.testing.assert_close(translator(batch), one_by_one, rtol=0, atol=1e-5)


# ---- refusals --------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "five channels": (torch.zeros(5, 8, 8).byte(), ModelError, "has 5 channels, but the model translates 3"),
    "channels first as an array": (noise(3, 8, 8), ModelError, r"\(3, 8, 8\).*array.transpose\(1, 2, 0\)"),
    "channels first in a batch": (noise(2, 3, 8, 8), ModelError, r"array.transpose\(0, 2, 3, 1\)"),
    "0 to 1": (noise(8, 8, 3) / 255, ValueError, r"floats=\(0, 1\) or floats=\(-1, 1\)"),
    "above 1": (np.full((8, 8, 3), 1.01, np.float32), ValueError, r"\[-1, 1\], got \[1.01, 1.01\]"),
    "0 to 255": (noise(8, 8, 3).astype(np.float32), ValueError, r"\[-1, 1\]"),
    "not a number": (torch.full((3, 8, 8), float("nan")), ValueError, r"\[-1, 1\], got \[nan, nan\]$"),
    "infinite": (torch.full((3, 8, 8), -float("inf")), ValueError, r"\[-1, 1\], got \[-inf"),
    "int32": (noise(8, 8, 3).astype(np.int32), TypeError, "uint8 or floating.*int32: convert it"),
    "uint16": (noise(8, 8, 3).astype(np.uint16), TypeError, "uint8 or floating.*uint16"),
    "bool": (torch.ones(3, 8, 8, dtype=torch.bool), TypeError, "uint8 or floating.*bool"),
    "a line": (noise(8), ValueError, r"\(N, H, W, C\), got shape \(8,\)"),
    "a batch of gray arrays": (noise(20, 80, 8), ModelError, "has 8 channels, but the model translates 3"),
    "two-dimensional tensor": (torch.zeros(8, 8), ValueError, r"\(N, C, H, W\).*\(8, 8\)"),
    "five-dimensional tensor": (torch.zeros(1, 1, 3, 8, 8), ValueError, r"\(N, C, H, W\)"),
    "no rows": (np.zeros((0, 8, 3), np.float32), ValueError, "0"),
    "no images": (torch.zeros(0, 3, 8, 8), ValueError, "0"),
    "no pixels in PIL": (Image.new("RGB", (0, 8)), ValueError, "8, 0"),
    "16-bit PIL": (Image.new("I;16", (8, 8)), TypeError, "expected uint8 values.*mode I;16 with uint16"),
    "CMYK": (Image.new("CMYK", (8, 8)), ValueError, "convert it to RGB"),
    "masked pixels": (np.ma.masked_less(noise(8, 8, 3), 99), TypeError, r"mask would be lost: give array.filled"),
    "a path": ("picture.png", TypeError, "got str: PIL.Image.open"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_such_picture_is_refused(what: str) -> None:
    picture, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message):
        translating()(picture)


# ---- files and folders -----------------------------------------------------------------------------------------


@pytest.fixture
def translator() -> Translator:
    return translating()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two sizes, four formats, folders within, and what is no picture."""
    folder = tmp_path / "photos"
    for name, size in {"a.png": (20, 30), "b.JPG": (20, 30), "deep/er/c.bmp": (20, 30), "d.webp": (9, 50)}.items():
        images.write(folder / name, noise(*size, 3))
    Image.fromarray(noise(12, 34, 3)).quantize(64).save(folder / "e.gif")
    (folder / "notes.txt").write_text("not a picture")
    images.write(folder / ".hidden" / "x.png", noise(5, 5, 3))
    return folder


def files_in(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix() for path in files}


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_folder_keeps_names_sizes_and_nesting(
    translator: Translator, photos: Path, tmp_path: Path, batch_size: int
) -> None:
    output = tmp_path / "out"
    counts: list[tuple[int, int]] = []
    result = translate_files(
        translator, [photos], output, Options(batch_size), progress=lambda *count: counts.append(count)
    )
    assert files_in(output) == {"a.png", "b.JPG", "deep/er/c.bmp", "d.webp", "e.png"}
    assert {path.relative_to(output).as_posix() for path in result.written} == files_in(output)
    assert result.failed == ()
    assert counts[-1] == (5, 5)
    for path in result.written:
        name = path.relative_to(output)
        pixels = images.read(photos / (name.with_suffix(".gif") if path.name == "e.png" else name))
        expected = translator(pixels)
        written = images.read(path)
        assert written.shape == expected.shape
        lossy = path.suffix == ".JPG"
        difference = np.abs(written.astype(int) - expected)
        assert difference.mean() < (12 if lossy else 0.05)
        assert lossy or difference.max() <= 1  # a batch may round one level otherwise


def test_large_pictures_go_alone_and_too_large_ones_are_refused(
    translator: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, side in enumerate((20, 20, 30, 30, 90)):
        images.write(tmp_path / f"in/{number}.png", np.full((side, side, 3), 9 * number, np.uint8))
    together: list[int] = []
    original = Translator.translate
    monkeypatch.setattr(Translator, "translate", lambda self, x: together.append(len(x)) or original(self, x))
    memory = needed_memory(translator.model, (60, 60))
    options = Options(batch_pixels=1000, memory=memory)
    result = translate_files(translator, [tmp_path / "in"], tmp_path / "out", options)
    assert together == [2, 1, 1]
    ((path, reason),) = result.failed
    assert path.name == "4.png"
    assert re.search(r"4\.png: is 90x90 \(HxW\), and .* GB are allowed: give more by --memory", reason)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_disjoint_and_complete(translator: Translator, photos: Path, tmp_path: Path, count: int) -> None:
    """In whatever order, into one folder that the others have begun to fill."""
    output = photos / "out"
    shards = [Shard.parse(f"{number}/{count}") for number in range(1, count + 1)]
    done = [translate_files(translator, [photos], output, shard=shard) for shard in reversed(shards)]
    written = [path for result in done for path in result.written]
    assert len(written) == len(set(written)) == 5
    assert files_in(output) == {"a.png", "b.JPG", "deep/er/c.bmp", "d.webp", "e.png"}
    assert max(len(result.written) for result in done) - min(len(result.written) for result in done) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", "1.0/2", ""])
def test_what_is_no_shard_is_misuse(text: str) -> None:
    with pytest.raises(ConfigError, match="expected i/n with i from 1 to n"):
        Shard.parse(text)


def test_single_files_go_by_their_own_name(translator: Translator, photos: Path, tmp_path: Path) -> None:
    result = translate_files(translator, [photos / "deep/er/c.bmp", photos / "a.png"], tmp_path / "out")
    assert files_in(tmp_path / "out") == {"c.bmp", "a.png"}
    assert len(result.written) == 2


def test_a_broken_file_does_not_stop_the_others(translator: Translator, photos: Path, tmp_path: Path) -> None:
    whole = (photos / "a.png").read_bytes()
    (photos / "a2.png").write_bytes(whole[: len(whole) // 2])
    images.write(photos / "five.tif", noise(20, 30, 5))
    (photos / "z.jpg").write_bytes(b"")
    result = translate_files(translator, [photos], tmp_path / "out")
    assert files_in(tmp_path / "out") == {"a.png", "b.JPG", "deep/er/c.bmp", "d.webp", "e.png"}
    failed = {path.name: reason for path, reason in result.failed}
    assert set(failed) == {"a2.png", "five.tif", "z.jpg"}
    assert all(reason.startswith(f"{photos / name}: ") for name, reason in failed.items())
    assert "5 channels" in failed["five.tif"]


def test_two_inputs_of_one_output_are_refused(translator: Translator, photos: Path, tmp_path: Path) -> None:
    images.write(photos / "e.png", noise(5, 5, 3))
    other = tmp_path / "other"
    images.write(other / "a.png", noise(5, 5, 3))
    for inputs, named in (([photos], "e.gif"), ([photos / "a.png", other], "a.png")):
        with pytest.raises(DataError, match=rf"{named} and .* would both become"):
            translate_files(translator, inputs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_over_its_input_is_refused(translator: Translator, photos: Path) -> None:
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    for inputs in ([photos], [photos / "a.png"]):
        with pytest.raises(ConfigError, match=r"would replace .*; choose another --output"):
            translate_files(translator, inputs, photos)
    assert before == {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}


def test_an_output_over_another_input_is_refused(
    translator: Translator, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`translate photos --output .` where photos/photos/ holds a picture of the same name."""
    inner = photos / photos.name
    inner.mkdir()
    (inner / "a.png").write_bytes((photos / "a.png").read_bytes())
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    monkeypatch.chdir(photos.parent)
    with pytest.raises(ConfigError, match=r"would replace .*; choose another --output"):
        translate_files(translator, [Path(photos.name)], Path())
    assert before == {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}


def test_earlier_translations_within_the_input_are_no_inputs(translator: Translator, photos: Path) -> None:
    first = translate_files(translator, [photos], photos / "out")
    files = files_in(photos)
    again = translate_files(translator, [photos], photos / "out")
    assert (again.written, again.already) == ((), first.written)
    assert files_in(photos) == files


def test_what_is_not_there_is_refused_before_anything_is_written(
    translator: Translator, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for name, message in (("nowhere", "no such file"), ("empty", "no images"), ("photos/notes.txt", "not an image by")):
        with pytest.raises(DataError, match=rf"{tmp_path / name}: .*{message}"):
            translate_files(translator, [photos, tmp_path / name], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_no_part_of_a_file(
    translator: Translator, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(image: Image.Image, file: Any, **_: Any) -> None:
        file.write(b"half of a")
        raise OSError(28, "No space left on device")

    output = tmp_path / "out"
    images.write(output / "a.png", noise(4, 4, 3))
    before = (output / "a.png").read_bytes()
    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(DataError, match=rf"{output}/a\.png: cannot be written \(No space left"):
        translate_files(translator, [photos], output, Options(overwrite=True))
    assert files_in(output) == {"a.png"}
    assert (output / "a.png").read_bytes() == before


def test_what_training_was_asked_to_convert_is_converted(tmp_path: Path) -> None:
    model = make_model()
    asked = Translator(Model(model.generator, None, model.config.model_copy(update={"converts": True})))
    gray = noise(20, 45, 1)
    as_colour = asked(to_pil(np.repeat(gray, 3, axis=2)))
    assert asked(to_pil(gray)) == as_colour
    images.write(tmp_path / "gray.png", gray)
    result = translate_files(asked, [tmp_path / "gray.png"], tmp_path / "out")
    assert not result.failed
    assert not any("gray" in note for note in result.notes), "the settings of the training say it already"
    assert np.array_equal(images.read(tmp_path / "out" / "gray.png"), np.asarray(as_colour))
