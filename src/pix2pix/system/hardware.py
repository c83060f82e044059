"""Facts about this machine: cores, device, precision, free memory; and a setting of the memory allocator."""

import ctypes
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Literal

from pix2pix.errors import ConfigError

GIGABYTE = 1e9


def say_gigabytes(count: float) -> str:
    """Say a number of bytes in gigabytes with two digits, or whole.

    >>> say_gigabytes(0.034e9), say_gigabytes(1.23e9), say_gigabytes(212.4e9)
    ('0.034 GB', '1.2 GB', '212 GB')
    """
    gigabytes = count / GIGABYTE
    return f"{gigabytes:,.0f} GB" if gigabytes >= 10 else f"{gigabytes:.2g} GB"


CGROUPS = Path("/sys/fs/cgroup")
"""Folder with the limits of the container of this process."""
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


def usable_cores() -> int:
    """Return the number of cores that this process may use: by its affinity and the CPU quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, cpu_quota())))


def cpu_quota(cgroups: Path = CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> float:
    """Return the CPU limit of the control group and of those around it, in cores; infinite without a limit.

    `membership` names the group of this process. In a container it may name one outside, and the root's limit holds.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        lines = []
    places = {tuple(names.split(",")): path.strip("/") for _, names, path in (line for line in lines if len(line) == 3)}
    second, first = places.get(("",), ""), next((places[names] for names in places if "cpu" in names), "")
    quotas = [_read_quota(folder, ["cpu.max"]) for folder in _with_parents(cgroups, second)]
    files = ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
    quotas += [_read_quota(folder, files) for folder in _with_parents(cgroups / "cpu", first)]
    return min(quotas)


def _with_parents(root: Path, path: str) -> list[Path]:
    """Return the folder of a control group below `root`, those around it, and the root."""
    folder = root / path
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _read_quota(folder: Path, files: list[str]) -> float:
    """Read the limit of one control group, in cores; infinite without a limit or without the files."""
    try:
        words = " ".join((folder / name).read_text(encoding="ascii") for name in files).split()
    except OSError:
        return math.inf
    return int(words[0]) / int(words[1]) if words[0] not in ("max", "-1") else math.inf


def choose_device(device: str) -> str:
    """Resolve `auto` to the accelerator, if there is one. Raises ConfigError for a device that is absent."""
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in present.items() if there)
    if not present.get(device):
        raise ConfigError(f"device {device}: torch finds none on this machine; use --device auto")
    return device


def choose_precision(precision: str, device: str) -> Literal["32", "bf16"]:
    """Resolve `auto` to bf16 if the hardware computes it: a GPU with bf16, or a CPU with AVX512-BF16 or AMX."""
    import torch

    if precision != "auto":
        return precision  # type: ignore[return-value]
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    if device == "cpu":
        return "bf16" if has_bf16() else "32"
    return "32"


def has_bf16() -> bool:
    """Return whether the processor multiplies bfloat16 in hardware."""
    import torch

    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def keep_memory() -> bool:
    """Let the allocator of this process keep freed memory; return whether it accepted that.

    An update allocates and frees hundreds of megabytes. By default glibc returns each such block to the system and gets
    it back page by page: 40,000 page faults, a tenth of the time of an update. Only glibc on Linux has this setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_M_TOP_PAD, 64 * 2**20))


# ---- memory ----------------------------------------------------------------------------------------------------


def free_memory(cgroups: Path = CGROUPS) -> int:
    """Return the bytes that can be allocated without swapping, within the limit of the container; 0 if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return _physical_memory() // 2
    return min(free, _free_in_container(cgroups, free))


def total_memory(cgroups: Path = CGROUPS) -> int:
    """Return the bytes of memory and swap, within the limit of the container; 0 if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        total = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("MemTotal:", "SwapTotal:")))
    except OSError:
        total = _physical_memory()
    try:
        limit = (cgroups / "memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return total if limit == "max" else min(total, int(limit))


def free_shared_memory() -> int:
    """Return the bytes of memory that processes can share.

    Containers often limit /dev/shm to 64 MB, and a process that writes beyond its end is killed.
    """
    shm = Path("/dev/shm")
    return min(free_memory(), shutil.disk_usage(shm).free) if shm.is_dir() else free_memory()


def _free_in_container(cgroups: Path, otherwise: int) -> int:
    """Return the bytes left below the limit of a control group (version 2); cached file pages count as free."""
    try:
        limit = (cgroups / "memory.max").read_text(encoding="ascii").strip()
        used = int((cgroups / "memory.current").read_text(encoding="ascii"))
        stat = (cgroups / "memory.stat").read_text(encoding="ascii")
    except OSError:
        return otherwise
    reclaimable = sum(int(line.split()[1]) for line in stat.splitlines() if line.startswith("inactive_file "))
    return otherwise if limit == "max" else int(limit) - used + reclaimable


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows has no sysconf
        return 0
