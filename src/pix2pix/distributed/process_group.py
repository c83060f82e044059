"""The processes of one training: where each stands, what they agree on, and sums over all of them.

A process is a rank. Rank 0 looks at the data, decides and writes; the others compute and are silent. A process alone is
rank 0 of 1, and what stands here then costs it nothing.
"""

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from pix2pix.config import Config, Training
from pix2pix.errors import ConfigError, DataError, Interrupted, ModelError, RunError
from pix2pix.system.hardware import choose_device, usable_cores

T = TypeVar("T")

LAUNCHER = "PIX2PIX_LAUNCHER"
"""Environment of a rank that `training.launch` has started: the launcher's process id."""
PORT = 29500  # of rank 0, where MASTER_PORT names none
A_MOMENT = 3.0  # seconds in which the end of a process on this machine becomes visible to its neighbours


class LostRankError(RunError):
    """Another rank has ended or does not answer."""


@dataclass(frozen=True)
class Place:
    """Where a process stands among all of its training."""

    rank: int = 0
    size: int = 1  # processes in all
    local_rank: int = 0  # among those of its machine
    local_size: int = 1
    address: str = "127.0.0.1"  # of rank 0's machine
    port: int = PORT

    @property
    def nodes(self) -> int:
        """Machines."""
        return self.size // self.local_size

    def environment(self) -> dict[str, str]:
        """The same in the words of torchrun."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def find_place(environment: Mapping[str, str]) -> Place | None:
    """What torchrun, srun or our own launcher has told this process; None if none of them started it.

    Raises ConfigError for tasks that are spread unevenly.
    """
    named = {"RANK", "WORLD_SIZE", "LOCAL_RANK"}
    if named <= environment.keys():
        return Place(
            rank=int(environment["RANK"]),
            size=int(environment["WORLD_SIZE"]),
            local_rank=int(environment["LOCAL_RANK"]),
            local_size=int(environment.get("LOCAL_WORLD_SIZE", environment["WORLD_SIZE"])),
            address=environment.get("MASTER_ADDR", "127.0.0.1"),
            port=int(environment.get("MASTER_PORT", PORT)),
        )
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:  # srun sets it; sbatch's own script has none
        return _place_in_step(environment)
    return None


def _place_in_step(environment: Mapping[str, str]) -> Place:
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", environment["SLURM_STEP_NUM_TASKS"])  # such as 4(x2)
    if not (even := re.fullmatch(r"(\d+)(\(x\d+\))?", tasks)):
        raise ConfigError(f"srun started {tasks} tasks on its nodes: give each the same number with --ntasks-per-node")
    nodes = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_NODELIST", "127.0.0.1"))
    return Place(
        rank=int(environment["SLURM_PROCID"]),
        size=int(environment["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environment["SLURM_LOCALID"]),
        local_size=int(even[1]),
        address=environment.get("MASTER_ADDR", first_host(nodes)),
        port=int(environment.get("MASTER_PORT", 15000 + int(environment.get("SLURM_JOB_ID", 0)) % 10000)),
    )


def first_host(nodes: str) -> str:
    """SLURM's list of nodes, such as node[01-04,7],gpu3, -> its first: node01."""
    return re.sub(r"\[([^],-]+)[^]]*\]", r"\1", nodes).split(",")[0]


class Member(NamedTuple):
    """A rank as the others know it."""

    host: str
    process: int


