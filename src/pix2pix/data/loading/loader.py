"""Load the batches of an epoch in the order given by (seed, epoch), with loader processes if they help."""

import math
import multiprocessing.connection
import multiprocessing.util
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from pix2pix.data.loading.dataset import Batch, Example, PairDataset
from pix2pix.data.loading.sampler import EpochSampler
from pix2pix.errors import DataError, RunError
from pix2pix.system.hardware import usable_cores
from pix2pix.system.signals import follow_parent, ignore_stop_signals, interruptible

Say = Callable[[str], object]
"""Print a line for the user."""


class PairLoader:
    """Load the batches of each epoch; loader processes are kept between epochs.

    If one of them dies, all are started anew, once an epoch, and go on at the same pair.
    """

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
        self.say: Say = warnings.warn  # prints that loader processes were started anew
        self._pin_memory = pin_memory
        # One of several processes must not leave: the others would wait for it in an update.
        self._waiting = interruptible if ranks == 1 else nullcontext
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._iterator: Any = None  # torch's, which started them
        self._sampler = EpochSampler(
            len(dataset),
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            rank=rank,
            ranks=ranks,
            crops=dataset.crops,
        )
        self._loader = self._make_loader()

    def _make_loader(self) -> DataLoader[Example]:
        return DataLoader(
            self.dataset,
            batch_sampler=self._sampler,
            num_workers=self.workers,
            collate_fn=_identity,
            worker_init_fn=_prepare_process,
            persistent_workers=self.workers > 0,
            pin_memory=self._pin_memory,
            generator=torch.Generator(),  # otherwise each pass would draw from the global generator
        )

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        return math.ceil(self._sampler.count / self._sampler.global_batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield this rank's part of each batch of an epoch, beginning at pair `start` of the order.

        Every rank gets the same number of parts; the last may be empty. Raises DataError for an unusable pair, and
        RunError when a loader process has died twice. A stop signal that is noted raises Interrupted during a wait.
        """
        self._sampler.epoch, self._sampler.start = epoch, start
        batches, done, healed = None, start, False
        while True:
            try:
                batches = batches or self._start()
                with self._waiting():
                    batch = next(batches, None)
            except (RuntimeError, ConnectionError, EOFError) as error:
                if not (died := self._describe_death(error)):
                    raise
                self.close()
                if healed:
                    raise RunError(
                        f"{died} again (is the machine out of memory?): give fewer --workers, or --workers 0"
                    ) from error
                self.say(f"loader       {died} (is the machine out of memory?); {self.workers} started anew")
                batches, self._sampler.start, healed = None, done, True
                continue
            if batch is None:
                break
            if isinstance(batch, DataError):
                raise DataError(str(batch))  # not `batch`: it and this frame would keep each other alive
            done += self._sampler.global_batch_size
            yield batch
        self._sampler.start = start
        if self._sampler.last_part_is_empty:
            yield self._empty_batch()

    def _start(self) -> Iterator[Batch | DataError]:
        """Start to load, and the loader processes if there are none."""
        if not self.workers:
            return iter(self._loader)
        before = set(multiprocessing.active_children())
        try:
            with _keeping_handler("SIGCHLD"):  # torch's would raise in the middle of an update
                batches = self._iterator = iter(self._loader)
        finally:
            if started := list(set(multiprocessing.active_children()) - before):
                self._processes += started
                # At its exit multiprocessing sends them SIGTERM, which they ignore, and would wait for ever.
                multiprocessing.util.Finalize(None, _kill, (started,), exitpriority=100)
        return batches

    def _describe_death(self, error: Exception) -> str | None:
        """Say how a loader process has ended; None if an error has another reason."""
        in_transfer = isinstance(error, ConnectionError | EOFError)
        if in_transfer:  # the system may not have ended it quite yet
            ended = multiprocessing.connection.wait([process.sentinel for process in self._processes], timeout=1)
            for process in self._processes:
                process.join(timeout=1 if process.sentinel in ended else 0)  # the sentinel comes before the exit code
        for process in self._processes:
            if process.exitcode is not None:
                code = process.exitcode
                how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                return f"a loader process {how}"
        while_started = "DataLoader worker" in str(error)
        return "a loader process has ended" if in_transfer or while_started else None

    def close(self) -> None:
        """End the loader processes at once, also one that waits for a slow disk. A later epoch starts new ones."""
        _kill(self._processes)
        if self._iterator is not None:
            # A process that was killed may hold a lock for ever, for which torch's own shutdown would wait. What else
            # that does is to forget the processes, since their key may be used again.
            self._iterator._shutdown = True
            signal_handling._remove_worker_pids(id(self._iterator))  # type: ignore[attr-defined]
            self._loader = self._make_loader()
        self._processes, self._iterator = [], None

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
    cores: int | None = None,
) -> PairLoader:
    """Make the loader of a data set: shuffled for training, in order for validation, pinned for a GPU.

    Pairs at full size are loaded one by one, since their sizes may differ. Each of the `ranks` takes batch_size pairs
    of a batch. `cores` are those of this process, by default all that it may use.
    """
    return PairLoader(
        dataset,
        batch_size=1 if dataset.full_size else batch_size,
        workers=choose_workers(workers, dataset.cache is not None, usable_cores() if cores is None else cores),
        seed=seed,
        shuffle=shuffle,
        pin_memory=pin_memory,
        rank=rank,
        ranks=ranks,
    )


def choose_workers(workers: Literal["auto"] | int, in_memory: bool, cores: int) -> int:
    """Choose the number of loader processes: as set; else 0 if pairs are in memory or there are at most two cores.

    Otherwise one less than the cores, at most 4.
    """
    if workers != "auto":
        return workers
    return 0 if in_memory or cores <= 2 else min(4, cores - 1)


@contextmanager
def _keeping_handler(name: str) -> Iterator[None]:
    """After the block, restore the handler of a signal, on systems that have it."""
    number = getattr(signal, name, None)
    handler = None if number is None else signal.getsignal(number)
    try:
        yield
    finally:
        if number is not None and handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)


def _kill(processes: Sequence[multiprocessing.process.BaseProcess]) -> None:
    """End processes, and wait until they have."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def _identity(batch: Any) -> Any:
    return batch


def _print_unless_left(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error, unless the training has left a loader process in the middle of a transfer."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _prepare_process(_: int) -> None:
    """Leave stop signals to the training, which finishes its update first, and end when it has ended."""
    ignore_stop_signals()
    sys.excepthook = _print_unless_left
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    follow_parent(os.getppid(), getattr(signal, "SIGKILL", signal.SIGTERM))
