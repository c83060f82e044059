"""Holes of a target are neither learnt nor measured, nor do they leak into what is around them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pix2pix.cli import main
from pix2pix.config import Augment, Data, Loss
from pix2pix.config.io import make_config
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.io import images
from pix2pix.data.loading.dataset import Batch, make_dataset
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.errors import DataError
from pix2pix.losses import reconstruction_terms
from pix2pix.metrics.diagnostics import TrainingTargets, diagnose, make_thumbnails
from pix2pix.metrics.label_score import LabelScore
from pix2pix.metrics.perceptual import PerceptualMetrics
from pix2pix.metrics.pixel import mean_scores, score
from pix2pix.metrics.segmentation import Segmenter
from pix2pix.networks.st_lpips import STLPIPS


def depth(folder: Path, mask: float, count: int = 6) -> list[Pair]:
    """float32 depths from 2 to 3 with a hole of a third; sources without one."""
    pairs = []
    for number in range(count):
        ramp = np.linspace(2, 3, 40 * 36, dtype=np.float32).reshape(40, 36, 1)
        images.write(folder / f"A/{number}.tif", ramp * 10 + number)
        holed = ramp.copy()
        holed[number : number + 20, 5:25] = mask
        images.write(folder / f"B/{number}.tif", holed)
        pairs.append(Pair(str(number), ImageRef(folder / f"A/{number}.tif"), ImageRef(folder / f"B/{number}.tif")))
    return pairs


@pytest.mark.parametrize("mask", ["nan", -9999.0])
def test_holes_stay_holes_through_resizing_and_warping(tmp_path: Path, mask: str | float) -> None:
    pairs = depth(tmp_path, float(mask))
    data = Data(image_size=(32, 32), cache="memory", mask_value=mask)
    prepared = prepare_data(data, pairs)
    assert prepared.target_values.bounds == ((2, 3),)
    dataset = make_dataset(pairs, prepared, data, Augment(affine=1, affine_degrees=20), (36, 36), 0)
    for epoch in range(3):
        batch = dataset.__getitems__([(epoch, index) for index in range(6)])
        assert not isinstance(batch, DataError)
        assert batch.mask is not None
        assert 0.1 < 1 - batch.mask.float().mean() < 0.6
        assert (batch.target[~batch.mask] == 0).all()
        assert batch.target[batch.mask].abs().max() <= 1 + 1e-6  # nothing of -9999 is mixed in


def test_nothing_is_counted_in_a_hole() -> None:
    output, target = torch.rand(2, 1, 8, 8, requires_grad=True), torch.rand(2, 1, 8, 8)
    mask = torch.rand(2, 1, 8, 8) > 0.4
    terms = reconstruction_terms(output, target, mask)
    assert torch.isclose(terms["g_l1"], (output - target)[mask].abs().mean())
    assert torch.isclose(terms["g_l2"], (output - target)[mask].square().mean())
    terms["g_l1"].backward()
    assert output.grad is not None
    assert (output.grad[~mask] == 0).all()
    assert (output.grad[mask] != 0).all()


class Moving(nn.Module):
    """The source, with dropout if it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.2)

    def forward(self, source: torch.Tensor) -> torch.Tensor:
        return self.dropout(source)


class Colours(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)


class Difference(nn.Module):
    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output - target).abs().mean(dim=(1, 2, 3), keepdim=True)


def small_vgg() -> STLPIPS:
    """ST-LPIPS with a network of five small stages."""
    torch.manual_seed(0)
    network = STLPIPS([nn.Sequential(nn.Conv2d(3 if stage == 0 else 4, 4, 3, stride=2)) for stage in range(5)])
    for buffer in network.buffers():
        buffer.fill_(0.5)
    return network


