"""Discriminators: source (N, in, H, W) and image (N, out, H, W), both in [-1, 1], to logits."""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pix2pix.config import PATCH_LAYERS, Discriminator
from pix2pix.config.fields import Norm
from pix2pix.networks.blocks import down_layer, has_bias, initialise, make_norm, up_layer
from pix2pix.networks.convolution import Conv

CLASS_HALVINGS = 4
"""Layers of stride 2 in the discriminator of classes."""


class Logits(NamedTuple):
    """What a discriminator says of a batch of images; the sigmoid or softmax is part of the loss."""

    maps: tuple[Tensor, ...]
    """For each scale (N, 1, h, w), a logit for each patch; or (N, classes + 1, H, W), the last one for generated."""
    features: tuple[Tensor, ...] = ()
    """Hidden activations (N, C, h, w) of every scale, if feature matching needs them."""
    classes: Tensor | None = None
    """Of a discriminator of classes: the true class of each pixel (N, H, W), -1 where the source has none."""

    def of_image(self, n: int) -> "Logits":
        """Return the logits of one image of the batch."""
        one = slice(n, n + 1)
        maps, features = (tuple(part[one] for part in parts) for parts in (self.maps, self.features))
        return Logits(maps, features, None if self.classes is None else self.classes[one])


def make_discriminator(
    settings: Discriminator, source_channels: int, image_channels: int, *, features: bool = False
) -> nn.Module:
    """Make the discriminator that the settings describe, source and image -> Logits.

    With `features`, its logits come with the hidden activations.
    """
    network: nn.Module
    if settings.kind == "classes":
        network = ClassUNet(source_channels, image_channels, settings)
    else:
        patches = PatchGAN if settings.scales == 1 else TwoScales
        network = patches(source_channels, image_channels, settings, features=features)
    if settings.spectral_norm:
        normalise_spectrally(network)
    return network


class PatchGAN(nn.Module):
    """Patch discriminator (paper, 6.1.2; lecture, "Discriminator architectures" and "PatchGAN").

    Patches of 70x70: C64-C128-C256-C512 and a convolution to one channel; the last two are of stride 1. Other patch
    sizes have more or fewer layers of stride 2: 1, 2, 3, 4, 5 for 16, 34, 70, 142, 286 pixels. Patch size 1 is the
    PixelGAN: C64-C128 of 1x1 convolutions.
    """

    def __init__(
        self, source_channels: int, image_channels: int, settings: Discriminator, *, features: bool = False
    ) -> None:
        super().__init__()
        self.conditional, self.features = settings.conditional, features
        in_channels = image_channels + (source_channels if settings.conditional else 0)
        base, norm = settings.base_channels, settings.norm
        bias = has_bias(norm, settings.bias)
        if settings.patch_size == 1:
            self.layers = _pixel_layers(in_channels, base, norm, bias)
        else:
            self.layers = _patch_layers(in_channels, base, norm, PATCH_LAYERS[settings.patch_size], bias)
        initialise(self)

    def forward(self, source: Tensor, image: Tensor) -> Logits:  # (N, in, H, W) and (N, out, H, W) in [-1, 1]
        x = torch.cat([source, image], dim=1) if self.conditional else image
        activations = []
        for layer in self.layers:
            x = layer(x)
            if self.features and isinstance(layer, nn.Sequential | nn.LeakyReLU):  # no later layer overwrites these
                activations.append(x)
        return Logits((x,), tuple(activations))  # (N, 1, h, w); 256x256 gives 30x30 for patches of 70x70


class TwoScales(nn.Module):
    """Two patch discriminators: of the images, and of the same at half their size (Wang et al. 2018, 3.2)."""

    def __init__(
        self, source_channels: int, image_channels: int, settings: Discriminator, *, features: bool = False
    ) -> None:
        super().__init__()
        self.original = PatchGAN(source_channels, image_channels, settings, features=features)
        self.halved = PatchGAN(source_channels, image_channels, settings, features=features)

    def forward(self, source: Tensor, image: Tensor) -> Logits:  # (N, in, H, W) and (N, out, H, W) in [-1, 1]
        full = self.original(source, image)
        half = self.halved(F.avg_pool2d(source, 2), F.avg_pool2d(image, 2))
        return Logits(full.maps + half.maps, full.features + half.features)


