"""The sections of the settings: one frozen class each. The docstring of a field is its help.

Other modules take only the sections that they need. Unknown names are errors.
"""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from pix2pix.config.fields import (
    Axes,
    BatchSize,
    BestBy,
    ByNumber,
    Cache,
    ChannelChoice,
    ChannelCount,
    Channels,
    ClassNames,
    Count,
    Device,
    Direction,
    Exif,
    Fill,
    Fraction,
    IsPattern,
    LabelNames,
    Layer,
    Layout,
    Levels,
    LoadSize,
    Machines,
    MaskValue,
    Norm,
    PatchSize,
    Planes,
    Probability,
    Scales,
    Seed,
    Size,
    Text,
    ThreadCount,
    UpdateOrder,
    Upsampling,
    ValueRange,
    ValueType,
    Weight,
    Width,
    Words,
)
from pix2pix.errors import ConfigError


class Section(BaseModel):
    """A frozen group of settings. Unknown names are errors, and the docstring of a field is its help."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_by_name=True
    )


class SourceSettings(Section):
    """Settings of one of several sources: how its files become channels."""

    channels: ChannelCount | None = None
    """Channels of its files; by default as stored. 1 and 3 convert between gray and colour, 2 and 4 include the alpha
    channel."""
    range: ValueRange | None = None
    """Values that become -1 and 1: `type`, `measured`, `percentile` or LOW,HIGH, as for --source-range."""
    kind: Literal["image", "labels"] = "image"
    """`image` for quantities, or `labels` for a label map, whose colours or gray values are classes."""
    labels: LabelNames | None = None
    """Classes of the label map; by default those found in the training split."""
    label_tolerance: Levels = 0.0
    """Largest distance, in gray levels, between a pixel's colour and its class."""
    nodata: MaskValue | None = None
    """Value that marks pixels without data, as for --nodata."""
    fill: Fill = "mean"
    """What these pixels are filled with, as for --source-fill."""
    type: ValueType | None = None
    """Type of the values, read from the files."""

    @property
    def network_channels(self) -> int | None:
        """Channels in the networks: those of the files, or one for each class."""
        if self.kind == "labels":
            return None if self.labels is None else len(self.labels)
        return self.channels


