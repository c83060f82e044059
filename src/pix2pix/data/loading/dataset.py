"""Data set of pairs: load any of them as a batch (N, C, H, W) in [-1, 1]."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pix2pix.config import Augment, Config, Data
from pix2pix.config.fields import MaskValue, Native
from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import ImageEncoding, PreparedData
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels, half_width, side_by_side, take_half
from pix2pix.data.loading.cache import (
    CacheChoice,
    DecodedFormat,
    MemoryCache,
    RecentPairs,
    choose_cache,
    open_cache,
)
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.two_sizes import describe_two_sizes
from pix2pix.data.transforms.augment import (
    Array,
    Augmentation,
    Size,
    apply_augmentation,
    draw_augmentation,
    resize,
    resize_values,
)
from pix2pix.data.transforms.foreground import Places, choose_places, find_foreground, hold_foreground
from pix2pix.data.transforms.nearest import resize_nearest
from pix2pix.data.transforms.padding import pad_to_size
from pix2pix.errors import ConfigError, DataError
from pix2pix.text import format_count, format_list

Key = tuple[int, int]
"""(epoch, index): with the seed, these determine an example and its random augmentation.

Crop n of pair i is example n x (number of pairs) + i.
"""
Example = tuple[Tensor, Tensor, int]
"""(source (C, H, W), target (C, H, W), index)."""
CROPPED_TOGETHER = 8
"""Pairs whose crops are mixed with each other in the order of an epoch, if there are several crops of each."""


@dataclass(frozen=True)
class Batch:
    """Source and target (N, C, H, W) float32 in [-1, 1], and the indices of the examples (N,)."""

    source: Tensor
    target: Tensor
    index: Tensor
    mask: Tensor | None = None
    """(N, C, H, W), false where the target is unknown (and set to 0); None if all of it is known."""

    def pin_memory(self) -> "Batch":
        """Copy to page-locked memory; the loader calls this if there is a GPU."""
        mask = None if self.mask is None else self.mask.pin_memory()
        return Batch(self.source.pin_memory(), self.target.pin_memory(), self.index.pin_memory(), mask)


def read_pair(pair: Pair, *, alpha: Sequence[bool] = (), any_size: bool = False) -> tuple[Array, ...]:
    """Read the files of a pair: its sources, then its target, (H, W, C), each of its own type.

    `alpha` tells for each image whether its alpha channel is kept. Raises DataError, also if the images have several
    sizes, unless they may have `any_size`.
    """
    refs = pair.refs
    alpha = alpha or [False] * len(refs)
    source, target = refs[0], refs[-1]
    if source.whole == target.whole and source.half and target.half:
        both = images.read(source.path, source.view.of_whole, alpha=any(alpha))  # decoded once
        if alpha[0] == alpha[1] or both.shape[2] not in (2, 4):
            return tuple(take_half(both, half, source.path) for half in (source.half, target.half))
    *sources, wanted = (images.read(ref.path, ref.view, alpha=takes) for ref, takes in zip(refs, alpha, strict=True))
    for ref, values in zip(refs, sources, strict=False):
        if values.shape[:2] != wanted.shape[:2] and not any_size:
            raise DataError(f"{ref.path}: {describe_two_sizes(pair, values.shape, wanted.shape)}")
    return *sources, wanted


# ---- the data set ------------------------------------------------------------------------------------------


class PairDataset(Dataset[Example]):
    """Load pairs as tensors in [-1, 1], augmented if `augment` is given.

    `load_size` is the size before the random crop; without `augment` pairs are resized to the image size. With
    `load_size` "native" pairs keep their own sizes: a pair is padded by reflection if it is smaller than the crop, and
    cropped at random with `augment`, at the centre without. With `full_size` pairs are cropped at the centre only where
    they exceed `largest`, and only pairs of one size can form a batch. With a `cache`, which may be set at any time,
    each file is decoded once.
    """

    cache: MemoryCache | None = None

    def __init__(
        self,
        pairs: Sequence[Pair],
        prepared: PreparedData,
        *,
        augment: Augment | None = None,
        load_size: Size | Native | None = None,
        full_size: bool = False,
        largest: Size | None = None,
        seed: int = 0,
    ) -> None:
        self.pairs = tuple(pairs)
        self.crops = 1 if augment is None else augment.crops_per_image
        """Examples of each pair."""
        self.prepared = prepared
        self.image_size = prepared.image_size
        self.augment = augment
        self.full_size = full_size
        self.seed = seed
        self._largest = largest
        self._recent = RecentPairs(CROPPED_TOGETHER)
        self._foreground: dict[int, Places] = {}  # of each pair
        self._native_sizes = native_sizes(self.pairs) if full_size or load_size == "native" else None
        self.decoded = self._decoded_format(load_size)
        """Shape and type of the decoded pairs, before the crop."""

    def _decoded_format(self, load_size: Size | Native | None) -> DecodedFormat:
        channels, dtype = self.prepared.decoded_slices[-1].stop, self.prepared.decoded_type
        if self._native_sizes is None:
            jitters = self.augment is not None and self.augment.jitter
            size = load_size if isinstance(load_size, tuple) and jitters else self.image_size
            return DecodedFormat((channels, *size), dtype)
        sizes = self._native_sizes if self.full_size else np.maximum(self._native_sizes, self.image_size)
        if self._largest is not None:
            sizes = np.minimum(sizes, self._largest)
        height, width = sizes[sizes.prod(axis=1).argmax()].tolist()
        return DecodedFormat((channels, height, width), dtype, sizes)

    @property
    def source_channels(self) -> int:
        """Channels of the stacked sources in a batch."""
        return self.prepared.in_channels

    @property
    def source_widths(self) -> tuple[int, ...]:
        """Channels of each source in a batch."""
        return tuple(source.channels for source in self.prepared.sources)

    @property
    def target_channels(self) -> int:
        """Channels of the target in a batch."""
        return self.prepared.out_channels

    @property
    def mask_value(self) -> MaskValue | None:
        """Value of the target that marks unknown pixels."""
        return self.prepared.mask_value

    @property
    def smallest(self) -> Size:
        """The least height and the least width of the images in batches."""
        if self.decoded.sizes is None or not self.full_size:
            return self.image_size
        height, width = self.decoded.sizes.min(axis=0).tolist()
        return height, width

    @property
    def largest(self) -> Size:
        """The size of the image with the most pixels in batches."""
        return self.decoded.shape[1:] if self.full_size else self.image_size

    def __len__(self) -> int:
        return len(self.pairs) * self.crops

    def pair_of(self, index: int) -> Pair:
        """Return the pair of an example."""
        return self.pairs[index % len(self.pairs)]

    def __getitem__(self, key: Key) -> Example:
        """Load the pair (epoch, index) as source, target (C, H, W) in [-1, 1] and index. Raises DataError."""
        batch = self._load_batch([key])
        return batch.source[0], batch.target[0], key[1]

    def load_one(self, index: int) -> Batch:
        """Load a batch of one pair, as in validation. Raises DataError."""
        return self._load_batch([(0, index)])

    def __getitems__(self, keys: list[Key]) -> Batch | DataError:
        """Load one batch. An error is returned, not raised: a loader process would add its traceback to the message."""
        try:
            return self._load_batch(keys)
        except DataError as error:
            return error

    def _load_batch(self, keys: Sequence[Key]) -> Batch:
        """Load pairs into one batch: each crop is written directly to its place, without a second copy."""
        size = self.decoded.shape_of(keys[0][1] % len(self.pairs))[1:] if self.full_size else self.image_size
        source = np.empty((len(keys), self.source_channels, *size), np.float32)
        target = np.empty((len(keys), self.target_channels, *size), np.float32)
        mask = None if self.mask_value is None else np.empty(target.shape, np.bool_)
        for n, (epoch, index) in enumerate(keys):
            decoded = self._decoded_pixels(index % len(self.pairs))
            drawn = self._draw(epoch, index, decoded)
            self._encode_sources(decoded, drawn, source[n])
            self._encode_target(decoded, drawn, target[n], None if mask is None else mask[n])
        indices = torch.from_numpy(np.array([index for _, index in keys]))
        known = None if mask is None else torch.from_numpy(mask)
        return Batch(torch.from_numpy(source), torch.from_numpy(target), indices, known)

    def _encode_sources(self, decoded: Array, drawn: Augmentation, out: NDArray[np.float32]) -> None:
        """Write the augmented sources of a decoded pair into `out` (in_channels, H, W)."""
        sources = self.prepared.sources
        size = (out.shape[1], out.shape[2])
        places = zip(sources, self.prepared.decoded_slices, self.prepared.source_slices, strict=False)
        for source, read, written in places:
            channels = out[written]
            crop = apply_augmentation(decoded[read], drawn, size, nearest=source.keeps_values)
            source.values.encode_into(channels, crop)
            if drawn.photometric is not None and (source.is_photo or len(sources) == 1):
                factor, summand = drawn.photometric
                channels[...] = channels * np.float32(factor) + np.float32(summand)

    def _encode_target(
        self, decoded: Array, drawn: Augmentation, out: NDArray[np.float32], mask: NDArray[np.bool_] | None
    ) -> None:
        """Write the augmented target into `out` (out_channels, H, W), and into `mask` where it is known."""
        target = self.prepared.target
        size = (out.shape[1], out.shape[2])
        crop = apply_augmentation(decoded[self.prepared.decoded_slices[-1]], drawn, size, nearest=target.keeps_values)
        target.values.encode_into(out, crop)
        unknown = target.find_unknown(crop)
        if mask is not None and unknown is not None:
            unknown = np.broadcast_to(unknown, out.shape)  # of a label map: in the channel of every class
            out[unknown] = 0
            np.logical_not(unknown, out=mask)

    def _decoded_pixels(self, number: int) -> Array:
        """Return the decoded pixels of a pair."""
        if self.cache is not None:
            return self.cache.pixels(number, self._decode)
        return self._decode(number) if self.crops == 1 else self._recent.pixels(number, self._decode)

    def _draw(self, epoch: int, index: int, decoded: Array) -> Augmentation:
        """Draw the augmentation of an example from (seed, epoch, index); without `augment`, take the centre crop."""
        _, height, width = decoded.shape
        if self.augment is None:
            wanted = (height, width) if self.full_size else self.image_size
            return Augmentation((height - wanted[0]) // 2, (width - wanted[1]) // 2)
        rng = np.random.default_rng([self.seed, epoch, index])
        drawn = draw_augmentation(rng, (height, width), self.image_size, self.augment)
        if self.augment.crop_foreground and rng.random() < self.augment.crop_foreground:
            number = index % len(self.pairs)
            if number not in self._foreground:
                self._foreground[number] = choose_places(self._find_foreground(decoded, self.augment.crop_background))
            return hold_foreground(drawn, rng, self._foreground[number], (height, width), self.image_size)
        return drawn

    def _find_foreground(self, decoded: Array, background: Sequence[str]) -> NDArray[np.bool_]:
        """Return the foreground (H, W) of a decoded pair, in its label map or else in its target."""
        *sources, target = zip(self.prepared.images, self.prepared.decoded_slices, strict=True)
        labels = (one for one in (target, *sources) if isinstance(one[0].values, LabelEncoding))
        image, read = next(labels, target)
        if isinstance(image.values, LabelEncoding):  # decoded to the places of the classes
            background = [str(place) for place, name in enumerate(image.values.classes) if name in background]
        return find_foreground(decoded[read], background, target[0].find_unknown(decoded[target[1]]))

    def refuse_no_foreground(self, examined: int = 16) -> None:
        """Raise ConfigError if crops are to hold foreground, and some pairs show none or nothing else."""
        if self.augment is None or not self.augment.crop_foreground:
            return
        background = self.augment.crop_background
        pairs = range(min(examined, len(self.pairs)))
        foregrounds = [self._find_foreground(self._decode(number), background) for number in pairs]
        has_none = not any(foreground.any() for foreground in foregrounds)
        if has_none or all(foreground.all() for foreground in foregrounds):
            what = "nothing but" if has_none else "nothing of"
            count = format_count(len(foregrounds), "pair")
            raise ConfigError(
                f"augment.crop_foreground: the first {count} show {what} the background, {format_list(background)}; "
                "give its gray values or colours with --crop-background"
            )

    def _decode(self, index: int) -> Array:
        """Read the files of a pair as (C, H, W), sources before the target, at the size before the crop."""
        pair, prepared, shape = self.pairs[index], self.prepared, self.decoded.shape_of(index)
        read = read_pair(pair, alpha=[image.reads_alpha for image in prepared.images], any_size=prepared.resize_source)
        if self._native_sizes is not None and read[-1].shape[:2] != tuple(self._native_sizes[index]):
            raise DataError(
                f"{pair.target.path}: has changed its size since this command started: run the command again"
            )
        if prepared.resize_source:
            size = read[-1].shape[:2]
            sources = zip(prepared.sources, read, strict=False)
            read = (*(_resize_source(one, values, size) for one, values in sources), read[-1])
        if self._largest is not None:
            read = tuple(_middle(values, self._largest) for values in read)
        stacked = np.empty(shape, self.decoded.dtype)
        for image, place, values, ref in zip(prepared.images, prepared.decoded_slices, read, pair.refs, strict=True):
            pixels = image.decode(values, ref.path)
            if self._native_sizes is not None:
                stacked[place] = pad_to_size(pixels.transpose(2, 0, 1), shape[1:])
            elif image.keeps_values:
                stacked[place] = resize_nearest(pixels.transpose(2, 0, 1), shape[1:])
            else:
                stacked[place] = resize(tensors.channels_first(pixels), shape[1:]).numpy()
        return stacked

    def draw_source(self, source: Tensor) -> Pixels:
        """Draw the stacked sources (C, H, W) of a pair as one image (H, W, 1 or 3) uint8, side by side."""
        return side_by_side(self.draw_sources(source))

    def draw_sources(self, source: Tensor) -> list[Pixels]:
        """Draw each source of the stacked sources (C, H, W) of a pair."""
        return [
            one.values.to_viewable(source[place])
            if isinstance(one.values, LabelEncoding)
            else tensors.to_viewable(source[place])
            for one, place in zip(self.prepared.sources, self.prepared.source_slices, strict=True)
        ]

    def draw_target(self, image: Tensor) -> Pixels:
        """Draw a target or an output (C, H, W) of this data set as (H, W, 1 or 3) uint8."""
        values = self.prepared.target_values
        return values.to_viewable(image) if isinstance(values, LabelEncoding) else tensors.to_viewable(image)


def _resize_source(source: ImageEncoding, values: Array, size: Size) -> Array:
    """Resize the values (H, W, C) of a source to (*size, C), those without data filled first."""
    return resize_values(source.fill_holes(values), size, nearest=isinstance(source.values, LabelEncoding))


def _middle(values: Array, largest: Size) -> Array:
    """Return the middle of (H, W, C), at most of this size."""
    top, left = (max(0, side - most) // 2 for side, most in zip(values.shape, largest, strict=False))
    return values[top : top + largest[0], left : left + largest[1]]


def make_dataset(
    pairs: Sequence[Pair],
    prepared: PreparedData,
    data: Data,
    augment: Augment | None = None,
    load_size: Size | Native | None = None,
    seed: int = 0,
    *,
    full_size: bool = False,
    largest: Size | None = None,
) -> PairDataset:
    """Make the data set of one split, with a cache in memory if `data.cache` and the free memory allow it."""
    dataset = PairDataset(
        pairs, prepared, augment=augment, load_size=load_size, full_size=full_size, largest=largest, seed=seed
    )
    dataset.cache = open_cache(data, len(dataset.pairs), dataset.decoded)
    return dataset


def planned_cache(prepared: PreparedData, config: Config, pairs: Sequence[Pair]) -> CacheChoice:
    """Choose where the decoded training pairs will be kept."""
    dataset = PairDataset(pairs, prepared, augment=config.augment, load_size=config.load_size)
    return choose_cache(config.data, len(dataset.pairs), dataset.decoded)


def native_sizes(pairs: Sequence[Pair]) -> NDArray[np.int64]:
    """Return (N, 2): height and width of each pair, from the header of its target. Raises DataError."""
    sizes = np.empty((len(pairs), 2), np.int64)
    for n, pair in enumerate(pairs):
        target = pair.target
        facts = images.probe(target.path, target.view)
        sizes[n] = facts.height, half_width(facts.width, target.path) if target.half else facts.width
    return sizes
