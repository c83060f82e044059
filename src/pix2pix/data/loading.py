"""Pairs of files in, batches (N, C, H, W) in [-1, 1] out, in an order that (seed, epoch) alone decides."""

import math
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pix2pix.config import Augment, Data
from pix2pix.data import images
from pix2pix.data.augment import Size, augmented, draw, resized
from pix2pix.data.images import Pixels
from pix2pix.data.pairs import ImageRef, Pair
from pix2pix.errors import DataError

Key = tuple[int, int]
"""(epoch, index): what an example and its random draw depend on, besides the seed."""
Example = tuple[Tensor, Tensor, int]
"""(source (C, H, W), target (C, H, W), index)."""

CACHE_SHARE = 0.25
"""The cache of one split may take this share of the memory that is free."""


@dataclass(frozen=True)
class Batch:
    """Source and target (N, C, H, W) float32 in [-1, 1], and which pairs they are (N,)."""

    source: Tensor
    target: Tensor
    index: Tensor

    def pin_memory(self) -> "Batch":
        """Called by the loader, for a faster way to a GPU."""
        return Batch(self.source.pin_memory(), self.target.pin_memory(), self.index.pin_memory())


def read_pair(pair: Pair) -> tuple[Pixels, Pixels]:
    """The files of a pair -> source and target (H, W, C) uint8 of one size. Raises DataError."""
    source_ref, target_ref = pair.source, pair.target
    if source_ref.path == target_ref.path and source_ref.half and target_ref.half:
        both = images.read(source_ref.path)  # decoded once
        return (
            images.take_half(both, source_ref.half, source_ref.path),
            images.take_half(both, target_ref.half, target_ref.path),
        )
    source, target = (images.read(ref.path, ref.half) for ref in (source_ref, target_ref))
    if source.shape[:2] != target.shape[:2]:
        raise DataError(
            f"{source_ref.path}: is {source.shape[0]}x{source.shape[1]} (HxW), but its target {target_ref.path} "
            f"is {target.shape[0]}x{target.shape[1]}; the two images of a pair need one size"
        )
    return source, target


# ---- the data set ------------------------------------------------------------------------------------------


class PairDataset(Dataset[Example]):
    """Pairs as tensors in [-1, 1]: jittered and mirrored with `augment`, otherwise resized to image_size.

    `load_size` is the size before the crop; `shared` tells that loader processes will use the cache.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        image_size: Size,
        source_channels: int | None = None,
        target_channels: int | None = None,
        augment: Augment | None = None,
        load_size: Size | None = None,
        seed: int = 0,
        cache: bool = False,
        shared: bool = False,
    ) -> None:
        self.pairs = tuple(pairs)
        self.image_size = image_size
        self.augment = augment
        self.load_size = (load_size or image_size) if augment and augment.jitter else image_size
        self.seed = seed
        self._source = _Channels("source", source_channels, self.pairs[0].source)
        self._target = _Channels("target", target_channels, self.pairs[0].target)
        self._cache = _Cache.if_it_fits(len(self), self._stacked_shape, shared) if cache else None

    @property
    def source_channels(self) -> int:
        return self._source.count

    @property
    def target_channels(self) -> int:
        return self._target.count

    @property
    def cached(self) -> bool:
        """Whether decoded pairs are kept in memory."""
        return self._cache is not None

    @property
    def _stacked_shape(self) -> tuple[int, int, int]:
        return (self.source_channels + self.target_channels, *self.load_size)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> Example:
        """(epoch, index) -> source, target (C, H, W) in [-1, 1], index. Raises DataError."""
        epoch, index = key
        pixels = self._decoded(index)
        if self.augment:
            rng = np.random.default_rng([self.seed, epoch, index])
            drawn = draw(rng, self.load_size, self.image_size, self.augment.flip)
            pixels = augmented(pixels, drawn, self.image_size)
        image = images.scaled(pixels)
        return image[: self.source_channels], image[self.source_channels :], index

    def __getitems__(self, keys: list[Key]) -> Batch | DataError:
        """One batch. An error is returned, not raised: a loader process would wrap it in its traceback."""
        try:
            sources, targets, indices = zip(*(self[key] for key in keys), strict=True)
        except DataError as error:
            return error
        return Batch(torch.stack(sources), torch.stack(targets), torch.tensor(indices))

    def _decoded(self, index: int) -> Tensor:
        """Source above target in one (C, *load_size) uint8 tensor: what follows is done to both alike."""
        if self._cache is not None and self._cache.filled[index]:
            return self._cache.pixels[index]
        pair = self.pairs[index]
        source, target = read_pair(pair)
        source, target = self._source.of(source, pair.source.path), self._target.of(target, pair.target.path)
        pixels = resized(torch.cat([images.to_bytes(source), images.to_bytes(target)]), self.load_size)
        if self._cache is not None:
            self._cache.pixels[index] = pixels
            self._cache.filled[index] = True
        return pixels


def make_dataset(
    pairs: Sequence[Pair], data: Data, augment: Augment | None, load_size: Size | None, seed: int
) -> PairDataset:
    """The data set of one split as the settings say; `augment` and `load_size` are None but for training."""
    return PairDataset(
        pairs,
        image_size=data.image_size,
        source_channels=data.source_channels,
        target_channels=data.target_channels,
        augment=augment,
        load_size=load_size,
        seed=seed,
        cache=data.cache,
        shared=data.workers not in ("auto", 0),
    )


class _Channels:
    """How many channels one side has: as asked for, or as its first file, which all others must equal."""

    def __init__(self, side: Literal["source", "target"], asked: int | None, first: ImageRef) -> None:
        self.side, self.asked, self.first = side, asked, first.path
        self.count = asked or images.probe(first.path).channels

    def of(self, pixels: Pixels, path: Path) -> Pixels:
        """Pixels with this side's number of channels. Raises DataError."""
        if self.asked:
            return images.with_channels(pixels, self.asked)
        has = pixels.shape[2]
        if has != self.count:
            raise DataError(
                f"{path}: has {_channels(has)}, expected {self.count} as in {self.first}; "
                f"set --{self.side}-channels 1 or 3 to convert"
            )
        return pixels


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"


