"""What pictures are measured by, each against its definition or another's code; intervals; networks that judge."""

import csv
import json
import math
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torchvision
from conftest import TINY
from torch import Tensor, nn
from torchmetrics.functional.image import learned_perceptual_image_patch_similarity as lpips_of
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from pix2pix.cli import main
from pix2pix.config.fields import BestBy
from pix2pix.config.io import merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.errors import ConfigError, ModelError
from pix2pix.evaluation.evaluate import evaluate
from pix2pix.metrics import perceptual as perceptual_metrics
from pix2pix.metrics.bootstrap import half_sample_interval, mean_intervals
from pix2pix.metrics.perceptual import (
    BY_VGG,
    PERCEPTUAL,
    frechet_distance,
    kernel_distance,
    load_features,
    make_perceptual_metrics,
)
from pix2pix.metrics.pixel import HIGHER_IS_BETTER, image_metrics
from pix2pix.metrics.weights import ALEXNET
from pix2pix.model import load_model
from pix2pix.networks import st_lpips
from pix2pix.training.train import plan_only, train_with

CPU = torch.device("cpu")


def pictures(count: int = 3, size: int = 32, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# ---- single pictures -------------------------------------------------------------------------------------------


def test_masked_pixels_count_for_nothing() -> None:
    output, target = pictures(seed=1), pictures(seed=2)
    mask = torch.ones(3, 1, 32, 32, dtype=torch.bool)
    mask[:, :, 20:] = False
    spoilt = torch.where(mask, output, -target)
    values = image_metrics(spoilt, target, mask)
    kept = image_metrics(output[:, :, :20], target[:, :, :20])
    for name in ("g_l1", "g_l2", "l1", "l2", "psnr"):
        assert values[name].tolist() == pytest.approx(kept[name].tolist(), rel=1e-5)
    assert values["ssim"].tolist() == image_metrics(output, target, mask)["ssim"].tolist()
    whole = image_metrics(output, target, torch.ones_like(mask))
    for name, value in image_metrics(output, target).items():
        assert whole[name].tolist() == pytest.approx(value.tolist(), rel=1e-4), name
    assert all(value.isnan().all() for value in image_metrics(output, target, torch.zeros_like(mask)).values())


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 1, 17, 40), (2, 4, 33, 6)])
def test_ssim_and_psnr_are_torchmetrics_own(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    target = torch.rand(shape) * 2 - 1
    output = 0.7 * target + 0.3 * (torch.rand(shape) * 2 - 1)
    values = image_metrics(output, target)
    picture, truth = (output + 1) / 2, (target + 1) / 2
    ssim = structural_similarity_index_measure(picture, truth, data_range=1.0, reduction="none")
    psnr = peak_signal_noise_ratio(picture, truth, data_range=1.0, dim=(1, 2, 3), reduction="none")
    torch.testing.assert_close(values["ssim"], torch.as_tensor(ssim), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(values["psnr"], torch.as_tensor(psnr), rtol=1e-5, atol=1e-5)


def test_own_units() -> None:
    """16-bit gray spans 65535 units, and each of several channels its own."""
    output, target = pictures(channels=2, seed=1), pictures(channels=2, seed=2)
    values = image_metrics(output, target, span=torch.tensor([65535.0, 10.0]))
    levels = [((image + 1) / 2 * torch.tensor([65535.0, 10.0]).view(-1, 1, 1)).double() for image in (output, target)]
    difference = levels[0] - levels[1]
    assert values["mae"].tolist() == pytest.approx(difference.abs().mean(dim=(1, 2, 3)).tolist(), rel=1e-5)
    assert values["rmse"].tolist() == pytest.approx(difference.square().mean(dim=(1, 2, 3)).sqrt().tolist(), rel=1e-5)
    one = image_metrics(output, target, span=255)
    assert one["mae"].tolist() == pytest.approx((one["l1"] * 255).tolist(), rel=1e-5)


def test_every_metric_can_pick_the_model() -> None:
    assert set(get_args(BestBy)) == {*HIGHER_IS_BETTER, "last", "auto"}
    assert set(PERCEPTUAL) < set(HIGHER_IS_BETTER)


# ---- intervals -------------------------------------------------------------------------------------------------


def test_intervals_of_means() -> None:
    rng = np.random.default_rng(1)
    values = rng.exponential(size=400)
    rows = [{"x": value, "twice": 2 * value, "psnr": math.inf if n == 3 else 1.0} for n, value in enumerate(values)]
    found = mean_intervals(rows)
    assert found == mean_intervals(rows), "seeded"
    assert found["x"] is not None
    assert found["twice"] == pytest.approx([2 * end for end in found["x"]])  # resampled alike
    half = 1.96 * values.std() / 20
    assert found["x"] == pytest.approx((values.mean() - half, values.mean() + half), abs=0.2 * half)
    assert found["psnr"] is None
    assert mean_intervals(rows[:1]) == {"x": None, "twice": None, "psnr": None}


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = sum(
        low <= 0 <= high
        for n in range(200)
        for low, high in [mean_intervals([{"x": x} for x in rng.normal(size=40)], seed=n)["x"] or (1, 1)]
    )
    assert 0.88 < hits / 200 < 0.98


def test_half_samples_know_the_spread_of_a_mean() -> None:
    values = np.random.default_rng(2).normal(size=200)
    interval = half_sample_interval(lambda part: float(values[part].mean()), float(values.mean()), 200)
    assert interval is not None
    assert interval[1] - interval[0] == pytest.approx(2 * 1.96 * values.std() / 200**0.5, rel=0.35)
    assert half_sample_interval(lambda part: 0.0, 0.0, 7) is None


# ---- distances of sets -----------------------------------------------------------------------------------------


class Colours(nn.Module):
    """Means and deviations of the channels: a feature network of six numbers."""

    num_features = 6

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
@pytest.mark.parametrize("count", [4, 40])  # fewer and more than features
def test_fid_and_kid_are_torchmetrics_own(count: int) -> None:
    output, target, network = pictures(count, seed=1), 0.7 * pictures(count, seed=2) + 0.2, Colours()
    fid = FrechetInceptionDistance(network, normalize=True)
    kid = KernelInceptionDistance(network, normalize=True, subsets=1, subset_size=count)
    for images, real in ((target, True), (output, False)):
        fid.update(images, real=real)
        kid.update(images, real=real)
    perceptual = make_perceptual_metrics(["fid", "kid"], image_size=(32, 32), channels=3, device=CPU, features=network)
    for start in range(0, count, 3):
        assert perceptual(output[start : start + 3], target[start : start + 3]) == {}
    found = perceptual.compare_sets(perceptual.take_features(), intervals=True)
    assert found["fid"][0] == pytest.approx(fid.compute().item(), rel=1e-3)
    assert found["kid"][0] == pytest.approx(kid.compute()[0].item(), rel=1e-3, abs=1e-6)
    for value, interval in found.values():
        assert (interval is None) == (count < 8)
        assert interval is None or interval[0] < value < interval[1]
    assert perceptual.take_features() == []


def test_distance_of_a_set_from_itself_is_none() -> None:
    points = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-9)
    moved = frechet_distance(points + 2, points)
    assert moved == pytest.approx(8 * 4, rel=1e-5)
    assert kernel_distance(points + 2, points) > kernel_distance(points, points)
    assert math.isnan(frechet_distance(points[:1], points[:1]))


# ---- weights at hand, and not ----------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def alexnet(path: Path) -> Path:
    """Random weights of AlexNet's convolutions in a file like torchvision's."""
    torch.manual_seed(0)
    weights = torchvision.models.AlexNet().features.state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({f"features.{name}": tensor for name, tensor in weights.items()}, path)
    return path


def test_lpips_from_the_cache_and_from_a_file(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, target = pictures(size=64, seed=1), pictures(size=64, seed=2)

    def measured(*weights: Path) -> list[float]:
        perceptual = make_perceptual_metrics(["lpips"], image_size=(64, 64), channels=3, device=CPU, weights=weights)
        assert not perceptual.missing
        values: list[float] = perceptual(output, target)["lpips"].tolist()
        return values

    odd = alexnet(tmp_path / "mine.pth")
    from_file = measured(odd)
    named = alexnet(cache / ALEXNET.file)
    assert measured() == measured(named) == measured(named.parent) == from_file
    network = torchvision.models.AlexNet()
    network.load_state_dict(torch.load(odd), strict=False)
    monkeypatch.setattr(torchvision.models, "alexnet", lambda weights: network)
    assert from_file == pytest.approx(lpips_of(output, target, reduction="none").tolist(), rel=1e-5)
    gray = make_perceptual_metrics(["lpips"], image_size=(64, 64), channels=1, device=CPU, weights=[odd])
    assert (gray(output[:, :1], target[:, :1])["lpips"] > 0).all()


def test_inception_from_a_file(cache: Path, tmp_path: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path / "inception.pth"
    with pytest.MonkeyPatch.context() as patch:  # its constructor would fetch the weights
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        torch.save(FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict(), path)
    perceptual = make_perceptual_metrics(["fid", "kid"], image_size=(32, 32), channels=1, device=CPU, weights=[path])
    perceptual(pictures(2, channels=1, seed=1), pictures(2, channels=1, seed=2))
    (batch,) = perceptual.take_features()
    outputs, targets = batch["inception"]
    assert outputs.shape == targets.shape == (2, 2048)
    assert all(math.isfinite(value) for value, _ in perceptual.compare_sets(perceptual.take_features()).values())


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without stlpips-pytorch."""

    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(st_lpips, "distribution", absent)


def test_what_is_not_at_hand_says_how_to_get_it(cache: Path, no_package: None) -> None:
    perceptual = make_perceptual_metrics(PERCEPTUAL, image_size=(64, 64), channels=3, device=CPU)
    assert perceptual.missing.keys() == set(PERCEPTUAL)
    assert perceptual(pictures(), pictures()) == {}
    assert "176 pixels" in perceptual.missing["ms_ssim"]
    for name, words in (("lpips", ("alexnet-owt-7be5be79.pth", "torchvision")), ("fid", ("weights-inception",))):
        assert all(word in perceptual.missing[name] for word in (*words, str(cache), "--weights", "run `python -c"))
    assert "--features" in perceptual.missing["kid"]
    assert perceptual.missing["st_lpips"] == "needs stlpips-pytorch: `pip install 'pix2pix[metrics]'`"
    many = make_perceptual_metrics(PERCEPTUAL, image_size=(256, 256), channels=7, device=CPU)
    assert many.missing.keys() == {"lpips", "st_lpips", "fid", "kid", "kid_vgg"}
    assert "7 channels" in many.missing["fid"]
    large = pictures(1, 176, 7)
    assert many(large, large)["ms_ssim"].tolist() == pytest.approx([1])
    for sizes, words in (((17, 64), None), "18 pixels"), (((64, 64), (4000, 2000)), "the largest are 4000x2000"):
        made = make_perceptual_metrics(BY_VGG, image_size=sizes[0], largest=sizes[1], channels=3, device=CPU)
        assert words in made.missing["st_lpips"] == made.missing["kid_vgg"]


def not_weights(folder: Path) -> Path:
    torch.save({"x": torch.zeros(1)}, folder / "x.pth")
    return folder / "x.pth"


def torn(folder: Path) -> Path:
    path = alexnet(folder / "torn.pth")
    path.write_bytes(path.read_bytes()[:1000])
    return path


def other_shape(folder: Path) -> Path:
    torch.save({"features.0.weight": torch.zeros(1)}, folder / "odd.pth")
    return folder / "odd.pth"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "absent.pth", "no such file"),
        (lambda folder: folder, "neither"),
        (not_weights, "neither"),
        (torn, "broken"),
        (other_shape, "does not fit"),
    ],
)
def test_wrong_weights_are_named(cache: Path, tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    path = make(tmp_path)
    with pytest.raises(ModelError, match=words) as caught:
        make_perceptual_metrics(["lpips"], image_size=(64, 64), channels=3, device=CPU, weights=[path])
    assert str(path) in str(caught.value)


# ---- through the verbs -----------------------------------------------------------------------------------------


def test_evaluate_with_a_network_of_ones_own(
    run: Path,
    facades: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.AvgPool2d(16), nn.Flatten())\nnumber = int\n"
    )
    monkeypatch.chdir(tmp_path)
    flags = ["--features", "my_networks:make", "--output", "out", "--device", "cpu", "--json"]
    main(["evaluate", str(run), str(facades), *flags])
    printed = capsys.readouterr()
    metrics = json.loads(printed.out)
    assert metrics["fid"] > 0
    assert metrics["features"] == "Sequential"
    assert metrics["missing"].keys() == {"ms_ssim", "lpips"}
    assert printed.err.count("not measured: ") == 2
    rows = list(csv.DictReader((tmp_path / "out" / "per_image.csv").read_text("utf-8").splitlines()))
    assert metrics["st_lpips"] == pytest.approx(sum(float(row["st_lpips"]) for row in rows) / 3, rel=1e-4)
    assert metrics["kid_vgg"] is not None
    low, high = metrics["intervals"]["l1"]
    assert low < metrics["l1"] < high
    assert metrics["intervals"]["fid"] is None  # of three images
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "was not measured" in page
    assert f"{low:.4f} to {high:.4f}" in page
    same = evaluate(run, facades, output=tmp_path / "again", features=load_features("my_networks:make")).metrics
    assert same["fid"] == pytest.approx(metrics["fid"])
    for wrong in ("my_networks", "no_such:make", "my_networks:mkae", "my_networks:number"):
        with pytest.raises(ConfigError, match=f"--features {wrong}"):
            load_features(wrong)


def test_a_feature_network_that_gives_something_else(run: Path, facades: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected a tensor \(N, d\)"):
        evaluate(run, facades, output=tmp_path, features=nn.Flatten(start_dim=0))


@pytest.mark.parametrize("best_by", ["lpips", "kid", "st_lpips", "kid_vgg"])
def test_training_keeps_the_best_by_any_metric(
    facades: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best_by: Any
) -> None:
    if best_by == "lpips":
        alexnet(cache / ALEXNET.file)
    monkeypatch.setattr(perceptual_metrics, "load_inception", lambda files, channels: Colours())
    settings = merge_settings(TINY, {"training": {"epochs": 3, "best_by": best_by, "samples": 0}})
    run = train_with(choose_settings(facades, None, None, settings), tmp_path / "run")
    lines = (run.path / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index(best_by)
    values = {int(line.split(",")[1]): float(line.split(",")[column]) for line in lines if ",val," in line}
    assert len(values) == 3
    assert load_model(run.path).config.epoch == min(values, key=lambda epoch: values[epoch])


@pytest.mark.parametrize("best_by", ["ms_ssim", "fid", "kid_vgg"])
def test_a_metric_that_cannot_be_measured_picks_nothing(
    facades: Path, cache: Path, no_package: None, tmp_path: Path, best_by: str
) -> None:
    settings = choose_settings(facades, None, None, merge_settings(TINY, {"training": {"best_by": best_by}}))
    for call in (plan_only, train_with):
        with pytest.raises(ConfigError, match=rf"best_by {best_by} cannot be measured: .*; or choose another"):
            call(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()
