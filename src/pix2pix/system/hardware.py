"""What this machine has and how a long computation sits best on it: device, precision, memory."""

import ctypes
import re
import sys
from pathlib import Path
from typing import Literal

import torch

from pix2pix.errors import ConfigError

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_MADV_DONTNEED = 4  # mman.h
_FOR_GPUS = re.compile(r"lib(cu|nv|nccl|torch_cuda|c10_cuda)")


def choose_device(device: str) -> str:
    """`auto` -> the accelerator, if there is one. Raises ConfigError if the device asked for is absent."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in present.items() if there)
    if not present.get(device):
        raise ConfigError(f"device {device}: this machine has none that torch can use; use --device auto")
    return device


def choose_precision(precision: str, device: str) -> Literal["32", "bf16"]:
    """`auto` -> bf16 where the device computes it in hardware: a GPU that has it, AVX512-BF16 or AMX."""
    if precision != "auto":
        return precision  # type: ignore[return-value]
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    if device == "cpu":
        return "bf16" if has_bf16() else "32"
    return "32"


def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware."""
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def keep_memory() -> bool:
    """Let this process keep the memory that it frees; returns whether the system took that up.

    An update takes and frees hundreds of megabytes. By default glibc gives each such block back to the system at once
    and gets it again page by page: 40,000 page faults, a tenth of an update's time. Asked of glibc on Linux alone;
    other systems' allocators keep their memory as they see fit.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_M_TOP_PAD, 64 * 2**20))


def give_back_gpu_libraries() -> None:
    """For a computation without a GPU: let go of the memory that the import of libraries for GPUs has taken.

    A build of torch with CUDA reads 140 MB of tables while its libraries are linked, and on a processor never again.
    Only what equals the file on the disk is let go of: the system would read it anew. Asked of Linux alone.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        madvise = ctypes.CDLL(None).madvise
        lines = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, AttributeError):
        return
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    addresses = file = ""
    for line in lines:
        name, *rest = line.split(maxsplit=5)
        if not name.endswith(":"):
            addresses, file = name, Path(rest[-1]).name
        elif line.split() == ["Anonymous:", "0", "kB"] and _FOR_GPUS.match(file):  # nothing was written there
            begin, end = (int(address, 16) for address in addresses.split("-"))
            madvise(begin, end - begin, _MADV_DONTNEED)
