"""Prepared data: how the files of a pair become channels. It is resolved once, from settings and files.

The data set, the plan, the model and the evaluation use it; none of them resolves settings again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.config import Data, SourceSettings, source_prefix
from pix2pix.config.fields import MaskValue
from pix2pix.data.encoding.labels import UNKNOWN, LabelEncoding, class_levels
from pix2pix.data.encoding.measure import label_name, measure_fill, measure_labels, measure_range, occurs
from pix2pix.data.encoding.nodata import describe_only_unknown, find_holes, find_other_tags, find_tags, with_tags
from pix2pix.data.encoding.ranges import RangeEncoding, refuse_non_finite, type_bounds, unknown_values
from pix2pix.data.io import images
from pix2pix.data.io.arrays import advise_channels, with_channels
from pix2pix.data.io.file_facts import cache_folder
from pix2pix.data.pairing.pair import Pair, source_titles
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.progress import OnProgress
from pix2pix.text import format_count

Array = NDArray[Any]


@dataclass(frozen=True)
class ImageEncoding:
    """How one image of each pair, a source or the target, becomes channels."""

    name: str
    """`source`, `source 2` or `target`, for messages."""
    prefix: str
    """Prefix of the names of its settings: `source_`, `sources.2.` or `target_`."""
    values: RangeEncoding | LabelEncoding
    file_channels: int
    """Channels of its files, after the conversion if `converts`."""
    file_type: str
    """Type of the values in its files."""
    converts: bool = False
    """Whether files with other channels are converted, because a setting asks for it; otherwise they are rejected."""
    mask_value: MaskValue | None = None
    """Value that marks unknown pixels, of a target."""
    nodata: MaskValue | None = None
    """Value that marks pixels without data, of a source."""
    fill: tuple[float, ...] = ()
    """What these are filled with: one number, or one for each channel."""

    @property
    def channels(self) -> int:
        """Channels in the networks: those of the files, or one for each class."""
        return len(self.values.classes) if isinstance(self.values, LabelEncoding) else self.file_channels

    @property
    def decoded_channels(self) -> int:
        """Channels of a decoded image: those of the files, or one with class indices."""
        return 1 if isinstance(self.values, LabelEncoding) else self.file_channels

    @property
    def keeps_values(self) -> bool:
        """Whether transforms may move pixels but not mix them: for labels, and for images with unknown pixels."""
        return self.mask_value is not None or isinstance(self.values, LabelEncoding)

    @property
    def is_photo(self) -> bool:
        """Whether brightness and contrast may change: for 8-bit images that are not labels."""
        return self.file_type == "uint8" and not self.keeps_values

    @property
    def reads_alpha(self) -> bool:
        """Whether an alpha channel is read as a channel."""
        if isinstance(self.values, LabelEncoding):
            return True  # and then ignored: the colours are enough
        return self.converts and self.file_channels in (2, 4)

    def find_unknown(self, decoded: Array) -> NDArray[np.bool_] | None:
        """Return where a decoded image (C, H, W) is unknown; None without a mask value."""
        if isinstance(self.values, LabelEncoding):
            return None if self.values.unknown is None else np.asarray(decoded == UNKNOWN)
        return unknown_values(decoded, self.mask_value)

    def describe(self) -> str:
        """Return `3 channels of uint8 from 0 to 255`."""
        if isinstance(self.values, LabelEncoding):
            return self.values.describe()
        return f"{format_count(self.file_channels, 'channel')} of {self.values.describe()}"

    def fill_holes(self, values: Array) -> Array:
        """Fill the pixels without data of a source (H, W, C)."""
        holes = find_holes(values, self.nodata)
        if holes is None or not holes.any() or len(self.fill) not in (1, values.shape[2]):
            return values
        return np.where(holes, np.array(self.fill, values.dtype), values)

    def put_unknown(self, values: Array, holes: NDArray[np.bool_] | None) -> None:
        """Write the mask value of a target into an output (H, W, C) where its sources have holes (H, W)."""
        if holes is None or self.mask_value is None:
            return
        labels = isinstance(self.values, LabelEncoding)
        values[holes] = class_levels(label_name(self.mask_value)) if labels else float(self.mask_value)

    def decode(self, values: Array, path: Path) -> Array:
        """Convert (H, W, C) of a file to decoded channels, (H, W, decoded_channels).

        Raises DataError for another type or number of channels, for NaN and infinity, and for unknown classes.
        """
        if isinstance(self.values, LabelEncoding):
            indices = self.values.to_indices(values, path)
            if self.mask_value is not None and (indices == UNKNOWN).all():
                raise DataError(f"{path}: {describe_only_unknown(self.mask_value)}")
            return indices
        if values.dtype.name != self.values.dtype:
            raise DataError(
                f"{path}: holds {values.dtype.name} values, expected {self.values.dtype}: save it in that type"
            )
        values = self.fill_holes(values)
        unknown = unknown_values(values, self.mask_value)
        refuse_non_finite(values if unknown is None else np.where(unknown, np.zeros((), values.dtype), values), path)
        if self.mask_value is not None and unknown is not None and unknown.all():
            raise DataError(f"{path}: {describe_only_unknown(self.mask_value)}")
        if self.converts:
            return with_channels(values, self.file_channels, str(path))
        if values.shape[2] != self.file_channels:
            raise DataError(
                f"{path}: has {format_count(values.shape[2], 'channel')}, expected {self.file_channels}; "
                f"{advise_channels(values.shape[2], self.file_channels, self.prefix)}"
            )
        return values


@dataclass(frozen=True)
class PreparedData:
    """How the sources and the target of each pair become channels. Several sources are stacked by channel."""

    sources: tuple[ImageEncoding, ...]
    target: ImageEncoding
    image_size: tuple[int, int]
    """(height, width) of the images that the networks are trained on."""
    resize_source: bool = False
    """Whether a source is resized to the size of its target."""

    @cached_property
    def images(self) -> tuple[ImageEncoding, ...]:
        """The sources, then the target, in the order of `Pair.refs`."""
        return (*self.sources, self.target)

    @property
    def target_values(self) -> RangeEncoding | LabelEncoding:
        """How the target's numbers in [-1, 1] become values of its files."""
        return self.target.values

    @property
    def predicts_classes(self) -> bool:
        """Whether the target is a label map."""
        return isinstance(self.target.values, LabelEncoding)

    @cached_property
    def in_channels(self) -> int:
        """Channels of the stacked sources."""
        return sum(source.channels for source in self.sources)

    @cached_property
    def out_channels(self) -> int:
        """Channels of the target."""
        return self.target.channels

    @cached_property
    def source_slices(self) -> tuple[slice, ...]:
        """The slice of each source in the stacked channels (in_channels, H, W)."""
        return _consecutive(source.channels for source in self.sources)

    @cached_property
    def decoded_slices(self) -> tuple[slice, ...]:
        """The slice of each image in the channels of a decoded pair, sources before the target."""
        return _consecutive(image.decoded_channels for image in self.images)

    @cached_property
    def decoded_type(self) -> np.dtype[Any]:
        """The smallest type that holds all values of a decoded pair exactly."""
        return np.result_type(*(image.values.dtype for image in self.images))

    @property
    def mask_value(self) -> MaskValue | None:
        """Value of the target that marks unknown pixels."""
        return self.target.mask_value

    @property
    def converts(self) -> bool:
        """Whether files with other channels are converted, because a setting asks for it."""
        return self.target.converts

    @classmethod
    def from_settings(cls, data: Data, *, converts: bool = False) -> "PreparedData":
        """Rebuild prepared data from resolved settings (also of 0.1). Raises ConfigError for open settings."""
        count = max(1, len(data.sources))
        if list(data.sources) != [str(number) for number in range(1, len(data.sources) + 1)]:
            raise ConfigError(f"data.sources has {', '.join(data.sources)}, expected all numbers from 1")
        settings = [*data.source_settings(count), data.target_settings]
        sources = [
            _from_settings(name, source_prefix(number, count), part, converts)
            for number, (name, part) in enumerate(zip(source_titles(count), settings, strict=False), start=1)
        ]
        target = _from_settings("target", "target_", settings[-1], converts, data.mask_value)
        return cls(tuple(sources), target, data.image_size, data.resize_source)

    def to_settings(self, data: Data) -> Data:
        """Return the settings with all open ones filled in, for `config.yaml` and `config.json`."""
        update: dict[str, Any] = {f"target_{name}": value for name, value in _resolved(self.target).items()}
        update["mask_value"] = self.mask_value
        if len(self.sources) == 1:
            update |= {f"source_{name}": value for name, value in _resolved(self.sources[0]).items()}
            update["nodata"] = self.sources[0].nodata
        else:
            settings = zip(data.source_settings(len(self.sources)), self.sources, strict=True)
            update["sources"] = {
                str(number): one.model_copy(update=_resolved(source) | {"nodata": source.nodata})
                for number, (one, source) in enumerate(settings, start=1)
            }
        return data.model_copy(update=update)

    def refuse_other_files(self, pairs: Sequence[Pair]) -> None:
        """Raise DataError if the first pair has other sources or channels than the model."""
        refuse_other_count(pairs, len(self.sources))
        for image, ref in zip(self.images, pairs[0].refs, strict=True):
            if image.converts or isinstance(image.values, LabelEncoding):
                continue
            has = images.probe(ref.path, ref.view).channels
            if has != image.file_channels:
                raise DataError(
                    f"{ref.path}: the {image.name} has {format_count(has, 'channel')}, "
                    f"but the model was trained on {image.file_channels}"
                )

    def refuse_unknown_classes(self, pairs: Iterable[Pair]) -> None:
        """Raise DataError for a label map with a colour or gray value that is not a class."""
        labels = [(at, image.values) for at, image in enumerate(self.images)]
        for pair in pairs:
            for at, values in labels:
                if isinstance(values, LabelEncoding):
                    ref = pair.refs[at]
                    values.to_indices(images.read(ref.path, ref.view, alpha=True), ref.path)


