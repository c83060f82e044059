"""Apply a network to images of any size, though its sides must be multiples of a number.

Translation, evaluation and validation all use this rule.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.data.transforms.augment import interpolate
from pix2pix.data.transforms.padding import pad_to_multiple
from pix2pix.model.model_config import Size


def own_size(size: Size) -> Size:
    """Return the size unchanged: present an image at its own size."""
    return size


class AnySize(nn.Module):
    """Translate (N, in, H, W) in [-1, 1], for any H and W, to (N, out, H, W) in [-1, 1].

    An image is resized to `presented_size` of its size, padded by reflection to multiples of `multiple`, translated by
    `network`, cropped, and resized back. `sources` holds (channels, whether they are label classes) of each source;
    classes are resized by nearest neighbour. By default no channel is a class.
    """

    def __init__(
        self,
        network: nn.Module,
        multiple: int,
        presented_size: Callable[[Size], Size] = own_size,
        sources: Sequence[tuple[int, bool]] = (),
    ) -> None:
        super().__init__()
        self.network, self.multiple = network, multiple
        self.presented_size, self.sources = presented_size, sources

    def forward(self, source: Tensor) -> Tensor:
        size = (source.shape[-2], source.shape[-1])
        height, width = self.presented_size(size)
        x = resize_sources(source, (height, width), self.sources)
        output = self.network(pad_to_multiple(x, self.multiple))
        return _resize(output[..., :height, :width], size)


def resize_sources(source: Tensor, size: Size, sources: Sequence[tuple[int, bool]]) -> Tensor:
    """Resize (N, in, H, W) to (N, in, *size); `sources` are those of `AnySize`."""
    if not any(is_labels for _, is_labels in sources):
        return _resize(source, size)
    parts = torch.split(source, [channels for channels, _ in sources], dim=1)
    resized = [
        _resize_nearest(part, size) if is_labels else _resize(part, size)
        for part, (_, is_labels) in zip(parts, sources, strict=True)
    ]
    return torch.cat(resized, dim=1)


def _resize(x: Tensor, size: Size) -> Tensor:
    """Resize (N, C, H, W) to (N, C, *size), bilinear; return x itself if it has that size."""
    return x if tuple(x.shape[-2:]) == size else interpolate(x, size)


def _resize_nearest(x: Tensor, size: Size) -> Tensor:
    """Resize (N, C, H, W) to (N, C, *size) by nearest neighbour, as the data set resizes label maps."""
    return x if tuple(x.shape[-2:]) == size else F.interpolate(x, size, mode="nearest-exact")
