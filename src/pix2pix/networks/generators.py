"""Generators: source (N, in, H, W) to output (N, out, H, W), both in [-1, 1]; of classes, logits in training mode."""

import torch
from torch import Tensor, nn

from pix2pix.config import Generator, resolved_depth
from pix2pix.config.fields import Norm, Upsampling
from pix2pix.networks.blocks import down_layer, has_bias, initialise, make_norm, up_layer
from pix2pix.networks.upsampling import make_upsampling


class UNet(nn.Module):
    """U-Net generator (paper, 6.1.1; lecture, "Generator architectures"), for sides that are multiples of 2^depth.

    encoder  C64-C128-C256-C512-C512-C512-C512-C512
    decoder  CD512-CD1024-CD1024-C1024-C1024-C512-C256-C128; as in the paper, these are the input channels of each
             layer: the bottleneck, then each output concatenated with its skip
    """

    def __init__(
        self, in_channels: int, out_channels: int, settings: Generator, depth: int, *, classes: bool = False
    ) -> None:
        super().__init__()
        self.size_multiple = 2**depth
        self.encoder = _encoder(in_channels, settings, depth)
        self.decoder = _decoder(settings, depth, skips=True)
        in_width = settings.base_channels * (2 if depth > 1 else 1)
        self.to_image = _to_image(in_width, out_channels, settings.upsampling, classes)
        initialise(self)

    def forward(self, source: Tensor) -> Tensor:  # (N, in, H, W) in [-1, 1]
        skips, x = [], source
        for down in self.encoder:  # (N, 64, H/2, W/2) ... (N, 512, H/256, W/256)
            x = down(x)
            skips.append(x)
        x = skips.pop()  # the bottleneck has no skip
        for up in self.decoder:  # (N, 1024, H/128, W/128) ... (N, 128, H/2, W/2)
            x = torch.cat([up(x), skips.pop()], dim=1)
        image: Tensor = self.to_image(x)  # (N, out, H, W) in [-1, 1]
        return image


class EncoderDecoder(nn.Module):
    """The U-Net without skips, for comparison (paper, 4.3; lecture, "Generator architectures").

    encoder  C64-C128-C256-C512-C512-C512-C512-C512
    decoder  CD512-CD512-CD512-C512-C256-C128-C64
    """

    def __init__(
        self, in_channels: int, out_channels: int, settings: Generator, depth: int, *, classes: bool = False
    ) -> None:
        super().__init__()
        self.size_multiple = 2**depth
        self.encoder = _encoder(in_channels, settings, depth)
        self.decoder = _decoder(settings, depth, skips=False)
        self.to_image = _to_image(settings.base_channels, out_channels, settings.upsampling, classes)
        initialise(self)

    def forward(self, source: Tensor) -> Tensor:  # (N, in, H, W) in [-1, 1]
        x = source
        for down in self.encoder:  # (N, 64, H/2, W/2) ... (N, 512, H/256, W/256)
            x = down(x)
        for up in self.decoder:  # (N, 512, H/128, W/128) ... (N, 64, H/2, W/2)
            x = up(x)
        image: Tensor = self.to_image(x)  # (N, out, H, W) in [-1, 1]
        return image


def _widths(base_channels: int, depth: int) -> list[int]:
    return [base_channels * min(2**layer, 8) for layer in range(depth)]  # 64 128 256 512 512 512 512 512


def _encoder(in_channels: int, settings: Generator, depth: int) -> nn.ModuleList:
    """Make `depth` layers that halve the sides; the first has no norm."""
    widths = _widths(settings.base_channels, depth)
    norms: list[Norm] = ["none", *[settings.norm] * (depth - 1)]
    if not settings.bottleneck_norm:
        norms[-1] = "none"  # a 1x1 map of a single image has no variance (paper, errata)
    bias = has_bias(settings.norm, settings.bias)  # layers without norm have a bias only if the others do
    return nn.ModuleList(
        down_layer(in_width, width, norm, bias=bias)
        for in_width, width, norm in zip([in_channels, *widths[:-1]], widths, norms, strict=True)
    )


def _decoder(settings: Generator, depth: int, *, skips: bool) -> nn.ModuleList:
    """Make `depth` - 1 layers that double the sides, the innermost first; each mirrors a layer of the encoder."""
    bottleneck, *widths = reversed(_widths(settings.base_channels, depth))
    in_widths = [bottleneck, *(2 * width if skips else width for width in widths)]
    norm, bias = settings.norm, has_bias(settings.norm, settings.bias)
    layers = nn.ModuleList()
    for number, (in_width, width) in enumerate(zip(in_widths, widths, strict=False), start=1):
        has_dropout = number in settings.dropout_layers and width == 8 * settings.base_channels
        dropout = settings.dropout if has_dropout else 0.0
        # The first input is the bottleneck, which the gradient of the encoder still needs: do not overwrite it.
        shared = {"bias": bias, "overwrite_input": number > 1}
        layers.append(up_layer(in_width, width, norm, dropout, upsampling=settings.upsampling, **shared))
    return layers


