"""The bounded queue of a process: files are read, translated in batches of equal sizes, and encoded.

All of its state belongs to the event loop. Two threads read and encode files; one thread computes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pix2pix.data.io.arrays import Array
from pix2pix.serve.engine import Engine, ReadImage
from pix2pix.serve.metrics import Metrics
from pix2pix.serve.problems import queue_full

T = TypeVar("T")
FILE_THREADS = 2


@dataclass(eq=False)
class _Waiting:
    """A picture that was read and waits to be translated."""

    engine: Engine
    source: ReadImage
    seed: int | None
    output: "asyncio.Future[tuple[Array, float]]"
    """The output, and the seconds that its batch took."""


@dataclass
class PixelBudget:
    """Limits the pixels that are decoded at the same time; one picture is always allowed. First come, first served."""

    most: int
    used: int = 0
    _turns: asyncio.Lock = field(default_factory=asyncio.Lock)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Wait until the pixels fit, and hold them within the block."""
        async with self._turns:
            while self.used and self.used + pixels > self.most:
                self._released.clear()
                await self._released.wait()
            self.used += pixels
        try:
            yield
        finally:
            self.used -= pixels
            self._released.set()


class TranslationQueue:
    """Translates for many requests at a time; `limit` is the number that may be inside."""

    def __init__(self, limit: int, pixels: int, batch_size: int | None, metrics: Metrics) -> None:
        self.limit, self.batch_size, self.metrics = limit, batch_size, metrics
        self.inside = 0
        self.budget = PixelBudget(pixels)
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._files = ThreadPoolExecutor(FILE_THREADS, "files")
        self._compute = ThreadPoolExecutor(1, "compute")
        self._seconds_each = 0.5  # moving average of the seconds of the model for one picture

    @asynccontextmanager
    async def running(self, engines: Sequence[Engine]) -> AsyncIterator[None]:
        """Warm the engines up, and translate within the block."""
        for engine in engines:
            await self._in(self._compute, engine.warm_up)
        task = asyncio.create_task(self._translate_batches())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._files.shutdown(cancel_futures=True)
            self._compute.shutdown(cancel_futures=True)

    def refuse_if_full(self) -> None:
        """Raise ProblemError (429) if no more requests are accepted now."""
        if self.inside >= self.limit:
            raise queue_full(self.limit, self.inside * self._seconds_each)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place in the queue within the block. Raises ProblemError (429)."""
        self.refuse_if_full()
        self.inside += 1
        self.metrics.waiting.inc()
        try:
            yield
        finally:
            self.inside -= 1
            self.metrics.waiting.dec()

    async def with_files(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run work on files in one of the threads for these."""
        return await self._in(self._files, work, *arguments)

    async def translate(self, engine: Engine, source: ReadImage, seed: int | None) -> tuple[Array, float]:
        """Translate what the engine read; return the output and the seconds of the model."""
        one = _Waiting(engine, source, seed, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._wake.set()
        return await one.output

    async def _translate_batches(self) -> None:
        while True:
            await self._wake.wait()
            batch = self._take_batch()
            if not batch:
                self._wake.clear()
                continue
            await self._translate_batch(batch)

    def _take_batch(self) -> list[_Waiting]:
        """Take the first that waits, and others that can be translated with it."""
        self._waiting = [one for one in self._waiting if not one.output.done()]  # without those that were given up
        if not self._waiting:
            return []
        first = self._waiting[0]
        most = 1 if first.seed is not None else self.batch_size or first.engine.facts.batch_size
        alike = [
            one
            for one in self._waiting
            if one.engine is first.engine and one.source.shape == first.source.shape and one.seed == first.seed
        ]
        batch = alike[:most]
        self._waiting = [one for one in self._waiting if one not in batch]
        return batch

    async def _translate_batch(self, batch: Sequence[_Waiting]) -> None:
        began = time.monotonic()
        try:
            outputs = await self._in(
                self._compute, batch[0].engine.translate, [one.source for one in batch], batch[0].seed
            )
        except Exception as error:  # one picture must not fail the others
            if len(batch) > 1:
                for one in batch:
                    await self._translate_batch([one])
            elif not batch[0].output.done():
                batch[0].output.set_exception(error)
            return
        seconds = time.monotonic() - began
        self._seconds_each += 0.1 * (seconds / len(batch) - self._seconds_each)
        self.metrics.batch.observe(len(batch))
        for one, output in zip(batch, outputs, strict=True):
            if not one.output.done():
                one.output.set_result((output, seconds))

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)