class ClassUNet(nn.Module):
    """U-Net that gives each pixel of an image one of the source's classes, or "generated" (Schönfeld et al. 2021, 3.1).

    encoder  C64-C128-C256-C512
    decoder  C256-C128-C64 with skips, and a layer to the classes + 1
    Only the image is seen; of the source, a label map, the true classes are taken.
    """

    def __init__(self, classes: int, image_channels: int, settings: Discriminator) -> None:
        super().__init__()
        norm, bias = settings.norm, has_bias(settings.norm, settings.bias)
        widths = [settings.base_channels * 2**layer for layer in range(CLASS_HALVINGS)]  # 64 128 256 512
        self.encoder = nn.ModuleList([down_layer(image_channels, widths[0], "none", bias=True)])
        self.encoder += [down_layer(a, b, norm, bias=bias) for a, b in pairwise(widths)]
        inner = [widths[-1], *(2 * width for width in widths[-2:0:-1])]  # 512, then with skips 512 256
        self.decoder = nn.ModuleList(
            up_layer(a, b, norm, bias=bias, overwrite_input=n > 0)
            for n, (a, b) in enumerate(zip(inner, widths[-2::-1], strict=True))
        )
        self.to_classes = up_layer(2 * widths[0], classes + 1, "none", bias=True)
        initialise(self)

    def forward(self, source: Tensor, image: Tensor) -> Logits:  # (N, classes, H, W) and (N, out, H, W) in [-1, 1]
        height, width = image.shape[2:]
        below, right = -height % 2**CLASS_HALVINGS, -width % 2**CLASS_HALVINGS
        x = F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
        skips = []
        for down in self.encoder:  # (N, 64, H/2, W/2) ... (N, 512, H/16, W/16)
            x = down(x)
            skips.append(x)
        x = skips.pop()  # the bottleneck has no skip
        for up in self.decoder:  # (N, 512, H/8, W/8) ... (N, 128, H/2, W/2)
            x = torch.cat([up(x), skips.pop()], dim=1)
        likeliest, index = source.max(dim=1)
        return Logits((self.to_classes(x)[:, :, :height, :width],), (), torch.where(likeliest > 0, index, -1))


def normalise_spectrally(network: nn.Module) -> None:
    """Divide the weights of every convolution by their largest singular value (Miyato et al. 2018).

    It is estimated by one step of the power method at each use in training mode, none in eval mode. Within
    `torch.nn.utils.parametrize.cached` several uses count as one.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            spectral_norm(module)


def _patch_layers(in_channels: int, base: int, norm: Norm, halvings: int, bias: bool) -> nn.Sequential:
    """Make `halvings` layers of stride 2 (the first without norm), then two layers of stride 1."""
    widths = [base * min(2**layer, 8) for layer in range(halvings + 1)]  # 64 128 256 512 for three halvings
    return nn.Sequential(
        down_layer(in_channels, widths[0], "none", bias=True),  # (N, 64, H/2, W/2)
        *(down_layer(widths[i], widths[i + 1], norm, bias=bias) for i in range(halvings - 1)),  # (N, 256, H/8, W/8)
        Conv(widths[-2], widths[-1], stride=1, bias=bias),  # (N, 512, H/8 - 1, W/8 - 1)
        make_norm(norm, widths[-1]),
        nn.LeakyReLU(0.2, inplace=True),
        Conv(widths[-1], 1, stride=1, bias=True),  # (N, 1, H/8 - 2, W/8 - 2)
    )


def _pixel_layers(in_channels: int, base: int, norm: Norm, bias: bool) -> nn.Sequential:
    """Make three 1x1 convolutions: each logit sees one pixel."""
    return nn.Sequential(
        nn.Conv2d(in_channels, base, 1),  # (N, 64, H, W)
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(base, base * 2, 1, bias=bias),  # (N, 128, H, W)
        make_norm(norm, base * 2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(base * 2, 1, 1, bias=bias),  # (N, 1, H, W)
    )
