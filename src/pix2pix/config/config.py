"""The settings, and the rules between them: one typed model gives the flags, their help, the YAML file and the errors.

Every section is frozen and refuses unknown names. A function elsewhere receives the section it needs, never the whole.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from pix2pix.config.fields import (
    BestBy,
    ByNumber,
    Cache,
    Channels,
    Count,
    Direction,
    Fraction,
    IsPattern,
    LabelNames,
    LoadSize,
    MaskValue,
    Native,
    Norm,
    PatchSize,
    Probability,
    Size,
    UpdateOrder,
    ValueRange,
    ValueType,
    Weight,
    Words,
)
from pix2pix.errors import ConfigError

PATCH_LAYERS = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
"""Receptive field of the discriminator in pixels -> its number of stride-2 convolutions (paper, 6.1.2)."""
SMALLEST_SIDE = 16
"""Pixels; below this SSIM's 11x11 window has no room."""


class Section(BaseModel):
    """A frozen group of settings; unknown names are errors, and each field's docstring is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_by_name=True)


class Part(Section):
    """How one of several sources of a pair becomes channels."""

    channels: Count | None = None
    """Of its files; by default as they have. 1 and 3 convert, 4 and 2 take alpha as a channel."""
    range: ValueRange | None = None
    """Which of its values become -1 and 1: `type`, `measured`, `percentile`, or LOW,HIGH."""
    kind: Literal["image", "labels"] = "image"
    """What it is: an image of quantities, or labels whose colours or gray values are classes."""
    labels: LabelNames | None = None
    """Its classes; by default what the training split holds."""
    label_tolerance: Weight = 0.0
    """How far, in levels, a pixel's colour may be from its class."""
    type: Annotated[ValueType | None, Parameter(parse=False)] = None
    """Type of its values, found out of the files."""

    @property
    def network_channels(self) -> int | None:
        """Channels of what the networks see: those of the files, or one for each class."""
        if self.kind == "labels":
            return None if self.labels is None else len(self.labels)
        return self.channels


