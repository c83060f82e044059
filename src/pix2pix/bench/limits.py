"""This machine in; what it can do at best out: matrix multiplies and memory, measured, and what it is."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pix2pix.bench.measure import Timing, interleaved

SIDES = (2048, 4096)  # of the matrices; the better one counts
QUICK_SIDES = (1024, 2048)
FLOATS = 2**26  # in each array of the memory's measurement, 256 MB: far beyond any cache
QUICK_FLOATS = 2**24


@dataclass(frozen=True)
class Limits:
    """What no program on this machine gets past, by measurement."""

    fp32: float  # FLOP/s of the best matrix multiply
    bf16: float | None  # the same; None where the processor has no such arithmetic
    bandwidth: float  # bytes/s, reading and writing as an optimiser does
    bandwidths: dict[str, float]  # bytes/s of each way of using memory
    matrices: dict[str, float]  # FLOP/s of each matrix multiply


def measure_limits(*, bf16: bool, quick: bool = False) -> Limits:
    """Measure for a few seconds; bf16 only if asked for, since emulating it takes minutes and tells nothing."""
    matrices = {}
    kinds = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if bf16 else {})
    for name, kind in kinds.items():
        for side in QUICK_SIDES if quick else SIDES:
            a, b = torch.randn(side, side).to(kind), torch.randn(side, side).to(kind)
            matrices[f"{name} {side}"] = 2 * side**3 / _best(partial(torch.mm, a, b, out=torch.empty_like(a)))

    floats = QUICK_FLOATS if quick else FLOATS
    x, y, z, w = (torch.zeros(floats) for _ in range(4))
    used: dict[str, tuple[Callable[[], object], int]] = {  # work, floats moved for each element
        "read": (lambda: x.sum(), 1),
        "write": (lambda: x.fill_(1.0), 1),
        "copy": (lambda: y.copy_(x), 2),
        "triad": (lambda: torch.add(y, z, alpha=2.0, out=x), 3),
        "update": (lambda: w.addcmul_(y, z), 4),  # as Adam: in place, three read and one of them written
    }
    bandwidths = {name: 4 * moved * floats / _best(work) for name, (work, moved) in used.items()}
    return Limits(
        fp32=max(value for name, value in matrices.items() if name.startswith("fp32")),
        bf16=max((value for name, value in matrices.items() if name.startswith("bf16")), default=None),
        bandwidth=max(bandwidths["triad"], bandwidths["update"]),
        bandwidths=bandwidths,
        matrices=matrices,
    )


def _best(work: Callable[[], object], rounds: int = 5) -> float:
    """Seconds of the best repetition: a limit is what can be reached, not what usually is."""
    timing: Timing = interleaved({"": work}, rounds)[""]
    return timing.best


def describe_machine() -> dict[str, Any]:
    """The processor, its arithmetic, memory, threads and the versions that compute: what a figure belongs to."""
    features = torch.cpu.get_capabilities()
    known = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "arithmetic": [name for name in known if features.get(name)],
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "allocator": {name: os.environ[name] for name in ("LD_PRELOAD", "GLIBC_TUNABLES") if os.environ.get(name)},
        "pix2pix": version("pix2pix"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pillow": version("pillow"),
        "torchvision": version("torchvision"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError):  # Windows has no sysconf
        return None