class Ranks:
    """This process among all of its training."""

    def __init__(self, place: Place, members: tuple[Member, ...], store: Any) -> None:
        self.place, self.members, self._store = place, members, store
        self.rank, self.size = place.rank, place.size
        self._agreements = 0

    @property
    def first(self) -> bool:
        """Whether this is the rank that decides, writes and speaks."""
        return self.rank == 0

    def agreed(self, decide: Callable[[], T]) -> T:
        """What rank 0 decides, on every rank, however long it takes. If it fails all end, and rank 0 says why."""
        if self._store is None:
            return decide()
        self._agreements += 1
        key = f"agreed/{self._agreements}"
        failure: Exception | None = None
        decided: list[T | int] = [0]
        if self.first:
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

    def greatest(self, *numbers: int) -> tuple[int, ...]:
        """Number by number, the greatest of any rank."""
        if self.size == 1:
            return numbers
        values = torch.tensor(numbers)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return tuple(values.tolist())

    def total(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Scalars by name -> their sums over all ranks, which must have the same names."""
        if self.size == 1 or not values:
            return {name: float(value) for name, value in values.items()}
        sums = torch.stack([value.detach().float().cpu() for value in values.values()])
        dist.all_reduce(sums)
        return dict(zip(values, sums.tolist(), strict=True))

    def gathered(self, item: T) -> list[T]:
        """One item from each rank, in order."""
        if self.size == 1:
            return [item]
        items: list[T] = [item] * self.size
        dist.all_gather_object(items, item)
        return items

    @torch.no_grad()
    def average_(self, tensors: Iterable[Tensor]) -> None:
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
ALONE = Ranks(Place(), (Member("", 0),), None)


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


def choose_processes(config: Config, environment: Mapping[str, str]) -> tuple[Config, Place | None]:
    """Settings -> the same with `devices` and `nodes` settled, and this process's place; None if it has to start them.

    Raises ConfigError for settings that are not what torchrun or srun has started, or that this machine has not.
    """
    training, device, place = config.training, choose_device(config.training.device), find_place(environment)
    gpus = torch.cuda.device_count() if device == "cuda" else 1
    if place is None:
        devices = gpus if training.devices == "auto" else training.devices
        nodes = 1 if training.nodes == "auto" else training.nodes
        place = Place() if devices * nodes == 1 else None
    else:
        devices, nodes = place.local_size, place.nodes
        for field, asked, has in (("devices", training.devices, devices), ("nodes", training.nodes, nodes)):
            if asked not in ("auto", has):
                if place.rank:
                    raise SystemExit(2)  # rank 0 says it
                raise ConfigError(
                    f"training.{field} {asked}: this training was started with {has}; leave --{field} out"
                )
    if device == "mps" and devices * nodes > 1:
        raise ConfigError(f"training.devices {devices}: mps is one device; leave --devices out")
    if device == "cuda" and place is None and devices > gpus:
        raise ConfigError(f"training.devices {devices}: this machine has {gpus} GPUs; give --devices {gpus}")
    settled = training.model_copy(update={"devices": devices, "nodes": nodes})
    return config.model_copy(update={"training": settled}), place


# ---- coming together ---------------------------------------------------------------------------------------------


@contextmanager
def joined(place: Place, training: Training) -> Iterator[Ranks]:
    """Within the block the processes of a training know each other.

    What all ranks raise alike, only the first one raises: the others exit with the same code. Raises LostRankError once
    another rank has ended or does not answer for `rank_timeout` seconds.
    """
    if place.size == 1:
        yield ALONE
        return
    ranks = _connected(place, choose_device(training.device), training.rank_timeout)
    try:
        yield ranks
    except LostRankError:
        raise
    except (RunError, Interrupted) as error:
        if ranks.first:
            raise
        raise SystemExit(128 + error.signal if isinstance(error, Interrupted) else 1) from None
    except RuntimeError as error:
        if not _of_connections(error):
            raise
        raise ranks.lost() from None
    finally:
        dist.destroy_process_group()


def _connected(place: Place, device: str, seconds: float) -> Ranks:
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
    alone = Ranks(place, (), store)
    return Ranks(place, tuple(alone.gathered(Member(socket.gethostname(), os.getpid()))), store)


def _wait_for_the_first(place: Place, seconds: float) -> None:
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


def _share_cores(place: Place) -> None:
    """Ranks of one machine divide its cores, unless OMP_NUM_THREADS has done so."""
    if "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, usable_cores() // place.local_size)
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)


def compute_device(device: str, place: Place) -> torch.device:
    """cpu, mps or cuda -> where this rank computes; of several GPUs, its own. Raises ConfigError."""
    return torch.device("cuda", cuda_index(place)) if device == "cuda" and place.size > 1 else torch.device(device)


def cuda_index(place: Place) -> int:
    """The GPU of a rank: the one that its scheduler lets it see, or the one with its number. Raises ConfigError."""
    count = torch.cuda.device_count()
    if count == 1:
        return 0
    if place.local_rank >= count:
        raise ConfigError(f"training.devices {place.local_size}: this machine has {count} GPUs; give --devices {count}")
    return place.local_rank


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
