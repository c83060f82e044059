"""What this machine has and how a long computation sits best on it: device, precision, memory."""

import ctypes
import sys
from typing import Literal

import torch

from pix2pix.errors import ConfigError

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_MADV_HUGEPAGE = 14  # mman.h
_HUGE_PAGE = 2**21
_HEAP = 3 * 2**30  # address space, not memory


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
    """Let this process keep the memory that it frees, in large pages; returns whether the system took that up.

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
    if not (mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1) and mallopt(_M_TOP_PAD, 64 * 2**20)):
        return False
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if block := libc.malloc(_HEAP):  # grows the heap; not a page of it is touched
        begin = -(-block // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(begin, block + _HEAP - begin - _HUGE_PAGE, _MADV_HUGEPAGE)
        libc.free(block)
    return True
