"""A network for sides that are multiples of a number in, the same for pictures of any size out.

The one rule of how a picture meets a generator, for translation, evaluation and the validation of a training.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.data.transforms.padding import pad_to_multiple

Size = tuple[int, int]


def as_it_is(size: Size) -> Size:
    """A picture's own size."""
    return size


class AnySize(nn.Module):
    """(N, in, H, W) in [-1, 1], any H and W -> (N, out, H, W) in [-1, 1].

    The picture is brought to the size that `presented` gives for its own, padded by reflection to multiples of
    `multiple`, put through `network`, cut back and brought to its own size. `sources` are the channels of each source,
    and whether they are classes, which are resized by the nearest pixel; by default there are none.
    """

    def __init__(
        self,
        network: nn.Module,
        multiple: int,
        presented: Callable[[Size], Size] = as_it_is,
        sources: Sequence[tuple[int, bool]] = (),
    ) -> None:
        super().__init__()
        self.network, self.multiple = network, multiple
        self.presented, self.sources = presented, sources

    def forward(self, source: Tensor) -> Tensor:
        size = (source.shape[-2], source.shape[-1])
        height, width = self.presented(size)
        x = self._brought(source, (height, width))
        output = self.network(pad_to_multiple(x, self.multiple))
        return _resized(output[..., :height, :width], size)

    def _brought(self, source: Tensor, size: Size) -> Tensor:
        """(N, in, H, W) -> (N, in, *size)."""
        if not any(classes for _, classes in self.sources):
            return _resized(source, size)
        channels, classes = zip(*self.sources, strict=True)
        ways = [_nearest if one else _resized for one in classes]
        parts = torch.split(source, list(channels), dim=1)
        return torch.cat([brought(part, size) for brought, part in zip(ways, parts, strict=True)], dim=1)


def _resized(x: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), bilinear; the same tensor if it fits already."""
    if tuple(x.shape[-2:]) == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)


def _nearest(x: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) -> (N, C, *size) of the nearest pixels, as the data set takes them of label maps."""
    return x if tuple(x.shape[-2:]) == size else F.interpolate(x, size, mode="nearest-exact")
