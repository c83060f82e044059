"""Encode the sources of an image, files or arrays, as one tensor in [-1, 1]; check that they fit the model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.nodata import find_holes
from pix2pix.data.encoding.prepared import ImageEncoding
from pix2pix.data.encoding.ranges import refuse_non_finite
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array
from pix2pix.data.io.view import Half, View
from pix2pix.data.transforms.augment import resize_nearest
from pix2pix.errors import DataError
from pix2pix.inference.any_size import resize_sources
from pix2pix.inference.channels import ChannelRule
from pix2pix.inference.views import view_source
from pix2pix.model import Model
from pix2pix.model.model_config import Size


class SourceImage(NamedTuple):
    """The values of one source."""

    values: Array
    """(H, W, C), with opacity if it has one."""
    alpha: bool
    """Whether the last channel is opacity."""
    name: Path
    """For messages."""


class Encoded(NamedTuple):
    """The sources of one image as the network's input."""

    tensor: Tensor
    """(in, H, W) in [-1, 1]."""
    conversions: tuple[str, ...]
    """What was done to their channels, in words."""
    holes: NDArray[np.bool_] | None = None
    """Where the output gets the target's mask value (H, W), see `source_holes`."""


def read_sources(
    paths: Sequence[Path], model: Model, rule: ChannelRule, *, half: Half | None = None, plane: int | None = None
) -> Encoded:
    """Read the file of each source, a half of it or a plane of a stack, and encode all.

    Also return `source_holes` of the files. Raises DataError if a file does not fit the model.
    """
    views = [view_source(path, model, number)[0] for number, path in enumerate(paths)]
    parts = [replace(view, half=half, plane=plane) for view in views]
    return encode_sources([read_image(*one) for one in zip(paths, parts, strict=True)], model, rule)


def source_holes(arrays: Sequence[Array], model: Model, size: Size) -> NDArray[np.bool_] | None:
    """Return where an output gets the target's mask value (*size): where a channel of a source (H, W, C) has no data.

    None if there is nowhere such a place, or if the target has no mask value.
    """
    found = [find_holes(array, source.nodata) for array, source in zip(arrays, model.sources, strict=True)]
    holes = [resize_nearest(one.transpose(2, 0, 1), size).any(axis=0) for one in found if one is not None]
    if model.prepared.mask_value is None or not holes:
        return None
    together = np.logical_or.reduce(holes)
    return together if together.any() else None


def read_image(path: Path, view: View) -> SourceImage:
    """Read a file, with its opacity if it has one. Raises DataError."""
    values = images.read(path, view, alpha=True)
    return SourceImage(values, values.shape[2] > images.probe(path, view).channels, path)


def encode_sources(sources: Sequence[SourceImage], model: Model, rule: ChannelRule, *, enlarge: bool = True) -> Encoded:
    """Encode the values of each source and stack them. Raises DataError.

    With `enlarge` sources are resized as in training: each to the size of the output, which follows from the first.
    """
    encoded = [_encode(image, source, rule) for image, source in zip(sources, model.sources, strict=True)]
    if enlarge and model.prepared.resize_source:
        height, width = sources[0].values.shape[:2]
        encoded = [
            _resized(one, source, model.output_size((height, width)))
            for one, source in zip(encoded, model.sources, strict=True)
        ]
    first = encoded[0].tensor
    for one, image in zip(encoded, sources, strict=True):
        if one.tensor.shape[1:] != first.shape[1:]:
            size, expected = ("{}x{}".format(*tensor.shape[1:]) for tensor in (one.tensor, first))
            raise DataError(
                f"{image.name}: is {size} (HxW), but {sources[0].name} is {expected}; "
                "the sources of one image need one size"
            )
    holes = source_holes([image.values for image in sources], model, (first.shape[1], first.shape[2]))
    if len(encoded) == 1:
        return encoded[0]._replace(holes=holes)
    conversions = [text for one in encoded for text in one.conversions]
    return Encoded(torch.cat([one.tensor for one in encoded]), tuple(dict.fromkeys(conversions)), holes)


def _resized(encoded: Encoded, source: ImageEncoding, size: Size) -> Encoded:
    kinds = [(source.channels, isinstance(source.values, LabelEncoding))]
    return encoded._replace(tensor=resize_sources(encoded.tensor[None], size, kinds)[0])


def _encode(image: SourceImage, source: ImageEncoding, rule: ChannelRule) -> Encoded:
    """Encode one source as (channels, H, W)."""
    values, name = image.values, image.name
    if not isinstance(source.values, LabelEncoding) and values.dtype.name != source.values.dtype:
        raise DataError(
            f"{name}: holds {values.dtype.name} values, but the model translates {source.values.dtype}: "
            "convert it by the range that its values have"
        )
    values = source.fill_holes(values)
    fitted, conversions = rule.fit(values, source, name, alpha=image.alpha)
    if isinstance(source.values, LabelEncoding):
        return Encoded(source.values.to_tensor(fitted, name), conversions)
    refuse_non_finite(fitted, name)
    return Encoded(source.values.to_tensor(fitted), conversions)
