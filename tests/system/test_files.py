"""Atomic writes of files and folders: the new content or the old, and nothing else stays behind."""

import os
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from pix2pix.system.files import (
    begin_to_write,
    never_made_anew,
    remove_partial_files,
    write_atomically,
)
from pix2pix.training.checkpoint import TrainingProgress, find_checkpoint, save_checkpoint


def full(_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, lambda file: file.write(b"old"))

    def serialise(file: BinaryIO) -> None:
        file.write(b"half")
        raise RuntimeError("the serialiser's own words")

    for write, error in ((full, OSError), (serialise, RuntimeError)):
        with pytest.raises(error) as caught:
            write_atomically(path, write)
        assert not isinstance(caught.value, OSError) or caught.value.filename == str(path)
        assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.bin", b"old")]


def test_a_file_is_named_once_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, lambda file: file.write(b"old"))
    finish = begin_to_write(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"old"
    finish()
    assert path.read_bytes() == b"new"

    finish = begin_to_write(path, lambda file: file.write(b"newer"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        finish()
    assert caught.value.filename == str(path)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.bin", b"new")]


@pytest.mark.parametrize("length", [1, 64, 65, 143, 249, 255])
def test_every_name_that_the_file_system_takes_can_be_written(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("ä" * (length // 2) + "x" * (length % 2))
    longest: list[int] = []
    finish = begin_to_write(path, lambda file: file.write(b"new"), lambda at: longest.append(len(os.fsencode(at.name))))
    finish()
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [(path.name, b"new")]
    assert longest[0] <= max(length, 90)  # some encrypted file systems take 143 bytes


@pytest.mark.parametrize("name", ["a.bin", "x" * 255])
def test_leftovers_of_killed_processes_are_removed(tmp_path: Path, name: str) -> None:
    """Those of files with these names alone, and not one that is being written."""
    kept = {".b.bin.1.partial", ".a.bin.partial", "a.bin.1.partial", ".a.bin.x.partial", ".notes.1.partial"}
    for other in kept:
        (tmp_path / other).write_bytes(b"")
    path = tmp_path / name
    process = os.fork()
    if process == 0:
        begin_to_write(path, lambda file: file.write(b"half"))
        os._exit(0)  # as if killed
    os.waitpid(process, 0)
    finish = begin_to_write(path, lambda file: file.write(b"new"))
    assert len(list(tmp_path.iterdir())) == len(kept) + 2
    remove_partial_files(tmp_path, [name])
    assert len(list(tmp_path.iterdir())) == len(kept) + 1
    finish()
    assert {one.name for one in tmp_path.iterdir()} == kept | {name}
    assert path.read_bytes() == b"new"
    remove_partial_files(tmp_path / "nowhere", [name])


def test_a_checkpoint_holds_what_was_given_and_clears_what_a_killed_process_left(tmp_path: Path) -> None:
    leftover = tmp_path / ".state.pt.1.partial"
    leftover.write_bytes(b"of a process that was killed")
    weights = torch.ones(3)
    progress = TrainingProgress(epoch=1)
    finish = save_checkpoint(tmp_path, {"generator": {"weight": weights}}, progress)
    weights += 1
    progress.epoch = 2
    finish()
    assert {one.name for one in tmp_path.iterdir()} == {"state.pt", "state.json"}
    saved = find_checkpoint(tmp_path)
    assert saved is not None
    assert saved.tensors["generator"]["weight"].tolist() == [1, 1, 1]
    assert saved.progress.epoch == 1


def test_a_folder_in_use_that_is_removed_is_not_made_anew(tmp_path: Path) -> None:
    run, file = tmp_path / "run", tmp_path / "run" / "model" / "config.json"
    run.mkdir()
    with never_made_anew(run):
        write_atomically(file, lambda f: f.write(b"1"))
        run.rename(tmp_path / "moved")
        with pytest.raises(FileNotFoundError, match="removed, renamed or replaced") as error:
            write_atomically(file, lambda f: f.write(b"2"))
        assert error.value.filename == str(file)
        assert not run.exists()
    write_atomically(file, lambda f: f.write(b"3"))
    assert file.read_bytes() == b"3"
