"""Generators: source (N, in, H, W) in [-1, 1] -> output (N, out, H, W) in [-1, 1]."""

import torch
from torch import Tensor, nn

from pix2pix.config import Generator, resolved_depth
from pix2pix.config.fields import Norm
from pix2pix.networks.blocks import down, has_bias, initialise, make_norm, up
from pix2pix.networks.convolution import ConvTranspose


class _Halving(nn.Module):
    """What the U-Net and its ablation partner share: sides are halved `depth` times and doubled back."""

    def __init__(self, in_channels: int, out_channels: int, settings: Generator, depth: int, *, skips: bool) -> None:
        super().__init__()
        self.size_multiple = 2**depth
        base, norm = settings.base_channels, settings.norm
        widths = [base * min(2**layer, 8) for layer in range(depth)]  # 64 128 256 512 512 512 512 512
        norms: list[Norm] = [norm] * depth
        norms[0] = "none"
        if not settings.bottleneck_norm:
            norms[-1] = "none"  # over a 1x1 map of one image there is no variance to normalise (paper, errata)

        inputs = [in_channels, *widths[:-1]]
        bias = has_bias(norm)  # one rule for all, so also the two layers without norm have none under batch norm
        self.encoder = nn.ModuleList(
            down(in_width, width, layer_norm, bias=bias)
            for in_width, width, layer_norm in zip(inputs, widths, norms, strict=True)
        )

        # Decoder layer 1 is the innermost; each hands on the width of the encoder layer that it mirrors.
        self.decoder = nn.ModuleList()
        channels = widths[-1]
        for layer, width in enumerate(reversed(widths[:-1]), start=1):
            noisy = layer in settings.dropout_layers and width == base * 8
            dropout = settings.dropout if noisy else 0.0
            self.decoder.append(up(channels, width, norm, dropout, owns_input=layer > 1))  # the encoder's last is saved
            channels = width * (2 if skips else 1)

        self.to_image = nn.Sequential(nn.ReLU(), ConvTranspose(channels, out_channels, bias=True), nn.Tanh())
        initialise(self)


class UNet(_Halving):
    """U-Net generator (paper, 6.1.1; slide "Generator architectures").

    Encoder C64-C128-C256-C512-C512-C512-C512-C512; decoder, widths after concatenation,
    CD512-CD1024-CD1024-C1024-C1024-C512-C256-C128, of which the first is the bottleneck itself.
    H and W must be multiples of `size_multiple`, 2^depth.
    """

    def __init__(self, in_channels: int, out_channels: int, settings: Generator, depth: int) -> None:
        super().__init__(in_channels, out_channels, settings, depth, skips=True)

    def forward(self, source: Tensor) -> Tensor:
        skips, x = [], source
        for layer in self.encoder:  # (N, 64, H/2, W/2) ... (N, 512, H/256, W/256)
            x = layer(x)
            skips.append(x)
        x = skips.pop()  # the bottleneck has no partner
        for layer in self.decoder:
            x = torch.cat([layer(x), skips.pop()], dim=1)
        image: Tensor = self.to_image(x)
        return image


class EncoderDecoder(_Halving):
    """The U-Net's ablation partner: the same layers without skips (paper, 4.3; slide "Generator architectures").

    Encoder as the U-Net's; decoder CD512-CD512-CD512-C512-C256-C128-C64.
    """

    def __init__(self, in_channels: int, out_channels: int, settings: Generator, depth: int) -> None:
        super().__init__(in_channels, out_channels, settings, depth, skips=False)

    def forward(self, source: Tensor) -> Tensor:
        x = source
        for layer in [*self.encoder, *self.decoder]:
            x = layer(x)
        image: Tensor = self.to_image(x)
        return image


class ResNet(nn.Module):
    """Nine residual blocks between two halvings and two doublings (Johnson et al. 2016, as CycleGAN uses it).

    c7s1-64, d128, d256, R256 x 9, u128, u64, c7s1-out. H and W must be multiples of 4, and at least 8.
    """

    size_multiple = 4

    def __init__(self, in_channels: int, out_channels: int, settings: Generator, blocks: int = 9) -> None:
        super().__init__()
        base, norm = settings.base_channels, settings.norm
        bias = has_bias(norm)
        self.head = nn.Sequential(
            nn.Conv2d(in_channels, base, 7, padding=3, padding_mode="reflect", bias=bias),
            *_norm_relu(norm, base),
            nn.Conv2d(base, base * 2, 3, stride=2, padding=1, bias=bias),
            *_norm_relu(norm, base * 2),
            nn.Conv2d(base * 2, base * 4, 3, stride=2, padding=1, bias=bias),
            *_norm_relu(norm, base * 4),
        )
        self.blocks = nn.ModuleList(_residual(base * 4, norm, settings.dropout) for _ in range(blocks))
        self.tail = nn.Sequential(
            nn.ConvTranspose2d(base * 4, base * 2, 3, stride=2, padding=1, output_padding=1, bias=bias),
            *_norm_relu(norm, base * 2),
            nn.ConvTranspose2d(base * 2, base, 3, stride=2, padding=1, output_padding=1, bias=bias),
            *_norm_relu(norm, base),
            nn.Conv2d(base, out_channels, 7, padding=3, padding_mode="reflect"),
            nn.Tanh(),
        )
        initialise(self)

    def forward(self, source: Tensor) -> Tensor:
        x = self.head(source)  # (N, 256, H/4, W/4)
        for block in self.blocks:
            x = x + block(x)
        image: Tensor = self.tail(x)
        return image


def _norm_relu(norm: Norm, channels: int) -> tuple[nn.Module, nn.Module]:
    return make_norm(norm, channels), nn.ReLU()


def _residual(channels: int, norm: Norm, dropout: float) -> nn.Sequential:
    """The branch of one block: (N, C, H, W) -> (N, C, H, W)."""
    bias = has_bias(norm)
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=bias),
        *_norm_relu(norm, channels),
        nn.Dropout(dropout) if dropout else nn.Identity(),
        nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=bias),
        make_norm(norm, channels),
    )


def make_generator(
    settings: Generator, *, in_channels: int, out_channels: int, image_size: tuple[int, int]
) -> UNet | EncoderDecoder | ResNet:
    """The generator that the settings describe, freshly initialised; its depth follows from image_size if unset."""
    depth = resolved_depth(settings, image_size)
    match settings.kind:
        case "unet":
            return UNet(in_channels, out_channels, settings, depth)
        case "encoder_decoder":
            return EncoderDecoder(in_channels, out_channels, settings, depth)
        case "resnet":
            return ResNet(in_channels, out_channels, settings)