def _to_image(in_channels: int, out_channels: int, upsampling: Upsampling, classes: bool) -> nn.Sequential:
    """Make the last layer, (N, in, H/2, W/2) -> (N, out, H, W) in [-1, 1]."""
    return nn.Sequential(nn.ReLU(), make_upsampling(upsampling, in_channels, out_channels, bias=True), _last(classes))


def _last(classes: bool) -> nn.Module:
    return Probabilities() if classes else nn.Tanh()


class Probabilities(nn.Module):
    """Turn logits of classes (N, K, H, W) into probabilities in [-1, 1]; in training mode return the logits.

    The cross-entropy needs logits: where a probability is rounded to 0, it has no gradient.
    """

    def forward(self, logits: Tensor) -> Tensor:
        return logits if self.training else class_image(logits)


def class_image(logits: Tensor) -> Tensor:
    """Return the probabilities of the classes as an image (N, K, H, W): -1 for 0 and 1 for 1."""
    return logits.float().softmax(dim=1).mul(2).sub(1)


class ResNet(nn.Module):
    """ResNet generator (Johnson et al. 2016, as CycleGAN uses it), for sides that are multiples of 4, at least 8.

    c7s1-64, d128, d256, R256 x 9 (or another number), u128, u64, c7s1-out
    """

    size_multiple = 4

    def __init__(self, in_channels: int, out_channels: int, settings: Generator, *, classes: bool = False) -> None:
        super().__init__()
        base, norm = settings.base_channels, settings.norm
        bias = has_bias(norm, settings.bias)
        self.head = nn.Sequential(
            nn.Conv2d(in_channels, base, 7, padding=3, padding_mode="reflect", bias=bias),
            *_norm_relu(norm, base),
            nn.Conv2d(base, base * 2, 3, stride=2, padding=1, bias=bias),
            *_norm_relu(norm, base * 2),
            nn.Conv2d(base * 2, base * 4, 3, stride=2, padding=1, bias=bias),
            *_norm_relu(norm, base * 4),
        )
        self.blocks = nn.ModuleList(_residual(base * 4, norm, settings.dropout, bias) for _ in range(settings.blocks))
        self.tail = nn.Sequential(
            _doubling(settings.upsampling, base * 4, base * 2, bias),
            *_norm_relu(norm, base * 2),
            _doubling(settings.upsampling, base * 2, base, bias),
            *_norm_relu(norm, base),
            nn.Conv2d(base, out_channels, 7, padding=3, padding_mode="reflect"),
            _last(classes),
        )
        initialise(self)

    def forward(self, source: Tensor) -> Tensor:  # (N, in, H, W) in [-1, 1]
        x = self.head(source)  # (N, 256, H/4, W/4)
        for block in self.blocks:
            x = x + block(x)
        image: Tensor = self.tail(x)  # (N, out, H, W) in [-1, 1]
        return image


def _norm_relu(norm: Norm, channels: int) -> tuple[nn.Module, nn.Module]:
    return make_norm(norm, channels), nn.ReLU()


def _doubling(upsampling: Upsampling, in_channels: int, out_channels: int, bias: bool) -> nn.Module:
    """Make u128 or u64, (N, in, H, W) -> (N, out, 2H, 2W); the transposed convolution has 3x3 taps here."""
    if upsampling == "transposed":
        return nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias)
    return make_upsampling(upsampling, in_channels, out_channels, bias=bias)


def _residual(channels: int, norm: Norm, dropout: float, bias: bool) -> nn.Sequential:
    """Return the layers of a residual block, R256: (N, C, H, W) -> (N, C, H, W)."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=bias),
        *_norm_relu(norm, channels),
        nn.Dropout(dropout) if dropout else nn.Identity(),
        nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=bias),
        make_norm(norm, channels),
    )


def make_generator(
    settings: Generator, *, in_channels: int, out_channels: int, image_size: tuple[int, int], classes: bool = False
) -> UNet | EncoderDecoder | ResNet:
    """Make the generator of the settings, with random weights; a depth that is not set follows from image_size.

    With `classes` the output holds the probabilities of classes, see `Probabilities`.
    """
    depth = resolved_depth(settings, image_size)
    match settings.kind:
        case "unet":
            return UNet(in_channels, out_channels, settings, depth, classes=classes)
        case "encoder_decoder":
            return EncoderDecoder(in_channels, out_channels, settings, depth, classes=classes)
        case "resnet":
            return ResNet(in_channels, out_channels, settings, classes=classes)
