"""An image in tiles is the image that is translated whole, as far as both fit into memory, and has no seams."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from pix2pix.data.io import images
from pix2pix.errors import ConfigError
from pix2pix.inference import bands, huge
from pix2pix.inference.any_size import AnySize
from pix2pix.inference.bands import PresentedImage, resize_bands
from pix2pix.inference.huge import Tiling, translate_huge
from pix2pix.inference.jobs import Job
from pix2pix.inference.memory import Budget, needed_memory
from pix2pix.inference.pipeline import Options, translate_files
from pix2pix.inference.settle import settle_statistics, uses_image_statistics
from pix2pix.inference.tiles import Axis, TileGrid, sample_tiles, translate_tiles
from pix2pix.inference.translator import Translator
from pix2pix.networks.blocks import BatchNorm, InstanceNorm
from tests.inference.small_models import SIZE, make_model, noise, seams

# ---- the grid --------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(tiles=st.integers(1, 12), tile=st.integers(1, 5), overlap=st.integers(0, 4), unit=st.sampled_from([1, 8]))
@example(tiles=5, tile=4, overlap=3, unit=8)
def test_tiles_cover_an_axis_and_their_weights_sum_to_one(tiles: int, tile: int, overlap: int, unit: int) -> None:
    axis = Axis.plan(tiles * unit, tile * unit, min(overlap, tile - 1) * unit)
    total = torch.zeros(axis.length)
    for start, weights in zip(axis.starts, axis.weights(), strict=True):
        assert start % unit == 0
        assert len(weights) == axis.tile
        assert (weights > 0).all()
        total[start : start + axis.tile] += weights
    torch.testing.assert_close(total, torch.ones(axis.length))
    assert axis.starts[-1] + axis.tile == axis.length
    assert len(set(axis.starts)) == len(axis.starts)


def test_weights_fall_to_the_borders_of_tiles() -> None:
    first, second = Axis.plan(24, 16, 8).weights()
    assert first[:8].eq(1).all()
    assert second[8:].eq(1).all()
    assert first[8:].diff().max() <= 0
    assert first[-2:].max() < 0.01, "a quarter of the overlap is left out"
    assert second[:2].max() < 0.01


def test_tiles_of_a_pointwise_network_are_the_whole() -> None:
    source = torch.rand(3, 72, 104)
    grid = TileGrid.plan((72, 104), 32, 16)
    done: list[int] = []
    rows = translate_tiles(grid, lambda top, end: source[:, top:end], lambda x: 2 * x[:, :2], lambda: done.append(1))
    torch.testing.assert_close(torch.cat(list(rows), dim=1), 2 * source[:2])
    assert len(done) == grid.count == 4 * 6


@pytest.mark.parametrize("most", [1, 2, 5, 16, 1000])
def test_samples_are_spread_over_the_image(most: int) -> None:
    grid = TileGrid.plan((80, 320), 16, 8)
    image = torch.stack(torch.meshgrid(torch.arange(80), torch.arange(320), indexing="ij"))
    samples = torch.cat(list(sample_tiles(grid, lambda top, end: image[:, top:end], most)))
    assert most / 2 <= len(samples) <= most or len(samples) == grid.count
    centres = samples.float().mean(dim=(0, 2, 3))
    np.testing.assert_allclose(centres, [39.5, 159.5], atol=0.25 * 320 / len(samples) ** 0.5)


# ---- bands -----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(2, 50), st.integers(2, 40)),
    presented=st.tuples(st.integers(2, 60), st.integers(2, 60)),
    multiple=st.sampled_from([1, 8]),
    step=st.integers(1, 30),
)
def test_bands_of_the_presented_image_are_those_of_the_whole(
    size: tuple[int, int], presented: tuple[int, int], multiple: int, step: int
) -> None:
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(5, *size)).astype(np.float32))
    sources = [(2, False), (2, True), (1, False)]
    seen: list[Tensor] = []

    def look(x: Tensor) -> Tensor:
        seen.append(x[0])
        return x[:, :3]

    expected = AnySize(look, multiple, lambda _: presented, sources)(image[None])[0]  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "CHUNK_BYTES", 4000)
        by_bands = PresentedImage(lambda top, end: image[:, top:end], size, presented, multiple, sources)
        cuts = [*range(0, by_bands.padded[0], step), by_bands.padded[0]]
        parts = [by_bands.read_band(top, end) for top, end in pairwise(cuts)]
        torch.testing.assert_close(torch.cat(parts, dim=1), seen[0], rtol=1e-4, atol=1e-5)
        output = [part[:3, :, : presented[1]] for part in parts]
        rows = torch.cat(output, dim=1)[:, : presented[0]]
        back = list(resize_bands(torch.split(rows, step, dim=1), presented, size))
    torch.testing.assert_close(torch.cat(back, dim=1), expected, rtol=1e-4, atol=1e-5)


# ---- statistics ------------------------------------------------------------------------------------------------


def network_with(norm: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), norm, nn.ReLU(), nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8))
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network.eval()


def image_norm() -> BatchNorm:
    norm = BatchNorm(8)
    norm.statistics = "image"
    return norm


@pytest.mark.parametrize("norm", [image_norm(), InstanceNorm(8, affine=True), nn.GroupNorm(4, 8), nn.GroupNorm(1, 8)])
def test_statistics_of_all_parts_are_those_of_the_whole(norm: nn.Module) -> None:
    """Exactly, for a network whose pixels do not see each other."""
    network = network_with(norm)
    image = torch.rand(1, 3, 16, 16) * torch.linspace(0, 2, 16)
    parts = image.unfold(3, 4, 4).permute(0, 3, 1, 2, 4)[0]  # (4, 3, 16, 4)
    settled = settle_statistics(network, [parts])
    with torch.no_grad():
        expected = network(image)
        torch.testing.assert_close(settled(image), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(settled(image[..., :5]), expected[..., :5], rtol=1e-4, atol=1e-4)
        assert (network(image[..., :5]) - expected[..., :5]).abs().mean() > 0.1, "the control: its own statistics"
    assert uses_image_statistics(network)
    assert not uses_image_statistics(settled)


def test_running_averages_stay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), BatchNorm(8)).eval()
    assert not uses_image_statistics(network)
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(settle_statistics(network, [image])(image), network(image))


# ---- files -----------------------------------------------------------------------------------------------------


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """Blobs of the size of a tile on a gradient: statistics differ from place to place."""
    torch.manual_seed(0)
    coarse = F.interpolate(torch.rand(1, 3, 8, 8), (height, width), mode="bicubic").clamp(0, 1)
    fine = torch.rand(1, 3, height, width) * torch.linspace(0, 0.5, width)
    return ((coarse + fine) / 1.5 * 255).byte()[0].permute(1, 2, 0).numpy()


def translate_image(translator: Translator, path: Path, out: Path, tiling: Tiling) -> NDArray[Any]:
    result = translate_files(translator, [path], out, Options(tiling=tiling))
    assert result.failed == ()
    return images.read(out / path.name)


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 0.6), (1.3, 0.8), None])
def test_with_running_averages_tiles_are_the_whole(tmp_path: Path, scale: Any) -> None:
    """Where a pixel sees no further than a quarter of the overlap, at every scale."""
    translator = Translator(make_model(scale=scale, statistics="running", depth=2))
    tifffile.imwrite(tmp_path / "a.tif", smooth(173, 210), photometric="rgb", tile=(64, 64))
    whole = translate_image(translator, tmp_path / "a.tif", tmp_path / "whole", Tiling())
    tiled = translate_image(
        translator, tmp_path / "a.tif", tmp_path / "tiled", Tiling(28, 16) if scale is None else Tiling(96, 48)
    )
    assert np.ptp(whole) > 20
    difference = np.abs(tiled.astype(int) - whole)
    assert difference.max() <= 1
    # The control: without an overlap they differ at the borders.
    if scale is not None:
        apart = translate_image(translator, tmp_path / "a.tif", tmp_path / "apart", Tiling(32, 0))
        assert np.abs(apart.astype(int) - whole).max() > 5


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".png"])
def test_one_tile_is_the_whole(tmp_path: Path, suffix: str) -> None:
    """The way through bands of rows is the usual one, up to rounding."""
    translator = Translator(make_model(scale=(0.8, 0.8)))
    path = tmp_path / f"a{suffix}"
    images.write(path, smooth(121, 90))
    whole = translate_image(translator, path, tmp_path / "whole", Tiling())
    budget = Budget.of(translator.model, translator.device, 1e9)
    translate_huge(translator, Job((path,), Path(path.name)), tmp_path / f"tiled{suffix}", Tiling(), budget)
    assert np.abs(images.read(tmp_path / f"tiled{suffix}").astype(int) - whole).max() <= 1


def seam(image: NDArray[Any], borders: list[int]) -> float:
    """Return how far the mean step across the borders of tiles differs from that elsewhere: 0 for none."""
    steps = np.abs(np.diff(image.astype(float), axis=1)).mean(axis=(0, 2))
    at = np.array(borders) - 1
    return float(abs(steps[at].mean() / np.delete(steps, at).mean() - 1))


def test_tiles_have_no_seams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With norms that use the statistics of the image."""
    translator, path = Translator(make_model(depth=3)), tmp_path / "a.tif"
    torch.manual_seed(0)
    blobs = F.interpolate(torch.rand(1, 3, 6, 20), (128, 512), mode="bicubic").clamp(0, 1)[0] * torch.linspace(
        0.2, 1, 512
    )
    tifffile.imwrite(path, (255 * blobs).byte().permute(1, 2, 0).numpy(), photometric="rgb")
    whole = translate_image(translator, path, tmp_path / "whole", Tiling()).astype(int)
    tiled = translate_image(translator, path, tmp_path / "tiled", Tiling(96, 64)).astype(int)
    shifted = translate_image(translator, path, tmp_path / "shifted", Tiling(128, 64)).astype(int)
    borders = seams(Axis.plan(512, 96, 64))
    assert abs(seam(tiled, borders) - seam(whole, borders)) < 0.02
    # The control: each tile as an image of its own, side by side.
    monkeypatch.setattr(huge, "uses_image_statistics", lambda _: False)
    pieces = translate_image(translator, path, tmp_path / "pieces", Tiling(64, 0)).astype(int)
    assert seam(pieces, list(range(64, 512, 64))) > 0.3
    assert np.abs(tiled - shifted).mean() < np.abs(tiled - pieces).mean() / 5
    assert np.abs(tiled - whole).mean() < np.abs(pieces - whole).mean() / 4


