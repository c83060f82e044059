"""Trainings of several processes over gloo: the same curve as one process, and a clear end whatever happens to one."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pix2pix.cli import main
from pix2pix.config import Config
from pix2pix.config.io import make_config
from pix2pix.distributed.environment import RankInfo, choose_processes, find_rank_info
from pix2pix.distributed.process_group import interface_towards
from pix2pix.errors import ConfigError
from pix2pix.networks import blocks
from pix2pix.reports.curves import read_metrics
from pix2pix.synthetic.facades import make_facades
from pix2pix.training.launch import _places

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")

TINY = [
    "--direction", "BtoA", "--image-size", "32", "--base-channels", "4", "--discriminator.patch-size", "16",
    "--device", "cpu", "--samples", "2", "--ema", "0.9", "--norm-statistics", "running",
]  # fmt: skip


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pairs: in batches of four, the last batch is one pair, which one of two processes must go without."""
    folder = tmp_path_factory.mktemp("data") / "nine"
    make_facades(folder, train=9, val=5, test=1, size=40)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**own: object) -> dict[str, str]:
    """This process's environment without what a launcher may have left in it, one thread a process."""
    foreign = ("SLURM_", "TORCHELASTIC_", "MASTER_", "RANK", "LOCAL_", "WORLD_SIZE", "NODE_RANK")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in own.items()}


# ---- the same training -----------------------------------------------------------------------------------------

SPY = """
import sys, torch
from pix2pix.cli import main
from pix2pix.training import train
from pix2pix.training import trainer as loop
output, updates, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]

class Trainer(loop.Trainer):
    def fit(self, stop):
        calls = iter(range(1, 10**6))
        asked_of_the_last = lambda: 2 if self.group.rank and next(calls) >= updates else None
        try:
            return super().fit(asked_of_the_last)
        finally:
            state = {name: part.state_dict() for name, part in self._stateful().items()}
            torch.save(state, f"{output}.{self.group.rank}")

train.Trainer = Trainer
main(words)
"""
"""The command line, which Ctrl-C reaches in the last rank only, after some updates; every rank leaves its state."""


