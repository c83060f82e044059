"""Make pairs from a folder of photos: folders A (source) and B (target) with splits, as `train` reads them.

The pairs are collected in OUTPUT.partial until every photo has been tried, so OUTPUT is always a complete set. A
journal there records for each pair the size and date of the photo and the hashes of the two files. A pair that agrees
with its record is not made again.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pix2pix.config import Make
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.pairing.pair import SPLITS, Ignored
from pix2pix.data.preparation.derive import derive_pair
from pix2pix.data.preparation.photo_plan import Plan, Task, plan_pairs, refuse_nested, refuse_one_file, refuse_settings
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.files import remove_partial_files, sha256, write_text
from pix2pix.system.folders import find_others, remove_files, replace_folder
from pix2pix.system.hardware import usable_cores
from pix2pix.system.locks import lock_folder
from pix2pix.system.progress import OnProgress
from pix2pix.system.signals import raise_interrupted
from pix2pix.system.written import RECORD, read_record, write_record

SETTINGS = "make.json"
JOURNAL = "made.jsonl"


class Failure(NamedTuple):
    """A photo from which no pair could be made. The reason does not repeat the path."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Made:
    """A set of pairs on disk, and the files without a pair."""

    path: Path
    counts: dict[str, int]
    """Number of pairs in each split."""
    new: int
    """Number of pairs that this call made; the others existed."""
    failed: tuple[Failure, ...]
    ignored: tuple[Ignored, ...]
    """Files that are not images by their names, hidden ones, and folders that are not searched."""


class _PairHashes(NamedTuple):
    source: str  # SHA-256 of the file
    target: str


class _Failed(NamedTuple):
    reason: str


_Outcome = _PairHashes | _Failed


def make(
    photos: Path, output: Path, settings: Make, *, overwrite: bool = False, progress: OnProgress | None = None
) -> Made:
    """Make a pair from each photo below `photos`; report photos that cannot be used.

    The same call continues an earlier one that was stopped. Calls progress(done, total). Raises ConfigError for invalid
    settings, and for an `output` that holds anything but pairs of these photos with these settings (`overwrite`
    replaces other pairs), or one that was edited. Raises DataError if no photo can be used.
    """
    refuse_settings(settings)
    refuse_nested(photos, output)
    plan = plan_pairs(photos, settings)
    refuse_one_file(plan.tasks, output)
    work = output.with_name(f"{output.name}.partial")
    begun = _find_begun(output, work, plan, overwrite)
    place = begun or work
    if begun is None:
        _remove_made(work)
        work.mkdir(parents=True, exist_ok=True)
        write_record(work, [*_OWN, *(name for task in plan.tasks for name in map(str, task.files(Path())))])
        write_text(work / SETTINGS, json.dumps(plan.description, indent=1))
    with lock_folder(place):
        outcomes = _find_finished(place, plan.tasks, settings, progress)
        todo = [task for task in plan.tasks if task.name not in outcomes]
        if place == output and todo:
            _remove_made(work)
            os.rename(output, work)
        outcomes |= _make_pairs(todo, work, settings, progress, plan.tasks)
        made = _summarize(output, plan, outcomes, new=todo)
        if not made.counts:
            if begun is None:
                _remove_made(work)
            first = made.failed[0]
            raise DataError(
                f"{photos}: none of its {len(plan.tasks)} photos can be used; the first, {first.path}: {first.reason}"
            )
        if todo or place == work:
            _refuse_others(output)
            replace_folder(work, output, _made_files(output))
    return made


def _summarize(output: Path, plan: Plan, outcomes: Mapping[str, _Outcome], new: Sequence[Task]) -> Made:
    splits = [task.split for task in plan.tasks if isinstance(outcomes[task.name], _PairHashes)]
    failed = ((task.photo, outcomes[task.name]) for task in plan.tasks)
    return Made(
        output,
        {split: splits.count(split) for split in SPLITS if split in splits},
        sum(isinstance(outcomes[task.name], _PairHashes) for task in new),
        tuple(Failure(photo, outcome.reason) for photo, outcome in failed if isinstance(outcome, _Failed)),
        plan.ignored,
    )


