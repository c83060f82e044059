"""Cache of decoded pairs in memory, so that a run decodes each file once."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pix2pix.config import Data
from pix2pix.system.hardware import GIGABYTE, free_memory, free_shared_memory

MEMORY_SHARE = 0.25
"""Largest share of the free memory that decoded pairs may take."""
LARGEST_RECENT = 2**29
"""Bytes of decoded pairs kept for further crops where there is no cache, in each loader process."""

Array = NDArray[Any]
Decode = Callable[[int], Array]
"""Read the pixels (C, H, W) of the pair with this index from its files."""


class DecodedFormat(NamedTuple):
    """Shape and type of the decoded pairs of a split: sources and target stacked by channel, before the crop."""

    shape: tuple[int, int, int]
    """(C, H, W); of the largest pair if sizes differ."""
    dtype: np.dtype[Any]
    """The smallest type that holds the values of all stacked images exactly."""
    sizes: NDArray[np.int64] | None = None
    """(N, 2): height and width of each pair, if they differ."""

    def shape_of(self, index: int) -> tuple[int, int, int]:
        """Return the shape (C, H, W) of one pair."""
        if self.sizes is None:
            return self.shape
        height, width = self.sizes[index].tolist()
        return self.shape[0], height, width

    def offsets(self, count: int) -> NDArray[np.int64]:
        """Return (count + 1,): the number of values in the first 0, 1, 2, ... pairs together."""
        if self.sizes is None:
            return np.arange(count + 1) * math.prod(self.shape)
        return np.concatenate([[0], np.cumsum(self.sizes.prod(axis=1) * self.shape[0])])


_State = tuple[Tensor, Tensor, DecodedFormat, NDArray[np.int64]]


class CacheChoice(NamedTuple):
    """Whether decoded pairs are kept in memory, and the reason, for the printed plan."""

    in_memory: bool
    description: str


def choose_cache(data: Data, count: int, decoded: DecodedFormat) -> CacheChoice:
    """Choose memory if `data.cache` allows it and the pairs take at most a quarter of the free memory."""
    if data.cache == "none":
        return CacheChoice(False, "none, files are decoded each time")
    needed = int(decoded.offsets(count)[-1]) * decoded.dtype.itemsize
    free = free_shared_memory() if _loads_in_processes(data) else free_memory()
    size = f"{needed / GIGABYTE:.1f} GB" if needed >= GIGABYTE else f"{needed / 1e6:,.1f} MB"
    if needed <= MEMORY_SHARE * free:
        return CacheChoice(True, f"memory, {size} of decoded pairs")
    return CacheChoice(
        False,
        f"none, files are decoded each time: {size} of pixels is more than a quarter of the free memory "
        f"({free / GIGABYTE:.1f} GB)",
    )


def open_cache(data: Data, count: int, decoded: DecodedFormat) -> "MemoryCache | None":
    """Return the cache of a split as `choose_cache` decides, or None."""
    if not choose_cache(data, count, decoded).in_memory:
        return None
    return MemoryCache(count, decoded, shared=_loads_in_processes(data))


def _loads_in_processes(data: Data) -> bool:
    return data.workers not in ("auto", 0)


class RecentPairs:
    """The pairs decoded last, at most `most` and LARGEST_RECENT bytes of them, for several crops of each."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._pairs: OrderedDict[int, Array] = OrderedDict()

    def pixels(self, index: int, decode: Decode) -> Array:
        """Return a pair's pixels (C, H, W), decoding them if they are not among the last."""
        pixels = self._pairs.pop(index, None)
        if pixels is None:
            while self._pairs and (
                len(self._pairs) >= self.most or sum(one.nbytes for one in self._pairs.values()) > LARGEST_RECENT
            ):
                self._pairs.popitem(last=False)
            pixels = decode(index)
        self._pairs[index] = pixels
        return pixels


class MemoryCache:
    """Decoded pairs in memory, which loader processes share if `shared`."""

    def __init__(self, count: int, decoded: DecodedFormat, *, shared: bool) -> None:
        offsets = decoded.offsets(count)
        pixels = _allocate(int(offsets[-1]), decoded.dtype, shared=shared)
        filled = _allocate(count, np.dtype(np.bool_), shared=shared).zero_()
        self.__setstate__((pixels, filled, decoded, offsets))

    def pixels(self, index: int, decode: Decode) -> Array:
        """Return a pair's pixels (C, H, W), decoding them the first time."""
        pixels = self._pixels[self._offsets[index] : self._offsets[index + 1]].reshape(self._decoded.shape_of(index))
        if not self._filled[index]:
            pixels[...] = decode(index)
            self._filled[index] = True
        return pixels

    def __getstate__(self) -> _State:
        return self._state  # tensors are passed to a loader process as handles to the same memory

    def __setstate__(self, state: _State) -> None:
        self._state = state
        pixels, filled, self._decoded, self._offsets = state
        self._pixels: Array = pixels.numpy()
        self._filled: Array = filled.numpy()


def _allocate(count: int, dtype: np.dtype[Any], *, shared: bool) -> Tensor:
    """Allocate `count` values; numpy asks the system for huge pages, torch does not."""
    if not shared:
        return torch.from_numpy(np.empty(count, dtype))
    values = torch.empty(count, dtype=torch.from_numpy(np.empty(0, dtype)).dtype)
    values.share_memory_()  # type: ignore[no-untyped-call]
    return values
