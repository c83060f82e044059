"""Writes to disk: a whole file under its final name, or the one that stood there; nothing else stays behind."""

import os
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from pix2pix.system.files import begin_to_write, write_atomically
from pix2pix.training.checkpoint import TrainingProgress, load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


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
    saved = load_checkpoint(tmp_path, CPU)
    assert saved is not None
    assert saved[0]["generator"]["weight"].tolist() == [1, 1, 1]
    assert saved[1].epoch == 1
