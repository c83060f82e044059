"""Group the images of a translation into batches of one size, and decode the next batches ahead within a budget."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import NamedTuple

from pix2pix.data.io import images
from pix2pix.data.io.view import Planes
from pix2pix.errors import DataError
from pix2pix.inference.calls import Encoded
from pix2pix.inference.jobs import Job
from pix2pix.inference.memory import Budget
from pix2pix.inference.record import Stamp
from pix2pix.inference.views import view_source
from pix2pix.model.model_config import Size

AHEAD = 2
"""Batches that are decoded ahead."""


class Reading(NamedTuple):
    """The decoded sources of a job."""

    stamps: tuple[Stamp, ...]
    encoded: Encoded


@dataclass
class Batch:
    """Images of one size that are translated together, or one image to be translated in tiles."""

    size: Size
    """Of the outputs."""
    jobs: list[Job]
    tiled: bool = False
    planes: Planes = ()
    """The planes of a stack of pictures."""
    readings: list[Future[Reading]] = field(default_factory=list)

    @property
    def alone(self) -> bool:
        """Whether the image is read while it is translated, and nothing else meanwhile."""
        return self.tiled or bool(self.planes)

    @property
    def sizes(self) -> list[Size]:
        """The size of each image."""
        return [self.size] * len(self.jobs)


class BatchLimits(NamedTuple):
    """How large a batch may become."""

    images: int
    pixels: int
    """A single image may have more."""
    budget: Budget
    tile: int | None
    """Side of the tiles for larger images; None to make tiles only of images that do not fit into the budget."""

    def wants_tiles(self, size: Size) -> bool:
        """Return whether an image is translated in tiles."""
        if self.tile is not None:
            return max(self.budget.model.presented_size(size)) > self.tile
        return not self.budget.fits([size])

    def allow(self, batch: Batch, size: Size) -> bool:
        """Return whether an image of a size may join a batch."""
        count = len(batch.jobs) + 1
        alike = size == batch.size and not batch.alone and count <= self.images
        fits = alike and math.prod(size) * count <= self.pixels
        return fits and self.budget.fits([size] * count, batch=count)


Place = Callable[[Job, Size], tuple[Job, Size]]
"""Return the job of a file of a size with the part of it that is translated, and the size of the output."""


def form_batches(
    jobs: Iterable[Job], limits: BatchLimits, place: Place, fail: Callable[[Job, str], object]
) -> Iterator[Batch]:
    """Group consecutive images of one size; call `fail` for those whose header cannot be read."""
    batch: Batch | None = None
    for job in jobs:
        try:
            if job.problem:
                raise DataError(job.problem)
            view, planes = view_source(job.sources[0], limits.budget.model)
            placed, size = place(job, images.probe(job.sources[0], view).size)
            tiled = limits.wants_tiles(size)
            if planes and tiled:
                raise DataError(
                    f"{job.sources[0]}: is a stack, whose planes are not translated in tiles: save each in a file"
                )
        except DataError as error:
            fail(job, str(error))
            continue
        if batch is not None and not planes and limits.allow(batch, size):
            batch.jobs.append(placed)
            continue
        if batch is not None:
            yield batch
        batch = Batch(size, [placed], tiled=tiled, planes=planes)
    if batch is not None:
        yield batch


def read_ahead(
    batches: Iterable[Batch],
    read: Callable[[Job], Reading],
    pool: Executor,
    limits: BatchLimits,
    finish_writing: Callable[[], object],
) -> Iterator[Batch]:
    """Yield batches whose sources are being read, while the next are read ahead within the budget.

    A batch counts until the one after it has been translated: its outputs are still being written. Images that are
    larger than a batch may be, and those for tiles, are in flight alone.
    """
    waiting: deque[Batch] = deque()
    last: list[Batch] = []
    for batch in batches:
        while waiting and not (len(waiting) < AHEAD and _together([*last, *waiting, batch], limits)):
            last = [waiting.popleft()]
            yield last[0]
        if last and not _together([*last, *waiting, batch], limits):
            finish_writing()
            last = []
        if not batch.alone:
            batch.readings = [pool.submit(read, job) for job in batch.jobs]
        waiting.append(batch)
    yield from waiting


def _together(batches: list[Batch], limits: BatchLimits) -> bool:
    """Return whether these batches may be in flight at the same time."""
    if any(batch.alone or math.prod(batch.size) > limits.pixels for batch in batches):
        return False
    largest = max(len(batch.jobs) for batch in batches)
    return limits.budget.fits([size for batch in batches for size in batch.sizes], batch=largest)
