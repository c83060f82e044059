"""Data set -> batches in the order of (seed, epoch), loaded by as many processes as help."""

import math
import os
import signal
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from pix2pix.data.loading.dataset import Batch, Example, PairDataset
from pix2pix.data.loading.sampler import EpochSampler
from pix2pix.errors import DataError
from pix2pix.system.hardware import usable_cores


class PairLoader:
    """Load the batches of one epoch after the other; loader processes are kept between epochs."""

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
            collate_fn=_identity,
            worker_init_fn=_ignore_signals,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # or each pass would draw from the global one
        )

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        return math.ceil(self._sampler.count / self._sampler.global_batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield this rank's parts of an epoch's batches, from pair `start` of the order on.

        Every rank gets the same number of parts; the last may be empty. Raises DataError for a pair that cannot be
        used.
        """
        self._sampler.epoch, self._sampler.start = epoch, start
        for batch in self._loader:
            if isinstance(batch, DataError):
                raise DataError(str(batch))  # not `batch`: it and this frame would keep each other alive
            yield batch
        if self._sampler.last_part_is_empty:
            yield self._empty_batch()

    def _empty_batch(self) -> Batch:
        """Make a part with no pairs, (0, C, H, W)."""
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
    local_size: int = 1,
) -> PairLoader:
    """Make the loader of a data set: shuffled for training, in order for validation, pinned for a GPU.

    Pairs at full size, which may differ in it, come one by one. Each of the `ranks` takes batch_size pairs of a batch;
    `local_size` of them are on this machine.
    """
    return PairLoader(
        dataset,
        batch_size=1 if dataset.full_size else batch_size,
        workers=choose_workers(workers, dataset.cache is not None, local_size),
        seed=seed,
        shuffle=shuffle,
        pin_memory=pin_memory,
        rank=rank,
        ranks=ranks,
    )


def choose_workers(workers: Literal["auto"] | int, in_memory: bool, local_size: int = 1) -> int:
    """Choose the number of loader processes: as set, else none where pairs are in memory or cores are few.

    Otherwise all cores but one, at most 4. The ranks on this machine share its cores evenly.
    """
    if workers != "auto":
        return workers
    cores = usable_cores() // local_size
    return 0 if in_memory or cores <= 2 else min(4, cores - 1)


def _identity(batch: Any) -> Any:
    return batch


def _ignore_signals(_: int) -> None:
    """Ignore Ctrl-C and leave the process group: signals often reach the whole group, and the step is to finish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
