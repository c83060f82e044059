"""The networks: settings and channel counts in, initialised modules out."""

from pix2pix.networks.blocks import set_norm_statistics
from pix2pix.networks.convolution import set_fast
from pix2pix.networks.discriminators import PatchGAN
from pix2pix.networks.generators import EncoderDecoder, ResNet, UNet, make_generator
from pix2pix.networks.gradients import weights_at_rest

__all__ = [
    "EncoderDecoder",
    "PatchGAN",
    "ResNet",
    "UNet",
    "make_generator",
    "set_fast",
    "set_norm_statistics",
    "weights_at_rest",
]
