"""How many threads compute, and how they wait, whatever the machine."""

import itertools
import os
import subprocess
import sys

import pytest
import torch

from pix2pix.system import threads
from pix2pix.system.threads import choose_threads, computing_threads, settle_libraries


@pytest.mark.parametrize(
    ("asked", "processes", "cores", "torch_has", "variable", "expected"),
    [
        ("auto", 1, 1, 64, None, 1),  # a container of one CPU on a machine of 64
        ("auto", 1, 2, 2, None, 2),
        ("auto", 2, 2, 2, None, 1),
        ("auto", 3, 2, 2, None, 1),  # more processes than cores
        ("auto", 4, 64, 32, None, 16),
        ("auto", 1, 64, 1, None, 1),  # what a script told torch
        ("auto", 2, 64, 5, "5", 5),  # OMP_NUM_THREADS, which torch has read
        (3, 2, 2, 2, "5", 3),  # --threads
    ],
)
def test_how_many(
    asked: int, processes: int, cores: int, torch_has: int, variable: str | None, expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(threads, "usable_cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: torch_has)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert choose_threads(asked, processes) == expected


def test_a_script_keeps_its_own_number() -> None:
    before = torch.get_num_threads()
    with computing_threads(before + 1) as count:
        assert torch.get_num_threads() == count == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("cores", [1, 64])
def test_libraries_keep_to_the_cores_and_spin_shortly(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: cores)
    names, found = ("OPENBLAS_NUM_THREADS", "TIFFFILE_NUM_THREADS"), dict[str, str]()
    settle_libraries(found)
    assert found == {"GOMP_SPINCOUNT": "1000", **dict.fromkeys(names, str(cores))}
    theirs = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "3", **dict.fromkeys((*names, "OMP_NUM_THREADS"), "3")}
    for count in range(len(theirs) + 1):
        for kept in itertools.combinations(theirs, count):
            own = {name: theirs[name] for name in kept}
            settled = dict(own)
            settle_libraries(settled)
            assert settled.items() >= own.items()
            assert ("GOMP_SPINCOUNT" in settled) == ("GOMP_SPINCOUNT" in own or "OMP_WAIT_POLICY" not in own)
            assert ("OPENBLAS_NUM_THREADS" in settled) == (
                "OMP_NUM_THREADS" not in own or "OPENBLAS_NUM_THREADS" in own
            )
    code = "import os, pix2pix, pix2pix.cli; print(*(name for name in os.environ if name.endswith('_NUM_THREADS')))"
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [], "set for the command only"
