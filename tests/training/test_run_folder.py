"""Which folder a training takes, what --overwrite touches, and what a killed or failed start leaves."""

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY

from pix2pix.config import Config
from pix2pix.config.io import merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.errors import ConfigError, InUseError
from pix2pix.model import load_model
from pix2pix.system.locks import hold_lock
from pix2pix.training import old_run
from pix2pix.training.old_run import kept_until_begun, recover, remove_old_run, set_aside
from pix2pix.training.run_files import ASIDE, MARKER, MOVING, REMOVING
from pix2pix.training.run_folder import (
    RunChoice,
    begin_run,
    begun_run,
    choose_run,
    open_run,
    refuse_inside_run,
    restore_settings,
)
from pix2pix.training.train import plan_only, train_with

OURS = (
    "config.yaml", "metrics.csv", "curves.png", "report.html", "study.json", "left_out.txt",
    "samples/epoch_0001.png", "samples/epoch_12345.png", "tensorboard/events.out.tfevents.1.host.2.0",
    "checkpoints/state.pt", "checkpoints/state.json", "checkpoints/.state.pt.7.partial", ".config.yaml.7.partial",
    "model/generator.safetensors", "model/discriminator.safetensors", "model/config.json", "model/README.md",
    "model/samples.jpg", "model/evaluation.json",
    ".model.partial/generator.safetensors", "models/epoch-0010/generator.safetensors", "models/epoch-0010/README.md",
    "models/.epoch-0020.partial/config.json", "models/epoch-0010/evaluation/test/metrics.json",
    "segmenter/segmenter.json", "evaluation/test/metrics.json",
    "evaluation/test/report.html", "evaluation/test/outputs/a.png", "evaluation/test/outputs/deep/b.v2.png",
)  # fmt: skip
THEIRS = (
    "notes.txt", "samples/mine.png", "samples/epoch_0001.psd", "model/notes.txt", "model/old/config.json",
    "models/best/config.json", "models/epoch-0010/notes.txt",
    "checkpoints/state_backup.pt", "checkpoints/backup/state.pt", "evaluation/test/thoughts.md",
    "evaluation/test/outputs/mine.png", "data/config.yaml", "tensorboard/notes/events.txt", "thesis/metrics.csv",
    "tensorboard/events.out.tfevents.mine/notes.txt",
)  # fmt: skip


@pytest.fixture
def config() -> Config:
    return choose_settings("facades", None, None, TINY)


def fill(folder: Path, config: Config) -> dict[str, str]:
    """A run with every file that runs write, and others beside each; returns the contents."""
    begin_run(folder, config, overwrite=False)
    for name in (*OURS, *THEIRS):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name != "config.yaml":
            path.write_text(f"old {name}")
    (folder / "evaluation/test/per_image.csv").write_text("name,l1\na,0.1\ndeep/b.v2,0.2\n")
    return contents(folder)


