"""ST-LPIPS, a perceptual distance that tolerates small shifts (Ghildyal and Liu 2022), and its features.

The weights lie in the package `stlpips-pytorch` of PyPI (BSD-2-Clause). Its code is never imported.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.errors import ModelError
from pix2pix.networks.pretrained import WeightsUnavailableError, load_tensors

PACKAGE = "stlpips-pytorch"
REINSTALL = f"run `pip install --force-reinstall --no-deps {PACKAGE}`"
SMALLEST_SIDE = {"alex": 21, "vgg": 18}
"""Pixels: the least side that leaves each blur the pixels that it reflects."""


class STLPIPS(nn.Module):
    """Measure the distance of images, (N, 1 or 3, H, W) in [-1, 1], twice, -> (N,); frozen, differentiable.

    A network for classes, trained on photos with blurs before its strides, computes features after each of its five
    stages. At every pixel they are scaled to length 1 over the channels. The distance is their squared difference,
    weighted over the channels, averaged over the pixels and summed over the stages.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, stages: list[nn.Sequential]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        widths = [[layer.out_channels for layer in stage if isinstance(layer, nn.Conv2d)][-1] for stage in stages]
        for n, width in enumerate(widths):
            self.register_buffer(f"weights_{n}", torch.empty(1, width, 1, 1))
        self.register_buffer("shift", torch.empty(1, 3, 1, 1))
        self.register_buffer("scale", torch.empty(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.distance(self.features(output), self.features(target))

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the features after each stage, (N, C, h, w), of length 1 or 0 at each pixel."""
        x = (images.float().expand(-1, 3, -1, -1) - self.shift) / self.scale
        found = []
        for stage in self.stages:
            x = stage(x)
            # The term under the root keeps the gradient finite where all channels are 0.
            found.append(x * (x.square().sum(dim=1, keepdim=True) + 1e-20).rsqrt())
        return found

    def distance(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """Return the distance of two batches, (N,), from their features."""
        stages = [
            (self.get_buffer(f"weights_{n}") * (a - b).square()).sum(dim=1).mean(dim=(1, 2))
            for n, (a, b) in enumerate(zip(first, second, strict=True))
        ]
        return torch.stack(stages).sum(dim=0)


class Blur(nn.Module):
    """Blur by 1-2-1 in both directions and take every second pixel; 2 pixels are reflected at each border.

    (N, C, H, W) -> (N, C, (H + 3) // 2, (W + 3) // 2).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", torch.empty(channels, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), self.get_buffer("filt"), stride=2, groups=x.shape[1])


def _alexnet() -> list[nn.Sequential]:
    """Return AlexNet in five stages, without the stride of its first convolution."""
    return [
        nn.Sequential(nn.Conv2d(3, 64, 11, padding=2), Blur(64), nn.ReLU(inplace=True)),
        nn.Sequential(nn.MaxPool2d(3, stride=1), Blur(64), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True)),
        nn.Sequential(nn.MaxPool2d(3, stride=1), Blur(192), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True)),
    ]


def _vgg16() -> list[nn.Sequential]:
    """Return VGG-16 in five stages, each at half the size of the one before."""
    return [
        nn.Sequential(*_convolutions(3, 64, 64)),
        nn.Sequential(nn.MaxPool2d(2, stride=1), Blur(64), *_convolutions(64, 128, 128)),
        nn.Sequential(nn.MaxPool2d(2, stride=1), Blur(128), *_convolutions(128, 256, 256, 256)),
        nn.Sequential(nn.MaxPool2d(2, stride=1), Blur(256), *_convolutions(256, 512, 512, 512)),
        nn.Sequential(nn.MaxPool2d(2, stride=1), Blur(512), *_convolutions(512, 512, 512, 512)),
    ]


def _convolutions(*channels: int) -> list[nn.Module]:
    """Return 3x3 convolutions, each followed by a ReLU, that map the first number of channels to the last."""
    return [layer for a, b in pairwise(channels) for layer in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True))]


# ---- weights ---------------------------------------------------------------------------------------------------


def load_st_lpips(network: Literal["alex", "vgg"]) -> STLPIPS:
    """Load ST-LPIPS with the weights that lie in the installed package `stlpips-pytorch`.

    Raises WeightsUnavailableError without the package, and ModelError for a damaged file of it.
    """
    path = find_weights(network)
    try:
        tensors = load_tensors(path, REINSTALL)
    except FileNotFoundError:
        raise ModelError(f"{path}: is missing from the package {PACKAGE}; {REINSTALL}") from None
    with torch.device("meta"):  # the weights of the file take the place of these
        module = STLPIPS(_alexnet() if network == "alex" else _vgg16())
    module.load_state_dict(_fit(tensors, module, path), assign=True)
    return module.requires_grad_(False)


def find_weights(network: Literal["alex", "vgg"]) -> Path:
    """Return where the installed package keeps the weights of a network. Raises WeightsUnavailableError."""
    try:
        installed = distribution(PACKAGE)
    except PackageNotFoundError:
        raise WeightsUnavailableError(f"needs {PACKAGE}: `pip install 'pix2pix[metrics]'`") from None
    return Path(str(installed.locate_file(f"stlpips_pytorch/weights/vST0.0/{network}_shift_tolerant.pth")))


def _fit(tensors: Mapping[str, Any], module: STLPIPS, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by the names of the module. Raises ModelError unless all names and shapes fit."""
    expected, fitted = module.state_dict(), {}
    names = {_name_in_file(name, module): name for name in expected}
    if unknown := sorted(tensors.keys() - names.keys(), key=str):
        raise ModelError(f"{path}: does not fit the network, which has no {unknown[0]!r:.80}; {REINSTALL}")
    for in_file, name in names.items():
        tensor = tensors.get(in_file)
        if not isinstance(tensor, Tensor) or tensor.shape != expected[name].shape or not tensor.isfinite().all():
            raise ModelError(f"{path}: does not fit the network at {in_file}; {REINSTALL}")
        fitted[name] = tensor
    return fitted


def _name_in_file(name: str, module: STLPIPS) -> str:
    """Translate a name of the module's state to that in a file.

    Files count layers over all stages: stages.1.2.weight is net.slice2.6.weight, as the first stage has four layers.
    """
    if name.startswith("weights_"):
        return f"lin{name.removeprefix('weights_')}.model.1.weight"
    if not name.startswith("stages."):
        return f"scaling_layer.{name}"
    _, stage, layer, tensor = name.split(".")
    first = [0, *accumulate(len(stage) for stage in module.stages)]  # type: ignore[arg-type]
    return f"net.slice{int(stage) + 1}.{first[int(stage)] + int(layer)}.{tensor}"
