"""The files of a checkpoint: a state and its description, as newest and as previous pair, found by their hashes.

    state.pt      state.json      the newest checkpoint
    previous.pt   previous.json   the one before

A description holds the size and the SHA-256 of its state, and a checksum of its own. A new pair is complete on the disk
under temporary names, and read back, before the first of the four renames that make it the newest. So whatever stops
the process or the machine, in between or not, a complete pair is there; since its two files may then have names of
different pairs, a state is found by its hash and not by its name.
"""

import errno
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pix2pix.errors import RunError
from pix2pix.system.checked_json import CHECKSUM, dump_checked, read_checked
from pix2pix.system.files import naming, remove_partial_files, removing_on_error, sha256, sync_folder, write_partial

STATE, DESCRIPTION = "state.pt", "state.json"
OLDER_STATE, OLDER_DESCRIPTION = "previous.pt", "previous.json"
STATE_OF = {DESCRIPTION: STATE, OLDER_DESCRIPTION: OLDER_STATE}


@dataclass(frozen=True)
class SavedPair:
    """A state whose bytes are those that were written, and its description; None in files of version 0.1."""

    state: Path
    description: Path | None
    values: Mapping[str, Any]


@dataclass
class Search:
    """What was found on the way to an intact pair."""

    problems: list[str] = field(default_factory=list)
    """What is wrong with newer files, one text for each, with the name of the file."""
    lost: Mapping[str, Any] | None = None
    """Progress of the newest checkpoint that cannot be used, if its description can be read."""


# ---- writing ---------------------------------------------------------------------------------------------------


def begin_pair(
    folder: Path, write: Callable[[BinaryIO], object], values: Mapping[str, Any], *, keep_newest: bool
) -> Callable[[], None]:
    """Write a state under a temporary name; return a function that makes it and its description the newest pair.

    The pair that was the newest becomes the previous one if `keep_newest`; otherwise, if it is damaged, it is replaced
    and the previous pair stays. Both functions raise OSError naming the file, and then leave both pairs as they were.
    """
    remove_partial_files(folder, (STATE, DESCRIPTION))  # of a process that was killed during a write
    state, sync = write_partial(folder / STATE, write)

    def finish() -> None:
        sync()
        with removing_on_error(folder / STATE, state):
            facts = {"bytes": state.stat().st_size, "sha256": _read_back(state)}
            text = dump_checked({**values, **facts})
            description, sync_description = write_partial(folder / DESCRIPTION, lambda file: file.write(text.encode()))
            sync_description()
            sync_folder(folder)  # from here on, this pair can be found whatever happens
        with naming(folder / STATE):
            if keep_newest:
                for newest, older in ((STATE, OLDER_STATE), (DESCRIPTION, OLDER_DESCRIPTION)):
                    if (folder / newest).exists():
                        os.replace(folder / newest, folder / older)
            _give_names(folder, state, description)

    return finish


def settle_names(folder: Path, pair: SavedPair) -> None:
    """Finish the renames of a process that was stopped between them. Raises OSError."""
    assert pair.description is not None
    if STATE_OF.get(pair.description.name) != pair.state.name:
        _give_names(folder, pair.state, pair.description)


def _give_names(folder: Path, state: Path, description: Path) -> None:
    for path, name in ((state, STATE), (description, DESCRIPTION)):
        with naming(folder / name):
            os.replace(path, folder / name)
    sync_folder(folder)


def _read_back(state: Path) -> str:
    """Return the hash of a state; compare its content with the checksums that torch made while it wrote.

    Raises OSError if the bytes that come back are others.
    """
    try:
        with zipfile.ZipFile(state) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        damaged = str(error)
    if damaged is not None:
        raise OSError(errno.EIO, f"the disk gave back other bytes than were written ({damaged})", str(state))
    return sha256(state)


# ---- finding ---------------------------------------------------------------------------------------------------


