"""Measure value ranges and label classes on the files of the training split, where the settings leave them open."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.config import SourceSettings
from pix2pix.config.fields import LARGEST_VALUE, Bounds, MaskValue
from pix2pix.data.encoding.labels import LabelEncoding, class_name, unique_colours, without_alpha
from pix2pix.data.encoding.mixed_colours import TOLERANCE, looks_mixed, suggest_classes
from pix2pix.data.encoding.ranges import RangeEncoding, refuse_non_finite, type_bounds, unknown_values
from pix2pix.data.io import images
from pix2pix.data.io.arrays import with_channels
from pix2pix.data.io.file_facts import recall
from pix2pix.data.io.lossy import lossy_format
from pix2pix.data.pairing.pair import ImageRef
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.progress import OnProgress
from pix2pix.text import format_count

PERCENTILES = (0.5, 99.5)
MAX_SAMPLES = 10_000_000
"""Percentiles use this many values of a channel at most, evenly spread over the images and within each."""
MAX_CLASSES = 256

Array = NDArray[Any]


def measure_range(
    settings: SourceSettings,
    dtype: str,
    refs: Sequence[ImageRef],
    prefix: str,
    *,
    mask_value: MaskValue | None = None,
    memory: Path | None = None,
    progress: OnProgress | None = None,
) -> RangeEncoding:
    """Return the range that the settings give, or else measure it on the files `refs`, whose values are `dtype`.

    `prefix` names the settings in messages. `memory` is the folder of known facts: a range that was measured on the
    same files before is read from it. Raises DataError or ConfigError.
    """
    asked = settings.range or ("type" if dtype == "uint8" else "measured")
    if not isinstance(asked, str):
        return RangeEncoding(dtype, asked)
    if asked == "type":
        bounds = type_bounds(dtype)
        if bounds is None:
            what = "targets" if prefix == "target_" else "sources"
            raise ConfigError(
                f"data.{prefix}range type: the {what} hold {dtype} values, a type without limits; "
                f"use measured, percentile or --{prefix.replace('_', '-')}range=LOW,HIGH"
            )
        return RangeEncoding(dtype, (bounds,))

    def measure() -> Bounds:
        arrays = _pixels_of(refs, settings.channels, mask_value, progress)
        return _extremes(arrays) if asked == "measured" else _percentiles(arrays, len(refs))

    seen = f"{refs[0].view.label}, {settings.channels} channels"
    question = f"{asked} range, {seen}, mask {mask_value}, at most {MAX_SAMPLES} values"
    bounds = recall(memory, [ref.file for ref in refs], question, measure)
    _refuse_unusable(bounds, prefix)
    return RangeEncoding(dtype, tuple((float(low), float(high)) for low, high in bounds))


def _refuse_unusable(bounds: Bounds, prefix: str) -> None:
    """Raise DataError for bounds that the networks cannot compute with."""
    largest = max((end for pair in bounds for end in pair), key=abs)
    if abs(largest) > LARGEST_VALUE:
        flag = "--mask-value" if prefix == "target_" else "--nodata" if prefix == "source_" else f"--{prefix}nodata"
        raise DataError(
            f"the {_side(prefix)} hold {largest:.9g}, beyond {LARGEST_VALUE:g}: if it marks pixels without data, give "
            f"{flag}={largest:.9g}; otherwise give --{prefix.replace('_', '-')}range=LOW,HIGH"
        )


def measure_fill(
    settings: SourceSettings,
    dtype: str,
    refs: Sequence[ImageRef],
    nodata: MaskValue,
    *,
    memory: Path | None = None,
    progress: OnProgress | None = None,
) -> tuple[float, ...]:
    """Return what pixels without data are filled with in each channel; measure it on the files `refs` if it is open."""
    if not isinstance(settings.fill, str):
        return settings.fill

    def measure() -> list[float]:
        total: Array | float = 0.0
        count: Array | float = 0.0
        lowest: Array | float = np.inf
        for pixels in _pixels_of(refs, settings.channels, nodata, progress):
            exact = pixels.astype(np.float64)
            known = np.isfinite(exact)
            total, count = total + np.where(known, exact, 0).sum(axis=0), count + known.sum(axis=0)
            lowest = np.fmin(lowest, np.where(known, exact, np.inf).min(axis=0))
        found = lowest if settings.fill == "minimum" else total / np.maximum(count, 1)
        return [float(number) for number in np.atleast_1d(found)]

    question = f"{settings.fill}, {refs[0].view.label}, {settings.channels} channels, nodata {nodata}"
    found = recall(memory, [ref.file for ref in refs], question, measure)
    whole = dtype != "float32"
    return tuple(float(round(number)) if whole else float(np.float32(number)) for number in found)


def occurs(refs: Sequence[ImageRef], value: MaskValue, memory: Path | None = None) -> bool:
    """Return whether a pixel of the files has the mask value."""

    def look() -> bool:
        found = (unknown_values(images.read(ref.path, ref.view, alpha=True), value) for ref in refs)
        return any(unknown is not None and unknown.any() for unknown in found)

    return bool(recall(memory, [ref.file for ref in refs], f"is {value} in {refs[0].view.label}", look))


def measure_labels(
    settings: SourceSettings,
    dtype: str,
    refs: Sequence[ImageRef],
    prefix: str,
    *,
    mask_value: MaskValue | None = None,
    progress: OnProgress | None = None,
    resumed: bool = False,
) -> LabelEncoding:
    """Return the classes that the settings give, or else all classes in the label maps `refs`. Raises DataError.

    `mask_value` is the value of pixels without a class. A run that is `resumed` may have found its classes in files
    whose compression mixes colours.
    """
    unknown = None if mask_value is None else label_name(mask_value)
    if settings.labels is not None:
        classes = tuple(name for name in settings.labels if name != unknown)
        return _checked(LabelEncoding(classes, settings.label_tolerance, dtype, unknown), prefix)
    known: set[tuple[int, ...]] = set()
    mixed: dict[Path, str] = {}
    for done, ref in enumerate(refs, start=1):
        known.update(_colours_of(ref))
        if not mixed and (kind := lossy_format(ref.path)):
            mixed[ref.path] = kind
        if len(known) > MAX_CLASSES:
            break
        if progress is not None:
            progress(done, len(refs))
    if len({len(levels) for levels in known}) > 1:
        raise DataError(f"some {_side(prefix)} are gray and some are in colour: save all label maps in one of the two")
    if mixed and not resumed and looks_mixed(known):
        ((path, kind),) = mixed.items()
        raise DataError(f"{path}: {_describe_mixed(kind, refs, prefix)}")
    if len(known) > MAX_CLASSES:
        raise DataError(f"{ref.path}: with this file the {_describe_too_many(known, prefix)}")
    classes = tuple(name for name in map(class_name, sorted(known)) if name != unknown)
    return _checked(LabelEncoding(classes, settings.label_tolerance, dtype, unknown), prefix)


def _describe_mixed(kind: str, refs: Sequence[ImageRef], prefix: str) -> str:
    """Say that compression has mixed the colours of label maps, and what to type."""
    names, tolerance = suggest_classes(refs)
    because = f"{kind} mixes colours, so the {_side(prefix)} have more colours than classes"
    advice = "give the classes and the largest distance of a pixel from them"
    if names:
        return f"{because}: {advice}, which seem to be {_class_flags(names, tolerance, prefix)}"
    flags = _class_flags(("#0000aa", "#ff0000"), tolerance, prefix)
    return f"{because}: {advice}, as in {flags}; leave --{prefix.replace('_', '-')}kind out if they are photos"


def _describe_too_many(known: Collection[tuple[int, ...]], prefix: str) -> str:
    """Say that label maps have too many colours, and what to do."""
    kind, gray = f"--{prefix.replace('_', '-')}kind", all(len(levels) == 1 for levels in known)
    what = "gray values" if gray else "colours"
    words = (
        f"{_side(prefix)} have more than {MAX_CLASSES} {what}, but {MAX_CLASSES} classes are the most: unite some, or "
        f"leave {kind} out if they are a quantity"
    )
    if gray:
        return words
    flags = _class_flags(("#0000aa", "#ff0000"), TOLERANCE, prefix)
    return f"{words}; if resizing or an earlier JPEG has mixed fewer colours, give these, as in {flags}"


def _class_flags(names: Sequence[str], tolerance: int, prefix: str) -> str:
    """Return the flags that give classes and a tolerance, to be typed in a shell."""
    flag, listed = "--" + prefix.replace("_", "-"), ",".join(names)
    listed = f"'{listed}'" if "#" in listed else listed
    return f"{flag}labels {listed} {'--' if prefix == 'source_' else flag}label-tolerance {tolerance}"


def label_name(value: MaskValue) -> str:
    """Name a value of a label map as a class: `#ff0080` or `7`."""
    return str(value) if isinstance(value, str) else str(int(value))


def _side(prefix: str) -> str:
    return "targets" if prefix == "target_" else "sources"


def _checked(labels: LabelEncoding, prefix: str) -> LabelEncoding:
    """Raise ConfigError for classes that cannot be indexed, or that files of the type cannot hold."""
    flag = "--" + prefix.replace("_", "-")
    bounds = type_bounds(labels.file_type)
    outside = (
        []
        if bounds is None or labels.file_channels == 3
        else [name for name in labels.classes if not bounds[0] <= int(name) <= bounds[1]]
    )
    if outside:
        raise ConfigError(f"{flag}labels {outside[0]}: the files hold {labels.file_type} values; give one of those")
    if len(labels.classes) < 2 or (labels.unknown is not None and len(labels.classes) == MAX_CLASSES):
        few = "only one class" if len(labels.classes) < 2 else f"{MAX_CLASSES} classes beside the ignored one"
        raise ConfigError(
            f"{flag}kind labels: the {_side(prefix)} have {few} ({', '.join(labels.classes[:3])}), expected 2 to "
            f"{MAX_CLASSES}: give the classes with {flag}labels, or leave {flag}kind out"
        )
    return labels


def _colours_of(ref: ImageRef) -> Iterator[tuple[int, ...]]:
    """Yield the different colours of a label map, or the first MAX_CLASSES + 1 of them."""
    values = without_alpha(images.read(ref.path, ref.view, alpha=True))
    if values.shape[2] not in (1, 3) or values.dtype.kind == "f":
        raise DataError(
            f"{ref.path}: is not a label map: it has {format_count(values.shape[2], 'channel')} of {values.dtype}, "
            "expected gray or RGB of integers; save classes as uint8 or uint16"
        )
    colours, _, _ = unique_colours(values)
    return (tuple(int(level) for level in levels) for levels in colours[: MAX_CLASSES + 1])


def _pixels_of(
    refs: Sequence[ImageRef], channels: int | None, mask_value: MaskValue | None, progress: OnProgress | None
) -> Iterator[Array]:
    """Yield (pixels, C) of each image, with NaN for the mask value. Raises DataError for values that are not finite."""
    for done, ref in enumerate(refs, start=1):
        values = images.read(ref.path, ref.view, alpha=channels in (2, 4))
        if channels is not None:
            values = with_channels(values, channels, str(ref.path))
        unknown = unknown_values(values, mask_value)
        if unknown is None:
            refuse_non_finite(values, ref.path)
        else:
            values = np.where(unknown | ~np.isfinite(values), np.nan, values.astype(np.float64))
        if progress is not None:
            progress(done, len(refs))
        yield values.reshape(-1, values.shape[2])


def _extremes(arrays: Iterator[Array]) -> Bounds:
    """Return the least and the greatest value of each channel; `fmin` and `fmax` skip NaN."""
    lows, highs = [], []
    for values in arrays:
        lows.append(np.fmin.reduce(values, axis=0))
        highs.append(np.fmax.reduce(values, axis=0))
    return _as_bounds(np.fmin.reduce(_stack_rows(lows), axis=0), np.fmax.reduce(_stack_rows(highs), axis=0))


def _percentiles(arrays: Iterator[Array], count: int) -> Bounds:
    """Return PERCENTILES of each channel."""
    most = max(1, MAX_SAMPLES // count)
    sampled = [values[:: -(-len(values) // most)].copy() for values in arrays]
    _stack_rows([values[0] for values in sampled])
    low, high = np.nanpercentile(np.concatenate(sampled), PERCENTILES, axis=0)
    return _as_bounds(low, high)


def _stack_rows(rows: list[Array]) -> Array:
    if len({row.shape for row in rows}) > 1:
        raise DataError("the images of one side have different numbers of channels; `pix2pix data check` names them")
    return np.stack(rows)


def _as_bounds(low: Array, high: Array) -> Bounds:
    """Pair the limits of each channel. A channel with one value everywhere gets the limits (value, value + 1)."""
    if np.isnan(low).any():
        raise DataError(
            "a channel holds only pixels without data, so it has no range: check --mask-value (targets) or --nodata"
        )
    pairs = zip(low.tolist(), high.tolist(), strict=True)
    return tuple((float(least), float(most if most > least else least + 1)) for least, most in pairs)
