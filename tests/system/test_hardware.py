"""Cores and memory that a process may use, within the limits of its container."""

import math
import os
from pathlib import Path

import pytest
import torch

from pix2pix.system import hardware
from pix2pix.system.hardware import free_memory, keep_memory, usable_cores


@pytest.mark.parametrize(
    ("membership", "limits", "expected"),
    [
        ("", {}, math.inf),
        ("0::/\n", {"": "max 100000"}, math.inf),
        ("0::/\n", {"": "300000 100000"}, 3),
        ("", {"": "300000 100000"}, 3),
        ("0::/job.slice/step\n", {"job.slice": "100000 100000", "job.slice/step": "max 100000"}, 1),
        ("0::/job.slice/step\n", {"job.slice": "400000 100000", "job.slice/step": "50000 100000"}, 0.5),
        ("0::/docker/of-the-host\n", {"": "200000 100000"}, 2),  # a path that is not seen in the container
        ("4:cpu,cpuacct:/docker/1\n1:name=systemd:/\n", {"cpu": "-1 100000"}, math.inf),
        ("4:cpu,cpuacct:/docker/1\n", {"cpu": "150000 100000"}, 1.5),
        ("4:cpu,cpuacct:/job\n", {"cpu": "-1 100000", "cpu/job": "250000 100000"}, 2.5),
    ],
)
def test_the_quota_of_either_version_of_control_groups(
    membership: str, limits: dict[str, str], expected: float, tmp_path: Path
) -> None:
    (tmp_path / "membership").write_text(membership)
    for place, limit in limits.items():
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        if place.startswith("cpu"):
            for name, number in zip(("quota", "period"), limit.split(), strict=True):
                (folder / f"cpu.cfs_{name}_us").write_text(f"{number}\n")
        else:
            (folder / "cpu.max").write_text(f"{limit}\n")
    assert hardware.cpu_quota(tmp_path, tmp_path / "membership") == expected


@pytest.mark.parametrize(("quota", "expected"), [(math.inf, 8), (1.5, 2), (0.2, 1), (64, 8)])
def test_usable_cores(quota: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(hardware, "cpu_quota", lambda: quota)
    assert usable_cores() == expected


def test_keeping_memory_is_harmless() -> None:
    keep_memory()
    assert torch.ones(64, 2**20).sum() == 64 * 2**20


def test_the_memory_of_a_container(tmp_path: Path) -> None:
    """What is left of its limit, counting file pages that can be dropped as free."""
    without = free_memory(tmp_path)
    for name, text in [("memory.current", "60\n"), ("memory.stat", "anon 9\ninactive_file 25\nactive_file 5\n")]:
        (tmp_path / name).write_text(text)
    (tmp_path / "memory.max").write_text("max\n")
    assert min(without, free_memory(tmp_path)) > 65
    (tmp_path / "memory.max").write_text("100\n")
    assert free_memory(tmp_path) == 65
