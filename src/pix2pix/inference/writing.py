"""Write the outputs of a translation in threads, record each, and collect what could not be translated."""

import errno
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array
from pix2pix.data.io.surroundings import Surroundings
from pix2pix.errors import DataError
from pix2pix.inference.jobs import Job
from pix2pix.inference.outputs import PlannedOutputs
from pix2pix.inference.record import Entry, Record, Stamp
from pix2pix.inference.views import view_source
from pix2pix.model.signature import Signature
from pix2pix.text import format_count


class FileThreads(ThreadPoolExecutor):
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


@dataclass
class OutputWriter:
    """Writes outputs, each completely or not at all, and records them before they get their names."""

    output: Path
    record: Record
    method: str
    model: Signature
    planned: PlannedOutputs
    threads: FileThreads
    disk: Executor
    written: list[Path] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    lost: dict[str, list[Path]] = field(default_factory=dict)
    """What outputs could not keep of their sources' surroundings, in words -> the sources."""
    _writing: list[tuple[Job, Future[Future[None]]]] = field(default_factory=list)

    def fail(self, job: Job, reason: str) -> None:
        """Note that a job cannot be translated."""
        self.failed.append((job.sources[0], reason))

    def begin(self, job: Job, sources: Sequence[Stamp], array: Array) -> None:
        """Encode and write the output of a job in threads."""
        path = self.output / job.name

        def encode() -> Future[None]:
            kept = self.surroundings(job, array.shape[-1])
            seal = self.before_rename(job, sources)
            return self.disk.submit(
                images.begin_to_write(path, array, seal, surroundings=kept, palette=self.model.palette)
            )

        self._writing.append((job, self.threads.submit(encode)))

    def surroundings(self, job: Job, channels: int) -> Surroundings:
        """Return what the output of a job keeps of its first source's surroundings; note what it cannot keep."""
        source, bounds = job.sources[0], self.model.target_values.bounds
        extremes = min(low for low, _ in bounds), max(high for _, high in bounds)
        found, mask = images.read_surroundings(source), self.model.prepared.mask_value
        found = found.resized(self._pixel_scale(source))
        if mask is not None and any(one.nodata is not None for one in self.model.sources):
            found = replace(found, nodata="nan" if mask == "nan" else f"{mask:.17g}" if isinstance(mask, float) else "")
        kept, lost = found.fit(job.name.suffix.lower(), self.model.file_type.dtype, channels, extremes)
        if job.half == "right" and kept.geo:
            kept, lost = replace(kept, geo=()), (*lost, "georeference (it is that of the whole file)")
        for what in lost:
            of = self.lost.setdefault(what, [])
            if source not in of[-1:]:  # several outputs of one image
                of.append(source)
        names = self.model.config.settings.data.target_from or ()  # those of the source are not the output's
        return replace(kept, channel_names=() if all(map(str.isdecimal, names)) else names)

    def _pixel_scale(self, source: Path) -> tuple[float, float]:
        """Return the size of a file over that of its output, (vertical, horizontal)."""
        if self.model.config.enlarged == (1.0, 1.0):
            return 1.0, 1.0
        size = images.probe(source, view_source(source, self.model)[0]).size
        new = self.model.output_size(size)
        return size[0] / new[0], size[1] / new[1]

    def before_rename(self, job: Job, sources: Sequence[Stamp]) -> Callable[[Path], None]:
        """Return what must happen before the output of a job gets its name."""

        def seal(partial: Path) -> None:
            self.planned.refuse_new_file(self.output / job.name)
            self.record.add(job.name, Entry(self.method, tuple(sources), Stamp.of(partial)))

        return seal

    def finish(self) -> None:
        """Wait until all outputs that were begun are on the disk. Raises DataError for a full disk."""
        while self._writing:
            job, begun = self._writing.pop(0)
            self.finish_one(job, lambda begun=begun: begun.result().result())  # type: ignore[misc]

    def finish_one(self, job: Job, write: Callable[[], object]) -> None:
        """Call `write`, and note whether it wrote the output. Raises DataError for a full disk."""
        path = self.output / job.name
        try:
            write()
        except DataError as error:
            if getattr(error.__cause__, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                complete = format_count(len(self.written), "output")
                raise DataError(
                    f"{error}; {complete} of this command are complete: free some space and run it again to continue"
                ) from error
            self.fail(job, str(error))
        else:
            self.written.append(path)


def stamp_sources(job: Job) -> tuple[Stamp, ...]:
    """Take the stamp of each source, before it is read. Raises DataError."""
    try:
        return tuple(Stamp.of(path) for path in job.sources)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror or error})") from None