class Data(Section):
    """Where the pairs are and how files become a source and a target."""

    path: Annotated[str | None, Parameter(parse=False)] = None
    """Folder or manifest of the pairs (the DATA argument)."""
    source: Words | None = None
    """Folder of sources, in place of DATA; needs --target. Several, each by its own --source, are stacked by channel in
    their order."""
    target: str | None = None
    """Folder of targets, matched to the sources by name."""
    source_pattern: Annotated[Words | None, IsPattern] = None
    """Names of the sources where they differ from the targets': `{id}_training.tif`, in which {id} names the pair;
    repeated where each of several sources has its own."""
    target_pattern: Annotated[str | None, IsPattern] = None
    """Names of the targets, such as `{id}_manual1.gif`; both patterns may also tell files of one folder apart."""
    skip_bad: Annotated[bool, Parameter(negative=())] = False
    """Leave out what cannot be used, after naming it, and train on the rest; by default anything bad is refused."""
    direction: Direction = "AtoB"
    """Which side is the source: A is the left half, `A/`, `trainA/`."""
    image_size: Size = (256, 256)
    """Size that the networks are trained and validated at: N or HxW."""
    source_channels: Count | None = None
    """Channels of the source; by default those of the files. 1 turns colour into gray, 3 repeats gray; 4 of RGB with
    alpha, or 2 of gray, takes alpha as a channel."""
    target_channels: Count | None = None
    """Channels of the target; by default those of the files."""
    source_range: ValueRange | None = None
    """Which values of the source become -1 and 1: the full range of their `type`, the least and greatest of each
    channel on the training split (`measured`), its 0.5 and 99.5 percentiles (`percentile`), or LOW,HIGH. Others become
    numbers outside. By default `type` for 8-bit files and `measured` for others."""
    target_range: ValueRange | None = None
    """The same for the target, whose outputs lie within."""
    source_kind: Literal["image", "labels"] = "image"
    """What the source is: an `image` of quantities, or `labels`, whose colours or gray values are classes, each a
    channel of its own."""
    source_labels: LabelNames | None = None
    """Classes of label maps, as `#0000aa,#ff0000` or `0,1,7`; by default what the training split's sources hold."""
    label_tolerance: Weight = 0.0
    """How far, in levels, a pixel's colour may be from its class; for label maps that JPEG has blurred."""
    parts: Annotated[dict[str, Part], ByNumber] = {}
    """Of several sources, the settings of each by its number, such as `--parts.2.range 0,10`."""
    mask_value: MaskValue | None = None
    """Value of the target, a number or `nan`, that means nothing is known there: left out of losses and metrics."""
    source_type: Annotated[ValueType | None, Parameter(parse=False)] = None
    """Type of the sources' values, found out of the files."""
    target_type: Annotated[ValueType | None, Parameter(parse=False)] = None
    """Type of the targets' values, and so of translations."""
    val_fraction: Fraction = 0.1
    """Share of `train` that becomes `val` where there is no such split."""
    test_fraction: Fraction = 0.1
    """Share of `train` that becomes `test` where there is no such split."""
    split_seed: int = 0
    """Seed of the carved split; a pair's place depends on its name and this number."""
    cache: Cache = "auto"
    """Keep decoded pairs in memory: `auto` and `memory` do if they take a quarter of the free memory at most; `none`
    decodes the files each time."""
    cache_dir: str | None = None
    """Folder where facts about files are remembered between runs; by default pix2pix in XDG_CACHE_HOME or ~/.cache."""
    workers: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    """Loader processes; 0 loads in the training process."""

    @model_validator(mode="before")
    @classmethod
    def _accept_older_names(cls, values: Any) -> Any:
        """Read settings as 0.1 saved them: the limit of its disk cache says nothing any more."""
        if not isinstance(values, Mapping):
            return values
        return {name: value for name, value in values.items() if name != "cache_gigabytes"}

    @property
    def network_channels(self) -> int | None:
        """Channels of what the networks see of the source, of several together; None if that is open."""
        counts = [part.network_channels for part in self.sources(max(1, len(self.parts)))]
        return None if None in counts else sum(filter(None, counts))

    def sources(self, count: int) -> tuple[Part, ...]:
        """The settings of each of a pair's `count` sources. Raises ConfigError for such as fit another count."""
        if count == 1 and not self.parts:
            single = {name: getattr(self, f"source_{name}") for name in ("channels", "range", "kind", "labels", "type")}
            return (Part.model_construct(**single, label_tolerance=self.label_tolerance),)
        if count == 1:
            raise ConfigError(
                "data.parts is for several sources, and these pairs have one: use --source-range and such"
            )
        if beyond := [number for number in self.parts if int(number) > count]:
            raise ConfigError(f"data.parts.{beyond[0]}: these pairs have {count} sources, counted from 1")
        for name in ("source_channels", "source_range", "source_labels", "label_tolerance"):
            if getattr(self, name):
                raise ConfigError(_of_one(name))
        if self.source_kind != "image":
            raise ConfigError(_of_one("source_kind"))
        return tuple(self.parts.get(str(number), Part()) for number in range(1, count + 1))


def source_prefix(number: int, count: int) -> str:
    """What the settings of one of `count` sources begin with, below `data.` and as flags."""
    return "source_" if count == 1 else f"parts.{number}."


def _of_one(name: str) -> str:
    plain = name.removeprefix("source_").replace("_", "-")
    return f"data.{name} is for pairs of one source: of several, give it of each that needs it, as --parts.2.{plain}"


class Make(Section):
    """How `data make` turns a photo into a pair."""

    kind: Literal["edges", "gray", "lowres", "mask"]
    """Source of the pair, whose target is the photo: its outlines, its luminance, less of its detail, or with holes."""
    size: Annotated[Size | None, Parameter(show_default=False)] = None
    """Fill N or HxW with each photo: made smaller, its middle cut out; by default photos keep their sizes."""
    channels: Channels = 3
    """Channels of the targets: 3 repeats gray photos, 1 turns colour into gray."""
    sigma: Annotated[float, Field(gt=0, le=20)] = 1.4
    """edges: smoothing in pixels; more leaves out fine detail."""
    low: Annotated[float, Field(gt=0, le=1)] = 0.08
    """edges: contrast, of the full range, that an edge must keep."""
    high: Annotated[float, Field(gt=0, le=1)] = 0.2
    """edges: contrast that an edge must have somewhere."""
    factor: Annotated[int, Field(ge=2, le=64)] = 4
    """lowres: the source is made smaller by this and enlarged again (bicubic)."""
    holes: Annotated[float, Field(gt=0, le=0.6)] = 0.25
    """mask: share of a picture that is missing, on average."""
    val_fraction: Fraction = 0.1
    """Share of the photos that becomes `val`."""
    test_fraction: Fraction = 0.1
    """Share of the photos that becomes `test`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the splits and holes; a photo's are decided by its name and this number."""


