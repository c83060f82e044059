"""Encode the sources of an image, files or arrays, as one tensor in [-1, 1]; check that they fit the model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import ImageEncoding
from pix2pix.data.encoding.ranges import refuse_non_finite
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array, with_channels
from pix2pix.errors import DataError
from pix2pix.inference.views import view_source
from pix2pix.model import Model


def read_sources(paths: Sequence[Path], model: Model, plane: int | None = None) -> Tensor:
    """Read the file of each source, or a plane of stacks, and encode all as (in, H, W).

    Raises DataError if a file does not fit the model.
    """
    views = [replace(view_source(path, model, number)[0], plane=plane) for number, path in enumerate(paths)]
    seen = zip(paths, views, model.sources, strict=True)
    arrays = [images.read(path, view, alpha=source.reads_alpha) for path, view, source in seen]
    return encode_sources(arrays, paths, model)


def encode_sources(arrays: Sequence[Array], names: Sequence[Path], model: Model) -> Tensor:
    """Encode the array (H, W, C) of each source and stack them, (in, H, W). Raises DataError using `names`."""
    encoded = [_encode(*one) for one in zip(arrays, names, model.sources, strict=True)]
    for one, name in zip(encoded, names, strict=True):
        if one.shape[1:] != encoded[0].shape[1:]:
            size, first = ("{}x{}".format(*tensor.shape[1:]) for tensor in (one, encoded[0]))
            raise DataError(
                f"{name}: is {size} (HxW), but {names[0]} is {first}; the sources of one image need one size"
            )
    return encoded[0] if len(encoded) == 1 else torch.cat(encoded)


def _encode(array: Array, name: Path, source: ImageEncoding) -> Tensor:
    """Encode (H, W, C) of one source as (channels, H, W)."""
    values, channels = source.values, source.file_channels
    if isinstance(values, LabelEncoding):
        return values.to_tensor(array, name)
    if array.dtype.name != values.dtype:
        raise DataError(f"{name}: holds {array.dtype.name} values, but the model translates {values.dtype}: convert it")
    refuse_non_finite(array, name)
    if source.converts:
        array = with_channels(array, channels, str(name))
    if array.shape[2] != channels:
        raise DataError(f"{name}: has {array.shape[2]} channels, but the model translates {channels}; convert it first")
    return values.to_tensor(array)