def test_an_image_that_does_not_fit_is_translated_in_tiles(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huge, "CHUNK_BYTES", 100_000)
    monkeypatch.setattr(bands, "CHUNK_BYTES", 100_000)
    translator = Translator(make_model())
    for number, side in enumerate((20, 400)):
        images.write(tmp_path / f"in/{number}.tif", smooth(side, side))
    tiles: list[tuple[int, int | None, str]] = []
    memory = needed_memory(translator.model, (300, 300))
    result = translate_files(
        translator,
        [tmp_path / "in"],
        tmp_path / "out",
        Options(memory=memory),
        tile_progress=lambda *n: tiles.append(n),
    )
    assert result.failed == ()
    assert "1.tif: is 400x400 (HxW) and would take about" in caplog.text
    assert "0.tif" not in caplog.text
    done, count, name = tiles[-1]
    assert (done, name) == (count, "1.tif")
    assert len(tiles) == count > 1
    assert images.read(tmp_path / "out/1.tif").shape == (400, 400, 3)


def test_what_does_not_fit_even_so_is_refused(tmp_path: Path) -> None:
    translator = Translator(make_model())
    images.write(tmp_path / "in/a.tif", smooth(200, 200))
    images.write(tmp_path / "in/b.png", smooth(200, 200))
    result = translate_files(translator, [tmp_path / "in"], tmp_path / "out", Options(memory=200_000))
    reasons = {path.name: reason for path, reason in result.failed}
    assert "a.tif: is 200x200 (HxW), and translating it in tiles of" in reasons["a.tif"]
    assert reasons["a.tif"].endswith("give more by --memory, or cut it into parts")
    assert "give it as an uncompressed or tiled .tif or as .npy" in reasons["b.png"]