class Augment(Section):
    """What a training pair goes through; one draw serves source and target."""

    jitter: bool = True
    """Resize to load_size, then crop image_size at random (paper, 6.2; slide "Training details")."""
    load_size: LoadSize | None = None
    """Size before the random crop; by default image_size x 286/256. With `native` nothing is resized: crops are taken
    of each pair at its own size, and pictures are validated, measured and translated whole."""
    flip: bool = True
    """Mirror half of the pairs (paper, 6.2)."""
    vertical_flip: Probability = 0.0
    """Probability of turning a pair upside down."""
    rotate90: Probability = 0.0
    """Probability of a turn by 90, 180 or 270 degrees; by 180 only where image_size is not square."""
    affine: Probability = 0.0
    """Probability of a small rotation and scaling about the middle."""
    affine_degrees: Annotated[float, Field(ge=0, le=180)] = 5.0
    """Greatest angle of it, either way."""
    affine_scale: Annotated[float, Field(ge=0, le=0.9)] = 0.05
    """Greatest change of size, as a share, either way."""
    photometric: Probability = 0.0
    """Probability of another brightness and contrast of the source alone."""
    photometric_strength: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """Greatest change of contrast, as a share, and of brightness, as a share of the range."""


class Generator(Section):
    """The network G: source -> output."""

    kind: Literal["unet", "encoder_decoder", "resnet"] = "unet"
    """U-Net, the same without skips, or nine residual blocks."""
    depth: Annotated[int, Field(ge=1, le=10)] | None = None
    """Encoder layers, each halves the picture: 8 is U-Net 256, 7 is 128; by default as image_size allows, 8 at most."""
    base_channels: Count = 64
    """Width of the first layer."""
    norm: Norm = "batch"
    """Normalisation after each convolution but the first, the innermost and the last."""
    bottleneck_norm: bool = False
    """Normalise the innermost encoder layer too (a batch of 1 on a 1x1 map then has no variance)."""
    dropout: Fraction = 0.5
    """Probability of dropout, the method's noise z; in a ResNet inside every block."""
    dropout_layers: Annotated[tuple[Count, ...], Parameter(consume_multiple=True, negative=())] = (1, 2, 3)
    """Decoder layers with dropout, counted from the innermost; numbers past the widest layers do nothing."""


class Discriminator(Section):
    """The network D: (source, image) -> one logit a patch."""

    patch_size: PatchSize = 70
    """Receptive field in pixels; 1 is the PixelGAN, 286 the ImageGAN (paper, 4.4)."""
    base_channels: Count = 64
    """Width of the first layer."""
    norm: Norm = "batch"
    """Normalisation after each convolution but the first and the last."""
    conditional: bool = True
    """D sees the source beside the image (cGAN); without it, the plain GAN of the paper's Figure 4."""


class Loss(Section):
    """The objective: weights of the named terms."""

    adversarial: Literal["vanilla", "lsgan", "hinge"] = "vanilla"
    """Cross-entropy on logits (the paper's), least squares, or hinge."""
    adversarial_weight: Weight = 1.0
    """Weight of g_adversarial; at 0 the discriminator is not trained."""
    l1_weight: Weight = 100.0
    """Weight of g_l1, lambda in the paper's equation 4."""
    l2_weight: Weight = 0.0
    """Weight of g_l2, the blurry alternative to L1."""
    discriminator_weight: Weight = 0.5
    """Factor on d_real + d_fake; a half slows D relative to G (paper, 3.3)."""


class Optimizer(Section):
    """Adam, for both networks."""

    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2e-4
    """Step size of Adam."""
    betas: Annotated[tuple[Fraction, Fraction], Parameter(negative=())] = (0.5, 0.999)
    """Momentum and decay of the second moment."""
    schedule: Literal["constant", "linear"] = "constant"
    """`linear` keeps the rate for the first half of the epochs and then takes it to 0."""


