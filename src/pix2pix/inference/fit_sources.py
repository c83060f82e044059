"""Read the sources of an image, files or arrays, and bring them to the channels of a model; check that they fit it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.nodata import find_holes
from pix2pix.data.encoding.prepared import ImageEncoding
from pix2pix.data.encoding.ranges import refuse_non_finite
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array
from pix2pix.data.io.view import Half, View
from pix2pix.data.transforms.nearest import resize_nearest
from pix2pix.errors import DataError
from pix2pix.inference.channels import ChannelRule
from pix2pix.inference.views import view_source
from pix2pix.model.model_config import Size
from pix2pix.model.signature import Signature


class SourceImage(NamedTuple):
    """The values of one source."""

    values: Array
    """(H, W, C), with opacity if it has one."""
    alpha: bool
    """Whether the last channel is opacity."""
    name: Path
    """For messages."""


def read_images(
    paths: Sequence[Path], model: Signature, *, half: Half | None = None, plane: int | None = None
) -> list[SourceImage]:
    """Read the file of each source, a half of it or a plane of a stack. Raises DataError."""
    views = [view_source(path, model, number)[0] for number, path in enumerate(paths)]
    parts = [replace(view, half=half, plane=plane) for view in views]
    return [read_image(*one) for one in zip(paths, parts, strict=True)]


def read_image(path: Path, view: View) -> SourceImage:
    """Read a file, with its opacity if it has one. Raises DataError."""
    values = images.read(path, view, alpha=True)
    return SourceImage(values, values.shape[2] > images.probe(path, view).channels, path)


def fit_source(image: SourceImage, source: ImageEncoding, rule: ChannelRule) -> tuple[Array, tuple[str, ...]]:
    """Return (H, W, C) of one source without holes, and what was done to its channels, in words.

    Raises DataError for values of another type, for channels that are not converted, and for NaN and infinity.
    """
    values, name = image.values, image.name
    labels = isinstance(source.values, LabelEncoding)
    if not labels and values.dtype.name != source.values.dtype:
        raise DataError(
            f"{name}: holds {values.dtype.name} values, but the model translates {source.values.dtype}: "
            "convert it by the range that its values have"
        )
    fitted, conversions = rule.fit(source.fill_holes(values), source, name, alpha=image.alpha)
    if not labels:
        refuse_non_finite(fitted, name)
    return fitted, conversions


def refuse_other_sizes(sources: Sequence[tuple[Path, Size]]) -> None:
    """Raise DataError unless the sources of an image, names and sizes, have one size."""
    first, expected = sources[0]
    for name, size in sources:
        if size != expected:
            this, other = ("{}x{}".format(*one) for one in (size, expected))
            raise DataError(f"{name}: is {this} (HxW), but {first} is {other}; the sources of one image need one size")


def source_holes(arrays: Sequence[Array], model: Signature, size: Size) -> NDArray[np.bool_] | None:
    """Return where an output gets the target's mask value (*size): where a channel of a source (H, W, C) has no data.

    None if there is nowhere such a place, or if the target has no mask value.
    """
    found = [find_holes(array, source.nodata) for array, source in zip(arrays, model.sources, strict=True)]
    holes = [resize_nearest(one.transpose(2, 0, 1), size).any(axis=0) for one in found if one is not None]
    if model.prepared.mask_value is None or not holes:
        return None
    together = np.logical_or.reduce(holes)
    return together if together.any() else None
