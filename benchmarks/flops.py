"""Count the arithmetic of a training step: settings -> floating-point operations and bytes, from shapes alone.

`FlopCounterMode` runs the reference networks on the meta device, where nothing is computed. A multiply-add is two
operations, and positions in the padding count, as in a matrix multiply. Norms, activations and losses are left out:
memory bounds them, and they are far below a hundredth of the arithmetic.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference import Reference
from pix2pix.config import Config, resolved_depth

ADAM_BYTES = 28
"""Moved for each parameter by an fp32 Adam: weight, gradient and two moments read, all but the gradient written."""


class StepWork(NamedTuple):
    """Floating-point operations of one update of both networks, and bytes that its two Adams move."""

    generator_forward: float
    discriminator_forward: float  # one of those that `discriminator` contains
    discriminator: float  # forward and backward on target and output
    generator_update: float  # through D without its weights, and through G
    adam_bytes: float

    @property
    def flop(self) -> float:
        return self.generator_forward + self.discriminator + self.generator_update

    def floor(self, flop_per_second: float, bytes_per_second: float) -> float:
        """Seconds below which no implementation of this arithmetic falls."""
        return self.flop / flop_per_second + self.adam_bytes / bytes_per_second


def step_work(config: Config) -> StepWork:
    """Count one training step of a batch, U-Net and PatchGAN 70, 3 channels.

    The order `one-pass` runs D once less than `two-pass`, which the reference follows: not anew for G.
    """
    size = config.data.image_size
    with torch.device("meta"):
        depth = resolved_depth(config.generator, size)
        reference = Reference(depth=depth, base=config.generator.base_channels)
        source, target = torch.empty(2, config.training.batch_size, 3, *size)
        output = reference.generator(source)
        g = _count(lambda: reference.generator(source))
        d = _count(lambda: reference.discriminator(torch.cat([source, target], 1)))
        discriminator = _count(lambda: reference.update_discriminator(source, target, output))
        update = _count(lambda: reference.update_generator(source, target, output))
    networks = (reference.generator, reference.discriminator)
    parameters = sum(weights.numel() for network in networks for weights in network.parameters())
    return StepWork(
        generator_forward=g,
        discriminator_forward=d,
        discriminator=discriminator,
        generator_update=update if config.training.update_order == "two-pass" else update - d,
        adam_bytes=ADAM_BYTES * parameters,
    )


def _count(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
