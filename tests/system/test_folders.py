"""Atomic writes of folders: the new content or the old, and what others put into a folder stays."""

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pix2pix.system.folders import UNFINISHED, find_others, remove_files, replace_folder, write_folder_atomically


def contents(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with write_folder_atomically(tmp_path / "set", ["old.txt"]) as folder:
            (folder / f"{text}.txt").write_text(text)
    assert contents(tmp_path) == {"set/new.txt": "new"}
    with contextlib.suppress(KeyboardInterrupt), write_folder_atomically(tmp_path / "set") as folder:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"set/new.txt": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_is_put_back_after_a_failure_and_after_a_kill(tmp_path: Path) -> None:
    with write_folder_atomically(tmp_path / "set") as folder:
        (folder / "old.txt").write_text("old")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "missing", tmp_path / "set")
    assert contents(tmp_path) == {"set/old.txt": "old"}
    os.replace(tmp_path / "set", tmp_path / ".set.previous")  # killed between the two renames
    (tmp_path / ".set.partial").mkdir()
    with pytest.raises(RuntimeError), write_folder_atomically(tmp_path / "set"):
        raise RuntimeError
    assert contents(tmp_path) == {"set/old.txt": "old"}


NAMES = ["a.txt", "deep/b.txt"]
THEIRS = {"notes.txt": "mine", "deep/mine.txt": "mine", "own/a.txt": "mine", ".a.txt.old": "mine"}


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_files_of_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    fill(folder, {**THEIRS, "a.txt": "old", ".a.txt.7.partial": "old"})
    with write_folder_atomically(folder, NAMES) as new:
        fill(new, {"deep/b.txt": "new"})
    assert contents(tmp_path) == {f"set/{name}": text for name, text in {**THEIRS, "deep/b.txt": "new"}.items()}
    remove_files(folder, NAMES)
    assert contents(folder) == THEIRS
    assert find_others(folder, NAMES) == ".a.txt.old"


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_name_in_the_way_is_never_removed(tmp_path: Path, kind: str) -> None:
    own, way = tmp_path / "own", tmp_path / ".set.partial"
    fill(own, {"a.txt": "mine", UNFINISHED: ""})
    if kind == "file":
        way.write_text("mine")
    elif kind == "folder":
        fill(way, THEIRS)
    else:
        way.symlink_to(own)
    before = contents(tmp_path)
    with pytest.raises(OSError, match="in the way"):
        write_folder_atomically(tmp_path / "set", NAMES).__enter__()
    assert contents(tmp_path) == before


def test_a_link_is_followed_to_the_folder_that_is_replaced(tmp_path: Path) -> None:
    fill(tmp_path / "disk" / "set", {**THEIRS, "a.txt": "old"})
    (tmp_path / "set").symlink_to(tmp_path / "disk" / "set")
    with write_folder_atomically(tmp_path / "set", NAMES) as new:
        fill(new, {"a.txt": "new"})
    assert (tmp_path / "set").is_symlink()
    assert contents(tmp_path / "disk") == {f"set/{name}": text for name, text in {**THEIRS, "a.txt": "new"}.items()}


class Killed(BaseException):
    """The process ends here: nothing is cleaned up."""


def test_a_kill_at_any_call_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old files or the new ones, all those of others, and no leftovers after the next write."""
    kills = 0
    for step in range(1, 100):
        root, calls = tmp_path / str(step), 0
        fill(root / "set", {**THEIRS, "a.txt": "old"})

        def counted(original: Any) -> Any:
            def change(*given: Any, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls >= step:  # noqa: B023  # called within the loop
                    raise Killed
                return original(*given, **named)

            return change

        done = False
        with monkeypatch.context() as patch:
            for name in ("rename", "unlink", "mkdir", "rmdir"):
                patch.setattr(os, name, counted(getattr(os, name)))
            patch.setattr("shutil.rmtree", counted(lambda *_, **__: None))
            with contextlib.suppress(Killed), write_folder_atomically(root / "set", NAMES) as new:
                fill(new, {"a.txt": "new"})
                new.joinpath("deep").mkdir()
                done = True
        kills += not done or calls >= step
        found = [path.read_text() for path in root.rglob("a.txt") if path.parent.name != "own"]
        assert "old" in found or "new" in found
        for _ in range(2):
            with write_folder_atomically(root / "set", NAMES) as new:
                fill(new, {"a.txt": "newest"})
        assert contents(root) == {f"set/{name}": text for name, text in {**THEIRS, "a.txt": "newest"}.items()}
        if calls < step:
            break
    assert kills > 10


def test_a_folder_of_others_with_the_name_of_a_new_file_is_named_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "set/config.json").mkdir(parents=True)
    (tmp_path / "set/config.json/mine.txt").write_text("mine")
    for _ in range(2):  # also the next time, until it is moved away
        with (
            pytest.raises(OSError, match=r"is in the way of .*set; move it away") as error,
            write_folder_atomically(tmp_path / "set", ["config.json"]) as folder,
        ):
            (folder / "config.json").write_text("new")
        assert Path(error.value.filename).read_text() == "mine"


def test_a_failed_write_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as error, write_folder_atomically(tmp_path / "site"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "site")
    assert not list(tmp_path.iterdir())
