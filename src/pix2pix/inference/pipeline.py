"""A model, files and folders in; translated files out, each whole, under the inputs' names."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array, ImageFacts
from pix2pix.errors import ConfigError, DataError
from pix2pix.inference.jobs import Job, Shard, find_jobs, find_stacked_jobs
from pix2pix.inference.optimize import Precision
from pix2pix.inference.translator import Translator

LARGE = 2**24
"""Pixels that go through the generator together, unless one picture has more; four times as many are read ahead."""


@dataclass(frozen=True)
class Translated:
    """What a folder's translation came to: the files written, and the inputs that could not be, with the reason."""

    written: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]


def translate_files(
    translator: Translator,
    inputs: Sequence[Path],
    output: Path,
    *,
    batch_size: int = 4,
    shard: Shard = Shard(),  # noqa: B008  # a tuple
    patterns: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Translated:
    """Translate images and folders into `output`, under the inputs' names, each file whole.

    For a model of several sources the inputs are one file, or one folder, of each, matched by name or `patterns`.
    Neighbours of one size go through the generator together. An image that cannot be read or does not fit the model
    does not stop the others. Calls progress(done, total). Raises DataError where there is nothing to translate.
    """
    model = translator.model
    kind = (model.target_values.dtype, model.out_channels)
    if len(model.sources) == 1:
        if patterns:
            raise ConfigError("--source-pattern matches the folders of several sources, and the model has one")
        jobs = shard.of(find_jobs(inputs, output, kind))
    else:
        if len(inputs) != len(model.sources):
            given = "1 input" if len(inputs) == 1 else f"{len(inputs)} inputs"
            raise ConfigError(f"got {given}, but {translator.needs()}; give one file or one folder of each")
        jobs = shard.of(find_stacked_jobs(inputs, output, kind, patterns))
    written: list[Path] = []
    failed: list[tuple[Path, str]] = []
    writing: list[tuple[Path, Future[Future[None]]]] = []

    def finish() -> None:
        while writing:
            path, begun = writing.pop(0)
            begun.result().result()
            written.append(path)
        if progress is not None and (written or failed):
            progress(len(written) + len(failed), len(jobs))

    with _Helpers(2) as helpers, ThreadPoolExecutor(2) as disk:
        for batch in _batches(jobs, batch_size, translator, failed, helpers):
            if translator.device.type == "cpu":
                helpers.rest()
            outputs = translator.translate(torch.stack([source for _, source in batch]))
            finish()
            for (job, _), one in zip(batch, model.target_values.to_arrays(outputs), strict=True):
                path = output / job.name
                writing.append((path, helpers.submit(_begin_to_write, path, one, disk)))
        finish()
    return Translated(tuple(written), tuple(failed))


class _Helpers(ThreadPoolExecutor):
    """Threads that decode files ahead of the generator and encode them behind it.

    On a processor they rest while the generator computes, which needs all cores, and each of whose threads waits for
    the others; only the disk is waited for meanwhile.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._busy: list[Future[Any]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._busy = [future for future in self._busy if not future.done()]
        self._busy.append(super().submit(work, *args, **kwargs))
        return self._busy[-1]

    def rest(self) -> None:
        """Wait until all that was submitted is done."""
        wait(self._busy)


def _begin_to_write(path: Path, translated: Array, disk: Executor) -> Future[None]:
    """Encode a picture; what is returned waits for the disk. Raises DataError, here or there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return disk.submit(images.begin_to_write(path, translated))


def _batches(
    jobs: Sequence[Job], batch_size: int, translator: Translator, failed: list[tuple[Path, str]], pool: Executor
) -> Iterator[list[tuple[Job, Tensor]]]:
    """Read the jobs' images and group neighbours of one size; what cannot be used is added to `failed`."""
    batch: list[tuple[Job, Tensor]] = []

    def read(job: Job, facts: ImageFacts) -> Tensor:
        translator.refuse_too_large(job.input, facts)
        return translator.read(job.input, *job.more)

    for job, reading in _ahead(jobs, read, pool, batch_size):
        try:
            source = reading.result()
        except DataError as error:
            failed.append((job.input, str(error)))
            continue
        together = (len(batch) + 1) * source[0].numel()
        if batch and (len(batch) == batch_size or batch[0][1].shape != source.shape or together > LARGE):
            yield batch
            batch = []
        batch.append((job, source))
    if batch:
        yield batch


def _ahead(
    jobs: Sequence[Job], read: Callable[[Job, ImageFacts], Tensor], pool: Executor, count: int
) -> Iterator[tuple[Job, Future[Tensor]]]:
    """The jobs in order, each with its reading under way, and that of `count` more, or of fewer large ones."""
    waiting: deque[tuple[Job, Future[Tensor], int]] = deque()
    for job in jobs:
        reading: Future[Tensor] = Future()
        pixels = 0
        try:
            if job.problem:
                raise DataError(job.problem)
            facts = images.probe(job.input)
            pixels = facts.height * facts.width
        except DataError as error:
            reading.set_exception(error)
        while waiting and (len(waiting) > count or pixels + sum(other for *_, other in waiting) > 4 * LARGE):
            yield waiting.popleft()[:2]
        waiting.append((job, reading if reading.done() else pool.submit(read, job, facts), pixels))
    while waiting:
        yield waiting.popleft()[:2]


def translate(
    model: str | Path,
    inputs: str | Path | Sequence[str | Path],
    *,
    output: str | Path,
    batch_size: int = 4,
    shard: str | None = None,
    source_pattern: str | Sequence[str] = (),
    dropout: bool = False,
    seed: int | None = None,
    device: str = "auto",
    precision: Precision = "32",
    progress: Callable[[int, int], None] | None = None,
) -> Translated:
    """Load a model and translate images and folders into `output`: `pix2pix translate` in Python.

    `shard`, such as "2/8", takes the second of eight parts of the pictures; the others may run at the same time, into
    the same folder. A model of several sources takes one file, or one folder, of each; `source_pattern`, one for all or
    one for each, says how names in folders go together. `seed` repeats a picture made with `dropout`.
    Raises ConfigError, ModelError or DataError with one sentence.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size}: expected 1 or more")
    part = Shard() if shard is None else Shard.parse(shard)
    if seed is not None:
        if not 0 <= seed < 2**63:
            raise ConfigError(f"--seed {seed}: expected a number from 0 to 2^63 - 1")
        torch.manual_seed(seed)
    places = [Path(inputs)] if isinstance(inputs, str | Path) else [Path(entry) for entry in inputs]
    if precision not in ("32", "bf16"):
        raise ConfigError(f"--precision {precision}: expected 32 or bf16")
    translator = Translator.from_pretrained(model, device=device, dropout=dropout, precision=precision)
    patterns = [source_pattern] if isinstance(source_pattern, str) else list(source_pattern)
    for pattern in patterns:
        if pattern.count("{id}") != 1:
            raise ConfigError(f"--source-pattern {pattern}: write {{id}} once where the picture's name stands")
    return translate_files(
        translator, places, Path(output), batch_size=batch_size, shard=part, patterns=patterns, progress=progress
    )
