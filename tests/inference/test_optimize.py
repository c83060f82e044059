"""What translates: the prepared network against the plain one, for every generator, norm, size and batch."""

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

from pix2pix.config import Generator
from pix2pix.config.fields import Statistics
from pix2pix.inference.optimize import choose_optimization, describe_optimization, optimize_generator
from pix2pix.networks import make_generator, set_norm_statistics
from pix2pix.networks.blocks import BatchNorm
from pix2pix.networks.cpu.packed import PackedConv

CPU = torch.device("cpu")


def trained(statistics: Statistics = "running", **settings: Any) -> nn.Module:
    """A generator whose numbers are as varied as a trained one's, so that an error anywhere shows."""
    torch.manual_seed(0)
    width = {"base_channels": 8} | settings
    network = make_generator(Generator(**width), in_channels=3, out_channels=2, image_size=(64, 64)).eval()
    for module in network.modules():
        if isinstance(module, BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias, 0, 0.2)
    for weights in network.parameters():
        if weights.ndim == 4:
            nn.init.normal_(weights, 0, 0.06 if settings.get("kind") == "resnet" else 0.1)
    set_norm_statistics(network, statistics)
    return network.requires_grad_(False)


@pytest.mark.parametrize("statistics", ["running", "image"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kind": "encoder_decoder"},
        {"kind": "resnet"},
        {"norm": "instance"},
        {"norm": "group"},
        {"norm": "none"},
        {"upsampling": "resize"},
        {"upsampling": "shuffle"},
        {"upsampling": "resize", "kind": "resnet"},
        {"upsampling": "shuffle", "kind": "encoder_decoder"},
    ],
    ids=str,
)
def test_prepared_is_the_same_function(settings: dict[str, Any], statistics: Statistics) -> None:
    plain = trained(statistics, **settings)
    before = copy.deepcopy(plain.state_dict())
    ready = optimize_generator(plain, CPU)
    for shape in ((1, 3, 64, 64), (3, 3, 64, 64), (2, 3, 128, 64)):
        source = torch.rand(shape) * 2 - 1
        torch.testing.assert_close(ready(source), plain(source), rtol=1e-4, atol=1e-5)
    assert plain(source).std() > 0.1, "a flat output would hide any error"
    for name, value in plain.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} was changed"


@pytest.mark.parametrize("statistics", ["running", "image"])
def test_the_usual_size_decides_how_weights_are_prepared(statistics: Statistics) -> None:
    """Not the size that comes first: algorithms round differently, so outputs would depend on the order of images."""
    plain = trained(statistics)
    sources = [torch.rand(2, 3, size, size) * 2 - 1 for size in (64, 256)]
    for usual, transformed in ((64, 0), (256, 2)):
        outputs = []
        for order in (sources, sources[::-1]):
            ready = optimize_generator(plain, CPU, (usual, usual))
            outputs.append({len(source[0, 0]): ready(source) for source in order})
            layers = [module for module in ready.modules() if isinstance(module, PackedConv)]
            assert sum(layer.transformed is not None for layer in layers) == transformed
        for source in sources:
            assert torch.equal(outputs[0][len(source[0, 0])], outputs[1][len(source[0, 0])])
            torch.testing.assert_close(outputs[0][len(source[0, 0])], plain(source), rtol=1e-4, atol=1e-5)


def test_norm_of_a_square_transposed_convolution_is_folded_along_its_outputs() -> None:
    """As many inputs as outputs: folded along the wrong axis it would fit as well, and be wrong."""
    plain = trained()
    layers = [module for module in plain.modules() if isinstance(module, nn.ConvTranspose2d)]
    assert any(layer.in_channels == layer.out_channels for layer in layers)
    ready = optimize_generator(plain, CPU)
    assert not any(isinstance(module, BatchNorm) for module in ready.modules())
    source = torch.rand(1, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(ready(source), plain(source), rtol=1e-4, atol=1e-5)


def test_threads_get_the_bytes_of_one_thread() -> None:
    """The first images of several sizes come at once, as in a service."""
    plain = trained()
    sources = [torch.rand(1, 3, *size) * 2 - 1 for size in ((64, 64), (256, 64), (64, 128), (256, 256))] * 2
    expected = [optimize_generator(plain, CPU)(source) for source in sources]
    ready = optimize_generator(plain, CPU)
    with ThreadPoolExecutor(8) as pool:
        assert all(map(torch.equal, pool.map(ready, sources), expected))


def test_bf16_errs_by_little() -> None:
    plain = trained()
    source = torch.rand(1, 3, 64, 64) * 2 - 1
    output = optimize_generator(plain, CPU, precision="bf16")(source)
    assert output.dtype == torch.float32
    error = (output - plain(source)).abs().mean()
    assert 0 < error < 0.01


def test_a_processor_takes_packed_weights() -> None:
    assert choose_optimization(CPU) == ("packed" if torch.backends.mkldnn.is_available() else "folded")
    assert choose_optimization(torch.device("cuda")) == "folded"


def test_only_running_averages_are_described_as_folded() -> None:
    folded = "batch norm folded into the convolutions"
    assert folded in describe_optimization("batch", "running")
    for norm, statistics in (("batch", "image"), ("instance", "running"), ("none", "running")):
        assert folded not in describe_optimization(norm, statistics)
