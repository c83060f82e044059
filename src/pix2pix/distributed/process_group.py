"""The processes of one training: where each stands, what they agree on, and sums over all of them.

A process is a rank. Rank 0 looks at the data, decides and writes; the others compute and are silent. A process alone is
rank 0 of 1, and what stands here then costs it nothing.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from pix2pix.config import Training
from pix2pix.distributed.environment import RankInfo, cuda_index
from pix2pix.errors import ConfigError, DataError, Interrupted, ModelError, RunError
from pix2pix.system.hardware import choose_device, usable_cores

T = TypeVar("T")

LAUNCHER = "PIX2PIX_LAUNCHER"
"""Environment of a rank that `training.launch` has started: the launcher's process id."""
A_MOMENT = 3.0  # seconds in which the end of a process on this machine becomes visible to its neighbours


class LostRankError(RunError):
    """Another rank has ended or does not answer."""


class Member(NamedTuple):
    """A rank as the others know it."""

    host: str
    process: int


class ProcessGroup:
    """This process among all of its training."""

    def __init__(self, info: RankInfo, members: tuple[Member, ...], store: Any) -> None:
        self.info, self.members, self._store = info, members, store
        self.rank, self.size = info.rank, info.size
        self._agreements = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that decides, writes and speaks."""
        return self.rank == 0

    def broadcast(self, decide: Callable[[], T]) -> T:
        """What rank 0 decides, on every rank, however long it takes. If it fails all end, and rank 0 says why."""
        if self._store is None:
            return decide()
        self._agreements += 1
        key = f"agreed/{self._agreements}"
        failure: Exception | None = None
        decided: list[T | int] = [0]
        if self.is_first:
            try:
                decided = [0, decide()]
            except (ConfigError, DataError, ModelError, RunError, OSError) as error:
                failure, decided = error, [2 if isinstance(error, ConfigError) else 1]
            self._store.set(key, "")
        else:
            self._wait_for(key)
        told = [decided]
        dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
        code, *value = told[0]
        if failure is not None:
            raise failure
        if code:
            raise SystemExit(code)
        return value[0]  # type: ignore[return-value]

    def _wait_for(self, key: str) -> None:
        """As often as it takes to ask, so that a signal comes through; a wait inside the store would hold it up."""
        while not self._store.check([key]):
            time.sleep(0.02)

    def all_reduce_max(self, *numbers: int) -> tuple[int, ...]:
        """Number by number, the greatest of any rank."""
        if self.size == 1:
            return numbers
        values = torch.tensor(numbers)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return tuple(values.tolist())

    def all_reduce_sum(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Scalars by name -> their sums over all ranks, which must have the same names."""
        if self.size == 1 or not values:
            return {name: float(value) for name, value in values.items()}
        sums = torch.stack([value.detach().float().cpu() for value in values.values()])
        dist.all_reduce(sums)
        return dict(zip(values, sums.tolist(), strict=True))

    def all_gather(self, item: T) -> list[T]:
        """One item from each rank, in order."""
        if self.size == 1:
            return [item]
        items: list[T] = [item] * self.size
        dist.all_gather_object(items, item)
        return items

    @torch.no_grad()
    def all_reduce_mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all ranks, to the same bits on each."""
        if self.size == 1 or not (parts := list(tensors)):
            return
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        flat /= self.size
        for part, mean in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
            part.copy_(mean.view_as(part))

    # ---- a rank that is gone ---------------------------------------------------------------------------------

    def lost(self) -> Exception:
        """What to raise once the others cannot be reached: one rank of each machine says who is gone."""
        here = self.members[self.rank].host
        neighbours = {rank: member.process for rank, member in enumerate(self.members) if member.host == here}
        deadline = time.monotonic() + A_MOMENT
        while not (gone := [rank for rank, process in neighbours.items() if not _lives(process)]):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if self.rank != min(neighbours.keys() - gone):
            return SystemExit(1)  # type: ignore[return-value]
        if gone:
            who = f"{_ranks(gone)} on {here} {'has' if len(gone) == 1 else 'have'} ended"
        else:
            others = [rank for rank in range(self.size) if rank not in neighbours] or [
                rank for rank in neighbours if rank != self.rank
            ]
            hosts = dict.fromkeys(self.members[rank].host for rank in others)
            which = _ranks(others) if len(others) == 1 else f"one of {_ranks(others)}"
            who = f"{which} on {', '.join(hosts)} does not answer"
        return LostRankError(f"{who}, so the training cannot go on; {GO_ON}")


GO_ON = "the last checkpoint is whole: the same command goes on from it"
SINGLE_PROCESS = ProcessGroup(RankInfo(), (Member("", 0),), None)


def _ranks(numbers: list[int]) -> str:
    return f"rank{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _lives(process: int) -> bool:
    """Whether a process of this machine runs; one that is dead but not yet buried does not."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except ProcessLookupError:
        return False
    except OSError:  # no /proc here, or another user's
        return True
    return state[0] not in "ZX"


