"""Files and folders in, what there is to translate out: each picture with the name of its translation."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pix2pix.data.io import images
from pix2pix.data.pairing.pair import IMAGE_SUFFIXES
from pix2pix.data.pairing.patterns import naming
from pix2pix.errors import ConfigError, DataError
from pix2pix.text import format_count


@dataclass(frozen=True)
class Job:
    """One picture to translate: where it is and what its translation is called, relative to the output folder."""

    input: Path
    """Of several sources, the first."""
    name: Path
    more: tuple[Path, ...] = ()
    """Of several sources, the others."""
    problem: str = ""
    """Why there is nothing to translate."""


def find_jobs(inputs: Sequence[Path], output: Path, written: tuple[str, int] = ("uint8", 3)) -> list[Job]:
    """Files and folders -> one job for each image; `written` is the translations' type and channels.

    Raises DataError for what is absent, empty or would collide.
    """
    return _apart([job for entry in inputs for job in _jobs_of(entry, output, written)], output)


def find_stacked_jobs(
    inputs: Sequence[Path],
    output: Path,
    written: tuple[str, int] = ("uint8", 3),
    patterns: Sequence[str] = (),
) -> list[Job]:
    """A file of each source, or a folder of each, whose images go together by name -> one job for each output.

    `patterns` are those of `--source-pattern`, one for all or one for each. An image that lacks a partner is a job
    with a problem. Raises DataError or ConfigError.
    """
    if all(entry.is_file() for entry in inputs):
        first, *more = (next(_jobs_of(entry, output, written)) for entry in inputs)
        return _apart([Job(first.input, first.name, tuple(job.input for job in more))], output)
    for entry in inputs:
        if entry.is_file():
            raise DataError(f"{entry}: is a file, but other sources are folders; give a folder of each, or a file")
    if len(patterns) not in (0, 1, len(inputs)):
        raise ConfigError(f"--source-pattern is given {len(patterns)} times for {format_count(len(inputs), 'source')}")
    each: list[str | None] = [*patterns] * (len(inputs) if len(patterns) == 1 else 1) or [None] * len(inputs)
    found: dict[str, dict[int, list[Job]]] = {}
    jobs: list[Job] = []
    for place, (entry, pattern) in enumerate(zip(inputs, each, strict=True)):
        name_of = naming(pattern, IMAGE_SUFFIXES)
        for job in _jobs_of(entry, output, written):
            name = name_of(os.fspath(job.input.relative_to(entry)))
            if name is None:
                jobs.append(replace(job, problem=f"{job.input}: does not fit the pattern {pattern}"))
            else:
                found.setdefault(name, {}).setdefault(place, []).append(job)
    for name, of_folders in found.items():
        jobs += _joined(name, of_folders, inputs)
    if all(job.problem for job in jobs):
        raise DataError(f"{jobs[0].problem}; no image of {inputs[0]} has a partner in every other folder")
    return _apart(jobs, output)


def _joined(name: str, of_folders: dict[int, list[Job]], inputs: Sequence[Path]) -> Iterator[Job]:
    """The images of one name -> a job, or one with a problem for each of them."""
    same = [job for jobs in of_folders.values() if len(jobs) > 1 for job in jobs]
    absent = [str(entry) for place, entry in enumerate(inputs) if place not in of_folders]
    for job in same:
        others = ", ".join(str(other.input) for other in same if other is not job)
        yield replace(job, problem=f"{job.input}: has one name, {name}, with {others}; keep one")
    if absent:
        for (job,) in (jobs for jobs in of_folders.values() if len(jobs) == 1):
            yield replace(job, problem=f"{job.input}: has no partner {name} in {' and '.join(absent)}")
    if not (same or absent):
        first, *more = (of_folders[place][0] for place in range(len(inputs)))
        yield Job(first.input, first.name, tuple(job.input for job in more))


def _apart(jobs: list[Job], output: Path) -> list[Job]:
    """The jobs. Raises DataError where a translation would replace another one, or any job's input."""
    usable = [job for job in jobs if not job.problem]
    inputs = {_identity(file): file for job in usable for file in (job.input, *job.more)}
    seen: dict[Path, Path] = {}
    for job in usable:
        target = output / job.name
        if target in seen:
            raise DataError(f"{seen[target]} and {job.input} would both become {target}; translate them one by one")
        if (identity := _identity(target)) is not None and identity in inputs:
            raise DataError(
                f"{job.input}: its translation would replace {inputs[identity]}, which is to be translated too; "
                "choose another --output"
            )
        seen[target] = job.input
    return jobs


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to, whatever its name: device and inode; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _jobs_of(entry: Path, output: Path, written: tuple[str, int]) -> Iterator[Job]:
    if entry.is_file():
        if entry.suffix.lower() not in IMAGE_SUFFIXES:
            raise DataError(f"{entry}: no image by its name; expected one of {', '.join(sorted(IMAGE_SUFFIXES))}")
        yield Job(entry, _output_name(Path(entry.name), written))
        return
    if not entry.is_dir():
        raise DataError(f"{entry}: no such file or folder; give images or folders of images to translate")
    found = sorted(path for path in _walk(entry, output) if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"{entry}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    for path in found:
        yield Job(path, _output_name(path.relative_to(entry), written))


def _walk(folder: Path, output: Path) -> Iterator[Path]:
    """Files below a folder, without hidden ones, links to folders and the output folder. Raises OSError."""
    for root, folders, names in os.walk(folder, onerror=_raise):
        kept = (name for name in folders if not name.startswith("."))
        folders[:] = [name for name in kept if Path(root, name).resolve() != output.resolve()]
        yield from (Path(root, name) for name in names if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _output_name(path: Path, written: tuple[str, int]) -> Path:
    """The input's own name where its format can hold the translation exactly or nearly; else PNG, or else TIFF."""
    return path if images.can_hold(path.suffix.lower(), *written) else path.with_suffix(images.suffix_for(*written))


class Shard(NamedTuple):
    """One of several parts of the pictures, for as many processes to translate at the same time."""

    number: int = 1  # from 1 to parts
    parts: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """`2/8` is the second of eight parts. Raises ConfigError."""
        number, slash, parts = text.partition("/")
        if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
            raise ConfigError(f"--shard {text}: expected i/n with i from 1 to n, such as 2/8")
        return cls(int(number), int(parts))

    def of(self, jobs: list[Job]) -> list[Job]:
        """Every `parts`-th picture by name: the shards are disjoint and together all."""
        return jobs if self.parts == 1 else sorted(jobs, key=lambda job: job.name)[self.number - 1 :: self.parts]