def all_numbers(output: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None) -> dict[str, object]:
    """Every number of an evaluation of these outputs but the discriminator's."""
    perceptual = PerceptualMetrics(
        multiscale=True,
        lpips=Difference(),
        vgg=small_vgg(),
        features=Colours(),
        set_metrics=("fid", "kid", "kid_vgg"),
    )
    batch = Batch(output, target, torch.arange(len(output)), mask)
    span = torch.tensor([40.0])
    scored = [
        one.values for one, _ in score(nn.Identity(), None, [batch], Loss(), torch.device("cpu"), perceptual, span)
    ]

    training = TrainingTargets(make_thumbnails(target.flip(0).roll(1, 2)), lambda index: ("x", target[0]))
    names = ["x"] * len(output)
    diagnostics = diagnose(Moving().eval(), batch, torch.device("cpu"), names=names, training=training)
    network = nn.Conv2d(3, 4, 3, padding=1)
    labels = LabelScore(Segmenter(network, ((0, 0, 0), (99, 0, 0), (0, 99, 0), (0, 0, 99)), torch.device("cpu")))
    pair = Pair("x", *[ImageRef(Path("labels.png"))] * 2)
    read = [labels.add(pair, *each) for each in zip(output, target, [None] * 4 if mask is None else mask, strict=True)]
    return {
        "images": scored,
        "set": perceptual.compare_sets(perceptual.take_features()),
        "diagnostics": diagnostics.numbers,
        "spectrum": diagnostics.spectrum,
        "neighbours": [(one.distance, one.distance_to_own) for one in diagnostics.neighbours],
        "labels": [read, labels.to_json()],
    }


def test_what_is_in_a_hole_changes_no_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images.write(Path("labels.png"), np.kron(np.eye(4, dtype=np.uint8)[:, :, None], np.full((44, 44, 3), 99, np.uint8)))
    target = torch.from_numpy(rng.uniform(-1, 1, (4, 3, 176, 176))).float()
    output = target * 0.5 + torch.from_numpy(rng.uniform(-0.5, 0.5, target.shape)).float()
    mask = torch.ones_like(target, dtype=torch.bool)
    for number in range(4):
        mask[number, :, 20 * number : 20 * number + 60, 30:90] = False
    target = torch.where(mask, target, 0)
    spoilt = torch.where(mask, output, torch.from_numpy(rng.uniform(-1, 1, target.shape)).float())

    def numbers(images: torch.Tensor, mask: torch.Tensor | None) -> dict[str, object]:
        torch.manual_seed(0)
        return all_numbers(images, target, mask)

    one, other = numbers(output, mask), numbers(spoilt, mask)
    first, second = numbers(output, None), numbers(spoilt, None)
    for name, values in one.items():
        assert values == other[name], name
        assert first[name] != second[name], f"{name} could not have told"
    assert set(one["images"][0]) == {  # type: ignore[index]
        *("g_l1", "g_l2", "l1", "l2", "psnr", "ssim", "ms_ssim", "lpips", "st_lpips", "mae", "rmse")
    }


def test_a_target_that_is_one_hole_counts_for_nothing() -> None:
    output, target = torch.rand(3, 3, 176, 176), torch.rand(3, 3, 176, 176)
    mask = torch.ones_like(target, dtype=torch.bool)
    mask[1] = False

    def means(of: list[int]) -> dict[str, float]:
        perceptual = PerceptualMetrics(vgg=small_vgg(), features=Colours(), set_metrics=("kid", "kid_vgg"))
        batch = Batch(output[of], target[of], torch.tensor(of), mask[of])
        found = [one for one, _ in score(nn.Identity(), None, [batch], Loss(), torch.device("cpu"), perceptual)]
        sets = perceptual.compare_sets(perceptual.take_features())
        return mean_scores(found) | {name: value for name, (value, _) in sets.items()}

    assert means([0, 1, 2]) == pytest.approx(means([0, 2]))


def test_nan_is_one_setting_and_a_resumed_run_knows_it() -> None:
    one, other = (make_config({"data": {"mask_value": value}}) for value in ("nan", float("nan")))
    assert one == other
    assert one.data.mask_value == "nan"


def test_a_training_with_holes_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    depth(tmp_path / "data", float("nan"))
    flags = ["--image-size", "32", "--base-channels", "4", "--discriminator.patch-size", "16", "--epochs", "2",
             "--batch-size", "2", "--samples", "1", "--device", "cpu"]  # fmt: skip
    run, data = str(tmp_path / "run"), str(tmp_path / "data")
    with pytest.raises(SystemExit):
        main(["train", data, "--run", run, *flags])
    assert "B/" in (error := capsys.readouterr().err)
    assert "holds NaN or infinity in" in error
    main(["train", data, "--run", run, "--mask-value", "nan", *flags])
    capsys.readouterr()
    main(["evaluate", run, data, "--json"])
    metrics = json.loads(capsys.readouterr().out)
    assert 0 < metrics["l1"] < 1
    assert 0 <= metrics["baselines"]["mean_target"]["l1"] < 0.01  # all depths are alike where they are known
    main(["translate", run, f"{data}/A", "--output", str(tmp_path / "out")])
    assert np.isfinite(images.read(tmp_path / "out/0.tif")).all()
