"""Checkpoints: two are kept, the newest intact one is taken, and nothing strange is read or saved."""

import errno
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pix2pix.distributed.process_group import SINGLE_PROCESS
from pix2pix.errors import RunError
from pix2pix.system.files import check_free_space
from pix2pix.training import checkpoint_files
from pix2pix.training.checkpoint import Checkpoints, TrainingProgress, find_checkpoint, save_checkpoint
from pix2pix.training.checkpoint_content import find_non_finite, read_state
from pix2pix.training.checkpoint_files import newest_epoch


def parts(value: float = 0.0) -> dict[str, Any]:
    return {"generator": {"weight": torch.full((40, 30), value), "count": torch.tensor(3)}}


def save(folder: Path, *steps: int, **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    for step in steps:
        save_checkpoint(folder, parts(step), TrainingProgress(step=step, epoch=step // 10, seconds=step), **more)()


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.with_name("new").write_bytes(content)
    path.with_name("new").replace(path)


def found(folder: Path) -> tuple[int, str]:
    saved = find_checkpoint(folder)
    assert saved is not None
    assert saved.tensors["generator"]["weight"].unique().tolist() == [saved.progress.step]
    return saved.progress.step, saved.warning


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---- two are kept ----------------------------------------------------------------------------------------------


def test_two_are_kept_and_the_older_one_is_taken_with_one_warning(tmp_path: Path) -> None:
    save(tmp_path, 10, 20, 30)
    assert names(tmp_path) == {"state.pt", "state.json", "previous.pt", "previous.json"}
    assert found(tmp_path) == (30, "")
    spoil(tmp_path / "state.pt")
    step, warning = found(tmp_path)
    assert step == 20
    assert "state.pt: damaged, its SHA-256 is not the one in state.json" in warning
    assert "going on from previous.pt of step 20, so 10 steps (1 epoch, 10 s) are trained again" in warning


def test_a_lost_end_of_an_epoch_is_not_called_training(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save_checkpoint(tmp_path, parts(20 + epoch), TrainingProgress(step=20, epoch=epoch, seconds=epoch))()
    spoil(tmp_path / "state.pt")
    saved = find_checkpoint(tmp_path)
    assert saved is not None
    assert saved.warning.endswith("going on from previous.pt of step 20, so the end of its epoch is done again")


@pytest.mark.parametrize("name", ["state.pt", "state.json"])
def test_the_intact_one_stays_until_a_newer_one_is_there(tmp_path: Path, name: str) -> None:
    save(tmp_path, 10, 20)
    spoil(tmp_path / name)
    save(tmp_path, 30, keep_newest=False)
    assert found(tmp_path) == (30, "")
    spoil(tmp_path / "state.pt")
    assert found(tmp_path)[0] == 10


def test_if_all_are_damaged_nothing_is_removed(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    spoil(tmp_path / "state.pt")
    spoil(tmp_path / "previous.json")
    before = names(tmp_path)
    with pytest.raises(RunError, match=r"\(state\.pt: damaged.*previous\.json: .*nothing was removed"):
        find_checkpoint(tmp_path)
    assert names(tmp_path) == before


def test_files_of_version_0_1_have_no_hash(tmp_path: Path) -> None:
    torch.save({**parts(7), "progress": {"step": 7}}, tmp_path / "state.pt")
    assert found(tmp_path) == (7, "")
    (tmp_path / "state.json").write_text('{"step": 7, "epoch": 0}')
    assert found(tmp_path) == (7, "")
    save(tmp_path, 8)
    spoil(tmp_path / "state.json")
    assert found(tmp_path)[0] == 7


def test_a_process_stopped_between_the_renames_has_lost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, left = os.replace, 0

    def stopping(old: Any, new: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        replace(old, new)

    monkeypatch.setattr(os, "replace", stopping)
    for calls in range(4):
        folder, left = tmp_path / str(calls), 100
        save(folder, 10, 20)
        left = calls
        with pytest.raises(KeyboardInterrupt):
            save(folder, 30)
        left = 100
        saved = find_checkpoint(folder)
        assert saved is not None
        assert (saved.progress.step, saved.warning) == (30, "")
        checkpoint_files.settle_names(folder, saved.pair)
        assert found(folder) == (30, "")
        save(folder, 40)
        assert found(folder) == (40, "")


def test_what_does_not_read_back_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10, 20)
    sync = os.fsync

    def damaging(descriptor: int) -> None:
        sync(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if ".state.pt." in path:
            with open(path, "rb+") as file:
                file.seek(1500)
                file.write(b"\1\2\3\4")

    monkeypatch.setattr(os, "fsync", damaging)
    with pytest.raises(OSError, match="gave back other bytes than were written"):
        save(tmp_path, 30)
    assert found(tmp_path) == (20, "")
    assert names(tmp_path) == {"state.pt", "state.json", "previous.pt", "previous.json"}


# ---- disk and folder -------------------------------------------------------------------------------------------


@pytest.fixture
def training() -> Any:
    network = nn.Linear(3, 2)
    adam = torch.optim.Adam(network.parameters())
    return SimpleNamespace(
        generator=network, discriminator=nn.Linear(2, 1), generator_optimizer=adam,
        discriminator_optimizer=torch.optim.Adam(network.parameters()), average=None, augment=None,
    )  # fmt: skip


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_folder_that_is_gone_is_not_made_again(tmp_path: Path, training: Any, replaced: bool) -> None:
    run = tmp_path / "run"
    run.mkdir()
    checkpoints = Checkpoints(run / "checkpoints", SINGLE_PROCESS)
    checkpoints.restore(training)
    checkpoints.save(training, TrainingProgress(step=1))
    checkpoints.wait()
    run.rename(tmp_path / "moved")
    if replaced:
        run.mkdir()
    with pytest.raises(FileNotFoundError, match="removed, renamed or replaced"):
        checkpoints.save(training, TrainingProgress(step=2))
    assert names(tmp_path) == ({"moved", "run"} if replaced else {"moved"})
    assert not replaced or names(run) == set()


def test_a_save_that_ends_in_a_moved_folder_is_no_success(
    tmp_path: Path, training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    checkpoints = Checkpoints(run / "checkpoints", SINGLE_PROCESS)
    checkpoints.restore(training)
    give = checkpoint_files._give_names

    def moving(*given: Any) -> None:
        give(*given)
        shutil.move(run, tmp_path / "moved")

    monkeypatch.setattr(checkpoint_files, "_give_names", moving)
    checkpoints.save(training, TrainingProgress(step=1))
    with pytest.raises(FileNotFoundError, match="removed, renamed or replaced"):
        checkpoints.wait()


def test_free_space_is_compared_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_free_space(tmp_path, 1000, "a checkpoint")
    facts = SimpleNamespace(f_bavail=10, f_bfree=10, f_frsize=4096, f_blocks=10**6)
    monkeypatch.setattr(os, "statvfs", lambda _: facts)
    with pytest.raises(OSError, match="a checkpoint needs 690 MB, 41 kB are free") as caught:
        check_free_space(tmp_path, 690_000_000, "a checkpoint")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))
    facts.f_blocks = facts.f_bfree = 0  # of network file systems that do not know
    check_free_space(tmp_path, 690_000_000, "a checkpoint")


# ---- content ---------------------------------------------------------------------------------------------------


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("state/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("state/data/0", bytes(10**7))


def with_pickle(pickle: bytes | None) -> Callable[[Path], None]:
    """Make a checkpoint with another pickle; by default with one that claims a tensor of 40 GB."""

    def write(path: Path) -> None:
        nonlocal pickle
        torch.save({"generator": {"weight": torch.zeros(3)}}, path)
        with zipfile.ZipFile(path) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        if pickle is None:
            (own,) = (content for name, content in records.items() if name.endswith("data.pkl"))
            pickle = own.replace(b"K\x03\x85", b"\x8a\x05\x00\xe4\x0bT\x02\x85")
            assert pickle != own
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, content in records.items():
                archive.writestr(name, pickle if name.endswith("data.pkl") else content)

    return write


STRANGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(10**5)),
    "a pickle": lambda path: path.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."),
    "a call": with_pickle(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."),
    "40 GB of bytes": with_pickle(b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x0a\x85R."),
    "a stack global": with_pickle(b"\x80\x04\x8c\x02os\x8c\x06system\x93."),
    "no names": with_pickle(b"\x80\x02]."),
    "a zip bomb": zip_bomb,
    "40 GB in 12 bytes": with_pickle(None),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_files_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    """Also where no hash is known."""
    STRANGE[name](tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"^not a checkpoint"):
        read_state(tmp_path / "state.pt")
    with pytest.raises(RunError, match=r"no checkpoint can be used \(state\.pt: not a checkpoint"):
        find_checkpoint(tmp_path)


def expected() -> dict[str, Any]:
    network = nn.Linear(3, 2)
    adam = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    adam.step()
    return {"generator": dict(network.state_dict()), "generator_optimizer": adam.state_dict()}


MISFITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no network": (lambda saved: saved.pop("generator"), "generator is missing"),
    "no optimiser": (lambda saved: saved.pop("generator_optimizer"), "generator_optimizer is missing"),
    "an extra part": (lambda saved: saved.update(extra=1), "extra is not part of this training"),
    "moments of one weight": (lambda saved: saved["generator_optimizer"]["state"].pop(1), "state.1 is missing"),
    "text as moments": (lambda saved: saved["generator_optimizer"]["state"][0].update(exp_avg="x"), "exp_avg is str"),
    "text as rate": (lambda saved: saved["generator_optimizer"]["param_groups"][0].update(lr="x"), "lr is str"),
    "another shape": (lambda saved: saved["generator"].update(bias=torch.zeros(9)), r"float32 \(9,\), expected"),
    "another type": (lambda saved: saved["generator"].update(bias=torch.zeros(2).double()), "float64"),
    "a huge shape": (lambda saved: saved["generator"].update(bias=torch.zeros(1).expand(10**10)), "10000000000"),
    "not finite": (lambda saved: saved["generator"]["bias"].fill_(float("inf")), "generator.bias holds a number"),
    "text as step": (lambda saved: saved["progress"].update(step="two"), "progress.step: "),
    "a negative epoch": (lambda saved: saved["progress"].update(epoch=-1), "progress.epoch: "),
    "not finite seconds": (lambda saved: saved["progress"].update(seconds=float("nan")), "progress.seconds: "),
    "unknown progress": (lambda saved: saved["progress"].update(luck=1), "progress.luck: "),
    "no progress": (lambda saved: saved.pop("progress"), "progress: "),
}


@pytest.fixture
def fitting(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    return tmp_path, {**expected(), "progress": {"step": 1}}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_the_training_is_named(fitting: tuple[Path, dict[str, Any]], name: str) -> None:
    folder, saved = fitting
    own = expected()
    torch.save(saved, folder / "state.pt")
    assert find_checkpoint(folder, own) is not None
    change, message = MISFITS[name]
    change(saved)
    torch.save(saved, folder / "state.pt")
    with pytest.raises(RunError, match=message):
        find_checkpoint(folder, own)


def test_numbers_that_are_not_finite_are_found_in_moments_and_buffers() -> None:
    saved = expected()
    assert find_non_finite(saved) is None
    saved["generator"]["bias"].fill_(3e38)  # whose sum overflows
    assert find_non_finite(saved) is None
    saved["generator_optimizer"]["state"][1]["exp_avg_sq"][0] = float("nan")
    assert find_non_finite(saved) == "generator_optimizer.state.1.exp_avg_sq"


@pytest.mark.parametrize(("epoch", "shown"), [(2, 2), ("two", 0), (None, 0)])
def test_the_epoch_of_the_newest_checkpoint_is_a_number(tmp_path: Path, epoch: Any, shown: int) -> None:
    save_checkpoint(tmp_path, parts(), TrainingProgress(step=1, epoch=epoch))()
    assert newest_epoch(tmp_path) == shown
    assert newest_epoch(tmp_path / "nowhere") == 0
