"""Estimate the memory that translating an image takes, and compare it with the free memory."""

import math
from pathlib import Path

from pix2pix.data.io.arrays import ImageFacts
from pix2pix.errors import DataError
from pix2pix.model import Model
from pix2pix.model.model_config import Size
from pix2pix.system.hardware import GIGABYTE, free_memory

SMALL = 2**28
"""Up to this many bytes the free memory is not checked."""
NUMBERS = {"unet": 1.6, "encoder_decoder": 1.6, "resnet": 4.0}
"""Numbers in memory at the peak, per pixel and base channel; 1.5 were measured for the U-Net."""


def needed_memory(model: Model, size: Size) -> int:
    """Estimate the bytes that translating one image takes at its peak."""
    generator, channels = model.config.settings.generator, model.in_channels + model.out_channels
    per_pixel = NUMBERS[generator.kind] * generator.base_channels + 2 * channels
    numbers = math.prod(model.config.presented_size(size)) * per_pixel + math.prod(size) * 3 * channels
    return round(4 * numbers)


def check_memory(path: Path, facts: ImageFacts, model: Model, memory: int | None = None) -> None:
    """Raise DataError for an image that takes more than `memory` bytes, by default the free memory."""
    needed = needed_memory(model, (facts.height, facts.width))
    if memory is None:
        if needed <= SMALL:
            return
        memory = free_memory() or needed  # 0 means unknown: accept the image
    if needed > memory:
        raise DataError(
            f"{path}: is {facts.height}x{facts.width} (HxW), and translating it whole takes about "
            f"{needed / GIGABYTE:.1f} GB of memory, but {memory / GIGABYTE:.1f} GB are free: cut it into parts"
        )