def find_pairs(folder: Path, search: Search) -> Iterator[SavedPair]:
    """Yield the intact pairs of a folder, newest first, and note in `search` what is wrong with newer ones."""
    candidates = sorted(_candidates(folder), key=lambda candidate: candidate.step, reverse=True)
    hashes: dict[Path, str] = {}
    for candidate in candidates:
        problem = candidate.problem
        if problem is None:
            assert candidate.path is not None
            state = _find_state(folder, candidate, hashes)
            if state is not None:
                described = candidate.path if "sha256" in candidate.values else None
                yield SavedPair(state, described, candidate.values)
                search.lost = search.lost or candidate.values  # if the caller wants another one, it cannot be used
                continue
            problem = _describe_missing(folder, candidate)
        if candidate.path is None or candidate.path.name in STATE_OF:  # others were never complete
            search.problems.append(problem)
            search.lost = search.lost or candidate.values or None


@dataclass(frozen=True)
class _Candidate:
    """A description, or what is wrong with it."""

    step: float
    path: Path | None
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


def _candidates(folder: Path) -> Iterator[_Candidate]:
    unfinished = [
        candidate for path in _partial_files(folder, DESCRIPTION) if not (candidate := _read_description(path)).problem
    ]
    yield from unfinished
    described = [folder / name for name in STATE_OF if (folder / name).exists()]
    for path in described:
        yield _read_description(path)
    newest = folder / DESCRIPTION
    if not newest.exists() and not unfinished and (folder / STATE).exists():
        if described:
            yield _Candidate(math.inf, None, problem=f"{DESCRIPTION}: missing")
        else:  # version 0.1 wrote it last
            yield _Candidate(0, newest)


def _read_description(path: Path) -> _Candidate:
    """Read a description; one of version 0.1 has neither hashes nor a checksum."""
    order = math.inf if path.name == DESCRIPTION else -1  # where the step is unknown
    try:
        values = read_checked(path, finite=False)
        step = values["step"]
        if not isinstance(step, int) or (("sha256" in values) != (CHECKSUM in values)):
            raise ValueError("not a description of a checkpoint")
        return _Candidate(step, path, values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return _Candidate(order, path, problem=f"{path.name}: {reason}")


def _find_state(folder: Path, candidate: _Candidate, hashes: dict[Path, str]) -> Path | None:
    """Return the file whose bytes a description describes; one of version 0.1 describes the file of its name."""
    assert candidate.path is not None
    own = folder / STATE_OF.get(candidate.path.name, STATE)
    if "sha256" not in candidate.values:
        return own if own.exists() else None
    for path in (own, *(folder / name for name in STATE_OF.values()), *_partial_files(folder, STATE)):
        if path.is_file() and path.stat().st_size == candidate.values.get("bytes"):
            if path not in hashes:
                hashes[path] = sha256(path)
            if hashes[path] == candidate.values["sha256"]:
                return path
    return None


def _describe_missing(folder: Path, candidate: _Candidate) -> str:
    assert candidate.path is not None
    name = STATE_OF.get(candidate.path.name, STATE)
    path, expected = folder / name, candidate.values.get("bytes")
    if not path.exists():
        return f"{name}: missing"
    if (found := path.stat().st_size) != expected:
        return f"{name}: damaged, {found:,} bytes in place of {expected:,}"
    return f"{name}: damaged, its SHA-256 is not the one in {candidate.path.name}"


def _partial_files(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(f".{name}.*.partial"))


def read_newest_description(folder: Path) -> Mapping[str, Any]:
    """Return the progress of the newest checkpoint whose description is intact; nothing if there is no checkpoint.

    Reads no state. Raises RunError if there are descriptions and none is intact.
    """
    candidates = sorted(_candidates(folder), key=lambda candidate: candidate.step, reverse=True)
    for candidate in candidates:
        if candidate.problem is None:
            return candidate.values
    if candidates:
        raise RunError(f"{folder}: no checkpoint can be used ({'; '.join(str(one.problem) for one in candidates)})")
    return {}


def newest_epoch(folder: Path) -> int:
    """Return the number of complete epochs in the newest checkpoint; 0 if it is not known."""
    with suppress(RunError):  # the training itself says what is wrong
        epoch = read_newest_description(folder).get("epoch")
        return epoch if isinstance(epoch, int) else 0
    return 0
