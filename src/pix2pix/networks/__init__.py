"""Generators and discriminators, built from settings and numbers of channels."""

from pix2pix.networks.blocks import set_norm_statistics
from pix2pix.networks.convolution import set_fast_convolutions
from pix2pix.networks.cpu.gradients import input_gradient
from pix2pix.networks.cpu.winograd import reuse_transforms
from pix2pix.networks.discriminators import Logits, PatchGAN, make_discriminator
from pix2pix.networks.generators import EncoderDecoder, ResNet, UNet, class_image, make_generator

__all__ = [
    "EncoderDecoder",
    "Logits",
    "PatchGAN",
    "ResNet",
    "UNet",
    "class_image",
    "input_gradient",
    "make_discriminator",
    "make_generator",
    "reuse_transforms",
    "set_fast_convolutions",
    "set_norm_statistics",
]
