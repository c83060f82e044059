"""Settings of the networks: the generator and the discriminator."""

from typing import Annotated, Literal

from pydantic import Field

from pix2pix.config.fields import Biases, Fraction, Layer, Norm, PatchSize, Probability, Scales, Upsampling, Width
from pix2pix.config.section import Section


class Generator(Section):
    """The generator G: source -> output."""

    kind: Literal["unet", "encoder_decoder", "resnet"] = "unet"
    """`unet`, `encoder_decoder` (a U-Net without skip connections) or `resnet` (residual blocks)."""
    depth: Annotated[int, Field(ge=1, le=10)] | None = None
    """Layers of the encoder, each of which halves the image: 8 is U-Net 256, 7 is U-Net 128. By default as many as
    image_size allows, at most 8."""
    base_channels: Width = 64
    """Channels of the first layer."""
    norm: Norm = "batch"
    """Normalisation after each convolution but the first, the innermost and the last."""
    bottleneck_norm: bool = False
    """Normalise the innermost encoder layer too; with batch size 1 a 1x1 map then has no variance."""
    dropout: Fraction = 0.5
    """Probability of dropout, the method's noise z; in a ResNet inside every block."""
    dropout_layers: Annotated[tuple[Layer, ...], Field(max_length=64)] = (1, 2, 3)
    """Decoder layers with dropout, counted from the innermost; numbers beyond the widest layers have no effect."""
    upsampling: Upsampling = "transposed"
    """How layers double the sides: `transposed` (transposed convolution, the paper's, which can leave a grid), `resize`
    (each pixel becomes four, then a convolution) or `shuffle` (a convolution gives four pixels for each)."""
    bottleneck_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Pixels that the shorter side of the innermost map keeps at least, where depth follows from image_size."""
    blocks: Annotated[int, Field(ge=1, le=64)] = 9
    """Residual blocks of a ResNet."""
    bias: Biases = "auto"
    """Which convolutions before the last have a bias: `all` or `none`; `auto` is `none` with batch and instance norm,
    which subtract it again, else `all`."""


class Discriminator(Section):
    """The discriminator D: (source, image) -> one logit per patch."""

    patch_size: PatchSize = 70
    """Receptive field in pixels; 1 is the PixelGAN, 286 the ImageGAN (paper, 4.4)."""
    base_channels: Width = 64
    """Channels of the first layer."""
    norm: Norm = "batch"
    """Normalisation after each convolution but the first and the last."""
    conditional: bool = True
    """Give D the source beside the image (conditional GAN); otherwise D sees the image only (paper, figure 4)."""
    spectral_norm: bool = False
    """Divide the weights of each convolution by their largest singular value, which bounds how fast D can change."""
    scales: Scales = 1
    """2 adds a second D, which sees source and image at half their size; a loss is the mean of both."""
    kind: Literal["patch", "classes"] = "patch"
    """`patch` decides for each patch whether it is real. `classes`, for sources that are label maps, gives each pixel
    of the image one of their classes, or calls it generated (Schönfeld et al. 2021)."""
    augment: Literal["none", "fixed", "adaptive"] = "none"
    """Change what D sees, targets and outputs alike: colours, place, a hole. `fixed` with its probability;
    `adaptive` raises it from 0 while D recognises more than 80 % of the targets' patches, a sign of overfitting."""
    augment_probability: Probability = 1.0
    """Probability of each change with `fixed`."""
    bias: Biases = "auto"
    """Which convolutions between the first and the last have a bias, as for --generator.bias."""

    def describe(self) -> str:
        """Return `patch 70`, or `patch 34 at 2 scales, spectral norm`, or `classes`."""
        what = "classes" if self.kind == "classes" else f"patch {self.patch_size}"
        scales = " at 2 scales" if self.scales == 2 else ""
        return f"{what}{scales}{', spectral norm' if self.spectral_norm else ''}"
