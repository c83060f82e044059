"""Pairs of files in, batches (N, C, H, W) in [-1, 1] out, of whichever pairs are asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pix2pix.config import Augment, Config, Data, source_prefix
from pix2pix.config.fields import MaskValue, Native
from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.labels import Labels
from pix2pix.data.encoding.ranges import Values, holes, refuse_gaps, values_of
from pix2pix.data.encoding.sources import known_sources, values_of_sources
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels, half_width, side_by_side, take_half, with_channels
from pix2pix.data.loading.cache import CacheChoice, DecodedFormat, MemoryCache, choose_cache, open_cache
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.data.transforms.augment import Array, Draw, Size, augmented, draw, nearest, resized
from pix2pix.data.transforms.padding import extended
from pix2pix.errors import DataError
from pix2pix.text import format_count

Key = tuple[int, int]
"""(epoch, index): what an example and its random draw depend on, besides the seed."""
Example = tuple[Tensor, Tensor, int]
"""(source (C, H, W), target (C, H, W), index)."""


@dataclass(frozen=True)
class Batch:
    """Source and target (N, C, H, W) float32 in [-1, 1], and which pairs they are (N,)."""

    source: Tensor
    target: Tensor
    index: Tensor
    mask: Tensor | None = None
    """(N, C, H, W), false where nothing is known of the target, which is 0 there; None if all is known."""

    def pin_memory(self) -> "Batch":
        """Called by the loader, for a faster way to a GPU."""
        mask = None if self.mask is None else self.mask.pin_memory()
        return Batch(self.source.pin_memory(), self.target.pin_memory(), self.index.pin_memory(), mask)


def read_pair(pair: Pair, *, alpha: Sequence[bool] = ()) -> tuple[Array, ...]:
    """The files of a pair -> its sources, then its target, (H, W, C), each of its own type, all of one size.

    `alpha` says of each whether an alpha channel is a channel as any other. Raises DataError.
    """
    refs = pair.refs
    alpha = alpha or [False] * len(refs)
    source, target = refs[0], refs[-1]
    if source.path == target.path and source.half and target.half and alpha[0] == alpha[1]:
        both = images.read(source.path, alpha=alpha[0])  # decoded once
        return tuple(take_half(both, half, source.path) for half in (source.half, target.half))
    *sources, wanted = (images.read(ref.path, ref.half, alpha=takes) for ref, takes in zip(refs, alpha, strict=True))
    for ref, values in zip(refs, sources, strict=False):
        if values.shape[:2] != wanted.shape[:2]:
            raise DataError(
                f"{ref.path}: is {values.shape[0]}x{values.shape[1]} (HxW), but its target {target.path} is "
                f"{wanted.shape[0]}x{wanted.shape[1]}; the {'two ' if len(refs) == 2 else ''}images of a pair need one "
                "size"
            )
    return *sources, wanted


# ---- the data set ------------------------------------------------------------------------------------------


class PairDataset(Dataset[Example]):
    """Pairs as tensors in [-1, 1]: jittered and mirrored with `augment`, otherwise resized to image_size.

    `source_values` and `target_values` say how files' values become numbers; by default by the range of their type.
    Of several sources, stacked by channel, there is one of each.
    `load_size` is the size before the crop. With `native` each pair keeps its own, is continued by reflection where a
    crop would not fit, and is cropped at random with `augment`, in its middle without. With `full_size` there is no
    crop at all, and pairs of one size make a batch. With a `cache`, which may be set at any time, files are decoded
    once.
    """

    cache: MemoryCache | None = None

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        image_size: Size,
        source_channels: int | Sequence[int | None] | None = None,
        target_channels: int | None = None,
        source_values: Values | Labels | Sequence[Values | Labels] | None = None,
        target_values: Values | None = None,
        mask_value: MaskValue | None = None,
        augment: Augment | None = None,
        load_size: Size | Native | None = None,
        full_size: bool = False,
        seed: int = 0,
    ) -> None:
        self.pairs = tuple(pairs)
        self.image_size = image_size
        self.augment = augment
        self.full_size = full_size
        self.seed = seed
        self._native = native_sizes(self.pairs) if full_size or load_size == "native" else None
        self._fixed = load_size if isinstance(load_size, tuple) and augment and augment.jitter else image_size
        self.mask_value = mask_value
        refs = self.pairs[0].sources
        asked = source_channels if isinstance(source_channels, Sequence) else [source_channels] * len(refs)
        values = source_values if isinstance(source_values, Sequence) else [source_values] * len(refs)
        self._sources = tuple(
            _Side(source_prefix(number, len(refs)), *side)
            for number, side in enumerate(zip(asked, values, refs, strict=True), start=1)
        )
        self._target = _Side("target_", target_channels, target_values, self.pairs[0].target, mask_value)
        self._sides = (*self._sources, self._target)
        self._kept = _above(side.kept for side in self._sides)  # of a decoded pair
        self._shown = _above(side.count for side in self._sources)  # of a batch's source
        sizes = self._fixed if self._native is None else _before_crop(self._native, image_size, full_size)
        self.decoded = _decoded_format(self._kept[-1].stop, [side.values.dtype for side in self._sides], sizes)
        """Of the decoded pairs: sources above target, before the crop."""

    @property
    def source_channels(self) -> int:
        """Channels of the source in a batch: the files', or one for each class, of several together."""
        return self._shown[-1].stop

    @property
    def source_widths(self) -> tuple[int, ...]:
        """The same of each source."""
        return tuple(side.count for side in self._sources)

    @property
    def target_channels(self) -> int:
        return self._target.count

    @property
    def smallest(self) -> Size:
        """The least height and the least width of what is presented."""
        if self._native is None or not self.full_size:
            return self.image_size
        height, width = self._native.min(axis=0).tolist()
        return height, width

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> Example:
        """(epoch, index) -> source, target (C, H, W) in [-1, 1], index. Raises DataError."""
        batch = self._batch([key])
        return batch.source[0], batch.target[0], key[1]

    def one(self, index: int) -> Batch:
        """A batch of one pair, as validation sees it. Raises DataError."""
        return self._batch([(0, index)])

    def __getitems__(self, keys: list[Key]) -> Batch | DataError:
        """One batch. An error is returned, not raised: a loader process would wrap it in its traceback."""
        try:
            return self._batch(keys)
        except DataError as error:
            return error

    def _batch(self, keys: Sequence[Key]) -> Batch:
        """Crops of bytes become numbers on their way into the batch, so that each is touched once."""
        size = self.decoded.shape_of(keys[0][1])[1:] if self.full_size else self.image_size
        source, target = (
            np.empty((len(keys), channels, *size), np.float32)
            for channels in (self.source_channels, self.target_channels)
        )
        mask = None if self.mask_value is None else np.empty(target.shape, np.bool_)
        for n, (epoch, index) in enumerate(keys):
            pixels = self._decoded(index) if self.cache is None else self.cache.pixels(index, self._decoded)
            drawn = self._drawn(epoch, index)
            for side, kept, shown in zip(self._sources, self._kept, self._shown, strict=False):
                numbers = source[n, shown]
                side.values.scale_into(numbers, augmented(pixels[kept], drawn, size, whole=side.whole))
                if drawn.light is not None and (side.is_picture or len(self._sources) == 1):
                    numbers[...] = numbers * np.float32(drawn.light[0]) + np.float32(drawn.light[1])
            crop = augmented(pixels[self._kept[-1]], drawn, size, whole=self._target.whole)
            hole = holes(crop, self.mask_value)
            self._target.values.scale_into(target[n], crop)
            if mask is not None and hole is not None:
                target[n][hole] = 0
                np.logical_not(hole, out=mask[n])
        indices = torch.from_numpy(np.array([index for _, index in keys]))
        known = None if mask is None else torch.from_numpy(mask)
        return Batch(torch.from_numpy(source), torch.from_numpy(target), indices, known)

    def _drawn(self, epoch: int, index: int) -> Draw:
        _, height, width = self.decoded.shape_of(index)
        if self.augment is None:
            wanted = (height, width) if self.full_size else self.image_size
            return Draw((height - wanted[0]) // 2, (width - wanted[1]) // 2, False)
        rng = np.random.default_rng([self.seed, epoch, index])
        return draw(rng, (height, width), self.image_size, self.augment)

    def _decoded(self, index: int) -> Array:
        """The files of a pair -> (C, H, W) before the crop, sources above target."""
        pair, shape = self.pairs[index], self.decoded.shape_of(index)
        read = read_pair(pair, alpha=[side.alpha for side in self._sides])
        if self._native is not None and read[0].shape[:2] != tuple(self._native[index]):
            raise DataError(f"{pair.source.path}: has changed its size since this began: run the same command again")
        stacked = np.empty(shape, self.decoded.dtype)
        for side, kept, values, ref in zip(self._sides, self._kept, read, pair.refs, strict=True):
            pixels, place = side.of(values, ref.path), stacked[kept]
            if self._native is not None:
                place[...] = extended(pixels.transpose(2, 0, 1), shape[1:])
            elif side.whole:
                place[...] = nearest(pixels.transpose(2, 0, 1), shape[1:])
            else:
                place[...] = resized(tensors.channels_first(pixels), shape[1:]).numpy()
        return stacked

    def picture(self, source: Tensor) -> Pixels:
        """A source (C, H, W) of a batch -> (H, W, 1 or 3) uint8 to look at, of several side by side."""
        return side_by_side(self.pictures(source))

    def pictures(self, source: Tensor) -> list[Pixels]:
        """The same of each source."""
        return [
            side.values.picture(source[shown])
            if isinstance(side.values, Labels)
            else tensors.to_viewable(source[shown])
            for side, shown in zip(self._sources, self._shown, strict=True)
        ]


def make_dataset(
    pairs: Sequence[Pair],
    data: Data,
    augment: Augment | None,
    load_size: Size | Native | None,
    seed: int,
    *,
    full_size: bool = False,
) -> PairDataset:
    """The data set of one split as the settings say; `augment` and `load_size` are None but for training."""
    parts, values = data.source_settings(len(pairs[0].sources)), values_of_sources(data, pairs)
    dataset = PairDataset(
        pairs,
        image_size=data.image_size,
        source_channels=[part.channels for part in parts],
        target_channels=data.target_channels,
        source_values=values,
        target_values=values_of(data, "target", pairs),
        mask_value=data.mask_value,
        augment=augment,
        load_size=load_size,
        full_size=full_size,
        seed=seed,
    )
    dataset.cache = open_cache(data, len(dataset), dataset.decoded)
    return dataset


def planned_cache(config: Config, pairs: Sequence[Pair]) -> CacheChoice:
    """Where the training pairs will be kept by settings that leave no channels open."""
    data, load_size = config.data, config.load_size
    assert data.target_channels is not None
    size: Size | NDArray[np.int64]
    if load_size == "native":
        size = _before_crop(native_sizes(pairs), data.image_size)
    else:
        size = load_size if config.augment.jitter else data.image_size
    sources = known_sources(data)
    types = [*(source.values.dtype for source in sources), data.target_type or "uint8"]
    kept = sum(1 if isinstance(source.values, Labels) else source.channels for source in sources)
    decoded = _decoded_format(kept + data.target_channels, types, size)
    return choose_cache(data, len(pairs), decoded)


def _decoded_format(channels: int, types: Sequence[str], size: Size | NDArray[np.int64]) -> DecodedFormat:
    """Decoded pairs of one size, or each of its own, (N, 2)."""
    dtype = np.result_type(*types)
    if isinstance(size, tuple):
        return DecodedFormat((channels, *size), dtype)
    height, width = size[size.prod(axis=1).argmax()].tolist()
    return DecodedFormat((channels, height, width), dtype, size)


def native_sizes(pairs: Sequence[Pair]) -> NDArray[np.int64]:
    """(N, 2): (height, width) of each pair, by the header of its source. Raises DataError."""
    sizes = np.empty((len(pairs), 2), np.int64)
    for n, pair in enumerate(pairs):
        source = pair.source
        facts = images.probe(source.path)
        sizes[n] = facts.height, half_width(facts.width, source.path) if source.half else facts.width
    return sizes


def _before_crop(sizes: NDArray[np.int64], image_size: Size, full_size: bool = False) -> NDArray[np.int64]:
    """Sizes at which pairs are kept: their own, or as large as the crop needs."""
    return sizes if full_size else np.maximum(sizes, image_size)


class _Side:
    """The channels and the type of one image of each pair: as asked for, or as its first file's, which all others must
    equal. Its settings begin with `prefix`.
    """

    def __init__(
        self,
        prefix: str,
        asked: int | None,
        values: Values | Labels | None,
        first: ImageRef,
        mask: MaskValue | None = None,
    ) -> None:
        self.mask = mask
        self.prefix, self.asked, self.first = prefix, asked, first.path
        self.count = asked or images.probe(first.path).channels
        self.kept = self.count  # channels of a decoded pair
        self.values = values or Values.of_type(images.probe(first.path).dtype)
        if isinstance(self.values, Labels):
            self.kept, self.count = 1, len(self.values.classes)
        self.whole = mask is not None or isinstance(self.values, Labels)  # no pixels are mixed
        self.is_picture = self.values.dtype == "uint8" and not self.whole
        self.alpha = asked in (2, 4)

    def of(self, pixels: Array, path: Path) -> Array:
        """Values with this side's number of channels, or classes. Raises DataError for another type, and for NaN."""
        if isinstance(self.values, Labels):
            return self.values.of(pixels, path)
        if pixels.dtype.name != self.values.dtype:
            raise DataError(
                f"{path}: holds {pixels.dtype.name} values, expected {self.values.dtype}: save it in that type"
            )
        hole = holes(pixels, self.mask)
        refuse_gaps(pixels if hole is None else np.where(hole, np.zeros((), pixels.dtype), pixels), path)
        if hole is not None and hole.all():
            raise DataError(f"{path}: holds nothing but data.mask_value, so there is nothing to learn: remove the pair")
        if self.asked:
            return with_channels(pixels, self.asked, str(path))
        has = pixels.shape[2]
        if has != self.count:
            raise DataError(
                f"{path}: has {format_count(has, 'channel')}, expected {self.count} as in {self.first}; "
                f"set --{self.prefix.replace('_', '-')}channels 1 or 3 to convert"
            )
        return pixels


def _above(channels: Iterable[int]) -> tuple[slice, ...]:
    """The places of images with so many channels, one above the other."""
    return tuple(slice(start, end) for start, end in pairwise([0, *accumulate(channels)]))
