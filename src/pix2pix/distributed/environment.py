"""Environment and settings -> which process of a training this is: torchrun's variables, SLURM's, or none."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pix2pix.config import Config
from pix2pix.errors import ConfigError
from pix2pix.system.hardware import choose_device

PORT = 29500  # of rank 0, where MASTER_PORT names none


@dataclass(frozen=True)
class RankInfo:
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


def find_rank_info(environment: Mapping[str, str]) -> RankInfo | None:
    """What torchrun, srun or our own launcher has told this process; None if none of them started it.

    Raises ConfigError for tasks that are spread unevenly.
    """
    named = {"RANK", "WORLD_SIZE", "LOCAL_RANK"}
    if named <= environment.keys():
        return RankInfo(
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


def _place_in_step(environment: Mapping[str, str]) -> RankInfo:
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", environment["SLURM_STEP_NUM_TASKS"])  # such as 4(x2)
    if not (even := re.fullmatch(r"(\d+)(\(x\d+\))?", tasks)):
        raise ConfigError(f"srun started {tasks} tasks on its nodes: give each the same number with --ntasks-per-node")
    nodes = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_NODELIST", "127.0.0.1"))
    return RankInfo(
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


def choose_processes(config: Config, environment: Mapping[str, str]) -> tuple[Config, RankInfo | None]:
    """Settings -> the same with `devices` and `nodes` settled, and this process's place; None if it has to start them.

    Raises ConfigError for settings that are not what torchrun or srun has started, or that this machine has not.
    """
    training, device, place = config.training, choose_device(config.training.device), find_rank_info(environment)
    gpus = torch.cuda.device_count() if device == "cuda" else 1
    if place is None:
        devices = gpus if training.devices == "auto" else training.devices
        nodes = 1 if training.nodes == "auto" else training.nodes
        place = RankInfo() if devices * nodes == 1 else None
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


def compute_device(device: str, place: RankInfo) -> torch.device:
    """cpu, mps or cuda -> where this rank computes; of several GPUs, its own. Raises ConfigError."""
    return torch.device("cuda", cuda_index(place)) if device == "cuda" and place.size > 1 else torch.device(device)


def cuda_index(place: RankInfo) -> int:
    """The GPU of a rank: the one that its scheduler lets it see, or the one with its number. Raises ConfigError."""
    count = torch.cuda.device_count()
    if count == 1:
        return 0
    if place.local_rank >= count:
        raise ConfigError(f"training.devices {place.local_size}: this machine has {count} GPUs; give --devices {count}")
    return place.local_rank