class Training(Section):
    """The epochs around the update."""

    epochs: Count = 200
    """Passes over the training pairs, the discriminator's head start included."""
    batch_size: Count = 1
    """Pairs in an update; with several processes, of each, so that an update sees batch_size x processes."""
    discriminator_epochs: Annotated[int, Field(ge=0)] = 0
    """First epochs in which only the discriminator learns (slide "Training details": 50)."""
    ema: Fraction = 0.0
    """Decay of an exponential moving average of G that is validated and kept in its place; 0 is none, 0.999 usual."""
    norm_statistics: Literal["auto", "image", "running"] = "auto"
    """What batch norm uses outside training: each image's own statistics (the paper's test mode) or running averages;
    `auto` takes the image's for batch size 1 and the averages otherwise, and the saved model says which."""
    best_by: BestBy = "l1"
    """Validation metric that picks the kept model; `last` keeps the newest. `lpips`, `fid` and `kid` need weights,
    and for `label_accuracy` a network is first taught to read labels from the training photos."""
    validate_every: Count | None = None
    """Epochs from one validation to the next, besides the first and the last; by default fifty validations in a
    training, or one after every epoch where `patience` waits for them."""
    patience: Count | None = None
    """Stop after this many epochs without a better validation."""
    samples: Annotated[int, Field(ge=0)] = 6
    """Validation pairs on the sample sheets."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of weights, order, jitter and dropout."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; `auto` takes an accelerator if there is one."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """Arithmetic of the networks; `auto` is bf16 where the processor has it in hardware."""
    devices: Literal["auto"] | Count = "auto"
    """Processes on each machine, one for each device; `auto` takes all GPUs, or one process on a CPU."""
    nodes: Literal["auto"] | Count = "auto"
    """Machines; `auto` is what torchrun or srun says, else one."""
    sync_norm: bool = False
    """Batch norm over the pictures of all processes; otherwise each process normalises its own batch_size pictures."""
    rank_timeout: Annotated[float, Field(gt=0, le=86400)] = 600.0
    """Seconds without an answer after which another process is given up."""
    update_order: UpdateOrder = "one-pass"
    """`two-pass`: run the updated discriminator on the output again for the generator's update (Isola et al.);
    `one-pass`: compute both updates from one run of the discriminator, which is faster."""
    convolutions: Literal["auto", "fast", "native"] = "auto"
    """`native`: the library's convolutions; `fast`: ours where they are faster, the same up to rounding; `auto` is
    `fast` on a processor and `native` on a GPU."""

    @property
    def validation_epochs(self) -> int:
        """From one validation to the next."""
        return self.validate_every or (1 if self.patience else max(1, self.epochs // 50))

    @property
    def processes(self) -> int:
        """On all machines; what is still `auto` stands for one."""
        return (1 if self.devices == "auto" else self.devices) * (1 if self.nodes == "auto" else self.nodes)

    @property
    def effective_batch(self) -> int:
        """Pairs in an update, over all processes."""
        return self.batch_size * self.processes


def _group(title: str, order: int) -> Group:
    return Group(title, sort_key=order)


class Settings(Section):
    """All settings of a training, each section checked by itself; the command line's flags fill some of them."""

    data: Annotated[Data, Parameter(name="*", group=_group("Data", 1))] = Data()
    augment: Annotated[Augment, Parameter(name="*", group=_group("Augmentation", 2))] = Augment()
    generator: Annotated[Generator, Parameter(group=_group("Generator", 4))] = Generator()
    discriminator: Annotated[Discriminator, Parameter(group=_group("Discriminator", 5))] = Discriminator()
    loss: Annotated[Loss, Parameter(name="*", group=_group("Loss", 6))] = Loss()
    optimizer: Annotated[Optimizer, Parameter(name="*", group=_group("Optimizer", 7))] = Optimizer()
    training: Annotated[Training, Parameter(name="*", group=_group("Training", 3))] = Training()
    provenance: Annotated[dict[str, str], Parameter(parse=False)] = {}
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
    for number, part in data.parts.items():
        if part.kind != "labels" and (part.labels or part.label_tolerance):
            yield f"data.parts.{number}.labels and .label_tolerance are of label maps: add --parts.{number}.kind labels"
        if part.kind == "labels" and part.range not in (None, "type"):
            yield f"data.parts.{number}.range: classes have no range; leave it out with kind labels"
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
