"""A network whose sides must be multiples of a number -> a network for images of any size.

The one rule of how an image meets a generator: in translation, evaluation, and the validation of a training.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.data.transforms.padding import pad_to_multiple
from pix2pix.model.model_config import Size


def own_size(size: Size) -> Size:
    """Return the size itself: present an image as it is."""
    return size


class AnySize(nn.Module):
    """(N, in, H, W) in [-1, 1], any H and W -> (N, out, H, W) in [-1, 1].

    Resize to `presented_size` of the image's size, pad by reflection to multiples of `multiple`, apply `network`, crop,
    and resize back. `sources` holds (channels, whether they are label classes) of each source: classes are resized to
    the nearest pixel. By default no channel is a class.
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
        x = self._resize_sources(source, (height, width))
        output = self.network(pad_to_multiple(x, self.multiple))
        return _resize(output[..., :height, :width], size)

    def _resize_sources(self, source: Tensor, size: Size) -> Tensor:
        """(N, in, H, W) -> (N, in, *size)."""
        if not any(is_labels for _, is_labels in self.sources):
            return _resize(source, size)
        parts = torch.split(source, [channels for channels, _ in self.sources], dim=1)
        resized = [
            _resize_nearest(part, size) if is_labels else _resize(part, size)
            for part, (_, is_labels) in zip(parts, self.sources, strict=True)
        ]
        return torch.cat(resized, dim=1)


def _resize(x: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), bilinear; x itself if it has that size."""
    if tuple(x.shape[-2:]) == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)


def _resize_nearest(x: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) -> (N, C, *size) of the nearest pixels, as the data set resizes label maps."""
    return x if tuple(x.shape[-2:]) == size else F.interpolate(x, size, mode="nearest-exact")