def prepare_data(
    data: Data, pairs: Sequence[Pair], progress: OnProgress | None = None, *, recorded: Data | None = None
) -> PreparedData:
    """Resolve open settings: channels and types from the files of the first pair, ranges and classes from all files.

    `pairs` are those of the training split. `recorded` are the data settings of a run that is resumed, which tells
    tags that it has not read. Calls progress(done, total). Raises DataError or ConfigError.
    """
    count, memory = len(pairs[0].sources), cache_folder(data)
    tags = find_tags(data, pairs)
    if recorded is None:
        for path, reason in find_other_tags(data, tags):
            raise DataError(f"{path}: {reason}")
    tagged = with_tags(data, tags, first=recorded is not None)  # as earlier versions did
    if tagged.mask_value != data.mask_value and not occurs([pair.target for pair in pairs], _set(tagged.mask_value)):
        tagged = tagged.model_copy(update={"mask_value": None})
    data = tagged if recorded is None else _without_new_tags(data, tagged, recorded, pairs)
    settings = data.source_settings(count)
    target = data.target_settings
    converts = any(part.channels for part in (*settings, target))

    def prepare(
        name: str, prefix: str, part: SourceSettings, at: int, mask_value: MaskValue | None = None
    ) -> ImageEncoding:
        refs = [pair.refs[at] for pair in pairs]
        facts = images.probe(refs[0].path, refs[0].view)
        values: RangeEncoding | LabelEncoding
        if part.kind == "labels":
            values = measure_labels(
                part, facts.dtype, refs, prefix, mask_value=mask_value, progress=progress, resumed=recorded is not None
            )
        else:
            unknown = mask_value if at == -1 else part.nodata
            values = measure_range(
                part, facts.dtype, refs, prefix, mask_value=unknown, memory=memory, progress=progress
            )
        channels = part.channels or facts.channels
        if isinstance(values, LabelEncoding):
            channels = values.file_channels
        fill: tuple[float, ...] = ()
        if part.nodata is not None and isinstance(values, RangeEncoding):
            fill = measure_fill(part, values.dtype, refs, part.nodata, memory=memory, progress=progress)
        return ImageEncoding(name, prefix, values, channels, facts.dtype, converts, mask_value, part.nodata, fill)

    target_encoding = prepare("target", "target_", target, -1, data.mask_value)
    _refuse_bounds_outside_type(target_encoding)
    sources = [
        prepare(name, source_prefix(at + 1, count), part, at)
        for at, (name, part) in enumerate(zip(source_titles(count), settings, strict=True))
    ]
    return PreparedData(tuple(sources), target_encoding, data.image_size, data.resize_source)


