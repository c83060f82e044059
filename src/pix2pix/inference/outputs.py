"""Decide which outputs are to be written, so that no input, no other output and no file of the user is replaced."""

import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pix2pix.data.io.ngff import is_store
from pix2pix.errors import ConfigError, DataError
from pix2pix.inference.jobs import Job
from pix2pix.inference.record import Record
from pix2pix.system.files import remove_partial_files
from pix2pix.system.folded_names import fold, folds_names
from pix2pix.text import format_count, format_examples

FileId = tuple[int, int, int, int]
"""Device, inode, size and time of a file, its links not followed."""


@dataclass
class PlannedOutputs:
    """The jobs to do, and those whose outputs are there already."""

    to_do: list[Job] = field(default_factory=list)
    """Also those with a problem."""
    already: list[Path] = field(default_factory=list)
    """Outputs that the same sources, model and settings have given."""
    edited: list[Path] = field(default_factory=list)
    """Outputs of the same sources, model and settings that were changed since; they stay."""
    found: dict[Path, FileId | None] = field(default_factory=dict)
    """What stood in the place of each output to write when this was planned."""

    def refuse_new_file(self, path: Path) -> None:
        """Raise DataError if another process has written or changed an output since it was planned."""
        if file_id(path) != self.found[path]:
            raise DataError(f"{path}: another process wrote it in the meantime; it is not replaced")


def plan_outputs(jobs: Sequence[Job], output: Path, record: Record, method: str, *, overwrite: bool) -> PlannedOutputs:
    """Sort jobs into those to do and those done. Raises DataError if a file would be replaced that no one translated.

    With `overwrite` all jobs are to do.
    """
    planned = PlannedOutputs()
    foreign: list[Path] = []
    for job in jobs:
        path = output / job.name
        match "to do" if overwrite or job.problem else _classify(job, path, record, method):
            case "already":
                planned.already.append(path)
            case "edited":
                planned.edited.append(path)
            case "foreign":
                foreign.append(path)
            case _:
                planned.to_do.append(job)
                planned.found[path] = file_id(path)
    if foreign:
        _refuse(foreign, output)
    return planned


def _classify(job: Job, path: Path, record: Record, method: str) -> str:
    """Return "to do", "already", "edited" or "foreign" for the output of a job."""
    try:
        found = path.lstat()
    except OSError:
        return "to do"
    if stat.S_ISDIR(found.st_mode) and not is_store(path):
        return "to do"  # writing it fails, with a message of its own
    entries = [] if stat.S_ISLNK(found.st_mode) else record.entries(job.name)
    written = next((entry for entry in reversed(entries) if entry.output.fits(path)), None)
    if written is not None:
        return "already" if written.is_of(method, job.sources) else "to do"
    return "edited" if entries and entries[-1].is_of(method, job.sources) else "foreign"


def _refuse(foreign: list[Path], output: Path) -> None:
    if len(foreign) == 1:
        what = f"{foreign[0]}: exists, and no translation wrote it as it is"
    else:
        names = format_examples(path.relative_to(output) for path in foreign)
        what = f"{output}: holds {format_count(len(foreign), 'file')} that no translation wrote as they are: {names}"
    raise DataError(f"{what}; give --overwrite to replace what is there, or another --output")


def remove_leftovers(jobs: Sequence[Job], output: Path) -> None:
    """Remove the unfinished files that killed processes left in place of the outputs of these jobs."""
    names: dict[Path, list[str]] = {}
    for job in jobs:
        path = output / job.name
        names.setdefault(path.parent, []).append(path.name)
    for folder, of_folder in names.items():
        remove_partial_files(folder, of_folder)


# ---- collisions --------------------------------------------------------------------------------------------------


def refuse_collisions(jobs: Sequence[Job], output: Path) -> None:
    """Raise ConfigError if an output would replace the input of any job, DataError if two outputs would be one file."""
    inputs = {found: path for job in jobs for path in job.sources if (found := _content_id(path)) is not None}
    for path in {path for job in jobs for path in job.sources if is_store(path)}:
        if output.resolve().is_relative_to(path.resolve()):
            raise ConfigError(f"--output {output}: lies in {path}, an image; choose another --output")
    seen: dict[str, Job] = {}
    for job in (job for job in jobs if not job.problem):
        target, source = output / job.name, job.sources[0]
        if (found := _content_id(target)) is not None and found in inputs:
            raise ConfigError(f"{source}: its output would replace {inputs[found]}, an input; choose another --output")
        other = seen.setdefault(fold(job.name.as_posix()), job)
        if other is not job and (other.name == job.name or folds_names(output)):
            raise DataError(
                f"{other.sources[0]} and {source} would both become {target}; translate them into different folders"
            )


def _content_id(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file behind a path, its links followed; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def file_id(path: Path) -> FileId | None:
    """Return what tells whether a path holds the same file as before; None if there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