class Data(Section):
    """Where the pairs are, and how files become a source and a target."""

    path: Text | None = None
    """Folder or manifest of the pairs (the argument DATA)."""
    source: Words | None = None
    """Folder of sources, in place of DATA; needs --target. Repeat it for several sources: their channels are
    concatenated in the order given."""
    target: Text | None = None
    """Folder of targets; source and target of one name are a pair."""
    source_pattern: Annotated[Words | None, IsPattern] = None
    """File names of the sources where they differ from the targets', such as `{id}_training.tif`; {id} stands for the
    name of the pair. Repeat it where each of several sources has its own."""
    target_pattern: Annotated[Text | None, IsPattern] = None
    """File names of the targets, such as `{id}_manual1.gif`. With both patterns, sources and targets may lie in one
    folder."""
    layout: Layout = "auto"
    """`side-by-side`: each image of DATA holds a source and its target; by default taken only of 8-bit images twice as
    wide as high, where no folders name the sides."""
    exif: Exif = "auto"
    """EXIF orientation turns images upright. `apply`: on each side by its own; `ignore`: on none, all files are taken
    as stored, also those that the model translates; by default as `apply`, but a pair of which the sides are turned
    differently is an error, unless their sizes agree in this way only."""
    resize_source: bool = False
    """Resize each source to the size of its target, bilinearly, label maps by the nearest pixel; by default a pair of
    two sizes is an error. If every target is K times larger than its source, outputs are K times larger too."""
    skip_bad: bool = False
    """List unusable files and train on the rest; by default any of them is an error."""
    direction: Direction = "AtoB"
    """Which side is the source: A is the left half, `A/` or `trainA/`."""
    image_size: Size = (256, 256)
    """Size in pixels of the images in training and validation: N or HxW."""
    source_channels: ChannelCount | None = None
    """Channels of the source; by default those of the files. 1 converts colour to gray, 3 repeats gray, 4 (of RGB) and
    2 (of gray) include the alpha channel."""
    target_channels: ChannelCount | None = None
    """Channels of the target; by default those of the files."""
    source_from: ChannelChoice | None = None
    """Channels of each source file to take, by number from 0 or by name, such as 0,1. With target_from too, DATA may
    hold files that are source and target at once."""
    target_from: ChannelChoice | None = None
    """Channels of each target file to take, such as 2."""
    planes: Planes = "ask"
    """What the planes of a stack (Z, T and other axes) are: `pictures`, each a pair of its own; or `channels` of one
    picture. `ask`: stacks are an error."""
    npy_axes: Axes | None = None
    """Order of the axes in .npy files of as many axes, such as CYX or ZYX; by default YX and YXC."""
    source_range: ValueRange | None = None
    """Values of the source that become -1 and 1. `type`: the limits of the data type; `measured`: minimum and maximum
    of each channel on the training split; `percentile`: its 0.5 and 99.5 percentiles there; or LOW,HIGH. Values outside
    are not clipped. By default `type` for 8-bit files and `measured` for others."""
    target_range: ValueRange | None = None
    """The same for the target; outputs stay within it."""
    target_kind: Literal["image", "labels"] = "image"
    """`image` for quantities, or `labels` for a label map: the generator then predicts the class of each pixel, and
    outputs are label maps."""
    target_labels: LabelNames | None = None
    """Classes of the target, as for --source-labels; by default those found in the training split."""
    target_label_tolerance: Levels = 0.0
    """The same as --label-tolerance, for the target."""
    source_kind: Literal["image", "labels"] = "image"
    """`image` for quantities, or `labels` for a label map, whose colours or gray values are classes; each class becomes
    a channel."""
    source_labels: LabelNames | None = None
    """Classes of the label maps, as `#0000aa,#ff0000` or `0,1,7`; by default those found in the training split."""
    label_tolerance: Levels = 0.0
    """Largest distance, in gray levels, between a pixel's colour and its class; for label maps that JPEG has
    blurred."""
    nodata: MaskValue | None = None
    """Value of the source, a number or `nan`, that marks pixels without data; NaN and infinity then count as such too.
    By default that of the GDAL_NODATA tag, except for 8 bits. For the target it is --mask-value."""
    source_fill: Fill = "mean"
    """What pixels of the source without data are filled with: `mean` or `minimum` of each channel on the training
    split, or a number."""
    sources: Annotated[dict[str, SourceSettings], ByNumber] = {}
    """Settings of each of several sources by its number, such as `--sources.2.range 0,10`."""
    mask_value: MaskValue | None = None
    """Value of the target, a number, `nan` or the colour of a label map, that marks unknown pixels; losses and metrics
    leave them out."""
    source_type: ValueType | None = None
    """Type of the sources' values, read from the files."""
    target_type: ValueType | None = None
    """Type of the targets' values, read from the files; outputs are written in it."""
    val_fraction: Fraction = 0.1
    """Share of `train` to use as `val` where the data have no such split."""
    test_fraction: Fraction = 0.1
    """Share of `train` to use as `test` where the data have no such split."""
    split_seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    """Seed of these splits. The split of a pair depends on its name and this seed only."""
    cache: Cache = "auto"
    """Keep decoded pairs in memory: `auto` and `memory` do if they take a quarter of the free memory at most; `none`
    decodes the files each time."""
    cache_dir: Text | None = None
    """Folder for facts about files that are kept between runs; by default pix2pix in XDG_CACHE_HOME or ~/.cache."""
    workers: Literal["auto"] | Annotated[int, Field(ge=0, le=1024)] = "auto"
    """Loader processes; 0 loads in the training process."""

    @property
    def network_channels(self) -> int | None:
        """Channels of all sources together in the networks; None if not resolved yet."""
        counts = [part.network_channels for part in self.source_settings(max(1, len(self.sources)))]
        return None if None in counts else sum(filter(None, counts))

    @property
    def target_network_channels(self) -> int | None:
        """Channels of the target in the networks; None if not resolved yet."""
        return self.target_settings.network_channels

    @property
    def target_settings(self) -> SourceSettings:
        """The settings of the target under the names of those of a source."""
        names = ("channels", "range", "kind", "labels", "label_tolerance", "type")
        return SourceSettings.model_construct(**{name: getattr(self, f"target_{name}") for name in names})

    def source_settings(self, count: int) -> tuple[SourceSettings, ...]:
        """Return the settings of each of `count` sources. Raises ConfigError for settings of another count."""
        if count == 1 and not self.sources:
            names = ("channels", "range", "kind", "labels", "fill", "type")
            single: dict[str, Any] = {name: getattr(self, f"source_{name}") for name in names}
            single |= {"label_tolerance": self.label_tolerance, "nodata": self.nodata}
            return (SourceSettings.model_construct(**single),)
        if count == 1:
            raise ConfigError(
                "data.sources is for several sources, but these pairs have one: use --source-range and so on"
            )
        if beyond := [number for number in self.sources if int(number) > count]:
            raise ConfigError(f"data.sources.{beyond[0]}: these pairs have {count} sources, counted from 1")
        for name in ("source_channels", "source_range", "source_labels", "label_tolerance", "nodata"):
            if getattr(self, name) not in (None, 0.0) or (name == "nodata" and self.nodata is not None):
                raise ConfigError(_of_one(name))
        for name, usual in (("source_kind", "image"), ("source_fill", "mean")):
            if getattr(self, name) != usual:
                raise ConfigError(_of_one(name))
        return tuple(self.sources.get(str(number), SourceSettings()) for number in range(1, count + 1))


