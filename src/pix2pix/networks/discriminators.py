"""Discriminators: source (N, in, H, W) and image (N, out, H, W) -> logits (N, 1, h, w), one for each patch."""

import torch
from torch import Tensor, nn

from pix2pix.config import PATCH_LAYERS, Discriminator
from pix2pix.config.fields import Norm
from pix2pix.networks.blocks import down, has_bias, initialise, make_norm
from pix2pix.networks.convolution import Conv


class PatchGAN(nn.Module):
    """Patch discriminator (paper, 6.1.2; slides "Discriminator architectures", "PatchGAN").

    C64-C128-C256-C512 and a convolution to one channel for patches of 70x70: n halvings (0 for patch 1, then
    16, 34, 70, 142, 286 for 1 to 5), one more convolution of stride 1, and the logits. 256x256 gives a 30x30 map.
    The sigmoid is part of the loss. Patch 1 is the PixelGAN, 1x1 convolutions alone.
    """

    def __init__(self, source_channels: int, image_channels: int, settings: Discriminator) -> None:
        super().__init__()
        self.conditional = settings.conditional
        in_channels = image_channels + (source_channels if settings.conditional else 0)
        base, norm = settings.base_channels, settings.norm
        if settings.patch_size == 1:
            layers = _pixel_layers(in_channels, base, norm)
        else:
            layers = _patch_layers(in_channels, base, norm, PATCH_LAYERS[settings.patch_size])
        self.layers = nn.Sequential(*layers)
        initialise(self)

    def forward(self, source: Tensor, image: Tensor) -> Tensor:
        logits: Tensor = self.layers(torch.cat([source, image], dim=1) if self.conditional else image)
        return logits


def _patch_layers(in_channels: int, base: int, norm: Norm, halvings: int) -> list[nn.Module]:
    widths = [base * min(2**layer, 8) for layer in range(halvings + 1)]  # 64 128 256 512 for patch 70
    layers: list[nn.Module] = [down(in_channels, widths[0], "none", bias=True)]
    layers += [down(widths[i], widths[i + 1], norm, bias=has_bias(norm)) for i in range(halvings - 1)]
    layers += [
        Conv(widths[-2], widths[-1], stride=1, bias=has_bias(norm)),
        make_norm(norm, widths[-1]),
        nn.LeakyReLU(0.2, inplace=True),
        Conv(widths[-1], 1, stride=1, bias=True),
    ]
    return layers


def _pixel_layers(in_channels: int, base: int, norm: Norm) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, base, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(base, base * 2, 1, bias=has_bias(norm)),
        make_norm(norm, base * 2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(base * 2, 1, 1, bias=has_bias(norm)),
    ]
