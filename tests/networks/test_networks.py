"""Every network against the paper's figures, and one behavioural suite for all of them."""

import copy

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from pix2pix.config import PATCH_LAYERS, Discriminator, Generator
from pix2pix.config.fields import Upsampling
from pix2pix.networks import (
    EncoderDecoder,
    PatchGAN,
    ResNet,
    UNet,
    make_discriminator,
    make_generator,
    set_fast_convolutions,
    set_norm_statistics,
)
from pix2pix.networks.blocks import initialise
from pix2pix.networks.upsampling import ResizeConv, ShuffleConv, make_upsampling

GENERATORS = ("unet", "encoder_decoder", "resnet")
UPSAMPLINGS = ("transposed", "resize", "shuffle")
PATCHES = tuple(PATCH_LAYERS)


def parameters(network: nn.Module) -> int:
    return sum(weights.numel() for weights in network.parameters())


def generator(kind: str, size: int = 64, channels: tuple[int, int] = (3, 3), **settings: object) -> nn.Module:
    torch.manual_seed(0)
    chosen = Generator.model_validate({"kind": kind, "base_channels": 8, **settings})
    return make_generator(chosen, in_channels=channels[0], out_channels=channels[1], image_size=(size, size))


# ---- the paper's figures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "expected"), [(256, 54_413_955), (128, 41_828_995)])
def test_unet_has_the_published_number_of_parameters(size: int, expected: int) -> None:
    with torch.device("meta"):
        network = make_generator(Generator(), in_channels=3, out_channels=3, image_size=(size, size))
    assert parameters(network) == expected


@pytest.mark.parametrize(("patch", "expected"), [(1, 9_024), (16, 139_585), (70, 2_768_705), (286, 11_159_361)])
def test_discriminator_has_the_published_number_of_parameters(patch: int, expected: int) -> None:
    with torch.device("meta"):
        assert parameters(PatchGAN(3, 3, Discriminator(patch_size=patch))) == expected


@pytest.mark.parametrize(("patch", "side"), [(1, 256), (16, 126), (34, 62), (70, 30), (142, 14), (286, 6)])
def test_discriminator_map_at_256(patch: int, side: int) -> None:
    with torch.device("meta"):
        image = torch.empty(1, 3, 256, 256)
        assert PatchGAN(3, 3, Discriminator(patch_size=patch))(image, image).maps[0].shape == (1, 1, side, side)


@pytest.mark.parametrize("patch", PATCHES)
def test_receptive_field_by_gradient(patch: int) -> None:
    """One logit's gradient reaches exactly patch x patch pixels of source and image."""
    network = PatchGAN(1, 1, Discriminator(patch_size=patch, base_channels=1, norm="none")).double()
    for weights in network.parameters():
        nn.init.constant_(weights, 0.1)  # no path cancels another
    side = patch + 96
    source, image = (torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True) for _ in range(2))
    (logits,) = network(source, image).maps
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    for seen in (source.grad, image.grad):
        assert seen is not None
        rows, columns = seen[0, 0].nonzero().unbind(1)
        assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (patch, patch)


def test_unet_widths_are_the_papers() -> None:
    """C64-C128-C256-C512... down, CD512-CD1024-CD1024-C1024-C1024-C512-C256-C128 up, dropout on layers 1 to 3."""
    with torch.device("meta"):
        network = make_generator(Generator(), in_channels=3, out_channels=3, image_size=(256, 256))
    assert isinstance(network, UNet)
    assert [layer[0].out_channels for layer in network.encoder] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [layer[1].in_channels for layer in network.decoder] == [512, 1024, 1024, 1024, 1024, 512, 256]
    assert network.to_image[1].in_channels == 128
    noisy = [n for n, layer in enumerate(network.decoder, start=1) if isinstance(layer[3], nn.Dropout)]
    assert noisy == [1, 2, 3]
    normed = [not isinstance(layer[1], nn.Identity) for layer in network.encoder]
    assert normed == [False, True, True, True, True, True, True, False]


def test_encoder_decoder_is_the_unet_without_skips() -> None:
    with torch.device("meta"):
        network = make_generator(
            Generator(kind="encoder_decoder"), in_channels=3, out_channels=3, image_size=(256, 256)
        )
    assert isinstance(network, EncoderDecoder)
    widths = [layer[1].out_channels for layer in network.decoder]
    assert [*widths, network.to_image[1].in_channels] == [512, 512, 512, 512, 256, 128, 64, 64]