# ---- coming together ---------------------------------------------------------------------------------------------


@contextmanager
def process_group(place: RankInfo, training: Training) -> Iterator[ProcessGroup]:
    """Within the block the processes of a training know each other.

    What all ranks raise alike, only the first one raises: the others exit with the same code. Raises LostRankError once
    another rank has ended or does not answer for `rank_timeout` seconds.
    """
    if place.size == 1:
        yield SINGLE_PROCESS
        return
    ranks = _connected(place, choose_device(training.device), training.rank_timeout)
    try:
        yield ranks
    except LostRankError:
        raise
    except (RunError, Interrupted) as error:
        if ranks.is_first:
            raise
        raise SystemExit(128 + error.signal if isinstance(error, Interrupted) else 1) from None
    except RuntimeError as error:
        if not _of_connections(error):
            raise
        raise ranks.lost() from None
    finally:
        dist.destroy_process_group()


def _connected(place: RankInfo, device: str, seconds: float) -> ProcessGroup:
    os.environ.update(place.environment())
    _share_cores(place)
    if (interface := interface_towards(place.address)) and "GLOO_SOCKET_IFNAME" not in os.environ:
        os.environ["GLOO_SOCKET_IFNAME"] = interface  # gloo's own guess, the host's name, is often the loopback
    timeout = timedelta(seconds=seconds)
    try:
        if place.rank:
            _wait_for_the_first(place, seconds)
        store, rank, size = next(rendezvous("env://", timeout=timeout))
        if device == "cuda":
            torch.cuda.set_device(cuda_index(place))
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    except (RuntimeError, OSError) as error:
        if isinstance(error, RuntimeError) and not _of_connections(error):
            raise
        raise RunError(
            f"rank {place.rank} on {socket.gethostname()}: the {place.size} processes did not come together at "
            f"{place.address}:{place.port} within {seconds:g} seconds ({_reason(error)}); start all of them, and check "
            "MASTER_ADDR and MASTER_PORT"
        ) from None
    alone = ProcessGroup(place, (), store)
    return ProcessGroup(place, tuple(alone.all_gather(Member(socket.gethostname(), os.getpid()))), store)


def _wait_for_the_first(place: RankInfo, seconds: float) -> None:
    """Until rank 0 listens. Raises OSError if it does not; torch's own client would add pages of its C++ stack."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((place.address, place.port), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _reason(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0]
    return text.rstrip(".")


def _of_connections(error: RuntimeError) -> bool:
    """Whether torch means other processes; gloo and NCCL raise plain RuntimeErrors."""
    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


def _share_cores(place: RankInfo) -> None:
    """ProcessGroup of one machine divide its cores, unless OMP_NUM_THREADS has done so."""
    if "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, usable_cores() // place.local_size)
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)


def interface_towards(address: str) -> str | None:
    """The network interface that leads to an address, or None where that cannot be told."""
    try:
        import fcntl  # not on Windows

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing
            own = socket.inet_aton(probe.getsockname()[0])
            for _, name in socket.if_nameindex():
                with suppress(OSError):
                    request = name.encode()[:15].ljust(256, b"\0")
                    if fcntl.ioctl(probe.fileno(), 0x8915, request)[20:24] == own:  # SIOCGIFADDR of Linux
                        return name
    except (ImportError, OSError):
        pass
    return None


def launcher_is_gone() -> bool:
    """Whether this rank was started by our launcher, and that has died without a word."""
    return LAUNCHER in os.environ and os.getppid() != int(os.environ[LAUNCHER])


def signal_name(number: int) -> str:
    """15 -> SIGTERM."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
