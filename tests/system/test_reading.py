"""Reading what others may have written: no waiting, no more bytes than a limit, strict JSON."""

import os
import socket
from pathlib import Path

import pytest

from pix2pix.system.reading import open_regular, parse_json, read_bytes, read_json, read_text


def test_a_regular_file_and_a_link_to_it_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("grün", encoding="utf-8")
    (tmp_path / "b").symlink_to("a")
    assert read_text(tmp_path / "a") == read_text(tmp_path / "b") == "grün"
    with open_regular(tmp_path / "a") as file:
        assert file.read(2) == b"gr"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """Opening the pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
    kinds = {"pipe": "a pipe", "link": "a pipe", "socket": "a socket", ".": "a folder", "/dev/zero": "a device"}
    for name, kind in kinds.items():
        with pytest.raises(OSError, match=f"is {kind}, expected a regular file") as caught:
            read_bytes(tmp_path / name)
        assert caught.value.filename == str(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "absent")


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(OSError, match="has more than 1,000 bytes"):
        read_bytes(path, 1000)
    path.write_bytes(b"a" * 1000)
    assert len(read_bytes(path, 1000)) == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the name 'c' stands twice"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("1" * 5000, "4300 digits"),
        ("{", "Expecting"),
    ],
)
def test_json_is_strict(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_json_of_a_training_may_hold_infinity(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"best": Infinity}', encoding="utf-8")
    assert read_json(tmp_path / "state.json", finite=False) == {"best": float("inf")}
