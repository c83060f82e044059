"""Translate files and folders into files of the same names, each written completely or not at all."""

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
from pix2pix.inference.encode_sources import read_sources
from pix2pix.inference.jobs import Job, Shard, find_jobs, find_stacked_jobs
from pix2pix.inference.memory import check_memory
from pix2pix.inference.optimize import Precision
from pix2pix.inference.translator import Translator
from pix2pix.system.progress import OnProgress
from pix2pix.text import format_count

BATCH_PIXELS = 2**24
"""Largest number of pixels in a batch, unless one image has more; four times as many are read ahead."""


@dataclass(frozen=True)
class Translated:
    """The files written, and the inputs that could not be translated, each with the reason."""

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
    progress: OnProgress | None = None,
    batch_pixels: int = BATCH_PIXELS,
    memory: int | None = None,
) -> Translated:
    """Translate images and folders into `output`; each output has the name of its input.

    A model of several sources takes one file, or one folder, for each; images are matched by name or by `patterns`.
    Consecutive images of one size form batches. Images that cannot be read, do not fit the model or take more than
    `memory` bytes (by default the free memory) are skipped and reported. Calls progress(done, total). Raises DataError
    if there is nothing to translate.
    """
    jobs = shard.select(_list_jobs(translator, inputs, output, patterns))
    written: list[Path] = []
    failed: list[tuple[Path, str]] = []
    writing: list[tuple[Path, Future[Future[None]]]] = []

    def read(job: Job, facts: ImageFacts) -> Tensor:
        if translator.device.type == "cpu":
            check_memory(job.sources[0], facts, translator.model, memory)
        return read_sources(job.sources, translator.model)

    def finish_writing() -> None:
        while writing:
            path, begun = writing.pop(0)
            begun.result().result()
            written.append(path)
        if progress is not None and (written or failed):
            progress(len(written) + len(failed), len(jobs))

    with _FileThreads(2) as threads, ThreadPoolExecutor(2) as disk:
        readings = _read_ahead(jobs, read, threads, batch_size, 4 * batch_pixels)
        for batch in _form_batches(readings, batch_size, batch_pixels, failed):
            if translator.device.type == "cpu":
                threads.wait_until_idle()
            outputs = translator.translate(torch.stack([source for _, source in batch]))
            finish_writing()
            for (job, _), array in zip(batch, translator.model.target_values.to_arrays(outputs), strict=True):
                path = output / job.name
                writing.append((path, threads.submit(_begin_to_write, path, array, disk)))
        finish_writing()
    return Translated(tuple(written), tuple(failed))


def _list_jobs(translator: Translator, inputs: Sequence[Path], output: Path, patterns: Sequence[str]) -> list[Job]:
    model = translator.model
    file_type = (model.target_values.dtype, model.out_channels)
    if len(model.sources) == 1:
        if patterns:
            raise ConfigError("--source-pattern matches the folders of several sources, and the model has one")
        return find_jobs(inputs, output, file_type)
    if len(inputs) != len(model.sources):
        given, needed = format_count(len(inputs), "input"), translator.describe_sources()
        raise ConfigError(f"got {given}, but {needed}; give one file or one folder for each")
    return find_stacked_jobs(inputs, output, file_type, patterns)


class _FileThreads(ThreadPoolExecutor):
    """Threads that decode files before the generator and encode them after it.

    On a CPU the generator needs all cores, so these threads are idle while it computes; only writes to the disk go on.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._busy: list[Future[Any]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._busy = [future for future in self._busy if not future.done()]
        self._busy.append(super().submit(work, *args, **kwargs))
        return self._busy[-1]

    def wait_until_idle(self) -> None:
        """Wait until all submitted work is done."""
        wait(self._busy)


def _begin_to_write(path: Path, array: Array, disk: Executor) -> Future[None]:
    """Encode an image, and return a future that waits for the disk. Both raise DataError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return disk.submit(images.begin_to_write(path, array))


def _form_batches(
    readings: Iterator[tuple[Job, Future[Tensor]]],
    batch_size: int,
    batch_pixels: int,
    failed: list[tuple[Path, str]],
) -> Iterator[list[tuple[Job, Tensor]]]:
    """Group consecutive images of one size into batches; add images that cannot be translated to `failed`."""
    batch: list[tuple[Job, Tensor]] = []
    for job, reading in readings:
        try:
            source = reading.result()
        except DataError as error:
            failed.append((job.sources[0], str(error)))
            continue
        pixels = (len(batch) + 1) * source[0].numel()
        if batch and (len(batch) == batch_size or batch[0][1].shape != source.shape or pixels > batch_pixels):
            yield batch
            batch = []
        batch.append((job, source))
    if batch:
        yield batch


def _read_ahead(
    jobs: Sequence[Job], read: Callable[[Job, ImageFacts], Tensor], pool: Executor, count: int, most_pixels: int
) -> Iterator[tuple[Job, Future[Tensor]]]:
    """Yield jobs in order with their readings, and read up to `count` more ahead, of at most `most_pixels` in all."""
    waiting: deque[tuple[Job, Future[Tensor], int]] = deque()
    for job in jobs:
        reading: Future[Tensor] = Future()
        pixels = 0
        try:
            if job.problem:
                raise DataError(job.problem)
            facts = images.probe(job.sources[0])
            pixels = facts.height * facts.width
        except DataError as error:
            reading.set_exception(error)
        while waiting and (len(waiting) > count or pixels + sum(other for *_, other in waiting) > most_pixels):
            yield waiting.popleft()[:2]
        waiting.append((job, reading if reading.done() else pool.submit(read, job, facts), pixels))
    while waiting:
        yield waiting.popleft()[:2]


def translate(  # noqa: PLR0913  # the flags of the command
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
    progress: OnProgress | None = None,
) -> Translated:
    """Load a model and translate images and folders into `output`: `pix2pix translate` in Python.

    `shard`, such as "2/8", selects the second of eight parts of the images; other processes can translate the others
    into the same folder. A model of several sources takes one file, or one folder, for each; `source_pattern`, one for
    all or one for each, tells how names in the folders match. `seed` repeats an output made with `dropout`.
    Raises ConfigError, ModelError or DataError.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size}: expected 1 or more")
    part = Shard() if shard is None else Shard.parse(shard)
    if seed is not None:
        if not 0 <= seed < 2**63:
            raise ConfigError(f"--seed {seed}: expected a number from 0 to 2^63 - 1")
        torch.manual_seed(seed)
    entries = [Path(inputs)] if isinstance(inputs, str | Path) else [Path(entry) for entry in inputs]
    if precision not in ("32", "bf16"):
        raise ConfigError(f"--precision {precision}: expected 32 or bf16")
    translator = Translator.from_pretrained(model, device=device, dropout=dropout, precision=precision)
    patterns = [source_pattern] if isinstance(source_pattern, str) else list(source_pattern)
    for pattern in patterns:
        if pattern.count("{id}") != 1:
            raise ConfigError(f"--source-pattern {pattern}: write {{id}} once where the image's name stands")
    return translate_files(
        translator, entries, Path(output), batch_size=batch_size, shard=part, patterns=patterns, progress=progress
    )