def test_skips_carry_detail_that_the_bottleneck_does_not() -> None:
    """Cutting the innermost layer leaves the U-Net's output dependent on the source, and the other's constant."""
    for kind, depends in (("unet", True), ("encoder_decoder", False)):
        network = generator(kind, norm="none").eval()
        for weights in network.encoder[-1].parameters():  # type: ignore[union-attr]
            nn.init.zeros_(weights)
        first, second = (network(torch.rand(1, 3, 64, 64)) for _ in range(2))
        assert bool((first - second).abs().max() > 1e-6) is depends


def as_plain_layers(layer: nn.Module, x: Tensor) -> Tensor:
    """What an upsampling layer computes, in torch's own functions."""
    f = nn.functional
    match layer:
        case ResizeConv():
            weight = layer.weight.flip(2, 3).transpose(0, 1)  # (out, in, 3, 3)
            return f.conv2d(f.interpolate(x, scale_factor=2), weight, layer.bias, padding=1)
        case ShuffleConv():
            return f.pixel_shuffle(f.conv2d(x, layer.conv.weight, layer.conv.bias, padding=1), 2)
        case _:
            return f.conv_transpose2d(x, layer.weight, layer.bias, stride=2, padding=1)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (16, 16), (24, 17)], ids=str)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=["plain", "fast"])
@pytest.mark.parametrize("kind", UPSAMPLINGS)
def test_upsampling_is_what_it_says(kind: Upsampling, order: torch.memory_format, size: tuple[int, int]) -> None:
    """Outputs, borders included, and gradients; by each algorithm."""
    torch.manual_seed(0)
    layer = nn.Sequential(make_upsampling(kind, 16, 8, bias=True))
    set_fast_convolutions(layer, order == torch.channels_last)
    other = copy.deepcopy(layer)
    x, y = (torch.randn(2, 16, *size).requires_grad_() for _ in range(2))
    y.data = x.data
    mine, expected = layer(x), as_plain_layers(other[0], y)
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)
    for output in (mine, expected):
        output.square().mean().backward()
    pairs = zip([x, *layer.parameters()], [y, *other.parameters()], strict=True)
    for one, same in pairs:
        torch.testing.assert_close(one.grad, same.grad, atol=1e-5, rtol=1e-4)


def test_upsampling_begins_with_the_papers_variance_and_without_a_grid() -> None:
    """On noise the outputs vary as those of a transposed convolution; a plain area has no grid, except by that one."""
    torch.manual_seed(0)
    noise, plain, spread, grid = torch.randn(1, 64, 32, 32), torch.ones(1, 64, 16, 16), {}, {}
    for kind in UPSAMPLINGS:
        layer = nn.Sequential(make_upsampling(kind, 64, 64, bias=False))
        initialise(layer)
        spread[kind] = layer(noise)[:, :, 2:-2, 2:-2].std().item()
        area = layer(plain)[0, :, 2:-2, 2:-2]
        grid[kind] = (area - area[:, :1, :1]).abs().max().item()
    assert spread == pytest.approx(dict.fromkeys(spread, spread["transposed"]), rel=0.03)
    assert grid["transposed"] > 0.1
    assert max(grid["resize"], grid["shuffle"]) < 1e-6


