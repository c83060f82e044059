"""Environment and settings -> which process of a training this is, as torchrun or SLURM's srun started it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pix2pix.config import Config
from pix2pix.errors import ConfigError
from pix2pix.system.hardware import choose_device

DEFAULT_PORT = 29500  # of rank 0, where MASTER_PORT names none


@dataclass(frozen=True)
class RankInfo:
    """The rank of a process and where it can meet the others."""

    rank: int = 0
    size: int = 1  # processes in all
    local_rank: int = 0  # among those of its machine
    local_size: int = 1
    address: str = "127.0.0.1"  # of rank 0's machine
    port: int = DEFAULT_PORT

    @property
    def nodes(self) -> int:
        """Machines."""
        return self.size // self.local_size


def find_rank_info(environment: Mapping[str, str]) -> RankInfo | None:
    """Read what torchrun, srun or our own launcher has set; None if none of them started this process.

    Raises ConfigError if srun started different numbers of tasks on its nodes.
    """
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= environment.keys():
        return RankInfo(
            rank=int(environment["RANK"]),
            size=int(environment["WORLD_SIZE"]),
            local_rank=int(environment["LOCAL_RANK"]),
            local_size=int(environment.get("LOCAL_WORLD_SIZE", environment["WORLD_SIZE"])),
            address=environment.get("MASTER_ADDR", "127.0.0.1"),
            port=int(environment.get("MASTER_PORT", DEFAULT_PORT)),
        )
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:  # set by srun; the script of sbatch has none
        return _slurm_rank_info(environment)
    return None


def _slurm_rank_info(environment: Mapping[str, str]) -> RankInfo:
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", environment["SLURM_STEP_NUM_TASKS"])  # such as 4(x2)
    if not (same_on_each := re.fullmatch(r"(\d+)(\(x\d+\))?", tasks)):
        raise ConfigError(f"srun started {tasks} tasks on its nodes: give each the same number with --ntasks-per-node")
    nodes = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_NODELIST", "127.0.0.1"))
    return RankInfo(
        rank=int(environment["SLURM_PROCID"]),
        size=int(environment["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environment["SLURM_LOCALID"]),
        local_size=int(same_on_each[1]),
        address=environment.get("MASTER_ADDR", first_host(nodes)),
        port=int(environment.get("MASTER_PORT", 15000 + int(environment.get("SLURM_JOB_ID", 0)) % 10000)),
    )


def first_host(nodes: str) -> str:
    """Return the first of SLURM's list of nodes: node[01-04,7],gpu3 -> node01."""
    return re.sub(r"\[([^],-]+)[^]]*\]", r"\1", nodes).split(",")[0]


def choose_processes(config: Config, environment: Mapping[str, str]) -> tuple[Config, RankInfo | None]:
    """Settle `devices` and `nodes`, and find this process's rank; None if the processes have yet to be started.

    Raises ConfigError for settings that contradict what torchrun or srun has started, or for devices that this machine
    does not have.
    """
    training, device, info = config.training, choose_device(config.training.device), find_rank_info(environment)
    gpus = torch.cuda.device_count() if device == "cuda" else 1
    if info is None:
        devices = gpus if training.devices == "auto" else training.devices
        nodes = 1 if training.nodes == "auto" else training.nodes
        info = RankInfo() if devices * nodes == 1 else None
    else:
        devices, nodes = info.local_size, info.nodes
        for field, asked, started in (("devices", training.devices, devices), ("nodes", training.nodes, nodes)):
            if asked not in ("auto", started):
                if info.rank:
                    raise SystemExit(2)  # rank 0 says it
                raise ConfigError(
                    f"training.{field} {asked}: this training was started with {started}; leave --{field} out"
                )
    if device == "mps" and devices * nodes > 1:
        raise ConfigError(f"training.devices {devices}: mps is one device; leave --devices out")
    if device == "cuda" and info is None and devices > gpus:
        raise ConfigError(f"training.devices {devices}: this machine has {gpus} GPUs; give --devices {gpus}")
    settled = training.model_copy(update={"devices": devices, "nodes": nodes})
    return config.model_copy(update={"training": settled}), info


def compute_device(device: str, info: RankInfo) -> torch.device:
    """Return where a rank computes: of several GPUs the one that its scheduler lets it see, or the one with its number.

    Raises ConfigError if there are fewer GPUs than ranks.
    """
    if device != "cuda" or info.size == 1:
        return torch.device(device)
    count = torch.cuda.device_count()
    if count > 1 and info.local_rank >= count:
        raise ConfigError(f"training.devices {info.local_size}: this machine has {count} GPUs; give --devices {count}")
    return torch.device("cuda", 0 if count == 1 else info.local_rank)
