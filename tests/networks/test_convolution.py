"""The layers: the networks with fast convolutions against the same with torch's, and which algorithm is chosen."""

import copy

import pytest
import torch
from torch import Tensor

from pix2pix.config import Config
from pix2pix.model import build_networks
from pix2pix.networks import set_fast_convolutions
from pix2pix.networks.convolution import Conv, ConvTranspose
from pix2pix.networks.cpu.gradients import on_partial_grad


@pytest.mark.parametrize(
    ("base_channels", "size", "upsampling"),
    [(4, 64, "transposed"), (32, 64, "resize"), (4, (32, 96), "shuffle"), (32, (32, 96), "transposed")],
)
def test_networks_give_the_same_pictures_and_gradients(
    base_channels: int, size: int | tuple[int, int], upsampling: str
) -> None:
    """Both networks, in both modes, fast against native."""
    section = {"base_channels": base_channels}
    config = Config(
        data={"image_size": size, "source_channels": 3, "target_channels": 1},
        generator={**section, "dropout": 0.0, "upsampling": upsampling},
        discriminator=section,
    )
    torch.manual_seed(0)
    networks = [network.double() for network in build_networks(config)]
    others = copy.deepcopy(networks)
    for network in networks:
        set_fast_convolutions(network, True)
    assert any(module.fast for module in networks[0].modules() if isinstance(module, Conv | ConvTranspose))
    source = torch.rand(2, 3, *config.data.image_size, dtype=torch.float64) * 2 - 1
    results = []
    for generator, discriminator in (networks, others):
        output = generator(source)
        (output.abs().mean() + discriminator(source, output).maps[0].square().mean()).backward()
        gradients = [weights.grad for network in (generator, discriminator) for weights in network.parameters()]
        results.append([output, generator.eval()(source), *gradients])
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-7)


def test_the_algorithm_depends_on_the_size() -> None:
    stride1, transposed = Conv(64, 64, stride=1, bias=False), ConvTranspose(64, 32, bias=False)
    for layer in (stride1, transposed):
        assert layer.algorithm(torch.zeros(1, 64, 64, 64)) == "native"
        set_fast_convolutions(layer, True)
    assert stride1.algorithm(torch.zeros(1, 64, 64, 64)) == "winograd"
    assert transposed.algorithm(torch.zeros(1, 64, 64, 64)) == "winograd"
    assert transposed.algorithm(torch.zeros(1, 64, 4, 4)) == "im2col"
    last = Conv(64, 1, stride=1, bias=True)
    set_fast_convolutions(last, True)
    assert last.algorithm(torch.zeros(1, 64, 64, 64)) == "im2col"
    with torch.autocast("cpu", torch.bfloat16):  # Winograd is for float32
        assert stride1.algorithm(torch.zeros(1, 64, 64, 64)) == "im2col"
        assert transposed.algorithm(torch.zeros(1, 64, 64, 64)) == "native"


def test_autocast_reaches_the_fast_algorithms() -> None:
    layer = ConvTranspose(64, 8, bias=False)
    set_fast_convolutions(layer, True)
    x = torch.randn(1, 64, 4, 4)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(x)
    rounded.float().sum().backward()
    assert rounded.dtype == torch.bfloat16
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(rounded.float(), exact, atol=0.02, rtol=0.02)

    whole, parts = layer.weight.grad, list[Tensor]()
    on_partial_grad(layer.weight, lambda received, *_: parts.extend(received))
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).float().sum().backward()
    torch.testing.assert_close(torch.cat(parts), whole, atol=0, rtol=0)
