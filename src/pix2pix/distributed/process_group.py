"""The group of all processes of a training, and its collectives.

Rank 0 inspects the data, decides, writes and prints; all ranks compute. A training in one process uses the group
SINGLE_PROCESS, whose collectives return their arguments.
"""

import itertools
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from pix2pix.distributed.environment import RankInfo, compute_device
from pix2pix.errors import ConfigError, DataError, Interrupted, ModelError, RunError

T = TypeVar("T")

RESUME_HINT = "the last checkpoint is intact: run the same command again to resume"
NO_TIMEOUT = timedelta(days=365)
_counter = itertools.count()  # numbers the groups of this process


class LostRankError(RunError):
    """Another rank has exited or does not answer."""


class ProcessGroup:
    """The group of all processes of a training, seen from one of them.

    `hosts` are the names of their machines, by rank. `patient` is a process group of torch without a timeout, for long
    work of rank 0.
    """

    def __init__(self, info: RankInfo, hosts: Sequence[str] = (), patient: Any = None) -> None:
        self.info, self.rank, self.size = info, info.rank, info.size
        self._hosts, self._patient = hosts, patient

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def broadcast(self, decide: Callable[[], T]) -> T:
        """Call `decide` on rank 0, for as long as it takes, and return its result on every rank.

        If `decide` raises, rank 0 raises the error, and the other ranks raise SystemExit with its exit code.
        """
        if self.size == 1:
            return decide()
        failure: Exception | Interrupted | None = None
        decided: list[Any] = [0, None]  # exit code, value
        if self.is_first:
            try:
                decided[1] = decide()
            except (ConfigError, DataError, ModelError, RunError, OSError) as error:
                failure, decided[0] = error, 2 if isinstance(error, ConfigError) else 1
            except Interrupted as error:
                failure, decided[0] = error, 128 + error.signal
        self._wait_for_first()
        dist.broadcast_object_list(decided, src=0, device=torch.device("cpu"))
        if failure is not None:
            raise failure
        if decided[0]:
            raise SystemExit(decided[0])
        return decided[1]

    def _wait_for_first(self) -> None:
        """Wait until rank 0 calls this too. Polls, so that signals are handled meanwhile."""
        waiting = dist.broadcast(torch.zeros(1), src=0, group=self._patient, async_op=True)
        assert waiting is not None  # None only for processes outside the group
        while not waiting.is_completed():
            time.sleep(0.02)
        waiting.wait()

    def all_reduce_max(self, *numbers: int) -> tuple[int, ...]:
        """Return the maximum over all ranks of each number."""
        if self.size == 1:
            return numbers
        values = torch.tensor(numbers)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return tuple(values.tolist())

    def all_reduce_sum(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the sum over all ranks of each scalar; all ranks must use the same names."""
        if self.size == 1 or not values:
            return {name: float(value) for name, value in values.items()}
        sums = torch.stack([value.detach().float().cpu() for value in values.values()])
        dist.all_reduce(sums)
        return dict(zip(values, sums.tolist(), strict=True))

    def all_gather(self, item: T) -> list[T]:
        """Return the items of all ranks, in the order of ranks."""
        if self.size == 1:
            return [item]
        items: list[T] = [item] * self.size
        dist.all_gather_object(items, item)
        return items

    @torch.no_grad()
    def all_reduce_mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all ranks; all ranks get the same bits."""
        if self.size == 1 or not (parts := list(tensors)):
            return
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        flat /= self.size
        for part, mean in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
            part.copy_(mean.view_as(part))

    def lost(self) -> Exception:
        """Return the error for ranks that do not answer: LostRankError on the first rank of each machine, else an exit.

        The launcher reports which of its ranks has exited, and how.
        """
        if self.info.local_rank:
            return SystemExit(1)  # type: ignore[return-value]
        others = [rank for rank in range(self.size) if rank != self.rank]
        which = f"rank {others[0]}" if len(others) == 1 else f"one of the {len(others)} other ranks"
        hosts = ", ".join(dict.fromkeys(self._hosts[rank] for rank in others))
        return LostRankError(
            f"{which} on {hosts} has ended or does not answer, so the training cannot go on; {RESUME_HINT}"
        )


SINGLE_PROCESS = ProcessGroup(RankInfo())


@contextmanager
def process_group(info: RankInfo, device: str, timeout: float) -> Iterator[ProcessGroup]:
    """Connect the processes of a training within the block. `device` is cpu or cuda, `timeout` is in seconds.

    If all ranks raise the same error, it leaves the block on rank 0, and the others exit with its exit code. Raises
    RunError if the processes cannot connect, and LostRankError if another one has exited or does not answer in time.
    """
    if info.size == 1:
        yield SINGLE_PROCESS
        return
    group = _connect(info, device, timeout)
    try:
        yield group
    except LostRankError:
        raise
    except (RunError, Interrupted) as error:
        if group.is_first:
            raise
        raise SystemExit(128 + error.signal if isinstance(error, Interrupted) else 1) from None
    except RuntimeError as error:
        if not _is_of_connections(error):
            raise
        raise group.lost() from None
    finally:
        dist.destroy_process_group()


def _connect(info: RankInfo, device: str, timeout: float) -> ProcessGroup:
    if (interface := find_interface(info.address)) and "GLOO_SOCKET_IFNAME" not in os.environ:
        os.environ["GLOO_SOCKET_IFNAME"] = interface  # the default, by host name, is often the loopback
    try:
        if device == "cuda":
            torch.cuda.set_device(compute_device(device, info))
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        limit = timedelta(seconds=timeout)
        url = f"tcp://{info.address}:{info.port}"
        store, _, _ = next(rendezvous(url, info.rank, info.size, timeout=limit))
        # The store of torchrun outlives a group, so the keys of an earlier training are separated by a prefix.
        store = dist.PrefixStore(f"pix2pix/{next(_counter)}", store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=info.rank, world_size=info.size, timeout=limit)
        patient = dist.new_group(backend="gloo", timeout=NO_TIMEOUT)
    except RuntimeError as error:
        if not _is_of_connections(error):
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        raise RunError(
            f"rank {info.rank} on {socket.gethostname()}: the {info.size} processes did not connect at {info.address}:"
            f"{info.port} within {timeout:g} seconds ({reason}); start all of them, and check MASTER_ADDR and "
            "MASTER_PORT"
        ) from None
    return ProcessGroup(info, ProcessGroup(info).all_gather(socket.gethostname()), patient)


def _is_of_connections(error: RuntimeError) -> bool:
    """Return whether an error comes from the connection to other processes; gloo and NCCL raise RuntimeError."""
    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


def find_interface(address: str) -> str | None:
    """Return the network interface that leads to an address; None if unknown, for example outside Linux."""
    with suppress(ImportError, OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        import fcntl

        probe.connect((address, 9))  # sends nothing
        own = socket.inet_aton(probe.getsockname()[0])
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                if fcntl.ioctl(probe.fileno(), 0x8915, name.encode().ljust(256, b"\0"))[20:24] == own:  # SIOCGIFADDR
                    return name
    return None