def source_prefix(number: int, count: int) -> str:
    """Return the prefix of the settings of one of `count` sources, after `data.` and in flags."""
    return "source_" if count == 1 else f"sources.{number}."


def _of_one(name: str) -> str:
    plain = name.removeprefix("source_").replace("_", "-")
    return f"data.{name} is for pairs with one source: with several, set it for each one, as in --sources.2.{plain}"


class Make(Section):
    """Options of `pix2pix data make`: how a photo becomes a pair."""

    kind: Literal["edges", "gray", "lowres", "mask"]
    """How the source is derived from the photo, which is the target: its edges, grayscale, low resolution, or a copy
    with holes (inpainting)."""
    size: Size | None = None
    """Resize and crop each photo about its centre to N or HxW; by default photos keep their sizes."""
    channels: Channels = 3
    """Channels of the targets: 3 repeats gray photos, 1 converts colour to gray."""
    sigma: Annotated[float, Field(gt=0, le=20)] = 1.4
    """edges: width of the smoothing in pixels; larger values drop fine detail."""
    low: Annotated[float, Field(gt=0, le=1)] = 0.08
    """edges: lower threshold of the contrast, as a share of the full range; an edge is above it everywhere."""
    high: Annotated[float, Field(gt=0, le=1)] = 0.2
    """edges: upper threshold of the contrast; an edge is above it somewhere."""
    factor: Annotated[int, Field(ge=2, le=64)] = 4
    """lowres: factor by which the source is made smaller, before it is enlarged again (bicubic)."""
    holes: Annotated[float, Field(gt=0, le=0.6)] = 0.25
    """mask: mean share of the image that is missing."""
    val_fraction: Fraction = 0.1
    """Share of the photos to use as `val`."""
    test_fraction: Fraction = 0.1
    """Share of the photos to use as `test`."""
    seed: Seed = 0
    """Seed of the splits and holes, which depend on a photo's name and this seed only."""


