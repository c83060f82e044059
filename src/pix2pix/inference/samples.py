"""Several outputs of each image, of other draws of dropout: their names, and the files of their mean and spread."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.errors import ConfigError, DataError
from pix2pix.inference.jobs import Job
from pix2pix.inference.outputs import PlannedOutputs
from pix2pix.inference.record import Stamp
from pix2pix.inference.writing import OutputWriter
from pix2pix.model.signature import Signature

PICTURE = "uncertainty"
"""Kind of the picture for the eye, a PNG; the other kinds are TIFF files of float32."""


@dataclass(frozen=True)
class Sampling:
    """How many samples of each image are made, and whether their mean and spread are written."""

    count: int = 0
    """0 for one output, which has the name of its image."""
    spread: bool = False

    @classmethod
    def of(cls, samples: int | None, uncertainty: bool) -> "Sampling":
        """Check what a command asks for. Raises ConfigError."""
        if samples is not None and samples < 1:
            raise ConfigError(f"--samples {samples}: expected 1 or more")
        if uncertainty and (samples is None or samples < 2):
            raise ConfigError("--uncertainty: needs at least two samples of each image, such as --samples 16")
        return cls(samples or 0, uncertainty)

    def jobs(self, jobs: Sequence[Job]) -> list[Job]:
        """Return a job for each sample, a-1.png, a-2.png of a.png; without samples the jobs themselves."""
        if not self.count:
            return list(jobs)
        numbers = range(1, self.count + 1)
        return [replace(job, name=_with_end(job.name, number), sample=number) for job in jobs for number in numbers]

    def spread_jobs(self, jobs: Sequence[Job], model: Signature) -> list[Job]:
        """Return a job for each file about the samples of an image; none if they are not asked for."""
        kinds = spread_kinds(model) if self.spread else ()
        return [
            replace(job, name=_spread_name(job, kind), problem="") for job in jobs if not job.problem for kind in kinds
        ]


def spread_kinds(model: Signature) -> tuple[str, str, str]:
    """Return what is written about the samples of a model's outputs: the ends of the names."""
    return ("votes", "entropy", PICTURE) if isinstance(model.target_values, LabelEncoding) else ("mean", "std", PICTURE)


def _spread_name(job: Job, kind: str) -> Path:
    stem, ome = _split(job.name)
    return job.name.with_name(f"{stem}-{kind}.png" if kind == PICTURE else f"{stem}-{kind}{ome}.tif")


def _with_end(name: Path, end: object) -> Path:
    stem, ome = _split(name)
    return name.with_name(f"{stem}-{end}{ome}{name.suffix}")


def _split(name: Path) -> tuple[str, str]:
    """Return `slide` and `.ome` of slide.ome.tif, which readers know by both ends; of others the stem and nothing."""
    return (name.stem[:-4], name.stem[-4:]) if name.stem.lower().endswith(".ome") else (name.stem, "")


def write_spreads(
    jobs: Sequence[Job], sampling: Sampling, writer: OutputWriter, samples: PlannedOutputs, most: float
) -> None:
    """Write the files about the samples of each image that are to do. `most` bytes of samples are in memory at once.

    Images of which a sample is missing are left out: it has been reported. Raises DataError for a full disk.
    """
    to_do = {job.name: job for job in writer.planned.to_do}
    failed = {path for path, _ in writer.failed}
    for job in jobs:
        names = {kind: _spread_name(job, kind) for kind in spread_kinds(writer.model)}
        wanted = {kind: to_do[name] for kind, name in names.items() if name in to_do}
        if wanted and job.sources[0] not in failed:
            draws = [writer.output / one.name for one in sampling.jobs([job])]
            try:
                stamps = tuple(Stamp.of(path) for path in job.sources)
                _write_spread(wanted, stamps, draws, writer, samples, most)
            except OSError as error:
                writer.fail(job, f"{error.filename}: cannot be read ({error.strerror or error})")


def _write_spread(
    wanted: dict[str, Job],
    stamps: tuple[Stamp, ...],
    draws: Sequence[Path],
    writer: OutputWriter,
    samples: PlannedOutputs,
    most: float,
) -> None:
    from pix2pix.inference.spread import open_spread

    changed = next((path for path in draws if path in samples.edited), None)

    def write(kind: str, job: Job) -> None:
        if changed is not None:
            raise DataError(f"{changed}: was changed since a translation wrote it; --overwrite makes all samples again")
        with open_spread(draws, writer.model, most) as spread:
            path, seal = writer.output / job.name, writer.before_rename(job, stamps)
            if kind == PICTURE:
                spread.begin_to_draw(path, seal)()
            else:
                kept = writer.surroundings(job, spread.channels(kind))
                spread.begin_to_write(path, kind, seal, replace(kept, nodata="", profile=None, channel_names=()))()

    for kind, job in wanted.items():
        writer.finish_one(job, lambda kind=kind, job=job: write(kind, job))  # type: ignore[misc]