# ---- what exists already -----------------------------------------------------------------------------------------


def _find_begun(output: Path, work: Path, plan: Plan, overwrite: bool) -> Path | None:
    """Return the folder in which this plan was begun or finished. Raises ConfigError for a folder of another plan."""
    for folder in (output, work):
        for own in (folder / name for name in _OWN):
            if os.path.lexists(own) and (own.is_symlink() or not own.is_file()):
                raise ConfigError(f"{own}: is no regular file, and `data make` did not write it; move it away")
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder}: is a file, expected a folder for the pairs; choose another --output")
        if folder.exists() and any(folder.iterdir()) and not (folder / SETTINGS).exists():
            raise ConfigError(f"{folder}: holds files that `data make` did not write; choose another --output")
    if overwrite:
        for folder in (output, work):
            _refuse_others(folder)
        return work if _read_description(work) == plan.description else None
    for folder in (output, work):
        description = _read_description(folder)
        if description is not None and description != plan.description:
            difference = _first_difference(description, plan.description)
            raise ConfigError(f"{folder}: {difference}; choose another --output, or replace the pairs with --overwrite")
    return next((folder for folder in (output, work) if _read_description(folder) is not None), None)


_OWN = (SETTINGS, JOURNAL, RECORD)


def _made_files(folder: Path) -> set[str]:
    """Return the files of a set by its record, and by its journal, in which failed photos have none."""
    made, failed = set[str](), set[str]()
    for name, record in _read_journal(folder / JOURNAL).items():
        files = {f"{side}/{split}/{name}.png" for side in "AB" for split in SPLITS}
        (failed if "reason" in record else made).update(files)
    return ({*_OWN, *read_record(folder)} - failed) | made


def _refuse_others(folder: Path) -> None:
    """Raise ConfigError if a folder that is to be replaced holds files that are not of its set."""
    if folder.is_dir() and (other := find_others(folder, _made_files(folder))) is not None:
        raise ConfigError(
            f"{folder / other}: `data make` did not write it, so --overwrite does not remove it; move it away, or "
            "choose another --output"
        )


def _remove_made(folder: Path) -> None:
    """Remove a set that is to be replaced. Raises ConfigError, and removes nothing, if it holds other files."""
    if folder.is_dir():
        _refuse_others(folder)
        remove_files(folder, _made_files(folder))


def _read_description(folder: Path) -> dict[str, Any] | None:
    try:
        description = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        description = {}
    return description if isinstance(description, dict) else {}


def _first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    was = old.get("settings")
    if not isinstance(was, dict):
        return f"{SETTINGS} is damaged"
    for name, value in new["settings"].items():
        if was.get(name) != value:
            flag = name.replace("_", "-")
            return f"was made with --{flag} {was.get(name)}, not {value}"
    if old.get("detector") != new.get("detector"):
        return "was made by the edge detector of another version, whose edges differ"
    return f"was made from other photos ({old.get('photos')} of them; now there are {new['photos']})"


def _find_finished(
    place: Path, tasks: Sequence[Task], settings: Make, progress: OnProgress | None
) -> dict[str, _Outcome]:
    """Return the outcomes of finished tasks: photo and files agree with the journal, or the photo still fails."""
    journal = _read_journal(place / JOURNAL)

    def check(task: Task) -> _Outcome | None:
        record = journal.get(task.name, {})
        if "reason" in record:
            pair = _try_to_derive(task, settings)
            if isinstance(pair, _Failed):
                return pair
            _refuse_changed(task, place, pair, "exists, and `data make` did not write it")
            return None
        if not record:
            return None
        recorded = _PairHashes(str(record.get("source")), str(record.get("target")))
        if recorded == tuple(map(_try_to_hash, task.files(place))):
            return recorded if record.get("photo") == _stamp(task.photo) else None
        _refuse_changed(task, place, _try_to_derive(task, settings), "was changed since `data make` wrote it", recorded)
        return None

    outcomes: dict[str, _Outcome] = {}
    for task, outcome in zip(tasks, _map_in_threads(check, tasks), strict=True):
        if outcome is not None:
            outcomes[task.name] = outcome
            if progress is not None:
                progress(len(outcomes), len(tasks))
    return outcomes


