"""Estimate the memory that translating images takes, and keep all that is in flight within a budget."""

import math
import sys
from dataclasses import dataclass
from typing import Protocol

from pix2pix.model.model_config import Size
from pix2pix.model.signature import Signature
from pix2pix.system.hardware import free_memory

SMALL = 2**28
"""The budget is never below this many bytes, unless it is given."""
NUMBERS = {"unet": 1.6, "encoder_decoder": 1.6, "resnet": 4.0}
"""Numbers in memory at the peak, per pixel and base channel; 1.5 were measured for the U-Net."""


class Device(Protocol):
    """Where a model computes, as `torch.device`; its text is for messages."""

    @property
    def type(self) -> str:
        """`cpu`, `cuda` or `mps`."""


def working_memory(model: Signature, presented: Size) -> int:
    """Estimate the bytes that the generator takes at its peak for one image of the size at which it sees it."""
    generator, channels = model.config.settings.generator, model.in_channels + model.out_channels
    per_pixel = NUMBERS[generator.kind] * generator.base_channels + 2 * channels
    return round(4 * math.prod(presented) * per_pixel)


def held_memory(model: Signature, size: Size) -> int:
    """Estimate the bytes for decoding an image, holding it, and encoding its output."""
    return 12 * math.prod(size) * (model.in_channels + model.out_channels)


def needed_memory(model: Signature, size: Size) -> int:
    """Estimate the bytes that translating one image takes at its peak."""
    return working_memory(model, model.presented_size(size)) + held_memory(model, size)


@dataclass(frozen=True)
class Budget:
    """The most memory that all images in flight may take."""

    model: Signature
    host: float
    """Bytes of this machine; on a CPU those of the generator are among them."""
    device: float | None = None
    """Bytes of the GPU for the generator; None on a CPU."""
    given: bool = False
    """Whether `host` is what the user allows, rather than what is free."""

    @classmethod
    def of(cls, model: Signature, device: Device, memory: float | None = None) -> "Budget":
        """Take `memory` bytes of this machine, by default all that are free, and the free memory of the GPU."""
        host = memory if memory is not None else max(free_memory() or math.inf, SMALL)  # 0 means unknown
        if device.type == "cpu":
            return cls(model, host, given=memory is not None)
        torch = sys.modules.get("torch")  # other engines do not tell what a GPU has left
        free = torch.cuda.mem_get_info(device)[0] if torch and device.type == "cuda" else math.inf
        return cls(model, host, free, given=memory is not None)

    def fits(self, sizes: list[Size], batch: int = 1) -> bool:
        """Return whether images of these sizes can be in flight at once, `batch` of them in the generator."""
        held = sum(held_memory(self.model, size) for size in sizes)
        working = batch * max(working_memory(self.model, self.model.presented_size(size)) for size in sizes)
        if self.device is None:
            return held + working <= self.host
        return held <= self.host and working <= self.device
