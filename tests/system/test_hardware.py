"""Cores and memory that a process may use, within the limits of its container."""

import math
import os
from pathlib import Path

import pytest
import torch

from pix2pix.system import hardware
from pix2pix.system.hardware import free_memory, keep_memory, usable_cores


def test_the_quota_of_either_version_of_control_groups(tmp_path: Path) -> None:
    assert hardware.cpu_quota(tmp_path) == math.inf
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert hardware.cpu_quota(tmp_path) == math.inf
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("150000\n")
    assert hardware.cpu_quota(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert hardware.cpu_quota(tmp_path) == math.inf
    (tmp_path / "cpu.max").write_text("300000 100000\n")
    assert hardware.cpu_quota(tmp_path) == 3


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
