"""The sections of the settings: one frozen class each, whose fields say their types, defaults and help.

A function elsewhere receives the section that it needs, never all of them. Unknown names are errors.
"""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from pix2pix.config.fields import (
    BestBy,
    ByNumber,
    Cache,
    Channels,
    Count,
    Device,
    Direction,
    Fraction,
    IsPattern,
    LabelNames,
    LoadSize,
    MaskValue,
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


class Section(BaseModel):
    """A frozen group of settings; unknown names are errors, and each field's docstring is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_by_name=True)


class SourceSettings(Section):
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
    type: ValueType | None = None
    """Type of its values, found out of the files."""

    @property
    def network_channels(self) -> int | None:
        """Channels of what the networks see: those of the files, or one for each class."""
        if self.kind == "labels":
            return None if self.labels is None else len(self.labels)
        return self.channels


class Data(Section):
    """Where the pairs are and how files become a source and a target."""

    path: str | None = None
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
    skip_bad: bool = False
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
    sources: Annotated[dict[str, SourceSettings], ByNumber] = {}
    """Of several sources, the settings of each by its number, such as `--sources.2.range 0,10`."""
    mask_value: MaskValue | None = None
    """Value of the target, a number or `nan`, that means nothing is known there: left out of losses and metrics."""
    source_type: ValueType | None = None
    """Type of the sources' values, found out of the files."""
    target_type: ValueType | None = None
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

    @property
    def network_channels(self) -> int | None:
        """Channels of what the networks see of the source, of several together; None if that is open."""
        counts = [part.network_channels for part in self.source_settings(max(1, len(self.sources)))]
        return None if None in counts else sum(filter(None, counts))

    def source_settings(self, count: int) -> tuple[SourceSettings, ...]:
        """The settings of each of a pair's `count` sources. Raises ConfigError for such as fit another count."""
        if count == 1 and not self.sources:
            single = {name: getattr(self, f"source_{name}") for name in ("channels", "range", "kind", "labels", "type")}
            return (SourceSettings.model_construct(**single, label_tolerance=self.label_tolerance),)
        if count == 1:
            raise ConfigError(
                "data.sources is for several sources, and these pairs have one: use --source-range and such"
            )
        if beyond := [number for number in self.sources if int(number) > count]:
            raise ConfigError(f"data.sources.{beyond[0]}: these pairs have {count} sources, counted from 1")
        for name in ("source_channels", "source_range", "source_labels", "label_tolerance"):
            if getattr(self, name):
                raise ConfigError(_of_one(name))
        if self.source_kind != "image":
            raise ConfigError(_of_one("source_kind"))
        return tuple(self.sources.get(str(number), SourceSettings()) for number in range(1, count + 1))


def source_prefix(number: int, count: int) -> str:
    """What the settings of one of `count` sources begin with, below `data.` and as flags."""
    return "source_" if count == 1 else f"sources.{number}."


def _of_one(name: str) -> str:
    plain = name.removeprefix("source_").replace("_", "-")
    return f"data.{name} is for pairs of one source: of several, give it of each that needs it, as --sources.2.{plain}"


class Make(Section):
    """How `data make` turns a photo into a pair."""

    kind: Literal["edges", "gray", "lowres", "mask"]
    """Source of the pair, whose target is the photo: its outlines, its luminance, less of its detail, or with holes."""
    size: Size | None = None
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
    dropout_layers: tuple[Count, ...] = (1, 2, 3)
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
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
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
    device: Device = "auto"
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
