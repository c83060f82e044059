"""All settings of a training, and the rules between sections."""

import math
from collections.abc import Iterator, Mapping

from pydantic import Field, model_validator

from pix2pix.config.data import Augment, Data
from pix2pix.config.fields import Native, Text
from pix2pix.config.networks import Discriminator, Generator
from pix2pix.config.section import Section
from pix2pix.config.training import Loss, Optimizer, Training

PATCH_LAYERS = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
"""Receptive field of the discriminator in pixels -> its number of stride-2 convolutions (paper, 6.1.2)."""
SMALLEST_SIDE = 16
"""Pixels; a smaller image has no room for the 11x11 window of SSIM."""


class Settings(Section):
    """All settings of a training; each section is checked by itself."""

    data: Data = Data()
    augment: Augment = Augment()
    generator: Generator = Generator()
    discriminator: Discriminator = Discriminator()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()
    provenance: dict[str, Text] = Field(default_factory=dict, max_length=64)
    """Versions, and a fingerprint of the data, of the run that saved the settings; a resumed run compares it."""


class Config(Settings):
    """All settings of a training, checked against each other."""

    @model_validator(mode="after")
    def _check_rules(self) -> "Config":
        for rules in (
            _data_rules,
            _label_rules,
            _target_rules,
            _crop_rules,
            _repeated_crop_rules,
            _size_rules,
            _norm_rules,
            _discriminator_rules,
            _class_discriminator_rules,
            _training_rules,
            _first_phase_rules,
        ):
            for message in rules(self):
                raise ValueError(message)
        return self

    @property
    def native(self) -> bool:
        """Whether images keep their own sizes."""
        return self.augment.load_size == "native"

    @property
    def adversarial(self) -> str:
        """Kind of the adversarial loss: that of the settings, or `classes` for a discriminator of classes."""
        return "classes" if self.discriminator.kind == "classes" else self.loss.adversarial

    @property
    def load_size(self) -> tuple[int, int] | Native:
        """(height, width) of training pairs before the crop: by default 286 for 256, as in the paper."""
        height, width = self.data.image_size
        return self.augment.load_size or (round(height * 286 / 256), round(width * 286 / 256))


# ---- rules: one sentence for each combination that cannot work -------------------------------------------------


def _data_rules(config: Config) -> Iterator[str]:
    data = config.data
    if (data.source is None) != (data.target is None):
        yield "data.source and data.target belong together: give both --source DIR and --target DIR"
    if data.path is not None and data.source is not None:
        yield "DATA and --source/--target are two ways to give the pairs: give one of them"
    if data.val_fraction + data.test_fraction >= 1:
        yield "data.val_fraction and data.test_fraction leave nothing to train on: their sum must be below 1"


def _label_rules(config: Config) -> Iterator[str]:
    data = config.data
    for number, source in data.sources.items():
        if source.kind != "labels" and (source.labels or source.label_tolerance):
            yield (
                f"data.sources.{number}.labels and .label_tolerance are for label maps: "
                f"add --sources.{number}.kind labels"
            )
        if source.kind == "labels" and source.range not in (None, "type"):
            yield f"data.sources.{number}.range: classes have no range; leave it out with kind labels"
    if data.source_kind != "labels":
        if data.source_labels or data.label_tolerance:
            yield "data.source_labels and data.label_tolerance are for label maps: add --source-kind labels"
        return
    if data.source_range not in (None, "type") and data.source_type is None:
        yield "data.source_range: classes have no range; leave it out with --source-kind labels"
    if config.augment.photometric:
        yield "augment.photometric changes brightness, which label maps do not have: leave it out"


CLASS_METRICS = ("mean_iou", "pixel_accuracy")
"""Metrics of targets that are label maps; of `last` and these, `best_by` is one."""


def _target_rules(config: Config) -> Iterator[str]:
    data, best_by = config.data, config.training.best_by
    if data.target_kind != "labels":
        if data.target_labels or data.target_label_tolerance:
            yield "data.target_labels and data.target_label_tolerance are for label maps: add --target-kind labels"
        if isinstance(data.mask_value, str) and data.mask_value != "nan":
            yield f"data.mask_value {data.mask_value}: colours are for label maps: add --target-kind labels"
        if best_by in CLASS_METRICS:
            yield f"training.best_by {best_by} is a metric of label maps: add --target-kind labels, or choose another"
        return
    if data.target_range not in (None, "type") and data.target_type is None:
        yield "data.target_range: classes have no range; leave it out with --target-kind labels"
    if best_by not in ("auto", "last", *CLASS_METRICS):
        yield (
            f"training.best_by {best_by} is not measured where targets are label maps: choose mean_iou, pixel_accuracy "
            "or last"
        )
    if data.mask_value == "nan" or (isinstance(data.mask_value, float) and not data.mask_value.is_integer()):
        yield f"data.mask_value {data.mask_value}: label maps hold integers or colours; give one of these"