def _refuse_changed(
    task: Task, place: Path, pair: tuple[Pixels, Pixels] | _Failed, what: str, recorded: _PairHashes | None = None
) -> None:
    """Raise ConfigError if a file of a pair is neither the recorded one nor the image that would be made now.

    With a record, a file that is no image may be made again: it was damaged.
    """
    for number, path in enumerate(task.files(place)):
        if not os.path.lexists(path) or (recorded and _try_to_hash(path) == recorded[number]):
            continue
        try:
            found = images.read(path, alpha=True).squeeze()
            same = not isinstance(pair, _Failed) and np.array_equal(found, pair[number].squeeze())
        except DataError:
            same = recorded is not None
        if not same:
            raise ConfigError(f"{path}: {what}; move it away to have it made again, or choose another --output")


def _read_journal(path: Path) -> dict[str, dict[str, Any]]:
    """Read the newest record of each name; an incomplete line is skipped."""
    records: dict[str, dict[str, Any]] = {}
    with suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict):
                    records[str(record.get("name"))] = record
    return records


def _stamp(photo: Path) -> list[int] | None:
    """Return size and date of a photo; None if it cannot be read."""
    with suppress(OSError):
        status = photo.stat()
        return [status.st_size, status.st_mtime_ns]
    return None


def _try_to_hash(path: Path) -> str | None:
    with suppress(OSError):
        return sha256(path)
    return None


# ---- the work ----------------------------------------------------------------------------------------------------


def _make_pairs(
    todo: Sequence[Task], work: Path, settings: Make, progress: OnProgress | None, tasks: Sequence[Task]
) -> dict[str, _Outcome]:
    """Make the remaining pairs, and record each in the journal. Raises Interrupted after a stop signal."""
    outcomes: dict[str, _Outcome] = {}
    if not todo:
        return outcomes
    for folder, names in _group_by_folder(tasks, work).items():
        remove_partial_files(folder, names)  # of a process that was killed during a write
    stamps = {task.name: _stamp(task.photo) for task in todo}

    def make_pair(task: Task) -> _Outcome:
        pair = _try_to_derive(task, settings)
        for number, path in enumerate(task.files(work)):
            if isinstance(pair, _Failed):  # no file of an earlier photo of this name may stay
                path.unlink(missing_ok=True)
            else:
                images.write(path, pair[number])
        return pair if isinstance(pair, _Failed) else _PairHashes(*map(sha256, task.files(work)))

    with raise_interrupted(work), (work / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write("\n")  # ends a line that may be incomplete
        for task, outcome in zip(todo, _map_in_threads(make_pair, todo), strict=True):
            outcomes[task.name] = outcome
            record = {"name": task.name, "photo": stamps[task.name], **outcome._asdict()}
            journal.write(json.dumps(record) + "\n")
            journal.flush()
            if progress is not None:
                progress(len(tasks) - len(todo) + len(outcomes), len(tasks))
    return outcomes


def _group_by_folder(tasks: Sequence[Task], root: Path) -> dict[Path, list[str]]:
    """Return the names of the files of all tasks, by folder."""
    groups: dict[Path, list[str]] = {}
    for path in (path for task in tasks for path in task.files(root)):
        groups.setdefault(path.parent, []).append(path.name)
    return groups


def _try_to_derive(task: Task, settings: Make) -> tuple[Pixels, Pixels] | _Failed:
    try:
        return derive_pair(task.photo, task.name, settings)
    except DataError as error:
        return _Failed(str(error).removeprefix(f"{task.photo}: "))


Item = TypeVar("Item")
Result = TypeVar("Result")


def _map_in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield results in order. Threads help, since reading, filters and writing release the interpreter lock."""
    pool = ThreadPoolExecutor(usable_cores())
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
