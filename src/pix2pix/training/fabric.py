"""Ranks in, Lightning Fabric out: the engine of a training in several processes."""

import logging

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from pix2pix.config import Training
from pix2pix.distributed.process_group import Ranks, cuda_index


def make_fabric(training: Training, ranks: Ranks) -> Fabric:
    """Each rank has a device of its own, and gradients are averaged while they are computed."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the plan has said which arithmetic is used
    device = training.device
    own = torch.device("cuda", cuda_index(ranks.place)) if device == "cuda" else torch.device(device)
    # D runs several times in an update, so its statistics must not be overwritten between; see _own_counts.
    strategy = DDPStrategy(
        parallel_devices=[own],
        cluster_environment=OneDeviceEach(ranks),
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
    )
    precision = "bf16-mixed" if training.precision == "bf16" else "32-true"
    fabric = Fabric(devices=1, num_nodes=ranks.size, strategy=strategy, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


class OneDeviceEach(ClusterEnvironment):
    """Ranks as Fabric wants to hear of them: they exist already, and each drives one device."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self._ranks = ranks

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self._ranks.place.address

    @property
    def main_port(self) -> int:
        return self._ranks.place.port

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return self._ranks.size

    def set_world_size(self, size: int) -> None:
        assert size == self._ranks.size

    def global_rank(self) -> int:
        return self._ranks.rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self._ranks.rank

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return self._ranks.rank
