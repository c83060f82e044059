"""Estimate from below what memory a training needs, and refuse one that no memory here can hold."""

import torch

from pix2pix.config import Config, resolved_depth
from pix2pix.errors import ConfigError
from pix2pix.model import build_networks
from pix2pix.system.hardware import GIGABYTE, total_memory

BYTES_IN_FILE = 4  # float32
BYTES_OF_WEIGHT = 12  # float32: the weight and Adam's two moments


def refuse_impossible(config: Config, available: int | None = None) -> None:
    """Raise ConfigError if weights, Adam and what a batch leaves for the backward pass exceed all memory of the device.

    `available` is in bytes, by default that of the device of resolved settings. The estimate is a lower bound, so that
    nothing is refused that might run; 0 bytes are an unknown limit.
    """
    training = config.training
    if available is None:
        available = _device_memory(training.device)
    weights, batch = least_memory(config)
    processes = training.devices if training.device == "cpu" and training.devices != "auto" else 1
    needed = (weights + batch) * processes
    if available and needed > available:
        raise ConfigError(
            f"the training needs {needed / GIGABYTE:,.0f} GB of memory or more ({weights * processes / GIGABYTE:,.1f} "
            f"for weights and Adam, {batch * processes / GIGABYTE:,.1f} for a batch), but there are "
            f"{available / GIGABYTE:,.0f} GB; lower --base-channels, --image-size or --batch-size"
        )


def least_memory(config: Config) -> tuple[int, int]:
    """Return bytes for the weights and Adam, and for the outputs of G's layers that the backward pass needs."""
    weights = BYTES_OF_WEIGHT * count_weights(config)
    (height, width), training = config.data.image_size, config.training
    numbers = training.batch_size * height * width * config.generator.base_channels * _outputs_of_layers(config)
    return weights, int(numbers * (2 if training.precision == "bf16" else 4))


def count_weights(config: Config) -> int:
    """Return the number of weights of both networks; spectral norm has none, and would import torch's compiler here."""
    plain = config.discriminator.model_copy(update={"spectral_norm": False})
    with torch.device("meta"):
        networks = build_networks(config.model_copy(update={"discriminator": plain}))
    return sum(weight.numel() for network in networks for weight in network.parameters())


def _outputs_of_layers(config: Config) -> float:
    """Return the numbers in the outputs of G's layers, in units of base_channels x H x W.

    A layer at 1/2^n of the sides has 1/4^n of the pixels.
    """
    if config.generator.kind == "resnet":  # two layers at full size, two at half, the others at a quarter
        return 2 * 1 + 2 * 2 / 4 + (1 + config.generator.blocks * 2) * 4 / 16
    depth = resolved_depth(config.generator, config.data.image_size)
    encoder = [min(2**layer, 8) / 4 ** (layer + 1) for layer in range(depth)]
    return sum(encoder) + sum(encoder[:-1])  # the decoder mirrors all layers but the innermost


def _device_memory(device: str) -> int:
    return torch.cuda.get_device_properties(0).total_memory if device == "cuda" else total_memory()
