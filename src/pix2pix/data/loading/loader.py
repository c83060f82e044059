"""Load the batches of an epoch in the order given by (seed, epoch), with loader processes if they help."""

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
    """Load the batches of each epoch; loader processes are kept between epochs."""

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
            generator=torch.Generator(),  # otherwise each pass would draw from the global generator
        )

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        return math.ceil(self._sampler.count / self._sampler.global_batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield this rank's part of each batch of an epoch, beginning at pair `start` of the order.

        Every rank gets the same number of parts; the last may be empty. Raises DataError for an unusable pair.
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

    Pairs at full size are loaded one by one, since their sizes may differ. Each of the `ranks` takes batch_size pairs
    of a batch; `local_size` ranks run on this machine.
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
    """Choose the number of loader processes: as set; else 0 if pairs are in memory or there are at most two cores.

    Otherwise one less than the cores, at most 4. The ranks on this machine share its cores evenly.
    """
    if workers != "auto":
        return workers
    cores = usable_cores() // local_size
    return 0 if in_memory or cores <= 2 else min(4, cores - 1)


def _identity(batch: Any) -> Any:
    return batch


def _ignore_signals(_: int) -> None:
    """Ignore Ctrl-C and leave the process group, so that signals to the group do not stop a step in progress."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
