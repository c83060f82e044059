"""All settings of a training, and the rules between sections."""

import math
from collections.abc import Iterator

from pydantic import Field, model_validator

from pix2pix.config.fields import Native
from pix2pix.config.sections import (
    Augment,
    Data,
    Discriminator,
    Generator,
    Loss,
    Optimizer,
    Section,
    Training,
)

PATCH_LAYERS = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
"""Receptive field of the discriminator in pixels -> its number of stride-2 convolutions (paper, 6.1.2)."""
SMALLEST_SIDE = 16
"""Pixels; below this SSIM's 11x11 window has no room."""


class Settings(Section):
    """All settings of a training, each section checked by itself; the command line's flags fill some of them."""

    data: Data = Data()
    augment: Augment = Augment()
    generator: Generator = Generator()
    discriminator: Discriminator = Discriminator()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()
    provenance: dict[str, str] = Field(default_factory=dict)
    """Versions and data fingerprint of the run that saved the settings; informs, and guards a resumed run."""


class Config(Settings):
    """All settings of a training, checked against each other."""

    @model_validator(mode="after")
    def _fields_agree(self) -> "Config":
        for message in _disagreements(self):
            raise ValueError(message)
        return self

    @property
    def native(self) -> bool:
        """Whether pictures keep their own sizes."""
        return self.augment.load_size == "native"

    @property
    def load_size(self) -> tuple[int, int] | Native:
        """(height, width) that a training pair is resized to before the crop (286 for 256, as the paper's)."""
        height, width = self.data.image_size
        return self.augment.load_size or (round(height * 286 / 256), round(width * 286 / 256))


def _disagreements(config: Config) -> Iterator[str]:
    """One sentence for each pair of settings that cannot go together."""
    yield from _of_data(config)
    yield from _of_sizes(config)
    yield from _of_training(config)


def _of_data(config: Config) -> Iterator[str]:
    data = config.data
    if (data.source is None) != (data.target is None):
        yield "data.source and data.target name two folders of one set: give --source DIR and --target DIR"
    if data.path is not None and data.source is not None:
        yield "DATA and --source/--target are two ways to name the pairs: give one of them"
    for number, part in data.sources.items():
        if part.kind != "labels" and (part.labels or part.label_tolerance):
            yield (
                f"data.sources.{number}.labels and .label_tolerance are of label maps: "
                f"add --sources.{number}.kind labels"
            )
        if part.kind == "labels" and part.range not in (None, "type"):
            yield f"data.sources.{number}.range: classes have no range; leave it out with kind labels"
    if data.source_kind != "labels" and (data.source_labels or data.label_tolerance):
        yield "data.source_labels and data.label_tolerance are of label maps: add --source-kind labels"
    if data.source_kind == "labels" and data.source_range not in (None, "type") and data.source_type is None:
        yield "data.source_range: classes have no range; leave it out with --source-kind labels"
    if data.source_kind == "labels" and config.augment.photometric:
        yield "augment.photometric changes brightness, which classes have none of: drop it or --source-kind labels"
    if data.val_fraction + data.test_fraction >= 1:
        yield "data.val_fraction and data.test_fraction leave nothing to train on: their sum must be below 1"
    if config.load_size == "native":
        if not config.augment.jitter:
            yield "augment.load_size native takes crops at random, which --no-jitter turns off: drop one of the two"
    elif any(load < size for load, size in zip(config.load_size, data.image_size, strict=True)):
        height, width = data.image_size
        yield f"augment.load_size must be at least image_size, {height}x{width}, for a crop to fit"