def contents(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def train_new(folder: Path) -> None:
    """What a new run writes before it has begun."""
    for name in ("config.yaml", "metrics.csv", "checkpoints/.state.pt.8.partial", "tensorboard/events.out.tfevents.9"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("new")


# ---- --overwrite -----------------------------------------------------------------------------------------------


def test_only_what_a_run_writes_is_replaced(config: Config, tmp_path: Path) -> None:
    before = fill(tmp_path, config)
    with begun_run(tmp_path, config, overwrite=True):
        for name in (*OURS, "evaluation/test/per_image.csv"):
            assert (tmp_path / name).exists() == (name == "config.yaml")
        assert (tmp_path / ASIDE / "model/config.json").read_text() == "old model/config.json"
        remove_old_run(tmp_path)
    left = contents(tmp_path)
    assert left.keys() == {*THEIRS, "config.yaml", MARKER}
    assert not (tmp_path / "models/epoch-0010/evaluation").exists(), "no empty folders that look like models"
    assert all(left[name] == before[name] for name in THEIRS)


def test_a_run_that_does_not_begin_leaves_the_old_one(config: Config, tmp_path: Path) -> None:
    before = fill(tmp_path, config)
    with contextlib.suppress(KeyboardInterrupt), begun_run(tmp_path, config, overwrite=True):
        train_new(tmp_path)
        raise KeyboardInterrupt
    assert contents(tmp_path) == before


def test_control_of_begun(config: Config, tmp_path: Path) -> None:
    """A run that has begun stays when it fails later."""
    fill(tmp_path, config)
    with contextlib.suppress(KeyboardInterrupt), begun_run(tmp_path, config, overwrite=True):
        train_new(tmp_path)
        remove_old_run(tmp_path)
        raise KeyboardInterrupt
    assert (tmp_path / "metrics.csv").read_text() == "new"
    assert not (tmp_path / "model/config.json").exists()


class Killed(BaseException):
    """The process ends here: nothing is cleaned up."""


def test_a_kill_at_any_call_leaves_the_old_run_or_the_new_one(config: Config, tmp_path: Path) -> None:
    """Ended before each change of the disk, in the moving, the putting back and the removal; and again in recovery."""
    calls, kills = 0, 0
    changes = ("rename", "unlink", "mkdir", "rmdir")

    @contextmanager
    def killed_at(number: int) -> Iterator[None]:
        nonlocal calls
        calls = 0

        def counted(original: Any) -> Any:
            def change(*given: Any, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls >= number:
                    raise Killed
                return original(*given, **named)

            return change

        with pytest.MonkeyPatch.context() as patch:
            for name in changes:
                patch.setattr(os, name, counted(getattr(os, name)))
            yield

    for step in range(1, 1000, 3):
        folder = tmp_path / str(step)
        before = fill(folder, config)
        begun = False
        try:
            with killed_at(step):
                set_aside(folder)
                train_new(folder)
                remove_old_run(folder)
                begun = True
        except Killed:
            kills += 1
        committed = begun or (folder / REMOVING).exists()
        with killed_at(step % 11 + 1), contextlib.suppress(Killed):
            recover(folder)
        recover(folder)
        after = contents(folder)
        if committed:
            assert after["metrics.csv"] == "new"
            assert "model/config.json" not in after
            assert set(THEIRS) <= after.keys()
        else:
            assert after == before
        assert not any((folder / name).exists() for name in (ASIDE, MOVING, REMOVING))
        if begun:
            break
        shutil.rmtree(folder)
    assert kills > 15
    assert begun


@pytest.mark.parametrize("name", ["checkpoints", "model", "config.yaml", "samples/epoch_0001.png", "evaluation/test"])
def test_links_are_not_followed(config: Config, tmp_path: Path, name: str) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    fill(run, config)
    (run / name).rename(outside)
    (run / name).symlink_to(outside)
    before, kept = contents(run), contents(tmp_path)
    with pytest.raises(ConfigError, match=r"is a link, which no training made"), begun_run(run, config, overwrite=True):
        pass
    assert contents(run) == before
    assert contents(tmp_path) == kept


def test_a_linked_run_folder_is_replaced_where_it_lies(config: Config, tmp_path: Path) -> None:
    fill(tmp_path / "real", config)
    (tmp_path / "link").symlink_to("real")
    with begun_run(tmp_path / "link", config, overwrite=True):
        remove_old_run(tmp_path / "link")
    assert contents(tmp_path / "real").keys() == {*THEIRS, "config.yaml", MARKER}
    assert (tmp_path / "link").is_symlink()


def test_another_file_system_is_refused(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill(tmp_path, config)
    rename = os.rename

    def mounted(old: Path, new: Path) -> None:
        if str(old).endswith("model/config.json"):
            raise OSError(18, "Invalid cross-device link")
        rename(old, new)

    monkeypatch.setattr(os, "rename", mounted)
    with pytest.raises(ConfigError, match=r"model/config\.json: lies on another file system"):
        begun_run(tmp_path, config, overwrite=True).__enter__()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", [ASIDE, MOVING, REMOVING])
@pytest.mark.parametrize("kind", ["folder", "emptied", "link", "file"])
def test_others_under_the_name_of_an_old_run_are_refused(config: Config, tmp_path: Path, name: str, kind: str) -> None:
    """Nothing is removed or put back, in the run or in what the name leads to, with or without --overwrite."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    fill(run, config)
    (outside / "checkpoints").mkdir(parents=True)
    (outside / "checkpoints" / "state.pt").write_text("another run")
    if kind == "link":
        (run / name).symlink_to(outside)
    elif kind == "file":
        (run / name).write_text("mine")
    else:
        shutil.copytree(outside, run / name)
        if kind == "emptied":  # by hand, to free space; only the complete one leaves a doubt
            (run / name / "checkpoints" / "state.pt").unlink()
    before = contents(tmp_path)
    for overwrite in (False, True):
        if kind == "emptied" and name != ASIDE:
            continue
        with pytest.raises(ConfigError, match="move it away"), open_run(run, "", config, no_check, overwrite=overwrite):
            pass
        with pytest.raises(ConfigError, match="move it away"):
            recover(run)
    with pytest.raises(ConfigError, match=r"move it away|moved aside"):
        set_aside(run)
    assert contents(tmp_path) == before


def test_no_run_begins_in_an_old_run(config: Config, tmp_path: Path) -> None:
    begin_run(tmp_path, config, overwrite=False)
    with pytest.raises(ConfigError, match="lies in the files of another run"):
        refuse_inside_run(tmp_path / ASIDE)


def test_a_kept_block_without_an_old_run(tmp_path: Path) -> None:
    with kept_until_begun(tmp_path):
        pass
    assert old_run.recover(tmp_path) is False


def test_a_run_of_version_0_1_is_replaced_only_if_it_is_nothing_else(config: Config, tmp_path: Path) -> None:
    for foreign in (False, True):
        folder = tmp_path / str(foreign)
        begin_run(folder, config.model_copy(update={"provenance": {"data_fingerprint": "x"}}), overwrite=False)
        (folder / MARKER).unlink()
        (folder / "model").mkdir()
        (folder / "model/config.json").write_text("old")
        if foreign:
            (folder / "thesis.txt").write_text("years")
            before = contents(folder)
            with pytest.raises(ConfigError, match="not a run folder"):
                begin_run(folder, config, overwrite=True)
            assert contents(folder) == before
        else:
            with begun_run(folder, config, overwrite=True):
                remove_old_run(folder)
            assert contents(folder).keys() == {"config.yaml", MARKER}


# ---- which folder ----------------------------------------------------------------------------------------------


def no_check(_: Path) -> None:
    pass


@contextmanager
def opened(folder: Path | None, config: Config, *, overwrite: bool = False) -> Iterator[RunChoice]:
    with open_run(folder, "facades", config, no_check, overwrite=overwrite) as choice:
        begin_run(choice.folder, config, overwrite=overwrite)
        yield choice


def test_a_second_training_is_refused_or_gets_another_name(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    who = rf"is in use by process {os.getpid()} on .* since "
    with opened(None, config) as first, opened(None, config) as second:
        assert str(first) == "runs/facades"
        assert str(second.folder) == "runs/facades-2"
        assert str(second).startswith(f"runs/facades-2 (runs/facades is in use by process {os.getpid()} on ")
        for overwrite in (False, True):
            with pytest.raises(InUseError, match=f"^runs/facades: {who}"):
                opened(first.folder, config, overwrite=overwrite).__enter__()
            with pytest.raises(InUseError, match=f"^runs/facades: {who}"):
                choose_run(first.folder, "facades", config, no_check, overwrite=overwrite)
        assert str(choose_run(None, "facades", config, no_check, overwrite=False).folder) == "runs/facades-3"
    with opened(None, config) as again:
        assert str(again) == "runs/facades"


def test_of_two_at_the_same_moment_each_has_its_own(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in map(str, range(5)):
        barrier, end, folders = threading.Barrier(4), threading.Barrier(4), list[Path]()

        def race(barrier: threading.Barrier, end: threading.Barrier, folders: list[Path], name: str) -> None:
            barrier.wait()
            with open_run(None, name, config, no_check, overwrite=False) as choice:
                begin_run(choice.folder, config, overwrite=False)
                folders.append(choice.folder)
                end.wait(timeout=30)

        racers = [threading.Thread(target=race, args=(barrier, end, folders, name)) for _ in range(4)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert sorted(map(str, folders)) == [f"runs/{name}{more}" for more in ("", "-2", "-3", "-4")]


def test_a_new_name_is_explained(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other = choose_settings("facades", None, None, merge_settings(TINY, {"training": {"seed": 1}}))

    def chosen(settings: Config) -> str:
        return str(choose_run(None, "facades", settings, no_check, overwrite=False))

    with opened(None, config):
        pass
    assert chosen(other) == "runs/facades-2 (runs/facades holds a run with other settings: training.seed was 0, now 1)"
    (tmp_path / "runs/facades-2").write_text("a file")
    assert chosen(other).endswith("training.seed was 0, now 1; 1 more cannot be used)")
    (tmp_path / "runs/facades/checkpoints").mkdir()
    (tmp_path / "runs/facades/checkpoints/state.json").write_text('{"step": 8, "finished": true}')
    assert chosen(config) == "runs/facades", "it has lost its model, which is made anew"
    (tmp_path / "runs/facades/model").mkdir()
    (tmp_path / "runs/facades/model/config.json").write_text("{}")
    assert chosen(config).startswith("runs/facades-3 (runs/facades is finished")


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("damage", ["removed", "not YAML", "unknown setting"])
def test_settings_that_are_lost_are_noticed(config: Config, tmp_path: Path, damage: str, marked: bool) -> None:
    with opened(tmp_path, config):
        pass
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/state.json").write_text('{"step": 8, "finished": false}')
    if not marked:
        (tmp_path / MARKER).unlink()
    path = tmp_path / "config.yaml"
    if damage == "removed":
        path.unlink()
    else:
        path.write_text("training: [" if damage == "not YAML" else "provenance: {data_fingerprint: x}\nseeed: 1")
    before = contents(tmp_path)
    words = "config.yaml" if marked or damage != "not YAML" else "not a run folder"
    with pytest.raises(ConfigError, match=words):
        opened(tmp_path, config).__enter__()
    assert contents(tmp_path) == before
    if marked:
        with pytest.raises(ConfigError, match="copy what is missing back to resume it, or give another"):
            opened(tmp_path, config).__enter__()


def test_settings_removed_during_a_training_are_written_again(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with opened(tmp_path, config):
        before = path.read_text()
        assert not restore_settings(tmp_path, config)
        path.unlink()
        assert restore_settings(tmp_path, config)
        assert path.read_text() == before


def test_a_model_without_checkpoints_is_not_trained_over(config: Config, tmp_path: Path) -> None:
    """Checkpoints are large, and people remove them; the same command must not replace the model."""
    run = tmp_path / "run"
    fill(run, config)
    shutil.rmtree(run / "checkpoints")
    before = contents(run)
    refused = r"run: holds a trained model but no checkpoint, so it cannot be resumed; copy what is missing back"
    with pytest.raises(ConfigError, match=refused), opened(run, config):
        pass
    assert contents(run) == before
    assert choose_run(run, "", config, no_check, overwrite=True).folder == run
    shutil.rmtree(run / "model")  # killed before its first checkpoint
    with opened(run, config):
        pass


def test_what_a_killed_training_was_writing_is_removed(config: Config, tmp_path: Path) -> None:
    begin_run(tmp_path, config, overwrite=False)
    (tmp_path / "samples").mkdir()
    ours = [tmp_path / ".curves.png.7.partial", tmp_path / "samples/.epoch_3.png.7.partial"]
    others = [tmp_path / ".thesis.tex.7.partial", tmp_path / "samples/.me.png.7.partial", tmp_path / "curves.png"]
    for path in (*ours, *others):
        path.write_text("x")
    begin_run(tmp_path, config, overwrite=False)
    assert [path.exists() for path in (*ours, *others)] == [False, False, True, True, True]


def test_a_killed_overwrite_is_undone_by_the_next_start(config: Config, tmp_path: Path) -> None:
    other = choose_settings("facades", None, None, merge_settings(TINY, {"training": {"seed": 1}}))
    before = fill(tmp_path, config)
    set_aside(tmp_path)
    train_new(tmp_path)
    with pytest.raises(ConfigError, match=r"holds a run with other settings: training\.seed"):
        opened(tmp_path, other).__enter__()
    assert contents(tmp_path) == before
    set_aside(tmp_path)
    with opened(tmp_path, config) as choice:
        assert choice.restored
        assert (tmp_path / "model/config.json").exists()


def test_more_processes_with_one_batch_norm_resume(config: Config, tmp_path: Path) -> None:
    """Two pairs in one process are two processes of one pair if batch norm takes them together."""

    def planned(**training: Any) -> Config:
        return choose_settings("facades", None, None, merge_settings(TINY, {"training": training}))

    with opened(tmp_path, planned(batch_size=2, norm_statistics="running")):
        pass
    with opened(tmp_path, planned(batch_size=1, devices=2, sync_norm=True, norm_statistics="running")):
        pass
    with pytest.raises(ConfigError, match=r"norm_statistics was running, now image, as each process .* --sync-norm"):
        opened(tmp_path, planned(batch_size=1, devices=2, norm_statistics="image")).__enter__()


def test_links_to_images_that_earlier_versions_did_not_search(tmp_path: Path) -> None:
    """A run that began without the images behind a link below a side's folder."""
    for folder in ("data/A", "data/B", "more"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.png").touch()
    settings = choose_settings(tmp_path / "data", None, None, TINY)
    began, now = (replace_fingerprint(settings, text) for text in ("a", "b"))
    with opened(tmp_path / "run", began):
        pass
    for is_linked in (False, True):
        if is_linked:
            (tmp_path / "data/A/link").symlink_to(tmp_path / "more")
        with pytest.raises(ConfigError, match="the data have changed") as error:
            opened(tmp_path / "run", now).__enter__()
        assert (f"{tmp_path / 'data/A/link'}; to resume" in str(error.value)) == is_linked


def replace_fingerprint(config: Config, fingerprint: str) -> Config:
    return config.model_copy(update={"provenance": {**config.provenance, "data_fingerprint": fingerprint}})


def test_exif_may_be_applied_but_not_ignored_in_a_run_that_began_otherwise(tmp_path: Path) -> None:
    asked = {
        exif: choose_settings("facades", None, None, merge_settings(TINY, {"data": {"exif": exif}}))
        for exif in ("auto", "apply", "ignore")
    }
    for exif in ("auto", "apply"):
        with opened(tmp_path, asked[exif]):
            pass
    with pytest.raises(ConfigError, match=r"data\.exif was apply, now ignore"):
        opened(tmp_path, asked["ignore"]).__enter__()


def test_skip_bad_is_another_training(config: Config, tmp_path: Path) -> None:
    """Which pairs a step takes follows from their number, so nothing could be the same to the bit."""
    with opened(tmp_path, config):
        pass
    skipping = choose_settings("facades", None, None, merge_settings(TINY, {"data": {"skip_bad": True}}))
    with pytest.raises(ConfigError, match=r"begun without --skip-bad, .* repair the bad files .* another --run"):
        opened(tmp_path, skipping).__enter__()


def test_inside_the_files_of_another_run(config: Config, tmp_path: Path) -> None:
    begin_run(tmp_path / "a", config, overwrite=False)
    for inside in ("model", "samples/x", "evaluation/test"):
        with pytest.raises(ConfigError, match="lies in the files of another run"):
            refuse_inside_run(tmp_path / "a" / inside)
    refuse_inside_run(tmp_path / "a" / "finetuned")
    refuse_inside_run(tmp_path / "model" / "x")


# ---- whole commands --------------------------------------------------------------------------------------------


def test_a_removed_model_is_made_anew(facades: Path, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    shutil.rmtree(folder / "model")
    train_with(choose_settings(facades, None, None, TINY), folder)
    model = load_model(folder)
    assert model.config.epoch == 2
    assert model.config.validation["psnr"] > 0


def test_dry_run_of_a_run_in_use(facades: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with hold_lock(folder), pytest.raises(InUseError, match=f"process {os.getpid()} on"):
        plan_only(choose_settings(facades, None, None, TINY), folder)
    assert list(folder.iterdir()) == []


def test_a_failed_start_leaves_the_old_run(
    facades: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    sync = os.fsync

    def full(file: int) -> None:
        if ".state." in os.readlink(f"/proc/self/fd/{file}"):
            raise OSError(28, "No space left on device")
        sync(file)

    monkeypatch.setattr(os, "fsync", full)
    other = choose_settings(facades, None, None, merge_settings(TINY, {"training": {"seed": 1}}))
    with pytest.raises(OSError, match="No space"):
        train_with(other, folder, overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    monkeypatch.undo()
    train_with(other, folder, overwrite=True)
    assert yaml.safe_load((folder / "config.yaml").read_text())["training"]["seed"] == 1
    assert {path.name for path in folder.rglob(".*")} == {MARKER}