class Augment(Section):
    """Augmentation of training pairs; source and target are transformed alike."""

    jitter: bool = True
    """Resize to load_size, then crop image_size at a random position (paper, 6.2; lecture, "Training details")."""
    load_size: LoadSize | None = None
    """Size before the random crop; by default image_size x 286/256. `native` resizes nothing: crops are taken from each
    image at its own size, and validation, evaluation and translation use whole images."""
    crops_per_image: Annotated[int, Field(ge=1, le=65_536)] = 1
    """Random crops of each pair in an epoch, for images much larger than image_size."""
    crop_foreground: Probability = 0.0
    """Share of the crops that must hold foreground: a pixel of the label map, or else of the target, that is not
    crop_background. In an image without any, crops stay random."""
    crop_background: ClassNames = ("0",)
    """Gray values or colours of the background, as `0` or `#0000df`, for --crop-foreground."""
    flip: bool = True
    """Mirror half of the pairs (paper, 6.2)."""
    vertical_flip: Probability = 0.0
    """Probability of a vertical flip."""
    rotate90: Probability = 0.0
    """Probability of a rotation by 90, 180 or 270 degrees; by 180 only where image_size is not square."""
    affine: Probability = 0.0
    """Probability of a small rotation and scaling about the centre."""
    affine_degrees: Annotated[float, Field(ge=0, le=180)] = 5.0
    """Largest rotation in degrees, either way."""
    affine_scale: Annotated[float, Field(ge=0, le=0.9)] = 0.05
    """Largest change of size, as a share, either way."""
    photometric: Probability = 0.0
    """Probability of a change of brightness and contrast, of the source only."""
    photometric_strength: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """Largest change of contrast, as a share, and of brightness, as a share of the range."""


class Generator(Section):
    """The generator G: source -> output."""

    kind: Literal["unet", "encoder_decoder", "resnet"] = "unet"
    """`unet`, `encoder_decoder` (a U-Net without skip connections) or `resnet` (nine residual blocks)."""
    depth: Annotated[int, Field(ge=1, le=10)] | None = None
    """Layers of the encoder, each of which halves the image: 8 is U-Net 256, 7 is U-Net 128. By default as many as
    image_size allows, at most 8."""
    base_channels: Width = 64
    """Channels of the first layer."""
    norm: Norm = "batch"
    """Normalisation after each convolution but the first, the innermost and the last."""
    bottleneck_norm: bool = False
    """Normalise the innermost encoder layer too; with batch size 1 a 1x1 map then has no variance."""
    dropout: Fraction = 0.5
    """Probability of dropout, the method's noise z; in a ResNet inside every block."""
    dropout_layers: Annotated[tuple[Layer, ...], Field(max_length=64)] = (1, 2, 3)
    """Decoder layers with dropout, counted from the innermost; numbers beyond the widest layers have no effect."""
    upsampling: Upsampling = "transposed"
    """How layers double the sides: `transposed` (transposed convolution, the paper's, which can leave a grid), `resize`
    (each pixel becomes four, then a convolution) or `shuffle` (a convolution gives four pixels for each)."""
    bottleneck_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Pixels that the shorter side of the innermost map keeps at least, where depth follows from image_size."""


class Discriminator(Section):
    """The discriminator D: (source, image) -> one logit per patch."""

    patch_size: PatchSize = 70
    """Receptive field in pixels; 1 is the PixelGAN, 286 the ImageGAN (paper, 4.4)."""
    base_channels: Width = 64
    """Channels of the first layer."""
    norm: Norm = "batch"
    """Normalisation after each convolution but the first and the last."""
    conditional: bool = True
    """Give D the source beside the image (conditional GAN); otherwise D sees the image only (paper, figure 4)."""
    spectral_norm: bool = False
    """Divide the weights of each convolution by their largest singular value, which bounds how fast D can change."""
    scales: Scales = 1
    """2 adds a second D, which sees source and image at half their size; a loss is the mean of both."""
    kind: Literal["patch", "classes"] = "patch"
    """`patch` decides for each patch whether it is real. `classes`, for sources that are label maps, gives each pixel
    of the image one of their classes, or calls it generated (Schönfeld et al. 2021)."""
    augment: Literal["none", "fixed", "adaptive"] = "none"
    """Change what D sees, targets and outputs alike: colours, place, a hole. `fixed` with its probability;
    `adaptive` raises it from 0 while D recognises more than 80 % of the targets' patches, a sign of overfitting."""
    augment_probability: Probability = 1.0
    """Probability of each change with `fixed`."""

    def describe(self) -> str:
        """Return `patch 70`, or `patch 34 at 2 scales, spectral norm`, or `classes`."""
        what = "classes" if self.kind == "classes" else f"patch {self.patch_size}"
        scales = " at 2 scales" if self.scales == 2 else ""
        return f"{what}{scales}{', spectral norm' if self.spectral_norm else ''}"


