"""No file of others is replaced, whatever it is called."""

from pathlib import Path

import pytest

from pix2pix.errors import ConfigError
from pix2pix.system.written import RECORD, claim, read_record

NAMES = ["report.html", "outputs/a b.png", "outputs/deep/ünï\udcff\n.png"]


def test_own_files_are_claimed_again(tmp_path: Path) -> None:
    for _ in range(2):
        claim(tmp_path / "new", NAMES)
        for name in NAMES:
            (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "new" / name).write_text("")
    assert read_record(tmp_path / "new") == set(NAMES)
    claim(tmp_path / "new", ["more.png"])
    assert read_record(tmp_path / "new") == {*NAMES, "more.png"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["file", "folder", "broken link", "linked folder"])
def test_a_file_of_others_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    folder, path = tmp_path / "out", tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    words = "exists, and pix2pix did not write it; move it away, or choose another --output"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    elif kind == "broken link":
        path.symlink_to("nowhere")
    elif path.parent != folder:
        path.parent.rmdir()
        path.parent.symlink_to(tmp_path)
        words = "leads out of"
    else:
        path.write_text("mine")
    with pytest.raises(ConfigError, match=words):
        claim(folder, NAMES)
    assert not (folder / RECORD).exists()
    if words != "leads out of":
        claim(folder, NAMES, is_ours=lambda _: True)


def test_a_broken_record_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_bytes(b"\xff\xfe\\x\\u12")
    (tmp_path / "a").write_text("mine")
    with pytest.raises(ConfigError, match="did not write it"):
        claim(tmp_path, ["a"])
