"""Measure the limits of this machine, matrix multiplies and memory, and describe it."""

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F

from benchmarks.timing import interleaved

SIDES = (1024, 2048, 4096)  # of the matrices; the best one counts
QUICK_SIDES = (1024, 2048)
MAP = 32  # side of the map whose 1x1 convolution is one more matrix multiply, by another library on most processors
FLOATS = 2**26  # in each array of the memory's measurement, 256 MB: far beyond any cache
QUICK_FLOATS = 2**24
KINDS = ("fp32", "bf16", "memory")
Work = tuple[Callable[[], object], float]
"""Something to call, and the FLOP or bytes of one call."""


@dataclass(frozen=True)
class Limits:
    """The fastest that this machine computes and moves numbers, by measurement."""

    fp32: float  # FLOP/s of the best matrix multiply
    bf16: float | None  # the same; None where the processor has no such arithmetic
    bandwidth: float  # bytes/s, reading and writing as an optimiser does
    bandwidths: dict[str, float]  # bytes/s of each way of using memory
    matrices: dict[str, float]  # FLOP/s of each matrix multiply

    def of(self, precision: str) -> float:
        """FLOP/s in `32` or `bf16`."""
        return self.bf16 if precision == "bf16" and self.bf16 is not None else self.fp32


@dataclass(frozen=True)
class Probe:
    """Work that only computes, or only moves numbers."""

    kind: Literal["fp32", "bf16", "memory"]
    work: Callable[[], object]
    amount: float  # FLOP or bytes of one call


def measure_limits(*, bf16: bool, quick: bool = False) -> Limits:
    """Measure for a few seconds and take the best: a limit is what can be reached, not what usually is."""
    probed = probes(bf16=bf16, quick=quick)
    return limits_of(probed, {name: interleaved({"": probe.work}, 5)[""].best for name, probe in probed.items()})


def limits_of(probed: Mapping[str, Probe], seconds: Mapping[str, float]) -> Limits:
    """Probes and the seconds they took -> limits."""
    speeds = {name: probe.amount / seconds[name] for name, probe in probed.items()}
    kinds = {kind: {name: speeds[name] for name in speeds if probed[name].kind == kind} for kind in KINDS}
    return Limits(
        fp32=max(kinds["fp32"].values()),
        bf16=max(kinds["bf16"].values(), default=None),
        bandwidth=max(kinds["memory"]["triad"], kinds["memory"]["update"]),
        bandwidths=kinds["memory"],
        matrices=kinds["fp32"] | kinds["bf16"],
    )


def probes(*, bf16: bool, quick: bool = False) -> dict[str, Probe]:
    """Name -> probe. bf16 only if asked for, since emulating it takes minutes and tells nothing."""
    found = {name: Probe("fp32", *work) for name, work in _products("fp32", torch.float32, quick).items()}
    if bf16:
        found |= {name: Probe("bf16", *work) for name, work in _products("bf16", torch.bfloat16, quick).items()}
    return found | {name: Probe("memory", *work) for name, work in _moves(quick).items()}


def _products(kind: str, dtype: torch.dtype, quick: bool) -> dict[str, Work]:
    """Matrix multiplies and their FLOP."""
    found: dict[str, Work] = {}
    for side in QUICK_SIDES if quick else SIDES:
        a, b = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
        found[f"{kind} {side}"] = (partial(torch.mm, a, b, out=torch.empty_like(a)), 2 * side**3)
    channels = min(QUICK_SIDES)
    image = torch.randn(1, channels, MAP, MAP).to(dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 1, 1).to(dtype)
    found[f"{kind} 1x1 convolution"] = (partial(F.conv2d, image, weight), 2 * channels**2 * MAP**2)
    return found


def _moves(quick: bool) -> dict[str, Work]:
    """Ways of going through memory and their bytes."""
    floats = QUICK_FLOATS if quick else FLOATS
    x, y, z, w = (torch.zeros(floats) for _ in range(4))
    return {
        "read": (lambda: x.sum(), 4 * floats),
        "write": (lambda: x.fill_(1.0), 4 * floats),
        "copy": (lambda: y.copy_(x), 8 * floats),
        "triad": (lambda: torch.add(y, z, alpha=2.0, out=x), 12 * floats),
        "update": (lambda: w.addcmul_(y, z), 16 * floats),  # as Adam: in place, three read and one of them written
    }


def describe_machine() -> dict[str, Any]:
    """Describe the processor, its instructions, memory, threads and the versions of what computes."""
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