def _crop_rules(config: Config) -> Iterator[str]:
    load_size, (height, width) = config.load_size, config.data.image_size
    if load_size == "native":
        if not config.augment.jitter:
            yield "augment.load_size native takes random crops, which --no-jitter turns off: leave one out"
    elif load_size[0] < height or load_size[1] < width:
        yield f"augment.load_size is smaller than image_size, {height}x{width}, so no crop fits: raise --load-size"


def _repeated_crop_rules(config: Config) -> Iterator[str]:
    augment = config.augment
    if augment.crops_per_image > 1 and not augment.jitter:
        yield "augment.crops_per_image takes random crops, which --no-jitter turns off: leave one out"
    if augment.crop_foreground and not augment.jitter:
        yield "augment.crop_foreground chooses random crops, which --no-jitter turns off: leave one out"


def _size_rules(config: Config) -> Iterator[str]:
    """Yield what prevents the networks from using image_size."""
    generator, (height, width) = config.generator, config.data.image_size
    size, smaller = f"data.image_size {height}x{width}", min(height, width)
    multiple = size_multiple(generator, (height, width))
    halves = generator.kind != "resnet"
    if halves and generator.depth and smaller < 2**generator.depth:
        yield (
            f"{size} is too small for generator.depth {generator.depth}: "
            f"the smaller side needs 2^{generator.depth} = {2**generator.depth} pixels; lower --generator.depth"
        )
    halvings = even_halvings((height, width))
    if halves and not generator.depth and 2**halvings < SMALLEST_SIDE:
        yield (
            f"{size}: its sides can be halved evenly only {halvings} times, "
            f"too few for a {generator.kind}; try multiples of 32, 64 or 128, or set --generator.depth"
        )
    if halves and not generator.depth and smaller < 2 * generator.bottleneck_size:
        yield (
            f"{size} is too small for generator.bottleneck_size {generator.bottleneck_size}: the smaller side needs "
            f"{2 * generator.bottleneck_size} pixels; lower --generator.bottleneck-size"
        )
    if height % multiple or width % multiple:
        near = {side // multiple * multiple for side in (height, width, height + multiple - 1, width + multiple - 1)}
        yield (
            f"{size}: sides must be multiples of {multiple} for this generator, such as "
            f"{' or '.join(str(side) for side in sorted(near) if side)}{'; or set another --generator.depth' * halves}"
        )
    if smaller < SMALLEST_SIDE:
        yield f"{size} is too small: a side needs {SMALLEST_SIDE} pixels or more"
    discriminator = config.discriminator
    if smaller < (least := least_side(discriminator)):
        what = f"patch_size {discriminator.patch_size}"
        what += f" at {discriminator.scales} scales" if discriminator.scales > 1 else ""
        yield (
            f"{size} is too small for discriminator.{what}, which needs {least} pixels a side; "
            "lower --discriminator.patch-size"
        )


def _norm_rules(config: Config) -> Iterator[str]:
    """Yield what prevents a norm on an innermost map of one pixel."""
    generator, training, image_size = config.generator, config.training, config.data.image_size
    one_pixel = {size_multiple(generator, image_size)} == set(image_size)
    if not (generator.bottleneck_norm and generator.kind != "resnet" and one_pixel):
        return
    if generator.norm == "instance":
        yield "generator.bottleneck_norm with instance norm on a 1x1 map gives zeros: lower --generator.depth"
    if generator.norm == "batch" and training.batch_size == 1:
        yield "generator.bottleneck_norm needs --batch-size 2 or more: a batch norm of one 1x1 map gives zeros"
    if generator.norm == "batch" and training.norm_statistics == "image":
        yield "generator.bottleneck_norm needs --norm-statistics running: one image's 1x1 map has no variance"


def _discriminator_rules(config: Config) -> Iterator[str]:
    discriminator, loss = config.discriminator, config.loss
    if discriminator.augment != "fixed" and discriminator.augment_probability != 1:
        yield "discriminator.augment_probability is for --discriminator.augment fixed: add that, or leave it out"
    if not loss.adversarial_weight:
        needs = {
            "--discriminator.augment none": discriminator.augment != "none",
            "--feature-matching-weight 0": bool(loss.feature_matching_weight),
            "--discriminator-epochs 0": bool(config.training.discriminator_epochs),
            "--reconstruction-first 0": bool(config.training.reconstruction_first),
        }
        if any(needs.values()):
            yield f"loss.adversarial_weight 0 trains no discriminator, which other settings need: add {_flags(needs)}"
    if loss.perceptual_weight and config.data.target_kind == "labels":
        yield "loss.perceptual_weight compares pictures, but targets are label maps: add --perceptual-weight 0"


def _flags(needed: Mapping[str, bool]) -> str:
    """Join the flags that are needed."""
    return " ".join(flag for flag, need in needed.items() if need)


def _class_discriminator_rules(config: Config) -> Iterator[str]:
    discriminator, loss = config.discriminator, config.loss
    if discriminator.kind != "classes":
        return
    if config.data.source_kind != "labels":
        yield (
            "discriminator.kind classes needs sources that are label maps, of one folder: add --source-kind labels, or "
            "leave it out"
        )
    if config.data.mask_value is not None:
        yield "discriminator.kind classes cannot leave out pixels of the target by data.mask_value: choose one of them"
    usual = Discriminator().patch_size
    needs = {
        f"--discriminator.patch-size {usual}": discriminator.patch_size != usual,
        "--discriminator.scales 1": discriminator.scales != 1,
        "--discriminator.conditional": not discriminator.conditional,
        f"--adversarial {Loss().adversarial}": loss.adversarial != Loss().adversarial,
        "--feature-matching-weight 0": bool(loss.feature_matching_weight),
    }
    if any(needs.values()):
        yield f"discriminator.kind classes has no patches, which other settings need: add {_flags(needs)}"


def _training_rules(config: Config) -> Iterator[str]:
    training, loss = config.training, config.loss
    if training.patience is not None and training.best_by == "last":
        yield "training.patience waits for a better validation, but --best-by last needs none: leave one out"
    if training.best_by == "label_accuracy" and config.native:
        yield "training.best_by label_accuracy needs images of one size, but load_size is native: choose another metric"
    if training.ema and training.ema_images is not None:
        yield "training.ema and training.ema_images are two ways to give one moving average: give one of them"
    if training.keep_every is not None and training.keep_every > training.epochs:
        yield (
            f"training.keep_every {training.keep_every} keeps no model: it must be at most training.epochs, "
            f"{training.epochs}"
        )
    labels = config.data.target_kind == "labels"
    on_images = loss.cross_entropy_weight if labels else loss.l1_weight or loss.l2_weight or loss.perceptual_weight
    flag = "--cross-entropy-weight" if labels else "--l1-weight"
    if not (loss.adversarial_weight or on_images):
        yield f"loss: all weights are 0, so there is nothing to learn; give {flag} or --adversarial-weight"
    if training.reconstruction_first and not on_images:
        yield (
            f"training.reconstruction_first learns from losses on images, but their weights are 0: give {flag}, or add "
            "--reconstruction-first 0"
        )


def _first_phase_rules(config: Config) -> Iterator[str]:
    """Yield what prevents that one network learns alone at first."""
    training = config.training
    if training.discriminator_epochs and training.reconstruction_first:
        yield (
            "training.discriminator_epochs trains D alone at first, and training.reconstruction_first G: "
            "give one of them"
        )
    if training.discriminator_epochs >= training.epochs:
        yield (
            f"training.discriminator_epochs {training.discriminator_epochs} leaves the generator untrained: "
            f"it must be below training.epochs, {training.epochs}"
        )
    if training.first_phase.epochs >= training.epochs:
        yield (
            f"training.reconstruction_first {training.reconstruction_first:g} of training.epochs, {training.epochs}, "
            "leaves the discriminator untrained: raise --epochs, or add --reconstruction-first 0"
        )


# ---- sizes that follow from settings ---------------------------------------------------------------------------


def smallest_discriminated(patch_size: int) -> int:
    """Return the smallest side in pixels that leaves D one logit: its two 4x4 convolutions of stride 1 take 2."""
    return 1 if patch_size == 1 else 3 * 2 ** PATCH_LAYERS[patch_size]


def least_side(discriminator: Discriminator) -> int:
    """Return the smallest side in pixels that leaves one logit at each scale; the second has half the size."""
    if discriminator.kind == "classes":
        return 1
    return smallest_discriminated(discriminator.patch_size) * discriminator.scales


def even_halvings(image_size: tuple[int, int]) -> int:
    """Return how often both sides can be halved without a remainder."""
    both = math.gcd(*image_size)
    return (both & -both).bit_length() - 1


def resolved_depth(generator: Generator, image_size: tuple[int, int]) -> int:
    """Return the number of encoder layers: as set, or as many as image_size and bottleneck_size allow, at most 8."""
    if generator.depth:
        return generator.depth
    allowed = (min(image_size) // generator.bottleneck_size).bit_length() - 1
    return max(1, min(8, even_halvings(image_size), allowed))


def size_multiple(generator: Generator, image_size: tuple[int, int]) -> int:
    """Return the number that the sides of an image must be multiples of: 2^depth, or 4 for the ResNet."""
    return 4 if generator.kind == "resnet" else 2 ** resolved_depth(generator, image_size)
