"""Files of pytorch-CycleGAN-and-pix2pix against networks built here as its description says, and hostile files."""

import io
import pickle
import shutil
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pix2pix
from pix2pix.config.io import make_config
from pix2pix.errors import ConfigError, ModelError
from pix2pix.model import Model, build_networks, load_model, make_model_config

BASE = 2


def norm_of(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels) if kind == "instance" else nn.Identity()


class Wrapped(nn.Module):
    """A module whose layers are in its attribute `model`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y


class Skip(Wrapped):
    """A block of the U-Net: its input, then what its layers make of it."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)  # first: its leaky ReLU works in place
        return torch.cat([x, y], 1)


def unet(downs: int, norm: str, dropout: bool, channels: tuple[int, int] = (3, 3)) -> nn.Module:
    """From the inside out: widths 8 x base, then 4, 2 and 1."""
    bias = norm == "instance"

    def down(a: int, b: int) -> nn.Module:
        return nn.Conv2d(a, b, 4, 2, 1, bias=bias)

    def up(a: int, b: int, with_bias: bool = bias) -> nn.Module:
        return nn.ConvTranspose2d(a, b, 4, 2, 1, bias=with_bias)

    def leaky() -> nn.Module:
        return nn.LeakyReLU(0.2, inplace=True)

    wide = BASE * 8
    block: nn.Module = Skip(leaky(), down(wide, wide), nn.ReLU(True), up(wide, wide), norm_of(norm, wide))
    for outer, inner, drops in [
        *[(wide, wide, dropout)] * (downs - 5),
        *((BASE * m, BASE * m * 2, False) for m in (4, 2, 1)),
    ]:
        more = [nn.Dropout(0.5)] if drops else []
        first = [leaky(), down(outer, inner), norm_of(norm, inner)]
        block = Skip(*first, block, nn.ReLU(True), up(2 * inner, outer), norm_of(norm, outer), *more)
    outermost = Wrapped(down(channels[0], BASE), block, nn.ReLU(True), up(2 * BASE, channels[1], True), nn.Tanh())
    network = Wrapped()
    network.model = outermost  # type: ignore[assignment]
    return network


class Residual(nn.Module):
    def __init__(self, width: int, norm: str, dropout: bool) -> None:
        super().__init__()
        bias = norm == "instance"
        half = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=bias), norm_of(norm, width)]
        other = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=bias), norm_of(norm, width)]
        self.conv_block = nn.Sequential(*half, nn.ReLU(True), *([nn.Dropout(0.5)] if dropout else []), *other)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.conv_block(x)
        return y


