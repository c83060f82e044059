"""The discriminator: source (N, in, H, W) and image (N, out, H, W) to logits (N, 1, h, w), one for each patch."""

import torch
from torch import Tensor, nn

from pix2pix.config import PATCH_LAYERS, Discriminator
from pix2pix.config.fields import Norm
from pix2pix.networks.blocks import down_layer, has_bias, initialise, make_norm
from pix2pix.networks.convolution import Conv


class PatchGAN(nn.Module):
    """Patch discriminator (paper, 6.1.2; lecture, "Discriminator architectures" and "PatchGAN").

    Patches of 70x70: C64-C128-C256-C512 and a convolution to one channel; the last two are of stride 1. Other patch
    sizes have more or fewer layers of stride 2: 1, 2, 3, 4, 5 for 16, 34, 70, 142, 286 pixels. Patch size 1 is the
    PixelGAN: C64-C128 of 1x1 convolutions. The sigmoid is part of the loss.
    """

    def __init__(self, source_channels: int, image_channels: int, settings: Discriminator) -> None:
        super().__init__()
        self.conditional = settings.conditional
        in_channels = image_channels + (source_channels if settings.conditional else 0)
        base, norm = settings.base_channels, settings.norm
        if settings.patch_size == 1:
            self.layers = _pixel_layers(in_channels, base, norm)
        else:
            self.layers = _patch_layers(in_channels, base, norm, PATCH_LAYERS[settings.patch_size])
        initialise(self)

    def forward(self, source: Tensor, image: Tensor) -> Tensor:  # (N, in, H, W) and (N, out, H, W) in [-1, 1]
        x = torch.cat([source, image], dim=1) if self.conditional else image
        logits: Tensor = self.layers(x)  # (N, 1, h, w); 256x256 gives 30x30 for patches of 70x70
        return logits


def _patch_layers(in_channels: int, base: int, norm: Norm, halvings: int) -> nn.Sequential:
    """Make `halvings` layers of stride 2 (the first without norm), then two layers of stride 1."""
    widths = [base * min(2**layer, 8) for layer in range(halvings + 1)]  # 64 128 256 512 for three halvings
    return nn.Sequential(
        down_layer(in_channels, widths[0], "none", bias=True),  # (N, 64, H/2, W/2)
        *(
            down_layer(widths[i], widths[i + 1], norm, bias=has_bias(norm)) for i in range(halvings - 1)
        ),  # (N, 256, H/8, W/8)
        Conv(widths[-2], widths[-1], stride=1, bias=has_bias(norm)),  # (N, 512, H/8 - 1, W/8 - 1)
        make_norm(norm, widths[-1]),
        nn.LeakyReLU(0.2, inplace=True),
        Conv(widths[-1], 1, stride=1, bias=True),  # (N, 1, H/8 - 2, W/8 - 2)
    )


def _pixel_layers(in_channels: int, base: int, norm: Norm) -> nn.Sequential:
    """Make three 1x1 convolutions: each logit sees one pixel."""
    return nn.Sequential(
        nn.Conv2d(in_channels, base, 1),  # (N, 64, H, W)
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(base, base * 2, 1, bias=has_bias(norm)),  # (N, 128, H, W)
        make_norm(norm, base * 2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(base * 2, 1, 1, bias=has_bias(norm)),  # (N, 1, H, W)
    )
