"""The networks: settings and channel counts in, initialised modules out."""

from pix2pix.networks.blocks import set_norm_statistics
from pix2pix.networks.convolution import set_fast
from pix2pix.networks.cpu.gradients import no_weight_grad
from pix2pix.networks.cpu.winograd import forget_transform, keep_transform
from pix2pix.networks.discriminators import PatchGAN
from pix2pix.networks.generators import EncoderDecoder, ResNet, UNet, make_generator

__all__ = [
    "EncoderDecoder",
    "PatchGAN",
    "ResNet",
    "UNet",
    "forget_transform",
    "keep_transform",
    "make_generator",
    "no_weight_grad",
    "set_fast",
    "set_norm_statistics",
]
