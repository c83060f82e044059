"""Choose how many threads compute in a process, and how the libraries' threads wait for work."""

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Literal

from pix2pix.system.hardware import usable_cores
from pix2pix.text import format_count


def settle_libraries(environment: MutableMapping[str, str]) -> None:
    """Set how libraries start threads, unless the user has; call it before numpy and torch are imported.

    An OpenMP thread that waits for the others spins by default. When two programs share the cores, it spins while
    another program holds the core of the thread that it waits for: each then trains several times more slowly. After
    a short spin it sleeps; sleeping at once costs a seventh of the speed of a program that is alone. OpenBLAS and
    tifffile count the cores of the machine, not those of the container.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "1000")
    cores = str(usable_cores())
    environment.setdefault("TIFFFILE_NUM_THREADS", cores)
    if "OMP_NUM_THREADS" not in environment:  # which OpenBLAS reads too
        environment.setdefault("OPENBLAS_NUM_THREADS", cores)


def choose_threads(threads: Literal["auto"] | int, processes: int = 1) -> int:
    """Return the number of threads of each of `processes` on this machine: as set, or by OMP_NUM_THREADS, or a share.

    The share is that of the cores that this process may use, and no more than torch was told to use.
    """
    if threads != "auto":
        return threads
    now = _library_threads()
    return now if os.environ.get("OMP_NUM_THREADS") else max(1, min(now, usable_cores() // processes))


def _library_threads() -> int:
    """Return the threads that torch computes with; where it is not imported, by OMP_NUM_THREADS, or all cores."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return max(1, int(first)) if first.isdecimal() else usable_cores()


@contextmanager
def computing_threads(threads: Literal["auto"] | int, processes: int = 1) -> Iterator[int]:
    """Let torch compute with so many threads within the block, and yield their number."""
    import torch

    before, chosen = torch.get_num_threads(), choose_threads(threads, processes)
    torch.set_num_threads(chosen)
    try:
        yield chosen
    finally:
        torch.set_num_threads(before)


def describe_threads(threads: int, processes: int = 1) -> str:
    """Describe threads and cores: `2 threads of 8 cores`."""
    each = " in each process" if processes > 1 else ""
    return f"{format_count(threads, 'thread')}{each} of {format_count(usable_cores(), 'core')}"