def _of_sizes(config: Config) -> Iterator[str]:
    """What the networks ask of image_size."""
    data, generator = config.data, config.generator
    height, width = data.image_size
    if generator.kind != "resnet" and generator.depth and min(height, width) < 2**generator.depth:
        yield (
            f"data.image_size {height}x{width} is too small for generator.depth {generator.depth}: "
            f"the smaller side needs 2^{generator.depth} = {2**generator.depth} pixels; lower --generator.depth"
        )
    multiple = size_multiple(generator, data.image_size)
    if generator.kind != "resnet" and not generator.depth and multiple < SMALLEST_SIDE:
        yield (
            f"data.image_size {height}x{width}: its sides can be halved evenly only {multiple.bit_length() - 1} times, "
            f"too few for a {generator.kind}; try multiples of 32, 64 or 128, or set --generator.depth"
        )
    if height % multiple or width % multiple:
        near = {side // multiple * multiple for side in (height, width)} | {
            -(-side // multiple) * multiple for side in (height, width)
        }
        yield (
            f"data.image_size {height}x{width}: sides must be multiples of {multiple} for this generator, such as "
            f"{' or '.join(str(side) for side in sorted(near) if side)}; or set another --generator.depth"
        )
    if min(height, width) < SMALLEST_SIDE:
        yield f"data.image_size {height}x{width} is too small: a side needs {SMALLEST_SIDE} pixels or more"
    smallest = smallest_discriminated(config.discriminator.patch_size)
    if min(height, width) < smallest:
        yield (
            f"data.image_size {height}x{width} is too small for discriminator.patch_size "
            f"{config.discriminator.patch_size}, which needs {smallest} pixels a side; lower --discriminator.patch-size"
        )


def _of_training(config: Config) -> Iterator[str]:
    generator, training, image_size = config.generator, config.training, config.data.image_size
    on_one_pixel = {size_multiple(generator, image_size)} == set(image_size)
    if generator.bottleneck_norm and generator.kind != "resnet" and on_one_pixel:
        if generator.norm == "instance":
            yield "generator.bottleneck_norm with instance norm on a 1x1 map gives zeros: lower --generator.depth"
        if generator.norm == "batch" and training.batch_size == 1:
            yield "generator.bottleneck_norm needs --batch-size 2 or more: a batch norm of one 1x1 map gives zeros"
        if generator.norm == "batch" and training.norm_statistics == "image":
            yield "generator.bottleneck_norm needs --norm-statistics running: one image's 1x1 map has no variance"
    if training.patience is not None and training.best_by == "last":
        yield "training.patience waits for a better validation, and training.best_by last measures none: drop one"
    if training.best_by == "label_accuracy" and config.native:
        yield "training.best_by label_accuracy is of pictures of one size, and these keep their own: choose another"
    if training.discriminator_epochs >= training.epochs:
        yield (
            f"training.discriminator_epochs {training.discriminator_epochs} leaves the generator untrained: "
            f"it must be below training.epochs, {training.epochs}"
        )
    if not (config.loss.adversarial_weight or config.loss.l1_weight or config.loss.l2_weight):
        yield "loss: all weights are 0, so there is nothing to learn; give --l1-weight or --adversarial-weight"
    if config.loss.adversarial_weight == 0 and training.discriminator_epochs:
        yield "training.discriminator_epochs needs a discriminator, and loss.adversarial_weight 0 trains none"


def smallest_discriminated(patch_size: int) -> int:
    """The smallest side in pixels that leaves D at least one logit: two 4x4 convolutions of stride 1 take 2."""
    return 1 if patch_size == 1 else 3 * 2 ** PATCH_LAYERS[patch_size]


def resolved_depth(generator: Generator, image_size: tuple[int, int]) -> int:
    """Encoder layers: as set, else as often as both sides can be halved evenly, at most 8 (U-Net 256)."""
    both = math.gcd(*image_size)
    return generator.depth or max(1, min(8, (both & -both).bit_length() - 1))


def size_multiple(generator: Generator, image_size: tuple[int, int]) -> int:
    """The sides of a picture must be multiples of this: 2^depth, or 4 for the ResNet."""
    return 4 if generator.kind == "resnet" else 2 ** resolved_depth(generator, image_size)
