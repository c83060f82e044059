"""JSON files with a checksum of their own: every changed bit is noticed, and files without one are read."""

import json
from pathlib import Path

import pytest

from pix2pix.system.checked_json import dump_checked, read_checked

VALUES = {"scale": [0.5, 1e-8], "name": "Gebäude", "inner": {"checksum": "", "n": None}}


def test_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(dump_checked(VALUES), encoding="utf-8")
    values = read_checked(path)
    assert len(values.pop("checksum")) == 64
    assert values == VALUES


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path: Path) -> None:
    path, content = tmp_path / "a.json", dump_checked(VALUES).encode()
    damaged = [
        content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
        for place in range(len(content))
        for bit in range(8)
    ]
    for changed in [*damaged, *(content[:length] for length in range(len(content)))]:
        path.write_bytes(changed)
        try:
            values = read_checked(path)
        except ValueError:
            continue
        assert "checksum" not in values, "its name was hit: the readers know no such name"


def test_an_edited_file_is_refused_until_its_checksum_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    edited = dump_checked(VALUES).replace("0.5", "0.7")
    path.write_text(edited, encoding="utf-8")
    with pytest.raises(ValueError, match='edited by hand; if you edited it, remove its line "checksum"'):
        read_checked(path)
    path.write_text("".join(line for line in edited.splitlines(True) if not line.startswith('  "checksum"')))
    assert read_checked(path)["scale"] == [0.7, 1e-8]
    path.write_text(json.dumps(VALUES))
    assert read_checked(path) == VALUES