class Loss(Section):
    """The objective: weights of the named terms."""

    adversarial: Literal["vanilla", "lsgan", "hinge"] = "vanilla"
    """`vanilla` (cross-entropy on logits, the paper's), `lsgan` (least squares) or `hinge`."""
    adversarial_weight: Weight = 1.0
    """Weight of g_adversarial; with 0 the discriminator is not trained."""
    l1_weight: Weight = 100.0
    """Weight of g_l1, lambda in the paper's equation 4."""
    l2_weight: Weight = 0.0
    """Weight of g_l2, the mean squared error, which blurs more than L1."""
    cross_entropy_weight: Weight = 100.0
    """Weight of g_cross_entropy, which takes the place of g_l1 and g_l2 where targets are label maps."""
    discriminator_weight: Weight = 0.5
    """Factor on d_real + d_fake; a half slows D relative to G (paper, 3.3)."""
    feature_matching_weight: Weight = 0.0
    """Weight of g_feature_matching, the mean distance of D's hidden activations for target and output; pix2pixHD
    takes 10."""
    perceptual_weight: Weight = 0.0
    """Weight of g_perceptual, the distance ST-LPIPS of output and target by AlexNet's features; needs the extra
    [metrics]."""


class Optimizer(Section):
    """Adam, for both networks."""

    learning_rate: Annotated[float, Field(gt=0, le=100)] = 2e-4
    """Learning rate of Adam."""
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    """Decay rates of Adam's first and second moment."""
    schedule: Literal["constant", "linear"] = "constant"
    """`constant`, or `linear`: constant for the first half of the epochs, then linear to 0."""
    discriminator_learning_rate: Annotated[float, Field(gt=0, le=100)] | None = None
    """Learning rate of D; by default the same as learning_rate."""
    warmup_images: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Pairs over which both rates first rise, linearly from 0."""


class FirstPhase(NamedTuple):
    """First epochs of a training, in which one network learns alone; none by default."""

    epochs: int = 0
    name: str = ""


def first_phase(epochs: int, discriminator_epochs: int, reconstruction_first: float) -> FirstPhase:
    """Return what these settings make of the first of `epochs`: at least one for a share that is not 0."""
    if reconstruction_first:
        return FirstPhase(max(1, round(reconstruction_first * epochs)), "reconstruction only")
    return FirstPhase(discriminator_epochs, "discriminator warm-up")


class Training(Section):
    """Epochs, batches, validation, and the machine to train on."""

    epochs: Count = 200
    """Passes over the training pairs, discriminator warm-up included."""
    batch_size: BatchSize = 1
    """Pairs in an update of one process; with several processes an update sees batch_size x processes."""
    discriminator_epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Discriminator warm-up: first epochs in which only D is trained (lecture, "Training details": 50)."""
    ema: Fraction = 0.0
    """Decay of an exponential moving average of G, which is validated and saved in place of G; 0 is none, 0.999
    usual."""
    norm_statistics: Literal["auto", "image", "running"] = "auto"
    """Statistics of batch norm outside training: `image` takes each image's own (the paper's test mode), `running`
    takes running averages; `auto` is `image` for batch size 1, else `running`. The saved model records which."""
    best_by: BestBy = "auto"
    """Which validated epoch is saved as the model: `last`, or the best by a metric. `auto` is `last`; `l1` without a
    discriminator or with --patience; `mean_iou` where targets are label maps. `st_lpips` and `kid_vgg` need the extra
    pix2pix[metrics], `lpips`, `fid` and `kid` files of weights; for `label_accuracy` a network is first trained to read
    labels from the training photos."""
    validate_every: Count | None = None
    """Epochs from one validation to the next; the first and the last epoch are always validated. By default a fiftieth
    of the epochs, or every epoch with --patience."""
    validation_images: Literal["auto", "whole"] = "auto"
    """With --load-size native: validate `whole` images, or by `auto` only the middle of each, where whole ones have
    more pixels than an epoch trains on. `evaluate` measures whole images."""
    patience: Count | None = None
    """Stop after this many epochs without a better validation."""
    samples: Annotated[int, Field(ge=0, le=256)] = 6
    """Validation pairs on the sample sheets."""
    seed: Seed = 0
    """Seed of weights, order, augmentation and dropout."""
    device: Device = "auto"
    """Where to train; `auto` takes a GPU if there is one."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """Arithmetic of the networks: float32 or bfloat16; `auto` is bf16 where the hardware has it."""
    threads: ThreadCount = "auto"
    """Threads that compute on the CPU, in each process; `auto` is OMP_NUM_THREADS, or the process's share of the cores
    that the affinity and the container leave it."""
    devices: Literal["auto"] | Machines = "auto"
    """Processes on each machine, one for each device; `auto` takes all GPUs, or one process on a CPU."""
    nodes: Literal["auto"] | Machines = "auto"
    """Machines; `auto` is what torchrun or srun says, else one."""
    sync_norm: bool = False
    """Compute batch norm over the images of all processes; otherwise each process normalises its own."""
    rank_timeout: Annotated[float, Field(gt=0, le=86400)] = 600.0
    """Seconds to wait for another process before the training fails."""
    update_order: UpdateOrder = "one-pass"
    """`two-pass`: run the updated discriminator on the output again for the generator's update (Isola et al.);
    `one-pass`: compute both updates from one run of the discriminator, which is faster."""
    convolutions: Literal["auto", "fast", "native"] = "auto"
    """`native`: torch's convolutions; `fast`: this package's where they are faster, equal up to rounding; `auto` is
    `fast` on a CPU and `native` on a GPU."""
    keep_every: Count | None = None
    """Epochs from one kept model to the next, in models/epoch-0010 and so on, beside the best one in model/; by default
    only that is kept."""
    ema_images: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Half-life, in pairs, of an exponential moving average of G, in place of --ema; of the pairs seen so far it is at
    most a twentieth, so that the first weights are soon forgotten. 10,000 is usual."""
    reconstruction_first: Fraction = 0.0
    """Share of the epochs, at the start, in which G learns from the losses on images alone; D is not run, which makes
    them cheaper."""
    validation_perceptual: Literal["auto", "always", "never"] = "auto"
    """Measure ST-LPIPS and KID by VGG in validations, where their weights are installed: `auto` does so often that this
    takes at most about 3 % of the training. A metric of --best-by is measured in every validation."""

    @property
    def averages(self) -> bool:
        """Whether there is a moving average of G."""
        return bool(self.ema) or self.ema_images is not None

    @property
    def first_phase(self) -> FirstPhase:
        """The first epochs, in which one network learns alone."""
        return first_phase(self.epochs, self.discriminator_epochs, self.reconstruction_first)

    @property
    def validation_epochs(self) -> int:
        """Number of epochs from one validation to the next."""
        return self.validate_every or (1 if self.patience else max(1, self.epochs // 50))

    @property
    def processes(self) -> int:
        """Number of processes on all machines; `auto` counts as one."""
        return (1 if self.devices == "auto" else self.devices) * (1 if self.nodes == "auto" else self.nodes)

    @property
    def effective_batch(self) -> int:
        """Number of pairs in an update, over all processes."""
        return self.batch_size * self.processes

    @property
    def normalised_together(self) -> int:
        """Number of pairs whose statistics batch norm takes together."""
        return self.effective_batch if self.sync_norm else self.batch_size