@pytest.mark.parametrize(
    ("tiling", "message"),
    [
        (Tiling(50), f"--tile 50: expected a multiple of {SIZE}"),
        (Tiling(0), "--tile 0"),
        (Tiling(-SIZE), "--tile -32"),
        (Tiling(64, 64), "--overlap 64: expected 0 or a multiple of 32 for this model below --tile 64"),
        (Tiling(64, 5), "--overlap 5"),
        (Tiling(None, -32), "--overlap -32"),
    ],
)
def test_tiles_off_the_grid_are_misuse(tmp_path: Path, tiling: Tiling, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        translate_files(Translator(make_model()), [tmp_path], tmp_path / "out", Options(tiling=tiling))


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_a_bad_value_is_reported_by_its_row(tmp_path: Path, dtype: str) -> None:
    values = noise(100, 80, 3).astype(dtype)
    images.write(tmp_path / "a.npy", values)
    result = translate_files(
        Translator(make_model()), [tmp_path / "a.npy"], tmp_path / "out", Options(tiling=Tiling(32, 0))
    )
    assert "holds" in result.failed[0][1]
    assert not list((tmp_path / "out").glob("*.npy"))


def test_a_model_that_is_not_finite_gives_no_tiles(tmp_path: Path) -> None:
    model = make_model(statistics="running")
    next(iter(model.generator.parameters())).data.fill_(float("nan"))
    images.write(tmp_path / "a.tif", noise(100, 80, 3))
    result = translate_files(Translator(model), [tmp_path / "a.tif"], tmp_path / "out", Options(tiling=Tiling(32, 0)))
    assert "the model gives no image for it" in result.failed[0][1]
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == []
