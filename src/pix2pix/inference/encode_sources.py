"""Encode the sources of an image, files or arrays, as one tensor in [-1, 1]; check that they fit the model."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import ImageEncoding
from pix2pix.inference.any_size import resize_sources
from pix2pix.inference.channels import ChannelRule
from pix2pix.inference.fit_sources import SourceImage, fit_source, refuse_other_sizes, source_holes
from pix2pix.model import Model


class Encoded(NamedTuple):
    """The sources of one image as the network's input."""

    tensor: Tensor
    """(in, H, W) in [-1, 1]."""
    conversions: tuple[str, ...]
    """What was done to their channels, in words."""
    holes: NDArray[np.bool_] | None = None
    """Where the output gets the target's mask value (H, W), see `source_holes`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Images of one shape can be a batch."""
        return tuple(self.tensor.shape)


def encode_sources(sources: Sequence[SourceImage], model: Model, rule: ChannelRule, *, enlarge: bool = True) -> Encoded:
    """Encode the values of each source and stack them. Raises DataError.

    With `enlarge` sources are resized as in training: each to the size of the output, which follows from the first.
    """
    encoded = [_encode(image, source, rule) for image, source in zip(sources, model.sources, strict=True)]
    if enlarge and model.prepared.resize_source:
        height, width = sources[0].values.shape[:2]
        encoded = [
            one._replace(tensor=resize_sources(one.tensor[None], model.output_size((height, width)), [kind])[0])
            for one, kind in zip(encoded, model.source_kinds, strict=True)
        ]
    sizes = [(one.shape[1], one.shape[2]) for one in encoded]
    refuse_other_sizes([(image.name, size) for image, size in zip(sources, sizes, strict=True)])
    holes = source_holes([image.values for image in sources], model, sizes[0])
    if len(encoded) == 1:
        return encoded[0]._replace(holes=holes)
    conversions = [text for one in encoded for text in one.conversions]
    return Encoded(torch.cat([one.tensor for one in encoded]), tuple(dict.fromkeys(conversions)), holes)


def _encode(image: SourceImage, source: ImageEncoding, rule: ChannelRule) -> Encoded:
    """Encode one source as (channels, H, W)."""
    fitted, conversions = fit_source(image, source, rule)
    if isinstance(source.values, LabelEncoding):
        return Encoded(source.values.to_tensor(fitted, image.name), conversions)
    return Encoded(source.values.to_tensor(fitted), conversions)