@pytest.fixture(scope="module")
def one_process(nine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs of 4, 4 and 1 pairs; no dropout, since its draws are each rank's own."""
    run = tmp_path_factory.mktemp("one") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        main(["train", str(nine), "--run", str(run), *TINY, *SAME, "--batch-size", "4"])
    return run


SAME = ["--precision", "32", "--epochs", "3", "--generator.dropout", "0", "--discriminator-epochs", "1"]


def curve(run: Path) -> dict[tuple[int, str], dict[str, float]]:
    return {(row.step, row.split): dict(row.values) for row in read_metrics(run / "metrics.csv")}


def test_two_processes_are_one_with_twice_the_batch(nine: Path, one_process: Path, tmp_path: Path) -> None:
    """Cut by Ctrl-C in the second epoch, and finished by one process: the same curve to 1e-5."""
    run, port = tmp_path / "run", free_port()
    words = ["train", str(nine), "--run", str(run), *TINY, *SAME, "--batch-size", "2", "--sync-norm"]
    step = {"SLURM_STEP_NUM_TASKS": 2, "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_STEP_NODELIST": "localhost"}
    command = [sys.executable, "-c", SPY, str(tmp_path / "state"), "5", *words]
    ranks = [
        subprocess.Popen(
            command,
            env=clean_environment(**step, MASTER_PORT=port, SLURM_PROCID=rank, SLURM_LOCALID=rank),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    (_, err), silent = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [130, 130], err + "".join(silent)
    assert "batches of 2 x 2 processes = 4" in err
    assert f"interrupted and saved in {run}" in err
    assert silent == ("", "")

    first, second = (torch.load(tmp_path / f"state.{rank}", weights_only=True) for rank in (0, 1))
    assert first.keys() >= {"generator", "discriminator", "average", "generator_optimizer"}
    same_tensors(first, second)

    main([*words[:-3], "--sync-norm", "--batch-size", "4"])
    found, expected = curve(run), curve(one_process)
    assert found.keys() == expected.keys() == {(s, split) for s in (3, 6, 9) for split in ("train", "val")}
    for row, values in expected.items():
        assert found[row] == pytest.approx(values, rel=1e-5)


def same_tensors(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            same_tensors(first[name], second[name])
    elif isinstance(first, Tensor):
        assert torch.equal(first, second)


@pytest.mark.parametrize("order", ["two-pass", "one-pass"])
@pytest.mark.parametrize("norm", ["--sync-norm", "--no-sync-norm"])
def test_two_processes_train_by_the_defaults(nine: Path, tmp_path: Path, order: str, norm: str) -> None:
    """In bf16 where the machine has it; the last batch of an epoch has no pair for one process."""
    run = tmp_path / "run"
    words = ["--devices", "2", "--batch-size", "2", "--epochs", "3", "--discriminator-epochs", "1", norm]
    main(["train", str(nine), "--run", str(run), *TINY, *words, "--update-order", order])
    found = curve(run)
    assert found.keys() == {(step, split) for step in (3, 6, 9) for split in ("train", "val")}
    assert found[9, "val"]["g_l1"] != found[3, "val"]["g_l1"], "the generator learns after the warm-up"
    assert (run / "model" / "generator.safetensors").exists()


# ---- batch norm over all processes -----------------------------------------------------------------------------


def side_by_side(parts: int, work: Callable[[int], Any], patch: pytest.MonkeyPatch) -> list[Any]:
    """Run `work` in as many threads, which exchange rows as processes would."""
    meeting, rows, results = threading.Barrier(parts), {}, [None] * parts
    place = threading.local()

    def gathered(row: Tensor) -> Tensor:
        rows[place.rank] = row
        meeting.wait(timeout=30)
        together = torch.stack([rows[rank] for rank in range(parts)])
        meeting.wait(timeout=30)
        return together

    def run(rank: int) -> None:
        place.rank = rank
        results[rank] = work(rank)

    patch.setattr(blocks, "_gathered", gathered)
    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(lambda sizes: sum(sizes) > 1), st.integers(0, 99))
def test_synchronised_norm_is_the_norm_of_the_whole_batch(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sum(sizes), 5, 3, 4, generator=generator) * 2 + 3
    dy = torch.randn(x.shape, generator=generator)

    def through(layer: nn.Module, x: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = x.clone().requires_grad_()
        y = layer(x)
        y.backward(dy)
        return y.detach(), x.grad, layer.weight.grad, layer.bias.grad

    def layer(kind: type[nn.BatchNorm2d]) -> nn.BatchNorm2d:
        made = kind(5)
        with torch.no_grad():
            made.weight.copy_(torch.linspace(0.5, 2, 5))
            made.bias.copy_(torch.linspace(-1, 1, 5))
        return made

    whole = layer(nn.BatchNorm2d)
    expected = through(whole, x, dy)
    layers = [layer(blocks.BatchNorm) for _ in sizes]
    for one in layers:
        blocks.synchronise_norm(one)
    xs, dys = x.split(sizes), dy.split(sizes)
    with pytest.MonkeyPatch.context() as patch:
        found = side_by_side(len(sizes), lambda rank: through(layers[rank], xs[rank], dys[rank]), patch)
    y, dx = (torch.cat([result[n] for result in found]) for n in (0, 1))
    d_weight, d_bias = (sum(result[n] for result in found) for n in (2, 3))
    for ours, theirs in zip((y, dx, d_weight, d_bias), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for one in layers:
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(one.state_dict()[name], value, rtol=1e-5, atol=1e-5)


# ---- processes that we start -----------------------------------------------------------------------------------


class Launched(NamedTuple):
    process: subprocess.Popen[str]
    run: Path

    def ended(self) -> tuple[int, str]:
        """Exit code and what was said after the first epoch."""
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, "\n".join(line for line in said.splitlines() if not line.startswith("epoch "))


@pytest.fixture
def launched(nine: Path, tmp_path: Path) -> Iterator[Callable[[], Launched]]:
    """Starts an endless training by two processes and waits for a whole epoch; the same run each time."""
    command = [sys.executable, "-m", "pix2pix", "train", str(nine), "--run", str(tmp_path / "run"), *TINY]
    command += ["--epochs", "100000", "--devices", "2", "--batch-size", "2"]
    started: list[subprocess.Popen[str]] = []

    def start() -> Launched:
        process = subprocess.Popen(
            command, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch "):
                return Launched(process, tmp_path / "run")
        raise AssertionError(f"ended with {process.wait()} before the first epoch had")

    yield start
    for process in started:
        with process:  # closes its streams
            process.kill()


def children(parent: int) -> list[int]:
    """Processes of a process, in the order in which they were started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:  # gone meanwhile
                continue
            if int(words[1]) == parent and words[0] != "Z":
                found.append(int(folder.name))
    return sorted(found)


def gone(processes: list[int], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while any(Path(f"/proc/{process}").exists() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(Path(f"/proc/{process}").exists() for process in processes)


@LINUX
def test_a_killed_rank_is_named_and_a_stopped_training_goes_on(launched: Callable[[], Launched]) -> None:
    training = launched()
    ranks = children(training.process.pid)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    code, said = training.ended()
    assert code == 1
    assert said.startswith(f"pix2pix: rank 1 on {socket.gethostname()} was ended by SIGKILL")
    assert len(said.splitlines()) == 1, "one sentence, no traceback"
    assert gone(ranks)
    saved = torch.load(training.run / "checkpoints" / "state.pt", weights_only=True)["progress"]

    training = launched()  # the same command goes on
    ranks = children(training.process.pid)
    training.process.send_signal(signal.SIGTERM)
    assert training.ended() == (
        143,
        f"pix2pix: interrupted and saved in {training.run}; the same command goes on from there",
    )
    assert gone(ranks)
    later = torch.load(training.run / "checkpoints" / "state.pt", weights_only=True)["progress"]
    assert later["step"] > saved["step"]
    assert later["images_seen"] == 9 * later["epoch"] + min(9, 4 * later["batch"])


@LINUX
def test_ranks_without_a_launcher_save_and_end(launched: Callable[[], Launched]) -> None:
    training = launched()
    ranks = children(training.process.pid)
    training.process.kill()
    training.process.wait()
    assert gone(ranks), "orphans"
    assert not list(training.run.rglob("*.partial"))


def test_errors_are_those_of_one_process(nine: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Raised in a rank, told once by the launcher, with the same exit code."""
    with pytest.raises(SystemExit) as end:
        main(["train", str(tmp_path / "nothing"), "--run", str(tmp_path / "run"), "--devices", "2", "--device", "cpu"])
    out, err = capfd.readouterr()
    assert (end.value.code, out) == (1, "")
    assert err.startswith(f"pix2pix: {tmp_path / 'nothing'}: no such folder")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


# ---- where a process stands ------------------------------------------------------------------------------------

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
    ("environment", "place"),
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
def test_a_place_is_read_from_the_environment(environment: dict[str, str], place: RankInfo | None) -> None:
    assert find_rank_info(environment) == place
    if place is not None:
        assert find_rank_info(place.environment()) == place


def settings(**training: object) -> Config:
    return make_config({"training": {"device": "cpu", **training}})


def test_settings_agree_with_what_was_started() -> None:
    settled, place = choose_processes(settings(), TORCHRUN)
    assert (settled.training.devices, settled.training.nodes, settled.training.effective_batch) == (4, 2, 8)
    assert place is not None
    assert choose_processes(settings(), {})[1] == RankInfo()
    settled, place = choose_processes(settings(devices=3, batch_size=2), {})
    assert (place, settled.training.effective_batch) == (None, 6)
    with pytest.raises(ConfigError, match=r"training.devices 2: this training was started with 4"):
        choose_processes(settings(devices=2), TORCHRUN | {"RANK": "0"})
    with pytest.raises(ConfigError, match="--ntasks-per-node"):
        find_rank_info(SRUN | {"SLURM_STEP_TASKS_PER_NODE": "5,3"})


def test_places_on_several_machines() -> None:
    training = settings(devices=2, nodes=3).training
    found = _places(training, {"MASTER_ADDR": "10.0.0.1", "NODE_RANK": "1"})
    assert found == [RankInfo(2, 6, 0, 2, "10.0.0.1", 29500), RankInfo(3, 6, 1, 2, "10.0.0.1", 29500)]
    for wrong in ({}, {"MASTER_ADDR": "a"}, {"MASTER_ADDR": "a", "NODE_RANK": "3"}):
        with pytest.raises(ConfigError, match=r"training.nodes 3: on each machine set MASTER_ADDR"):
            _places(training, wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_the_interface_towards_an_address() -> None:
    assert interface_towards("127.0.0.1") == "lo"
    assert interface_towards("no.such.host.invalid") is None