def test_initial_weights_are_the_papers() -> None:
    torch.manual_seed(0)
    network = make_generator(Generator(base_channels=32), in_channels=3, out_channels=3, image_size=(64, 64))
    convolutions = [m.weight.flatten() for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    gains = [m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    weights, gain = torch.cat(convolutions), torch.cat(gains)
    assert abs(weights.mean()) < 1e-4
    assert abs(weights.std() - 0.02) < 1e-4
    assert abs(gain.mean() - 1) < 5e-3
    assert abs(gain.std() - 0.02) < 5e-3


def test_unet_against_plain_functions() -> None:
    """The U-Net written again with functional calls straight from the paper's text agrees to 1e-5."""
    f = nn.functional
    unet = generator("unet", size=16).eval()
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    weights = unet.state_dict()

    def conv(h: Tensor, name: str) -> Tensor:
        return f.conv2d(h, weights[f"{name}.weight"], stride=2, padding=1)

    def norm(h: Tensor, name: str) -> Tensor:
        w = weights
        running = (w[f"{name}.running_mean"], w[f"{name}.running_var"])
        return f.batch_norm(h, *running, w[f"{name}.weight"], w[f"{name}.bias"])

    def unconv(h: Tensor, name: str, bias: Tensor | None = None) -> Tensor:
        return f.conv_transpose2d(f.relu(h), weights[f"{name}.weight"], bias, stride=2, padding=1)

    e1 = f.leaky_relu(conv(x, "encoder.0.0"), 0.2)
    e2 = f.leaky_relu(norm(conv(e1, "encoder.1.0"), "encoder.1.1"), 0.2)
    e3 = f.leaky_relu(norm(conv(e2, "encoder.2.0"), "encoder.2.1"), 0.2)
    e4 = conv(e3, "encoder.3.0")
    d1 = norm(unconv(e4, "decoder.0.1"), "decoder.0.2")
    d2 = norm(unconv(torch.cat([d1, e3], 1), "decoder.1.1"), "decoder.1.2")
    d3 = norm(unconv(torch.cat([d2, e2], 1), "decoder.2.1"), "decoder.2.2")
    output = unconv(torch.cat([d3, e1], 1), "to_image.1", weights["to_image.1.bias"]).tanh()
    torch.testing.assert_close(unet(x), output, atol=1e-5, rtol=0)


# ---- one suite for all -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "channels"), [("batch", (1, 3)), ("instance", (7, 2)), ("group", (1, 3)), ("none", (7, 2))]
)
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize("kind", GENERATORS)
def test_generator_behaves(kind: str, upsampling: str, norm: str, channels: tuple[int, int]) -> None:
    network = generator(kind, channels=channels, norm=norm, upsampling=upsampling)
    for height, width in ((64, 64), (64, 128)):
        source = torch.rand(2, channels[0], height, width) * 2 - 1
        output = network(source)
        assert output.shape == (2, channels[1], height, width)
        assert output.abs().max() <= 1
    output.mean().backward()
    assert all(weights.grad is not None for weights in network.parameters())


@pytest.mark.parametrize(
    ("norm", "upsampling"), [("batch", "resize"), ("instance", "shuffle"), ("group", "transposed"), ("none", "resize")]
)
@pytest.mark.parametrize("kind", GENERATORS)
def test_a_batch_of_none_teaches_nothing(kind: str, norm: str, upsampling: str) -> None:
    """A process may have no part in the last batch, and must still take part in averaging the gradients."""
    network = generator(kind, norm=norm, upsampling=upsampling)
    opponent = PatchGAN(3, 3, Discriminator(base_channels=8, norm=norm))
    floating = {name: value.clone() for name, value in network.state_dict().items() if value.is_floating_point()}
    nothing = torch.empty(0, 3, 64, 64)
    output = network.train()(nothing)
    (output.mean() + opponent(nothing, output).maps[0].mean()).backward()
    for weights in (*network.parameters(), *opponent.parameters()):
        assert weights.grad is not None
        assert not weights.grad.count_nonzero()
    assert all(torch.equal(network.state_dict()[name], value) for name, value in floating.items())


@pytest.mark.parametrize("kind", GENERATORS)
def test_eval_is_deterministic_and_ignores_neighbours(kind: str) -> None:
    network = generator(kind)
    source = torch.rand(3, 3, 64, 64) * 2 - 1
    network(source)  # moves the running averages
    for statistics in ("image", "running"):
        set_norm_statistics(network, statistics)
        network.eval()
        together = network(source)
        torch.testing.assert_close(together, network(source), atol=0, rtol=0)
        alone = torch.cat([network(one[None]) for one in source])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_image_statistics_are_those_of_a_training_batch_of_one() -> None:
    """Trap 1 of every re-implementation: the default translation shows what training with batch size 1 saw."""
    network = generator("unet", dropout=0.0)
    set_norm_statistics(network, "image")
    source = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(network.train()(source), network.eval()(source), atol=1e-5, rtol=1e-5)
        set_norm_statistics(network, "running")
        assert (network.train()(source) - network.eval()(source)).abs().max() > 1e-3  # the control


@pytest.mark.parametrize("kind", GENERATORS)
def test_dropout_is_the_only_noise(kind: str) -> None:
    source = torch.rand(2, 3, 64, 64)
    noisy = generator(kind).train()
    assert not torch.equal(noisy(source), noisy(source))
    silent = generator(kind, dropout=0.0).train()
    torch.testing.assert_close(silent(source), silent(source), atol=0, rtol=0)


def test_dropout_layers_are_a_setting() -> None:
    for layers in ((2, 3, 4), (1,), ()):
        network = generator("unet", size=256, dropout_layers=layers)
        noisy = [n for n, layer in enumerate(network.decoder, 1) if isinstance(layer[3], nn.Dropout)]  # type: ignore
        assert tuple(noisy) == layers


DISCRIMINATORS: dict[str, dict[str, object]] = {
    **{f"patch {patch}": {"patch_size": patch} for patch in PATCHES},
    "spectral norm": {"patch_size": 16, "spectral_norm": True, "norm": "none"},
    "pixels, spectral norm": {"patch_size": 1, "spectral_norm": True},
    "two scales": {"patch_size": 34, "scales": 2},
    "both": {"patch_size": 16, "scales": 2, "spectral_norm": True},
    "classes": {"kind": "classes", "spectral_norm": True, "norm": "none"},
    "classes, batch norm": {"kind": "classes"},
}


def discriminator(name: str, *, features: bool = False, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    chosen = Discriminator.model_validate({"base_channels": 4, **DISCRIMINATORS[name], **settings})
    return make_discriminator(chosen, 2, 3, features=features)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminator_behaves(name: str) -> None:
    source, image = torch.rand(2, 2, 128, 96) * 2 - 1, torch.rand(2, 3, 128, 96)
    network = discriminator(name, features=True)
    set_fast_convolutions(network, True)
    logits = network(source, image)
    of_classes = name.startswith("classes")
    assert {tuple(one.shape[:2]) for one in logits.maps} == {(2, 3 if of_classes else 1)}
    (sum(one.mean() for one in logits.maps) + sum(one.mean() for one in logits.features)).backward()
    assert all(weights.grad is not None for weights in network.parameters())

    set_norm_statistics(network.eval(), "image")
    first = network(source, image).maps
    assert all(torch.equal(one, again) for one, again in zip(first, network(source, image).maps, strict=True))
    assert torch.equal(first[0], network(source.flip(-1), image).maps[0]) is of_classes
    for n, alone in enumerate(network(source[n : n + 1], image[n : n + 1]) for n in range(2)):
        of_batch = network(source, image).of_image(n)
        for one, other in zip((*alone.maps, *alone.features), (*of_batch.maps, *of_batch.features), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)

    with torch.device("meta"):
        other = discriminator(name)
    saved = safetensors.torch.save({name: value.contiguous() for name, value in network.state_dict().items()})
    other.to_empty(device="cpu").load_state_dict(safetensors.torch.load(saved))
    set_norm_statistics(other.eval(), "image")
    set_fast_convolutions(other, True)
    assert torch.equal(other(source, image).maps[0], first[0])
    assert other(source, image).features == ()
    if of_classes:
        assert torch.equal(logits.classes, torch.where(source.amax(1) > 0, source.argmax(1), -1))
        assert network(source[..., :75], image[..., :75]).maps[0].shape == (2, 3, 128, 75)
        return
    alone = discriminator(name, conditional=False).eval()
    assert torch.equal(alone(source, image).maps[0], alone(source.flip(-1), image).maps[0])


def test_spectral_norm_bounds_every_layer() -> None:
    """After some uses the largest singular value of each weight is 1; eval mode changes nothing."""
    network = discriminator("both")
    source, image = torch.rand(1, 2, 64, 64), torch.rand(1, 3, 64, 64)
    for _ in range(20):
        network(source, image)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    before = copy.deepcopy(network.eval().state_dict())
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
    network(source, image)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_second_scale_sees_half_the_size() -> None:
    network = discriminator("two scales").eval()
    source, image = torch.rand(1, 2, 64, 64), torch.rand(1, 3, 64, 64)
    full, half = network(source, image).maps
    assert (full.shape[-1], half.shape[-1]) == (14, 6)
    mean = torch.nn.functional.avg_pool2d
    assert torch.equal(half, network.halved(mean(source, 2), mean(image, 2)).maps[0])


@pytest.mark.parametrize(("kind", "upsampling"), list(zip(GENERATORS, UPSAMPLINGS, strict=True)))
def test_weights_round_trip(kind: str, upsampling: str) -> None:
    first, second = (generator(kind, upsampling=upsampling).eval() for _ in range(2))
    for weights in second.parameters():
        nn.init.ones_(weights)
    second.load_state_dict(safetensors.torch.load(safetensors.torch.save(first.state_dict())))
    source = torch.rand(1, 3, 64, 64)
    assert torch.equal(first(source), second(source))


def test_resnet_has_nine_blocks() -> None:
    network = generator("resnet")
    assert isinstance(network, ResNet)
    assert len(network.blocks) == 9