def _without_new_tags(data: Data, tagged: Data, recorded: Data, pairs: Sequence[Pair]) -> Data:
    """Ignore tags that a run has not read, since no pixel has their values. Raises ConfigError if one has."""
    count = len(pairs[0].sources)
    if max(1, len(recorded.sources)) != count:
        return tagged  # of other data
    before, given, now = (one.source_settings(count) for one in (recorded, data, tagged))
    for at, title in enumerate(source_titles(count)):
        value = now[at].nodata
        if value is None or value in (before[at].nodata, given[at].nodata):
            continue
        if occurs([pair.sources[at] for pair in pairs], value, cache_folder(data)):
            raise ConfigError(_learned_tag(title, value))
        plain = given[at].model_copy(update={"nodata": None})
        sources = tagged.sources | {str(at + 1): plain} if count > 1 else tagged.sources
        tagged = tagged.model_copy(update={"sources": sources} if count > 1 else {"nodata": None})
    if tagged.mask_value not in (None, data.mask_value, recorded.mask_value):
        raise ConfigError(_learned_tag("target", tagged.mask_value))
    return tagged


def _learned_tag(title: str, value: MaskValue | None) -> str:
    shown = value if isinstance(value, str) else f"{value:.9g}"
    return (
        f"the run was begun by a version that did not read the tag GDAL_NODATA, so it learned {shown} of the {title} "
        "as a value; give another --run to train anew, or --overwrite to replace it"
    )


