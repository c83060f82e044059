"""Which process of a training this is: torchrun's variables, SLURM's, and settings that must agree with them."""

import sys

import pytest

from pix2pix.config import Config
from pix2pix.config.io import make_config
from pix2pix.distributed.environment import RankInfo, choose_processes, find_rank_info, first_host
from pix2pix.distributed.launcher import rendezvous
from pix2pix.distributed.process_group import find_interface
from pix2pix.errors import ConfigError

TORCHRUN = {
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node0", "MASTER_PORT": "1234",
}  # fmt: skip
SRUN = {
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "123456", "SLURM_NTASKS": "8",
}  # fmt: skip
SBATCH = {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "123456"}


@pytest.mark.parametrize(
    ("environment", "info"),
    [
        ({}, None),
        (TORCHRUN, RankInfo(5, 8, 1, 4, "node0", 1234)),
        (SRUN, RankInfo(5, 8, 1, 4, "gpu07", 18456)),
        (SRUN | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "99"}, RankInfo(5, 8, 1, 4, "10.0.0.1", 99)),
        (SRUN | TORCHRUN, RankInfo(5, 8, 1, 4, "node0", 1234)),
        (SBATCH, None),
    ],
    ids=["alone", "torchrun", "srun", "srun with an address", "torchrun under srun", "sbatch without srun"],
)
def test_a_rank_is_read_from_the_environment(environment: dict[str, str], info: RankInfo | None) -> None:
    assert find_rank_info(environment) == info


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node7", "node7"),
        ("node[01-04,7]", "node01"),
        ("node[3,5-6],gpu1", "node3"),
        ("gpu1,node[3,5-6]", "gpu1"),
        ("rack[2-3]-node[08-10]", "rack2-node08"),
    ],
)
def test_the_first_host_of_a_node_list(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def settings(**training: object) -> Config:
    return make_config({"training": {"device": "cpu", **training}})


def test_settings_agree_with_what_was_started() -> None:
    settled, info = choose_processes(settings(), TORCHRUN)
    assert (settled.training.devices, settled.training.nodes, settled.training.effective_batch) == (4, 2, 8)
    assert info is not None
    assert choose_processes(settings(), {})[1] == RankInfo()
    settled, info = choose_processes(settings(devices=3, batch_size=2), {})
    assert (info, settled.training.effective_batch) == (None, 6)
    with pytest.raises(ConfigError, match=r"training.devices 2: this training was started with 4"):
        choose_processes(settings(devices=2), TORCHRUN | {"RANK": "0"})
    with pytest.raises(ConfigError, match="--ntasks-per-node"):
        find_rank_info(SRUN | {"SLURM_STEP_TASKS_PER_NODE": "5,3"})


def test_several_machines_are_named() -> None:
    found = rendezvous(3, 60, {"MASTER_ADDR": "10.0.0.1", "NODE_RANK": "1"})
    assert found == {
        "rdzv_backend": "static",
        "rdzv_endpoint": "10.0.0.1:29500",
        "rdzv_configs": {"rank": 1, "timeout": 60},
    }
    for wrong in ({}, {"MASTER_ADDR": "a"}, {"MASTER_ADDR": "a", "NODE_RANK": "3"}):
        with pytest.raises(ConfigError, match=r"training.nodes 3: on each machine set MASTER_ADDR"):
            rendezvous(3, 60, wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_the_interface_towards_an_address() -> None:
    assert find_interface("127.0.0.1") == "lo"
    assert find_interface("no.such.host.invalid") is None
