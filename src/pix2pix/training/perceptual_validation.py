"""Choose and load the perceptual metrics that validations measure: that of `best_by`, ST-LPIPS and KID by VGG."""

import math

import torch

from pix2pix.config import Config
from pix2pix.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from pix2pix.errors import ConfigError
from pix2pix.metrics.perceptual import (
    BY_VGG,
    PERCEPTUAL,
    PerceptualMetrics,
    explain_without_vgg,
    make_perceptual_metrics,
)
from pix2pix.text import format_share
from pix2pix.training.plan import Plan

MOST = 0.03
"""Share of a training that ST-LPIPS and KID by VGG may take by `auto`."""
SLOWER = {"32": 1, "bf16": 2}
"""Time of a multiplication of VGG-16, in float32, over that of one in a step; measured on two Zen 4 cores."""
VGG_PRODUCTS = 330_000
"""Multiplications of VGG-16's convolutions for each pixel of an image."""
PRODUCTS_OF_G, PRODUCTS_OF_D = 68, 72
"""Multiplications in a step of U-Net 256 and of the 70x70 PatchGAN for each pixel, divided by base_channels^2: three
passes of G, six of D."""


def make_perceptual_validation(
    plan: Plan, device: torch.device, group: ProcessGroup = SINGLE_PROCESS
) -> PerceptualMetrics:
    """Load the networks of the metrics. All processes measure the same.

    Raises ConfigError if a metric cannot be measured that the settings ask for.
    """
    training, channels = plan.config.training, plan.config.data.target_network_channels
    assert channels is not None, "all settings of a plan are resolved"
    perceptual = make_perceptual_metrics(
        {training.best_by, *(BY_VGG if perceptual_epochs(plan) else ())},
        image_size=plan.smallest,
        largest=_largest(plan),
        channels=channels,
        device=device,
    )
    if (reason := perceptual.missing.get(training.best_by)) is not None:
        raise ConfigError(f"training.best_by {training.best_by} cannot be measured: {reason}; or choose another")
    (lacking,) = group.all_reduce_max(len(perceptual.missing))
    if lacking and training.best_by not in BY_VGG:  # such as a machine without the package
        kept = tuple(name for name in perceptual.set_metrics if name not in BY_VGG)
        perceptual.vgg, perceptual.set_metrics = None, kept
    return perceptual


def describe_perceptual(plan: Plan) -> str | None:
    """Say whether validations measure ST-LPIPS and KID by VGG; None where that is not to be expected."""
    if plan.config.data.target_kind == "labels" or "val" not in plan.counts:
        return None
    if (reason := _explain_without(plan)) is not None:
        return f"without st_lpips and kid_vgg: {reason}"
    if epochs := perceptual_epochs(plan):
        often = "every epoch" if epochs == 1 else f"every {epochs} epochs"
        share = format_share(_share(plan) * plan.config.training.validation_epochs / epochs)
        return f"with st_lpips and kid_vgg after {often}, about {share} of the training"
    return "without st_lpips and kid_vgg, which would slow so small a training (--validation-perceptual always)"


def perceptual_epochs(plan: Plan) -> int:
    """Return the epochs from one measurement by a pretrained network to the next; 0 if there is none.

    A metric that picks the model is measured in every validation; ST-LPIPS and KID by VGG as often as MOST allows.
    Raises ConfigError if they cannot be measured although `validation_perceptual` is `always`.
    """
    training = plan.config.training
    if (reason := _explain_without(plan)) is not None:
        if training.validation_perceptual == "always":
            raise ConfigError(f"training.validation_perceptual always is not possible: {reason}; or leave it out")
        return 0
    if training.validation_perceptual == "always" or training.best_by in BY_VGG:
        return training.validation_epochs
    if training.best_by in PERCEPTUAL:
        return 0
    epochs = math.ceil(_share(plan) / MOST) * training.validation_epochs
    return epochs if epochs <= training.epochs else 0


def _explain_without(plan: Plan) -> str | None:
    """Return why validations cannot measure ST-LPIPS and KID by VGG, or need not; None if they can."""
    data, training = plan.config.data, plan.config.training
    if training.validation_perceptual == "never" and training.best_by not in BY_VGG:
        return "--validation-perceptual never"
    if data.target_kind == "labels":
        return "targets are label maps"
    if "val" not in plan.counts:
        return "there is no val split"
    return explain_without_vgg(data.target_network_channels or 0, min(plan.smallest), _largest(plan))


# ---- cost ------------------------------------------------------------------------------------------------------


def _share(plan: Plan) -> float:
    """Return the time of the two metrics in all validations as a share of that of all steps, by multiplications."""
    config = plan.config
    steps = _products_of_step(config) * plan.counts["train"] * config.augment.crops_per_image
    both = 2 * VGG_PRODUCTS * plan.counts.get("val", 0) * _mean_pixels(plan)  # of the output and of the target
    slower = SLOWER["32" if config.training.precision == "32" else "bf16"]
    return slower * both / (steps * config.training.validation_epochs)


def _largest(plan: Plan) -> tuple[int, int]:
    """Return the greatest height and width of images in validation."""
    if not plan.config.native:
        return plan.config.data.image_size
    return plan.validated or (max(h for h, _ in plan.sizes), max(w for _, w in plan.sizes))


def _mean_pixels(plan: Plan) -> float:
    """Return the pixels of an image in validation, in the mean over all splits."""
    height, width = _largest(plan)
    if not plan.config.native:
        return height * width
    pixels = sum(min(h, height) * min(w, width) * count for (h, w), count in plan.sizes.items())
    return pixels / sum(plan.sizes.values())


def _products_of_step(config: Config) -> float:
    """Return about how many multiplications a step on one pair takes: they grow with the square of the widths."""
    of_g = PRODUCTS_OF_G * config.generator.base_channels**2
    of_d = PRODUCTS_OF_D * config.discriminator.base_channels**2
    return (of_g + of_d) * math.prod(config.data.image_size)
