"""Damaged metrics files: what can be read is kept, the damaged file too, and one line says so."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pix2pix.errors import ModelError
from pix2pix.reports.curves import read_metrics
from pix2pix.training.metrics_log import columns
from pix2pix.training.metrics_rows import DAMAGED, read_rows

HEADER = b"step,epoch,images_seen,split,seconds,learning_rate,images_per_second,g_l1\n"
ROWS = [b"5,1,10,train,1.5,0.0002,7,0.3\n", b"5,1,10,val,1.5,0.0002,,0.31\n", b"10,2,20,train,3,0.0002,7,0.2\n"]


@pytest.mark.parametrize(
    ("content", "kept", "words"),
    [
        (HEADER + b"".join(ROWS), [0, 1, 2], None),
        ((HEADER + b"".join(ROWS)).replace(b"\n", b"\r\n"), [0, 1, 2], None),
        (HEADER + b"".join(ROWS) + b"15,3,30,tr", [0, 1, 2], None),  # killed while it wrote
        (b"", [], None),
        (HEADER, [], None),
        (HEADER + ROWS[0] + b"\xff\xfe\x00\n" + ROWS[2], [0, 2], "1 line that cannot be read"),
        (HEADER + ROWS[0] + ROWS[1].replace(b"val", b"v\x00l") + ROWS[2], [0, 2], "1 line that"),
        (HEADER + ROWS[0] + b"\n" + ROWS[2], [0, 2], "1 line that"),
        (HEADER + ROWS[0] + ROWS[1].replace(b"0.31", b"0.31,7") + ROWS[2], [0, 2], "1 line that"),
        (HEADER + ROWS[0] + ROWS[1].replace(b"0.31", b"many") + ROWS[2], [0, 2], "1 line that"),
        (HEADER + ROWS[0] + b"9" * 5000 + ROWS[1] + ROWS[2], [0, 2], "1 line that"),
        (HEADER + ROWS[0] + b'"' + ROWS[1] + ROWS[2], [0, 2], "1 line that"),
        (b"".join(ROWS), [], "2 lines that cannot be read"),
        (bytes(500) + b"\n", [], "a header that this version did not write"),
        (b"\xff" * 500, [], "a header that this version did not write"),
        (HEADER.replace(b"g_l1", b"aura") + b"".join(ROWS), [0, 1, 2], "1 column that this version does not know"),
    ],
)
def test_rows_of_a_damaged_file(
    content: bytes, kept: list[int], words: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    rows = read_rows(path, columns())
    assert [(row["step"], row["split"]) for row in rows] == [
        (ROWS[n].split(b",")[0].decode(), ROWS[n].split(b",")[3].decode()) for n in kept
    ]
    said = capsys.readouterr().err
    assert said.count("\n") == (words is not None)
    assert (words or "") in said
    copies = [path.read_bytes() for path in tmp_path.glob(f"{DAMAGED}*")]
    assert copies == ([content] if words else [])
    assert path.read_bytes() == content


def test_an_older_damaged_copy_is_kept(tmp_path: Path) -> None:
    for content in (b"first\n", b"second\n"):
        (tmp_path / "metrics.csv").write_bytes(content)
        read_rows(tmp_path / "metrics.csv", columns())
    assert (tmp_path / DAMAGED).read_bytes() == b"first\n"
    assert (tmp_path / f"{DAMAGED}-2").read_bytes() == b"second\n"


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=30) | st.sampled_from([*ROWS, HEADER, b"\n", b",", b'"', b"\0"]), max_size=8))
def test_any_file_is_read_or_refused_in_one_sentence(tmp_path: Path, parts: list[bytes]) -> None:
    path = tmp_path / "metrics.csv"
    for start in (b"", HEADER):
        path.write_bytes(start + b"".join(parts))
        message = ""
        try:
            read_metrics(path)
        except ModelError as error:
            message = str(error)
        assert message.isprintable()
        assert all(row["step"].isdecimal() for row in read_rows(path, columns()))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_in_place_of_the_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.csv")
    for read in (read_metrics, lambda path: read_rows(path, columns())):
        with pytest.raises(OSError, match="is a pipe"):
            read(tmp_path / "metrics.csv")