def resnet(blocks: int, norm: str, dropout: bool, channels: tuple[int, int] = (3, 3)) -> nn.Module:
    bias, layers = norm == "instance", list[nn.Module]()
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(channels[0], BASE, 7, bias=bias), norm_of(norm, BASE), nn.ReLU(True)]
    for width in (BASE, 2 * BASE):
        layers += [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), norm_of(norm, 2 * width), nn.ReLU(True)]
    layers += [Residual(4 * BASE, norm, dropout) for _ in range(blocks)]
    for width in (4 * BASE, 2 * BASE):
        up = nn.ConvTranspose2d(width, width // 2, 3, 2, 1, output_padding=1, bias=bias)
        layers += [up, norm_of(norm, width // 2), nn.ReLU(True)]
    return Wrapped(*layers, nn.ReflectionPad2d(3), nn.Conv2d(BASE, channels[1], 7), nn.Tanh())


def patches(halvings: int, norm: str, channels: int) -> nn.Module:
    bias, widths = norm == "instance", [BASE * min(2**n, 8) for n in range(halvings + 1)]
    layers: list[nn.Module] = [nn.Conv2d(channels, BASE, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for n in range(1, halvings + 1):
        stride = 2 if n < halvings else 1
        layers += [nn.Conv2d(widths[n - 1], widths[n], 4, stride, 1, bias=bias), norm_of(norm, widths[n])]
        layers += [nn.LeakyReLU(0.2, True)]
    return Wrapped(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))


class Pixels(nn.Module):
    def __init__(self, norm: str, channels: int) -> None:
        super().__init__()
        bias = norm == "instance"
        middle = [nn.Conv2d(BASE, 2 * BASE, 1, bias=bias), norm_of(norm, 2 * BASE), nn.LeakyReLU(0.2, True)]
        first = [nn.Conv2d(channels, BASE, 1), nn.LeakyReLU(0.2, True)]
        self.net = nn.Sequential(*first, *middle, nn.Conv2d(2 * BASE, 1, 1, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


def trained(network: nn.Module) -> nn.Module:
    """Weights as after a training: no bias is 0, no gain is 1, and running statistics are some."""
    torch.manual_seed(1)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(
                torch.randn_like(tensor) * 0.3 + ("running_var" in name or ("weight" in name and tensor.ndim == 1))
            )
            if "running_var" in name:
                tensor.abs_()
    return network


def save(network: nn.Module, path: Path, **options: Any) -> Path:
    torch.save(network.state_dict(), path, **options)
    return path


def as_tested(network: nn.Module) -> nn.Module:
    """The public test.py: batch norm by the statistics of the image; dropout is off here, since it is random."""
    for module in network.train().modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return network


ARCHITECTURES = [
    (unet, 8, "batch", True),
    (unet, 7, "batch", False),
    (unet, 6, "instance", True),
    (unet, 5, "none", False),
    (resnet, 9, "instance", False),
    (resnet, 6, "batch", True),
    (resnet, 1, "none", True),
]


@torch.no_grad()
@pytest.mark.parametrize(("make", "size", "norm", "dropout"), ARCHITECTURES)
def test_a_public_generator_gives_the_same_images_here_and_back(
    make: Any, size: int, norm: str, dropout: bool, tmp_path: Path
) -> None:
    channels = (4, 2) if size == 6 else (3, 3)
    theirs = trained(make(size, norm, dropout, channels))
    file = save(theirs, tmp_path / "20_net_G.pth", _use_new_zipfile_serialization=size != 7)
    pix2pix.convert(file, output=tmp_path / "model", dropout=dropout)
    model = load_model(tmp_path / "model")
    side = 2**size if make is unet else 32
    x = torch.rand(1, channels[0], side, side) * 2 - 1
    torch.testing.assert_close(model.generator(x), as_tested(theirs)(x), rtol=0, atol=1e-5)
    assert bool(model.config.settings.generator.dropout) == dropout or size == 5
    assert model.config.epoch == 20

    pix2pix.convert(tmp_path / "model", output=tmp_path / "back.pth")
    theirs.load_state_dict(before := torch.load(tmp_path / "back.pth", weights_only=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in torch.load(file, weights_only=True).items())


@torch.no_grad()
@pytest.mark.parametrize("halvings", [0, 1, 3])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_a_public_discriminator_gives_the_same_logits(halvings: int, norm: str, tmp_path: Path) -> None:
    channels = 3 if norm == "instance" else 6
    theirs = trained(patches(halvings, norm, channels) if halvings else Pixels(norm, channels))
    d = save(theirs, tmp_path / "latest_net_D.pth")
    g = save(trained(unet(5, norm, False)), tmp_path / "latest_net_G.pth")
    pix2pix.convert(g, output=tmp_path / "model", discriminator=d)
    model = load_model(tmp_path / "model", discriminator=True)
    assert model.discriminator is not None
    x, y = torch.rand(2, 1, 3, 64, 64)
    seen = y if channels == 3 else torch.cat([x, y], 1)
    torch.testing.assert_close(model.discriminator(x, y).maps[0], as_tested(theirs)(seen), rtol=0, atol=1e-5)
    pix2pix.convert(tmp_path / "model", output=tmp_path / "G.pth", discriminator=tmp_path / "D.pth")
    back = torch.load(tmp_path / "D.pth", weights_only=True)
    assert all(torch.equal(tensor, back[name]) for name, tensor in torch.load(d, weights_only=True).items())


def test_running_statistics_are_used_where_asked(tmp_path: Path) -> None:
    theirs = trained(unet(5, "batch", False))
    pix2pix.convert(save(theirs, tmp_path / "G.pth"), output=tmp_path / "model", norm_statistics="running")
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        here = load_model(tmp_path / "model").generator(x)
        torch.testing.assert_close(here, theirs.eval()(x), rtol=0, atol=1e-5)


def variants() -> dict[str, Any]:
    state = trained(unet(5, "batch", False)).state_dict()
    module = OrderedDict((f"module.{name}", tensor) for name, tensor in state.items())
    old = OrderedDict((name, tensor) for name, tensor in state.items() if "num_batches" not in name)
    lists = {name: nn.Parameter(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    tracked = trained(unet(5, "instance", False)).state_dict() | {"model.model.1.model.2.running_mean": torch.zeros(4)}
    judge = trained(patches(3, "batch", 6)).state_dict()
    return {
        "DataParallel": module,
        "half": {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()},
        "bfloat16, counters too": {name: tensor.bfloat16() for name, tensor in state.items()},
        "double": {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in state.items()},
        "before counters": old,
        "parameters": lists,
        "nested": {"epoch": 3, "state_dict": module},
        "two networks": {"netG": state, "netD": judge, "lr": 2e-4},
        "old instance norm": tracked,
        "channels_last": {
            name: tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
            for name, tensor in state.items()
        },
    }


@pytest.mark.parametrize("name", variants())
@pytest.mark.parametrize("zipped", [True, False])
def test_ways_of_saving(name: str, zipped: bool, tmp_path: Path) -> None:
    torch.save(variants()[name], tmp_path / "G.pth", _use_new_zipfile_serialization=zipped)
    pix2pix.convert(tmp_path / "G.pth", output=tmp_path / "model")
    exact = "half" not in name and "bfloat16" not in name
    theirs = trained(unet(5, "instance" if "instance" in name else "batch", False))
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        here = load_model(tmp_path / "model").generator(x)
        torch.testing.assert_close(here, as_tested(theirs)(x), rtol=0, atol=1e-5 if exact else 0.1)


# ---- files that are refused --------------------------------------------------------------------------------------


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


def refuse(path: Path, words: str, **options: Any) -> None:
    with pytest.raises((ModelError, ConfigError)) as error:
        pix2pix.convert(path, output=path.with_name("out"), **options)
    message = str(error.value)
    assert words in message
    assert str(path.parent) in message
    assert "\n" not in message
    assert not path.with_name("out").exists()


def changed(**changes: Any) -> dict[str, Any]:
    state = dict(trained(unet(5, "batch", False)).state_dict())
    state.update({name.replace("__", "."): value for name, value in changes.items()})
    return {name: value for name, value in state.items() if value is not None}


NORM = "model__model__1__model__2__weight"
SHARED = torch.rand(4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": 1}, "has no tensors by name"),
        ({"model.0.weight": torch.ones(2, 6, 4, 4)}, "looks like a discriminator; give the file of the generator"),
        ({"fc.weight": torch.ones(2, 2)}, "no tensors of a U-Net (model.model.0.weight) or a ResNet"),
        (changed(**{NORM: None}), "model.model.1.model.2.weight is missing"),
        (changed(**{NORM: torch.ones(5)}), "model.model.1.model.2.weight has the shape (5,), expected (4,)"),
        (
            changed(**{NORM: torch.full((4,), torch.nan)}),
            "model.model.1.model.2.weight holds numbers that are not finite",
        ),
        (changed(**{NORM: torch.full((4,), 1e300, dtype=torch.float64)}), "not finite in float32"),
        (changed(**{NORM: torch.ones(4, dtype=torch.int64)}), "model.model.1.model.2.weight has numbers of type int64"),
        (changed(**{NORM: torch.ones(1).expand(4)}), "with which its numbers overlap"),
        (changed(**{NORM: SHARED, NORM.replace("weight", "bias"): SHARED}), "in the memory of model.model.1.model.2"),
        (changed(extra=torch.ones(1)), "extra is not of this architecture"),
        (changed(extra=torch.ones(1, dtype=torch.int32)), "its tensors are of another type than float and int64"),
        ({"G": changed(), "G_ema": changed()}, "several networks that fit, G and G_ema; choose one by --key NAME"),
        (nn.Conv2d(1, 1, 1), "it holds more than tensors: torch.nn.modules.conv.Conv2d; save the tensors alone"),
    ],
)
def test_what_does_not_fit_is_named(content: Any, words: str, tmp_path: Path) -> None:
    for zipped in (True, False):
        torch.save(content, tmp_path / "G.pth", _use_new_zipfile_serialization=zipped)
        refuse(tmp_path / "G.pth", words)


def test_hostile_files_execute_nothing_and_take_no_memory(tmp_path: Path) -> None:
    file, canary = tmp_path / "G.pth", tmp_path / "canary"
    for zipped in (True, False):
        torch.save({"state_dict": Payload(canary)}, file, _use_new_zipfile_serialization=zipped)
        refuse(file, "it holds more than tensors")
    file.write_bytes(pickle.dumps(Payload(canary)))
    refuse(file, "it holds more than tensors")
    assert not canary.exists()

    torch.save(trained(unet(5, "batch", False)).state_dict(), file)
    good = file.read_bytes()
    for name, content in repacked(good).items():
        file.write_bytes(content)
        refuse(file, name)
    file.write_bytes(b"\x80\x02r\xff\xff\xff\x7f.")  # room for two thousand million objects
    refuse(file, "cannot be read as tensors")
    file.write_bytes(good[: len(good) // 2])
    refuse(file, "cannot be read as tensors")
    flipped = bytearray(good)
    flipped[good.index(b"/data/0") + 300] ^= 1
    file.write_bytes(flipped)
    refuse(file, "copy the file again")


def repacked(good: bytes) -> dict[str, bytes]:
    """The same archive with other records: words of the refusal -> file."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    folder = next(name for name in records if name.endswith("/data.pkl")).removesuffix("data.pkl")
    listed = records[f"{folder}data.pkl"]

    def packed(changes: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, content in (records | {f"{folder}{name}": content for name, content in changes.items()}).items():
                archive.writestr(name, content)
        return out.getvalue()

    count = pickle.BININT1 + bytes([96])  # numbers of the first storage, 2 x 3 x 4 x 4
    assert count in listed
    huge = listed.replace(count, pickle.BININT + struct.pack("<i", 2**31 - 1), 1)
    return {
        "claims more numbers than it can hold": packed({"data.pkl": huge}),
        "is compressed": packed({}, zipfile.ZIP_DEFLATED),
        "no data.pkl": packed({"data.pkl": b""}).replace(b"data.pkl", b"data.pkx"),
        "TorchScript": packed({"constants.pkl": b""}),
        "big-endian": packed({"byteorder": b"big"}),
        "has 5,000,000 bytes": packed({"data.pkl": bytes(5_000_000)}),
    }


def test_values_that_the_public_code_does_not_read_are_said(tmp_path: Path) -> None:
    data = {"image_size": 32, "source_type": "uint16", "source_range": ((0.0, 4095.0),), "source_channels": 1,
            "target_channels": 3, "direction": "BtoA"}  # fmt: skip
    config = make_config({"data": data, "generator": {"base_channels": 4, "depth": 5}})
    described = make_model_config(config, "image", None, converts=False, epoch=1, validation={})
    Model(build_networks(config)[0], None, described).save(tmp_path / "model")
    notes = "\n".join(pix2pix.convert(tmp_path / "model", output=tmp_path / "G.pth").notes)
    assert "--load_size 32 --crop_size 32 --direction BtoA" in notes
    assert "translates 1 channel of uint16 from 0 to 4095 to 3 channels of uint8 from 0 to 255" in notes


def test_misuse_is_one_sentence(tmp_path: Path) -> None:
    for name, words in (
        ("a.h5", "a file of Keras"),
        ("a.index", "TensorFlow"),
        ("a.onnx", "ONNX"),
        ("a.pth", "cannot be read as tensors"),
    ):
        (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n")
        refuse(tmp_path / name, words)
    refuse(tmp_path / "none.pth", "no such file")
    file = save(trained(unet(5, "batch", False)), tmp_path / "G.pth")
    with pytest.raises(ConfigError, match="converts into a model folder"):
        pix2pix.convert(file, output=tmp_path / "b.pth")
    for size in (48, 0, "abc", "64x", 10**6, 16):
        with pytest.raises(
            ConfigError, match=rf"^--image-size {size}: expected N, or HxW .* multiples of 32 .* as 32$"
        ):
            pix2pix.convert(file, output=tmp_path / "out", image_size=size)
    instance = save(trained(unet(5, "instance", False)), tmp_path / "I.pth")
    residual = save(trained(resnet(2, "batch", True)), tmp_path / "R.pth")
    large = save(trained(patches(5, "batch", 6)), tmp_path / "D.pth")
    names = ", ".join(f"G{number}" for number in range(10))
    torch.save({f"G{number}": torch.load(file) for number in range(12)}, tmp_path / "many.pth")
    for path, words, options in (
        (instance, "--norm-statistics running: is for batch norm", {"norm_statistics": "running"}),
        (residual, "--no-dropout: .* this ResNet say that it has dropout", {"dropout": False}),
        (
            file,
            "pixels a side or more, and they are resized to 32x32; set a larger --image-size",
            {"discriminator": large},
        ),
        (file, "G.pth holds no tensors of this name; it holds one network without a name", {"key": "netG"}),
        (tmp_path / "many.pth", f"--key G: .* of this name; it holds {names} and 2 more", {"key": "G"}),
    ):
        with pytest.raises(ConfigError, match=words):
            pix2pix.convert(path, output=tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    notes = "\n".join(pix2pix.convert(file, output=tmp_path / "model").notes)
    assert "assumed: the source is A, the target B" in notes
    with pytest.raises(ConfigError, match="exists; give another name, or --overwrite"):
        pix2pix.convert(file, output=tmp_path / "model")
    for assumed in (
        {"key": "G"}, {"image_size": 64}, {"direction": "BtoA"}, {"norm_statistics": "running"}, {"dropout": False}
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="is for reading a file"):
            pix2pix.convert(tmp_path / "model", output=tmp_path / "b.pth", **assumed)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="converts into a file"):
        pix2pix.convert(tmp_path / "model", output=tmp_path / "other")
    with pytest.raises(ModelError, match="the model has no discriminator"):
        pix2pix.convert(tmp_path / "model", output=tmp_path / "b.pth", discriminator=tmp_path / "c.pth")
    assert not (tmp_path / "b.pth").exists()
    (tmp_path / "run" / "model").mkdir(parents=True)
    for place, words in (("run", "holds other files than a model"), ("G.pth.copy", "is a file")):
        shutil.copyfile(file, tmp_path / "G.pth.copy")
        with pytest.raises(ConfigError, match=words):
            pix2pix.convert(file, output=tmp_path / place, overwrite=True)
