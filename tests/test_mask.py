"""Holes of a target are neither learnt nor measured, nor do they leak into what is around them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pix2pix.cli import main
from pix2pix.config import Augment, Data, make_config
from pix2pix.data import images
from pix2pix.data.loading import make_dataset
from pix2pix.data.pairs import ImageRef, Pair
from pix2pix.data.ranges import values_of
from pix2pix.errors import DataError
from pix2pix.losses import reconstruction_terms


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
    assert values_of(data, "target", pairs).bounds == ((2, 3),)
    dataset = make_dataset(pairs, data, Augment(affine=1, affine_degrees=20), (36, 36), 0)
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
