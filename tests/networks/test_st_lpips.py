"""ST-LPIPS with the weights of its authors: their numbers, gradients, and files that are damaged."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from pix2pix.errors import ModelError
from pix2pix.networks import st_lpips
from pix2pix.networks.pretrained import WeightsUnavailableError
from pix2pix.networks.st_lpips import SMALLEST_SIDE, find_weights, load_st_lpips

Network = Literal["alex", "vgg"]

# By `stlpips_pytorch.stlpips.LPIPS(net, variant="shift_tolerant")` of stlpips-pytorch 0.0.2. Stored, since that code
# imports what it does not declare, and some of its files may not be used commercially.
AUTHORS = {
    ("alex", 3, 64, 64): 0.4026532471,
    ("alex", 3, 37, 53): 0.3280017376,
    ("alex", 1, 48, 33): 0.4885973930,
    ("vgg", 3, 64, 64): 0.2753688991,
    ("vgg", 3, 37, 53): 0.2844440937,
    ("vgg", 1, 48, 33): 0.2099587023,
}


def scene(channels: int, height: int, width: int, seed: int) -> Tensor:
    """An image of waves and noise, (1, C, H, W)."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(-0.5, 0.5, (channels, 3))]
    noise = rng.uniform(-1, 1, (channels, height, width))
    return torch.tensor(0.7 * np.stack(waves) + 0.3 * noise, dtype=torch.float32)[None]


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_distances_are_those_of_the_authors(network: Network) -> None:
    module = load_st_lpips(network)
    for (name, *shape), expected in AUTHORS.items():
        if name == network:
            first, second = scene(*shape, seed=1), scene(*shape, seed=2)
            batch = torch.cat([first, second]), torch.cat([second, second])
            assert module(*batch).tolist() == pytest.approx([expected, 0], rel=1e-5), shape
    assert not any(tensor.requires_grad for tensor in module.state_dict(keep_vars=True).values())
    side = SMALLEST_SIDE[network]
    assert module(scene(3, side, 40, 1), scene(3, side, 40, 2)).isfinite()
    with pytest.raises(RuntimeError):
        module(scene(3, side - 1, 40, 1), scene(3, side - 1, 40, 2))


@pytest.mark.parametrize("gray", [-1.0, 0.0, 1.0])
def test_gradients_are_finite_where_an_output_is_constant(gray: float) -> None:
    output = torch.full((1, 3, 40, 40), gray, requires_grad=True)
    load_st_lpips("alex")(output, scene(3, 40, 40, 1)).sum().backward()
    assert output.grad is not None
    assert 0 < output.grad.abs().max() < 1


def without(tensors: dict[str, Any]) -> None:
    del tensors["net.slice3.9.bias"]


def too_many(tensors: dict[str, Any]) -> None:
    tensors["net.slice6.0.bias"] = torch.zeros(1)


def of_another_shape(tensors: dict[str, Any]) -> None:
    tensors["lin4.model.1.weight"] = torch.zeros(1, 255, 1, 1)


def not_finite(tensors: dict[str, Any]) -> None:
    tensors["scaling_layer.scale"][0, 1] = torch.nan


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without, "does not fit the network at net.slice3.9.bias"),
        (too_many, "has no 'net.slice6.0.bias'"),
        (of_another_shape, "does not fit the network at lin4.model.1.weight"),
        (not_finite, "does not fit the network at scaling_layer.scale"),
        (None, "broken"),
    ],
)
def test_a_damaged_file_is_named(
    spoil: Callable[[dict[str, Any]], None] | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "alex.pth"
    if spoil is None:
        path.write_bytes(find_weights("alex").read_bytes()[:100_000])
    else:
        tensors = torch.load(find_weights("alex"), map_location="cpu", weights_only=True)
        spoil(tensors)
        torch.save(tensors, path)
    monkeypatch.setattr(st_lpips, "find_weights", lambda network: path)
    with pytest.raises(ModelError, match=f"{words}.*; run `pip install --force-reinstall") as caught:
        load_st_lpips("alex")
    assert str(path) in str(caught.value)


def test_what_is_not_installed_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st_lpips, "find_weights", lambda network: tmp_path / "absent.pth")
    with pytest.raises(ModelError, match=r"is missing from the package stlpips-pytorch; run"):
        load_st_lpips("alex")
    monkeypatch.undo()

    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(st_lpips, "distribution", absent)
    with pytest.raises(WeightsUnavailableError, match=r"needs stlpips-pytorch: `pip install 'pix2pix\[metrics\]'`"):
        load_st_lpips("vgg")