# ---- decoded pairs in memory -------------------------------------------------------------------------------


class _Cache(NamedTuple):
    pixels: Tensor  # (pairs, C, *load_size) uint8
    filled: Tensor  # (pairs,) bool

    @classmethod
    def if_it_fits(cls, count: int, shape: tuple[int, int, int], shared: bool) -> "_Cache | None":
        needed = count * math.prod(shape)
        if needed > CACHE_SHARE * _free_memory() or (shared and needed > CACHE_SHARE * _free_shared_memory()):
            return None
        cache = cls(torch.empty((count, *shape), dtype=torch.uint8), torch.zeros(count, dtype=torch.bool))
        if shared:
            for tensor in cache:
                tensor.share_memory_()  # type: ignore[no-untyped-call]
        return cache


def _free_memory() -> int:
    """Bytes that can be taken without swapping, as far as the system tells; 0 where it does not."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return _physical_memory() // 2
    return min(free, _free_in_container(Path("/sys/fs/cgroup"), free))


def _free_in_container(cgroup: Path, otherwise: int) -> int:
    """Bytes left of a control group's limit (version 2), counting old file pages as free."""
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        stat = (cgroup / "memory.stat").read_text(encoding="ascii")
    except OSError:
        return otherwise
    reclaimable = sum(int(line.split()[1]) for line in stat.splitlines() if line.startswith("inactive_file "))
    return otherwise if limit == "max" else int(limit) - used + reclaimable


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows has no sysconf
        return 0


def _free_shared_memory() -> int:
    """Containers often give /dev/shm 64 MB, and writing past its end kills the process."""
    shm = Path("/dev/shm")
    return shutil.disk_usage(shm).free if shm.is_dir() else _free_memory()


# ---- order and batches -------------------------------------------------------------------------------------


