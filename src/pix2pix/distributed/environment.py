"""Find the rank of this process from the environment that torchrun or srun has set, and from the settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pix2pix.config import Config
from pix2pix.errors import ConfigError
from pix2pix.system.hardware import choose_device

DEFAULT_PORT = 29500  # of rank 0, unless MASTER_PORT is set


@dataclass(frozen=True)
class RankInfo:
    """The rank of a process, and the address at which the processes connect."""

    rank: int = 0
    size: int = 1  # number of processes
    local_rank: int = 0  # among the processes of this machine
    local_size: int = 1
    address: str = "127.0.0.1"  # of rank 0's machine
    port: int = DEFAULT_PORT

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.size // self.local_size


def find_rank_info(environment: Mapping[str, str]) -> RankInfo | None:
    """Read what torchrun, srun or our own launcher has set; None if this process was started in another way.

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
    """Resolve `devices` and `nodes`, and find the rank of this process; None if the processes must still be started.

    Raises ConfigError for settings that contradict torchrun or srun, and for devices that this machine does not have.
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
                    raise SystemExit(2)  # rank 0 prints it
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
    """Return the device of a rank: the only GPU that it sees, or the GPU with its local rank.

    Raises ConfigError if there are fewer GPUs than ranks.
    """
    if device != "cuda" or info.size == 1:
        return torch.device(device)
    count = torch.cuda.device_count()
    if count > 1 and info.local_rank >= count:
        raise ConfigError(f"training.devices {info.local_size}: this machine has {count} GPUs; give --devices {count}")
    return torch.device("cuda", 0 if count == 1 else info.local_rank)
