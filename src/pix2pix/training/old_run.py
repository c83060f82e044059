"""Keep the run that --overwrite replaces until the new one has begun; a kill at any moment is mended by `recover`.

The old run's files are moved within its folder by renaming: into MOVING, whose name becomes ASIDE when all are there,
and REMOVING when the new run has its first checkpoint. Only files that a run writes are touched.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pix2pix.errors import ConfigError
from pix2pix.system.files import sync_folder
from pix2pix.system.written import RECORD, write_record
from pix2pix.training.run_files import ASIDE, MOVING, REMOVING, written_files


def set_aside(folder: Path) -> None:
    """Move the files of a run aside. Raises ConfigError or OSError, and has then moved nothing."""
    if needs_recovery(folder):
        raise ConfigError(f"{folder}: holds a run that was moved aside; start the training again to put it back")
    names = list(written_files(folder))
    if not names:
        return
    (folder / MOVING).mkdir()
    try:
        write_record(folder / MOVING, names)
        _move(names, folder, folder / MOVING)
        _remove_empty(folder / "models")  # in others the new run writes too
        os.rename(folder / MOVING, folder / ASIDE)
        sync_folder(folder)
    except BaseException:
        _put_back(folder)
        raise


@contextmanager
def kept_until_begun(folder: Path) -> Iterator[None]:
    """Put the old run back when the block ends before `remove_old_run` was called."""
    try:
        yield
    finally:
        _put_back(folder)


def remove_old_run(folder: Path) -> None:
    """Remove what was moved aside, since the new run has begun."""
    if _is_there(folder / ASIDE):
        os.rename(folder / ASIDE, folder / REMOVING)
        sync_folder(folder)
    _finish_removal(folder)


def recover(folder: Path) -> bool:
    """Finish what a killed training began; return whether an old run was put back. Raises as `needs_recovery` does."""
    needs_recovery(folder)
    _finish_removal(folder)
    return _put_back(folder)


def needs_recovery(folder: Path) -> bool:
    """Return whether a training was killed in this folder while it replaced a run.

    Raises ConfigError if something else has the name of a run that was moved aside: what a training would remove or put
    back is then not known.
    """
    return any([_is_there(folder / name) for name in (ASIDE, MOVING, REMOVING)])


def _is_there(aside: Path) -> bool:
    """Return whether a run was moved into this folder. Raises ConfigError for anything else of its name."""
    if not os.path.lexists(aside):
        return False
    is_folder = aside.is_dir() and not aside.is_symlink()
    if is_folder and (aside / RECORD).is_file():
        return True
    if is_folder and aside.name != ASIDE and not any(files for _, _, files in os.walk(aside)):
        return True  # killed before its record was written, or after it was removed
    raise ConfigError(f"{aside}: is not what --overwrite has moved aside, or has lost its {RECORD}; move it away")


def _put_back(folder: Path) -> bool:
    """Remove what the new run has written, and move the old run back."""
    found = False
    if _is_there(folder / ASIDE):  # complete, so the files in the folder are those of the new run
        found = True
        for name in list(written_files(folder)):
            (folder / name).unlink()
        os.rename(folder / ASIDE, folder / MOVING)
        sync_folder(folder)
    if _is_there(folder / MOVING):
        found = True
        _move(list(written_files(folder / MOVING)), folder / MOVING, folder)
        _remove_folder(folder / MOVING)
    return found


def _finish_removal(folder: Path) -> None:
    removed = folder / REMOVING
    if _is_there(removed):
        for name in list(written_files(removed)):
            (removed / name).unlink()
        _remove_folder(removed)


def _move(names: Iterable[str], old: Path, new: Path) -> None:
    """Rename files from one folder to another. Raises ConfigError for one on another file system, OSError."""
    touched = set()
    for name in names:
        target = new / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(old / name, target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise ConfigError(
                    f"{old / name}: lies on another file system than the run, so --overwrite cannot keep it until the "
                    "new run has begun; choose another --run"
                ) from None
            raise
        touched |= {target.parent, (old / name).parent}
    for folder in touched:
        sync_folder(folder)


def _remove_folder(folder: Path) -> None:
    """Remove the record of a folder, and the folders in it, which are empty."""
    (folder / RECORD).unlink(missing_ok=True)
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    """Remove a folder and those in it, unless files are left in them."""
    for place, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(place)