class EpochSampler(Sampler[list[Key]]):
    """Batches of (epoch, index): every pair once an epoch, in an order that (seed, epoch) decides.

    Several processes, the ranks, share that order: batch after batch of ranks x batch_size pairs is cut into as many
    consecutive parts, and each rank takes its own. The last batch of an epoch may be smaller; its parts differ by one
    pair at most, and where it has fewer pairs than there are ranks, some are empty and not yielded.
    `epoch` and `start` are set before each pass; a resumed epoch starts at the pair it was cut at.
    """

    def __init__(
        self, count: int, *, batch_size: int, seed: int, shuffle: bool = True, rank: int = 0, ranks: int = 1
    ) -> None:
        self.count, self.seed, self.shuffle = count, seed, shuffle
        self.batch_size, self.rank, self.ranks = batch_size, rank, ranks
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return math.ceil(max(0, self.count - self.start) / (self.batch_size * self.ranks)) - self.misses_the_last

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, order = self.epoch, self._order()
        for start in range(self.start, self.count, self.batch_size * self.ranks):
            batch = order[start : start + self.batch_size * self.ranks]
            if part := batch[part_of(len(batch), self.rank, self.ranks)]:
                yield [(epoch, index) for index in part]

    @property
    def misses_the_last(self) -> bool:
        """Whether the last batch has no pair for this rank."""
        last = max(0, self.count - self.start) % (self.batch_size * self.ranks)
        part = part_of(last, self.rank, self.ranks)
        return last > 0 and part.start == part.stop

    def _order(self) -> list[int]:
        if not self.shuffle:
            return list(range(self.count))
        # `count` is no index, so this stream is none of the draws'
        rng = np.random.default_rng([self.seed, self.epoch, self.count])
        return [int(index) for index in rng.permutation(self.count)]


def part_of(count: int, rank: int, ranks: int) -> slice:
    """The part of `count` things that one of several ranks takes: consecutive, all of one size or one less."""
    return slice(count * rank // ranks, count * (rank + 1) // ranks)


class PairLoader:
    """One loader for all epochs, its processes kept between them."""

    def __init__(
        self,
        dataset: PairDataset,
        *,
        batch_size: int,
        workers: int,
        seed: int,
        shuffle: bool,
        pin_memory: bool,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.dataset = dataset
        self.workers = workers
        self._sampler = EpochSampler(
            len(dataset), batch_size=batch_size, seed=seed, shuffle=shuffle, rank=rank, ranks=ranks
        )
        self._loader: DataLoader[Example] = DataLoader(
            dataset,
            batch_sampler=self._sampler,
            num_workers=workers,
            collate_fn=_as_it_is,
            worker_init_fn=_leave_the_group,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # its own, or each pass would draw from the global one
        )

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return math.ceil(self._sampler.count / (self._sampler.batch_size * self._sampler.ranks))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """This rank's parts of an epoch's batches from pair `start` of the order on; the last may be empty.

        Every rank gets as many. Raises DataError for a pair that cannot be used.
        """
        self._sampler.epoch, self._sampler.start = epoch, start
        for batch in self._loader:
            if isinstance(batch, DataError):
                raise DataError(str(batch))  # not `batch`: it and this frame would keep each other alive
            yield batch
        if self._sampler.misses_the_last:
            yield self._nothing()

    def _nothing(self) -> Batch:
        """A part with no pairs, (0, C, H, W)."""
        data = self.dataset
        source, target = (
            torch.empty(0, count, *data.image_size) for count in (data.source_channels, data.target_channels)
        )
        return Batch(source, target, torch.empty(0, dtype=torch.long))


def make_loader(
    dataset: PairDataset,
    *,
    batch_size: int,
    shuffle: bool,
    seed: int = 0,
    workers: Literal["auto"] | int = "auto",
    pin_memory: bool = False,
    rank: int = 0,
    ranks: int = 1,
    neighbours: int = 1,
) -> PairLoader:
    """Batches of a data set: shuffled for training, in order for validation; pinned for a GPU.

    Of several `ranks`, each with batch_size pairs a batch, this is one; `neighbours` of them share this machine.
    """
    return PairLoader(
        dataset,
        batch_size=batch_size,
        workers=resolved_workers(workers, dataset.cached, neighbours),
        seed=seed,
        shuffle=shuffle,
        pin_memory=pin_memory,
        rank=rank,
        ranks=ranks,
    )


def resolved_workers(workers: Literal["auto"] | int, cached: bool, neighbours: int = 1) -> int:
    """Loader processes: as set; or none where pairs are cached or cores few; all cores but one, at most 4.

    Cores are those of the machine divided by the training processes on it.
    """
    if workers != "auto":
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores //= neighbours
    return 0 if cached or cores <= 2 else min(4, cores - 1)


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_the_group(_: int) -> None:
    """Ctrl-C and TERM often go to the whole process group, yet the parent may want to finish its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