def _set(value: MaskValue | None) -> MaskValue:
    assert value is not None
    return value


def refuse_other_count(pairs: Sequence[Pair], wanted: int) -> None:
    """Raise DataError unless the pairs have `wanted` sources each."""
    has = len(pairs[0].sources)
    if has != wanted:
        raise DataError(
            f"{pairs[0].source.path}: the pairs have {format_count(has, 'source')} each, "
            f"but the model was trained on {wanted}"
        )


def _from_settings(
    name: str, prefix: str, part: SourceSettings, converts: bool, mask_value: MaskValue | None = None
) -> ImageEncoding:
    """Rebuild the encoding of one image. Raises ConfigError for open settings."""
    if part.channels is None:
        raise ConfigError(f"data.{prefix}channels is not set, expected a number")
    values: RangeEncoding | LabelEncoding
    if part.kind == "labels":
        if part.labels is None:
            raise ConfigError(f"data.{prefix}labels is not set, expected the classes of label maps")
        unknown = None if mask_value is None else label_name(mask_value)
        values = LabelEncoding(part.labels, part.label_tolerance, part.type or "uint8", unknown)
    elif part.type is None or part.range is None:  # models that are older than these settings
        values = RangeEncoding.of_type("uint8")
    elif isinstance(part.range, str):
        raise ConfigError(f"data.{prefix}range is {part.range}, expected numbers")
    elif len(part.range) not in (1, part.channels):
        raise ConfigError(f"data.{prefix}range has {len(part.range)} bounds, expected one for each channel")
    else:
        values = RangeEncoding(part.type, part.range)
    fill = () if part.nodata is None or isinstance(part.fill, str) else part.fill
    return ImageEncoding(
        name, prefix, values, part.channels, part.type or values.dtype, converts, mask_value, part.nodata, fill
    )


def _resolved(image: ImageEncoding) -> dict[str, Any]:
    """Return the resolved settings of an image: name without prefix -> value."""
    known: dict[str, Any] = {"channels": image.file_channels, "type": image.file_type}
    if image.fill:
        known["fill"] = image.fill
    if isinstance(image.values, LabelEncoding):
        return known | {"labels": image.values.classes}
    return known | {"range": image.values.bounds}


def _refuse_bounds_outside_type(target: ImageEncoding) -> None:
    """Raise ConfigError for bounds outside the type of the targets: outputs could not be written."""
    limits = type_bounds(target.file_type)
    if isinstance(target.values, LabelEncoding):
        return
    for low, high in target.values.bounds if limits is not None else ():
        if limits is not None and (low < limits[0] or high > limits[1]):
            raise ConfigError(
                f"data.target_range {low:g},{high:g}: the targets hold {target.file_type} values, "
                f"from {limits[0]:g} to {limits[1]:g}; give bounds inside these"
            )


def _consecutive(lengths: Iterable[int]) -> tuple[slice, ...]:
    """Return slices of these lengths, one after the other."""
    return tuple(slice(start, end) for start, end in pairwise([0, *accumulate(lengths)]))
