"""Samples of an image are draws of dropout: repeatable, and described by their mean and spread."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import nn

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.io import images
from pix2pix.errors import ConfigError, ModelError
from pix2pix.inference import spread
from pix2pix.inference.noise import turn_dropout_on
from pix2pix.inference.pipeline import Options, translate_files
from pix2pix.inference.samples import Sampling
from pix2pix.inference.translator import Translator
from pix2pix.model import Model
from tests.inference.small_models import make_model, noise

BOTH = Sampling(3, spread=True)


def settings(sampling: Sampling, **choices: object) -> Options:
    return Options(seed=0, sampling=sampling, **choices)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def noisy() -> Translator:
    return Translator(make_model(), dropout=True)


def silent(model: Model) -> Model:
    for module in model.generator.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def test_samples_are_the_same_in_files_and_in_python(tmp_path: Path, noisy: Translator) -> None:
    pixels = noise(40, 33, 3)
    images.write(tmp_path / "in/a.png", pixels)
    images.write(tmp_path / "in/a-1.png", noise(9, 9, 3))
    done = translate_files(noisy, [tmp_path / "in"], tmp_path / "out", settings(Sampling(3)))
    assert {path.name for path in done.written} == {f"{stem}-{n}.png" for stem in ("a", "a-1") for n in (1, 2, 3)}
    written = [images.read(tmp_path / f"out/a-{n}.png") for n in (1, 2, 3)]
    plain = Translator(make_model())  # without dropout, which `sample` turns on for itself
    state, before = torch.get_rng_state(), plain(pixels)
    drawn = plain.sample(pixels, 4)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(plain(pixels), before)
    assert all(np.array_equal(*pair) for pair in zip(drawn, written, strict=False))
    assert len({image.tobytes() for image in drawn}) == 4
    assert not np.array_equal(plain.sample(pixels, 1, seed=1)[0], drawn[0])
    (picture,) = plain.sample(Image.fromarray(pixels), 1)
    assert np.array_equal(np.asarray(picture), drawn[0])
    with pytest.raises(ValueError, match="count=0"):
        plain.sample(pixels, 0)
    # The same command again does nothing, a larger one only what is missing.
    again = translate_files(noisy, [tmp_path / "in"], tmp_path / "out", settings(Sampling(4)))
    assert (len(again.already), len(again.written)) == (6, 2)


def test_the_spread_is_that_of_the_files(tmp_path: Path, noisy: Translator) -> None:
    images.write(tmp_path / "a.jpg", noise(40, 33, 3))
    done = translate_files(noisy, [tmp_path / "a.jpg"], tmp_path / "out", settings(BOTH))
    ends = ("1.png", "2.png", "3.png", "mean.tif", "std.tif", "uncertainty.png")
    assert [path.name for path in done.written] == [f"a-{end}" for end in ends], "no JPEG, which changes values"
    samples = np.stack([images.read(tmp_path / f"out/a-{n}.png") for n in (1, 2, 3)]).astype(float)
    mean, std = (tifffile.imread(tmp_path / f"out/a-{kind}.tif") for kind in ("mean", "std"))
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, samples.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, samples.std(axis=0, ddof=1), atol=1e-5)
    assert std.max() > 1
    again = translate_files(noisy, [tmp_path / "a.jpg"], tmp_path / "out", settings(BOTH))
    assert (len(again.already), len(again.written)) == (6, 0)
    more = translate_files(noisy, [tmp_path / "a.jpg"], tmp_path / "out", settings(Sampling(4, spread=True)))
    assert [path.name for path in more.written] == ["a-4.png", "a-mean.tif", "a-std.tif", "a-uncertainty.png"]
    images.write(tmp_path / "out/a-2.png", noise(40, 33, 3))
    (tmp_path / "out/a-std.tif").unlink()
    edited = translate_files(noisy, [tmp_path / "a.jpg"], tmp_path / "out", settings(Sampling(4, spread=True)))
    ((_, reason),) = edited.failed
    assert "a-2.png: was changed since" in reason


def test_files_that_are_read_by_rows_have_a_spread_by_rows(
    tmp_path: Path, noisy: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "CHUNK_BYTES", 20_000)
    tifffile.imwrite(tmp_path / "a.ome.tif", noise(150, 90, 3), photometric="rgb", tile=(64, 64))
    from pix2pix.inference.huge import Tiling

    options = settings(BOTH, tiling=Tiling(96, 32))
    done = translate_files(noisy, [tmp_path / "a.ome.tif"], tmp_path / "out", options)
    assert done.failed == ()
    samples = np.stack([images.read(tmp_path / f"out/a-{n}.ome.tif") for n in (1, 2, 3)]).astype(float)
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out/a-mean.ome.tif"), samples.mean(axis=0), rtol=1e-6)


@pytest.mark.usefixtures("drawn")
def test_the_picture_has_a_scale(tmp_path: Path, noisy: Translator) -> None:
    images.write(tmp_path / "a.png", noise(40, 33, 3))
    translate_files(noisy, [tmp_path / "a.png"], tmp_path / "out", settings(BOTH))
    picture = images.read(tmp_path / "out/a-uncertainty.png", alpha=True)[..., :3]
    assert min(picture.shape[:2]) > 300
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500


def test_classes_have_votes_and_entropy() -> None:
    values = LabelEncoding(("#000000", "#ff0000", "#0000ff"), unknown="#ffffff")
    black, red, blue, white = ((0, 0, 0), (255, 0, 0), (0, 0, 255), (255, 255, 255))
    samples = np.array([[[black, red, white]], [[black, blue, white]], [[black, red, white]], [[black, blue, white]]])
    votes = spread.count_votes(samples.astype(np.uint8), values)
    np.testing.assert_array_equal(votes[0], [[1, 0, 0], [0, 0.5, 0.5], [np.nan] * 3])
    np.testing.assert_array_equal(spread.entropy(votes)[0, :, 0], [0, 1, np.nan])
    flat = np.array([0.0, 0.0, 7.0]).reshape(3, 1, 1, 1), np.full((3, 1, 1, 1), 0.0)
    assert np.isfinite(spread.deviation(flat[0], 0.0))
    assert np.isnan(spread.deviation(flat[1], 0.0)), "all are the value of unknown pixels"


def test_what_has_no_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="trained without dropout, so it has one output"):
        Translator(silent(make_model())).sample(noise(32, 32, 3), 2)
    for words, message in (((0, False), "--samples 0"), ((1, True), "at least two"), ((None, True), "--samples 16")):
        with pytest.raises(ConfigError, match=message):
            Sampling.of(*words)
    network = nn.Sequential(nn.Dropout(0.5)).eval()
    turn_dropout_on(network)
    assert network[0].training
    assert not network.training
    # A sample that would replace an input, and one that nothing can be read of.
    noisy = Translator(make_model(), dropout=True)
    images.write(tmp_path / "a.png", noise(32, 32, 3))
    images.write(tmp_path / "a-1.png", noise(32, 32, 3))
    with pytest.raises(ConfigError, match="would replace"):
        translate_files(noisy, [tmp_path / "a.png", tmp_path / "a-1.png"], tmp_path, settings(Sampling(1)))
    (tmp_path / "bad.png").write_bytes(b"no")
    failed = translate_files(noisy, [tmp_path / "bad.png"], tmp_path / "out", settings(BOTH)).failed
    assert len(failed) == 1, "said once, not for each sample"
    tifffile.imwrite(tmp_path / "z.tif", noise(2, 32, 32, 3), photometric="rgb", ome=True, metadata={"axes": "ZYXS"})
    done = translate_files(noisy, [tmp_path / "z.tif"], tmp_path / "out", settings(BOTH))
    assert len(done.written) == 3
    ((_, reason),) = done.failed
    assert "z-1.tif: is a stack, for which no spread is computed; leave --uncertainty out" in reason
