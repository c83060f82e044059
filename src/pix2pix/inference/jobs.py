"""List the jobs of a translation: the source files of each image, and the name of its output."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pix2pix.data.io import images, ngff
from pix2pix.data.io.view import Half
from pix2pix.data.pairing.image_files import describe_ignored, walk_images
from pix2pix.data.pairing.pair import IMAGE_SUFFIXES, Ignored
from pix2pix.data.pairing.patterns import compile_pattern
from pix2pix.errors import ConfigError, DataError
from pix2pix.model.signature import FileType
from pix2pix.text import format_count

LOSSY = (".jpg", ".jpeg")
"""Formats that mix values of neighbouring pixels."""


@dataclass(frozen=True)
class Job:
    """One image to translate."""

    sources: tuple[Path, ...]
    """The file of each source."""
    name: Path
    """Path of the output in the output folder."""
    problem: str = ""
    """Why the image cannot be translated; empty if it can."""
    half: Half | None = None
    """Half of a side-by-side file that is translated; None for all of it."""
    sample: int = 0
    """Number of the sample, from 1; 0 for the only output of the image."""


def find_jobs(inputs: Sequence[Path], output: Path, file_type: FileType, ignored: list[Ignored]) -> list[Job]:
    """List the images among the inputs, which are files and folders; append to `ignored`. Raises DataError."""
    return [job for entry in inputs for job in _find_images(entry, output, file_type, ignored)]


def find_stacked_jobs(
    inputs: Sequence[Path], output: Path, file_type: FileType, ignored: list[Ignored], patterns: Sequence[str] = ()
) -> list[Job]:
    """List the images for a model of several sources: one file or one folder for each, matched by name.

    `patterns` are those of `--source-pattern`, one for all folders or one for each. What is ignored in the folders is
    appended to `ignored`. Raises DataError or ConfigError.
    """
    if all(_is_image(entry) for entry in inputs):
        files = [next(_find_images(entry, output, file_type, ignored)) for entry in inputs]
        jobs = [Job(tuple(inputs), files[0].name)]
    else:
        for entry in inputs:
            if _is_image(entry):
                raise DataError(
                    f"{entry}: is an image, but other sources are folders; give a folder, or an image, for each"
                )
        jobs = list(_match_folders(inputs, output, file_type, ignored, patterns))
        if all(job.problem for job in jobs):
            raise DataError(f"{jobs[0].problem}; no image of {inputs[0]} has a partner in every other folder")
    return jobs


def _match_folders(
    folders: Sequence[Path], output: Path, file_type: FileType, ignored: list[Ignored], patterns: Sequence[str]
) -> Iterator[Job]:
    """Match the images of several folders by name; yield those that do not match as jobs with a problem."""
    if len(patterns) not in (0, 1, len(folders)):
        raise ConfigError(f"--source-pattern is given {len(patterns)} times for {format_count(len(folders), 'source')}")
    each: Sequence[str | None] = patterns if len(patterns) == len(folders) else [*patterns, None][:1] * len(folders)
    found: dict[str, list[list[Job]]] = {}  # name -> the images of that name in each folder
    for index, (folder, pattern) in enumerate(zip(folders, each, strict=True)):
        name_of = compile_pattern(pattern, IMAGE_SUFFIXES)
        for job in _find_images(folder, output, file_type, ignored):
            (path,) = job.sources
            name = name_of(os.fspath(path.relative_to(folder)))
            if name is None:
                yield Job(job.sources, job.name, f"{path}: does not fit the pattern {pattern}")
            else:
                found.setdefault(name, [[] for _ in folders])[index].append(job)
    for name, matches in found.items():
        yield from _match_name(name, matches, folders)


def _match_name(name: str, matches: list[list[Job]], folders: Sequence[Path]) -> Iterator[Job]:
    """Yield the job of one name; if it does not match, a job with a problem for each of its images."""
    missing = " and ".join(str(folder) for folder, jobs in zip(folders, matches, strict=True) if not jobs)
    repeated = [job for jobs in matches if len(jobs) > 1 for job in jobs]
    if not (missing or repeated):
        yield Job(tuple(job.sources[0] for (job,) in matches), matches[0][0].name)
    for job in repeated:
        others = ", ".join(str(other.sources[0]) for other in repeated if other is not job)
        problem = f"{job.sources[0]}: has the same name, {name}, as {others}; keep one of them"
        yield Job(job.sources, job.name, problem)
    if missing:
        for (job,) in (jobs for jobs in matches if len(jobs) == 1):
            yield Job(job.sources, job.name, f"{job.sources[0]}: has no partner {name} in {missing}")


def _find_images(entry: Path, output: Path, file_type: FileType, ignored: list[Ignored]) -> Iterator[Job]:
    """Yield a job for an image, or for every image in a folder. Raises DataError."""
    if ngff.is_store(entry):
        yield Job((entry,), _output_name(ngff.output_name(entry), file_type))
        return
    if entry.is_file():
        if entry.suffix.lower() not in IMAGE_SUFFIXES:
            raise DataError(
                f"{entry}: not an image by its name; expected a file ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        yield Job((entry,), _output_name(Path(entry.name), file_type))
        return
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", entry.as_posix()):
        raise DataError(f"{entry}: is an address, and only files of this machine are read: download it first")
    if not entry.is_dir():
        what = "no regular file or folder" if entry.exists() else "no such file or folder"
        raise DataError(f"{entry}: {what}; give images or folders of images to translate")
    here: list[Ignored] = []
    found = sorted(map(Path, walk_images(entry, here, closed=output, stores=True)))
    if not found:
        seen = "".join(f"; {line}" for line in describe_ignored(here))
        raise DataError(f"{entry}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}){seen}")
    ignored += here
    for path in found:
        yield Job((entry / path,), _output_name(path, file_type))


def _is_image(entry: Path) -> bool:
    return entry.is_file() or ngff.is_store(entry)


def _output_name(path: Path, file_type: FileType) -> Path:
    """Keep the name of the input if its format can hold the output; else change the suffix to PNG or TIFF."""
    suffix, values = path.suffix.lower(), (file_type.dtype, file_type.channels)
    if images.can_hold(suffix, *values) and not (file_type.exact and suffix in LOSSY):
        return path
    return path.with_suffix(images.suffix_for(*values))


class Shard(NamedTuple):
    """One of several parts of the images, for several processes that translate at the same time."""

    number: int = 1
    """From 1 to `parts`."""
    parts: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `2/8` as the second of eight parts. Raises ConfigError."""
        number, slash, parts = text.partition("/")
        if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
            raise ConfigError(f"--shard {text}: expected i/n with i from 1 to n, such as 2/8")
        return cls(int(number), int(parts))

    def select(self, jobs: list[Job]) -> list[Job]:
        """Select every `parts`-th image in the order of names; the shards are disjoint and cover all images."""
        return jobs if self.parts == 1 else sorted(jobs, key=lambda job: job.name)[self.number - 1 :: self.parts]
