"""Settings and a size in; the multiply-adds of each convolution and of a training step out, counted from shapes.

A multiply-add is two floating-point operations. Positions in the padding count, as matrix multiplies do them too.
Norms, activations and losses are left out: they are bound by memory, and far below a hundredth of the arithmetic.
"""

from typing import NamedTuple

from pix2pix.config import PATCH_LAYERS, Config, Discriminator, Generator, resolved_depth

ADAM_BYTES = 28
"""Moved for each parameter by an fp32 Adam: weight, gradient and two moments read, all but the gradient written."""


class Layer(NamedTuple):
    """One convolution of one picture: every weight is used once at every position."""

    name: str
    weights: int  # in * out * height * width of the kernel
    positions: int  # of its smaller map: the output of a convolution, the input of a transposed one

    @property
    def multiply_adds(self) -> int:
        return self.weights * self.positions


def unet_layers(settings: Generator, in_channels: int, out_channels: int, image_size: tuple[int, int]) -> list[Layer]:
    """The convolutions of a U-Net in the order of its parameters: encoder, decoder, image."""
    assert settings.kind == "unet", "only the U-Net is counted"
    depth, base = resolved_depth(settings, image_size), settings.base_channels
    widths = [base * min(2**layer, 8) for layer in range(depth)]
    pixels = image_size[0] * image_size[1]
    maps = [pixels // 4 ** (layer + 1) for layer in range(depth)]  # positions after each encoder layer

    layers = []
    for number, (before, width) in enumerate(zip([in_channels, *widths[:-1]], widths, strict=True)):
        layers.append(Layer(f"encoder {number + 1}", 16 * before * width, maps[number]))
    channels = widths[-1]
    for number, width in enumerate(reversed(widths[:-1]), start=1):
        layers.append(Layer(f"decoder {number}", 16 * channels * width, maps[depth - number]))
        channels = 2 * width
    layers.append(Layer("to image", 16 * channels * out_channels, maps[0]))
    return layers


def patchgan_layers(settings: Discriminator, in_channels: int, image_size: tuple[int, int]) -> list[Layer]:
    """The convolutions of a PatchGAN of 16 pixels or more; `in_channels` are those of all pictures that it sees."""
    assert settings.patch_size > 1, "the PixelGAN is not counted"
    halvings, base = PATCH_LAYERS[settings.patch_size], settings.base_channels
    widths = [base * min(2**layer, 8) for layer in range(halvings + 1)]
    height, width = image_size
    layers, before = [], in_channels
    for number in range(halvings):
        height, width = height // 2, width // 2
        layers.append(Layer(f"D {number + 1}", 16 * before * widths[number], height * width))
        before = widths[number]
    for number, after in ((halvings, widths[-1]), (halvings + 1, 1)):
        height, width = height - 1, width - 1  # a 4x4 kernel of stride 1 with padding 1
        layers.append(Layer(f"D {number + 1}", 16 * before * after, height * width))
        before = after
    return layers


class StepWork(NamedTuple):
    """Floating-point operations of one update of both networks, and bytes that its two Adams move."""

    generator_forward: float
    discriminator_forward: float  # one of those that the next two lines contain
    discriminator: float  # forward and backward on target and output
    generator_update: float  # through D without its weights, and through G
    adam_bytes: float

    @property
    def flop(self) -> float:
        return self.generator_forward + self.discriminator + self.generator_update

    def floor(self, flop_per_second: float, bytes_per_second: float) -> float:
        """Seconds that no implementation of this arithmetic falls below."""
        return self.flop / flop_per_second + self.adam_bytes / bytes_per_second


def step_work(config: Config) -> StepWork:
    """What one training step computes for a batch, with settings that name the channels.

    In the update order `two-pass` D sees the output anew for the generator's update; in `one-pass` it does not, and so
    runs one time less.
    """
    source, target = config.data.network_channels or 3, config.data.target_channels or 3
    generator = unet_layers(config.generator, source, target, config.data.image_size)
    seen = target + (source if config.discriminator.conditional else 0)
    discriminator = patchgan_layers(config.discriminator, seen, config.data.image_size)
    batch = config.training.batch_size
    g, d = (2 * batch * sum(layer.multiply_adds for layer in layers) for layers in (generator, discriminator))
    g_first, d_first = (2 * batch * layers[0].multiply_adds for layers in (generator, discriminator))
    # A backward pass costs one forward for the weights' gradients and one for the inputs', which the first layer is
    # spared where nothing before it learns.
    return StepWork(
        generator_forward=g,
        discriminator_forward=d,
        discriminator=2 * (d + d + (d - d_first)),
        generator_update=(discriminator_forwards(config) - 2) * d + d + g + (g - g_first),
        adam_bytes=ADAM_BYTES * parameters(config),
    )


def discriminator_forwards(config: Config) -> int:
    """Forward passes of D in a step."""
    return 3 if config.training.update_order == "two-pass" else 2


def parameters(config: Config) -> int:
    """Weights of both networks' convolutions; norms and biases, less than a thousandth of them, are left out."""
    source, target = config.data.network_channels or 3, config.data.target_channels or 3
    seen = target + (source if config.discriminator.conditional else 0)
    layers = unet_layers(config.generator, source, target, config.data.image_size)
    layers += patchgan_layers(config.discriminator, seen, config.data.image_size)
    return sum(layer.weights for layer in layers)
