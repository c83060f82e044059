"""Settings of the data: where pairs are, how files become channels, how pairs are made and augmented."""

from typing import Annotated, Any, Literal

from pydantic import Field

from pix2pix.config.fields import (
    Axes,
    ByNumber,
    Cache,
    ChannelChoice,
    ChannelCount,
    Channels,
    ClassNames,
    Direction,
    Exif,
    Fill,
    Fraction,
    IsPattern,
    LabelNames,
    Layout,
    Levels,
    LoadSize,
    MaskValue,
    Planes,
    Probability,
    Seed,
    Size,
    Text,
    ValueRange,
    ValueType,
    Words,
)
from pix2pix.config.section import Section
from pix2pix.errors import ConfigError


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
    sources: Annotated[dict[str, SourceSettings], ByNumber] = {}  # noqa: RUF012 (pydantic copies it)
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
    background: str | None = None
    """Colour behind transparent pixels, such as white or #20a040; by default photos that have some are rejected."""
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
