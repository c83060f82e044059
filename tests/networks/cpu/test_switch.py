"""Without one of torch's private interfaces: one warning, and the same training and translation on the plain path."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pix2pix.config import Config
from pix2pix.inference.translator import Translator
from pix2pix.model import Model, build_networks, choose_statistics, make_model_config
from pix2pix.networks import set_fast_convolutions
from pix2pix.networks.convolution import Conv, ConvTranspose
from pix2pix.networks.cpu import switch
from pix2pix.networks.cpu.fused_adam import AdamInBackward
from pix2pix.networks.cpu.packed import PackedConv
from pix2pix.training.optimizers import make_adam
from pix2pix.training.step import TrainState, train_step


@pytest.fixture(autouse=True)
def _try_again() -> Iterator[None]:
    """The interfaces are tried once in a process: here once in every test, and once after it."""
    switch.unusable_interfaces.cache_clear()
    yield
    switch.unusable_interfaces.cache_clear()


def without(name: str, patch: pytest.MonkeyPatch) -> None:
    """Take an interface away from torch, as another version of torch might."""
    if name == "torch._fused_adam_":
        patch.delattr(torch, "_fused_adam_")
    else:
        patch.setattr(torch.ops.mkldnn, name.rpartition(".")[2], lambda *given: given[0])  # other numbers


def train_and_translate(config: Config, dtype: torch.dtype = torch.float32) -> tuple[list[nn.Module], list[Tensor]]:
    """Three training steps and a translation -> the networks that did it, and all numbers that came of it."""
    torch.manual_seed(0)
    generator, discriminator = (network.to(dtype) for network in build_networks(config))
    for network in (generator, discriminator):
        set_fast_convolutions(network, True)
    adams = (
        make_adam(network, config.optimizer, used_once=network is generator) for network in (generator, discriminator)
    )
    state = TrainState(generator, discriminator, *adams)
    numbers = []
    for _ in range(3):
        source, target = (torch.rand(2, 3, 64, 64, dtype=dtype) * 2 - 1 for _ in range(2))
        terms = train_step(state, source, target, config.loss, backward=torch.Tensor.backward, order="one-pass")
        numbers += [terms[name] for name in sorted(terms)]
    numbers += [value.clone() for value in generator.state_dict().values()]
    numbers += [value.clone() for value in discriminator.state_dict().values()]
    choose_statistics(generator, discriminator, "running")
    trained = make_model_config(config, "running", (1.0, 1.0), converts=False, epoch=1, validation={})
    translator = Translator(Model(generator.float(), None, trained))
    numbers.append(translator.translate(source.float()))
    return [generator, discriminator, translator.optimized], numbers


@pytest.fixture
def config() -> Config:
    section: dict[str, Any] = {"base_channels": 8}
    return Config(
        data={"image_size": 64, "source_channels": 3, "target_channels": 3},
        generator=section | {"dropout": 0.0},
        discriminator=section | {"patch_size": 34},
    )


def modules(networks: list[nn.Module]) -> Iterator[nn.Module]:
    return (module for network in networks for module in network.modules())


@pytest.mark.parametrize("missing", [*switch.INTERFACES, ""])
def test_plain_path_gives_the_same_numbers(
    missing: str, config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Training in float64, since the first updates of Adam follow the sign of every rounding error."""
    assert switch.available()
    networks, fast = train_and_translate(config, torch.float64)
    assert any(isinstance(module, PackedConv) for module in modules(networks)) == switch.has_onednn()
    assert any(module.fast for module in modules(networks) if isinstance(module, Conv | ConvTranspose))

    switch.unusable_interfaces.cache_clear()
    if missing:
        without(missing, monkeypatch)
        networks, plain = train_and_translate(config, torch.float64)
        (record,) = caplog.records  # once, whatever is built
        assert record.levelname == "WARNING"
        assert missing in record.getMessage()
        assert "slower" in record.getMessage()
        assert "\n" not in record.getMessage()
    else:
        monkeypatch.setattr(switch, "available", lambda: False)
        networks, plain = train_and_translate(config, torch.float64)
        assert not caplog.records
    assert not any(isinstance(module, PackedConv) for module in modules(networks))
    assert not any(module.fast for module in modules(networks) if isinstance(module, Conv | ConvTranspose))
    for mine, other in zip(fast, plain, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_plain_path_takes_the_optimiser_of_torch(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = build_networks(config)
    assert isinstance(make_adam(network, config.optimizer), AdamInBackward)
    monkeypatch.setattr(switch, "available", lambda: False)
    assert isinstance(make_adam(copy.deepcopy(network), config.optimizer), torch.optim.Adam)


def test_all_interfaces_are_right_with_this_torch() -> None:
    assert switch.unusable_interfaces() == ()


def test_trying_leaves_the_random_generator_alone() -> None:
    before = torch.get_rng_state()
    switch.unusable_interfaces()
    assert torch.equal(torch.get_rng_state(), before)
