"""A data set in, batch after batch out, in an order that (seed, epoch) alone decides, by as many processes as help."""

import math
import os
import signal
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from pix2pix.data.loading.dataset import Batch, Example, Key, PairDataset
from pix2pix.errors import DataError
from pix2pix.system.hardware import usable_cores


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
        mask = None if data.mask_value is None else torch.empty(target.shape, dtype=torch.bool)
        return Batch(source, target, torch.empty(0, dtype=torch.long), mask)


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
    """Batches of a data set: shuffled for training, in order for validation; pinned for a GPU. Pairs at full size,
    which may differ in it, come one by one.

    Of several `ranks`, each with batch_size pairs a batch, this is one; `neighbours` of them share this machine.
    """
    return PairLoader(
        dataset,
        batch_size=1 if dataset.full_size else batch_size,
        workers=resolved_workers(workers, dataset.cache is not None, neighbours),
        seed=seed,
        shuffle=shuffle,
        pin_memory=pin_memory,
        rank=rank,
        ranks=ranks,
    )


def resolved_workers(workers: Literal["auto"] | int, in_memory: bool, neighbours: int = 1) -> int:
    """Loader processes: as set; or none where pairs are in memory or cores few; all cores but one, at most 4.

    Cores are those of the machine divided by the training processes on it.
    """
    if workers != "auto":
        return workers
    cores = usable_cores() // neighbours
    return 0 if in_memory or cores <= 2 else min(4, cores - 1)


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_the_group(_: int) -> None:
    """Ctrl-C and TERM often go to the whole process group, yet the parent may want to finish its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
