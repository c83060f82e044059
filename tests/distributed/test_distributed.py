"""Trainings of several processes over gloo: the same curve as one process, and a clear end whatever happens to one."""

import functools
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
import yaml
from torch import Tensor

from pix2pix.cli import main
from pix2pix.distributed.launcher import launch
from pix2pix.reports.curves import read_metrics
from pix2pix.synthetic.facades import make_facades
from pix2pix.system.hardware import choose_precision, usable_cores
from pix2pix.system.threads import describe_threads
from pix2pix.training.run_writer import RunWriter
from pix2pix.training.train import train

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
from pix2pix.training import setup
from pix2pix.training.checkpoint import stateful_parts
output, updates, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]

class Trainer(setup.Trainer):
    def fit(self, stop, **more):
        calls = iter(range(1, 10**6))
        last = self.group.rank == self.group.size - 1
        try:
            return super().fit(lambda: 2 if last and next(calls) >= updates else None, **more)
        finally:
            state = {name: part.state_dict() for name, part in stateful_parts(self.state).items()}
            torch.save(state, f"{output}.{self.group.rank}")

setup.Trainer = Trainer
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
    """Begun by one process, gone on by two under SLURM, finished by one: the same curve to 1e-5."""
    run, port = tmp_path / "run", free_port()
    words = ["train", str(nine), "--run", str(run), *TINY, *SAME, "--sync-norm"]
    one, two = [*words, "--batch-size", "4"], [*words, "--batch-size", "2"]
    command = [sys.executable, "-c", SPY, str(tmp_path / "state")]
    first = subprocess.run([*command, "2", *one], env=clean_environment(), capture_output=True, text=True)
    assert first.returncode == 130, first.stderr

    step = {"SLURM_STEP_NUM_TASKS": 2, "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_STEP_NODELIST": "localhost"}
    ranks = [
        subprocess.Popen(
            [*command, "4", *two],
            env=clean_environment(**step, MASTER_PORT=port, SLURM_PROCID=rank, SLURM_LOCALID=rank),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    (_, err), silent = [rank.communicate(timeout=300) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [130, 130], err + "".join(silent)
    assert "batches of 2 x 2 processes = 4" in err
    assert f"interrupted and saved in {run}" in err
    assert silent == ("", "")
    states = [torch.load(tmp_path / f"state.{rank}", weights_only=True) for rank in (0, 1)]
    assert states[0].keys() >= {"generator", "discriminator", "average", "generator_optimizer"}
    same_tensors(*states)

    main(one)
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


FACTORS: dict[str, tuple[Any, Any]] = {
    "precision": ("32", "bf16"),
    "update_order": ("one-pass", "two-pass"),
    "sync_norm": (False, True),
    "ema": (0.0, 0.9),
    "discriminator_epochs": (0, 1),
    "base_channels": (4, 32),  # 32 use every kind of fast convolution
    "discriminator": ({}, {"spectral_norm": True, "scales": 2, "augment": "adaptive"}),
    "feature_matching_weight": (0.0, 10.0),
}
SHARED = {"epochs": 2, "batch_size": 2, "device": "cpu", "samples": 0, "norm_statistics": "running"}


def covering_table() -> list[dict[str, Any]]:
    """Six rows of settings in which any two factors take all four pairs of values.

    A factor has its second value in three of the rows 1 to 5. Two such sets differ, and have a row in common.
    """
    chosen = dict(zip(FACTORS, itertools.combinations(range(1, 6), 3), strict=False))
    return [{name: values[row in chosen[name]] for name, values in FACTORS.items()} for row in range(6)]


def train_row(data: Path, run: Path, row: dict[str, Any], **more: Any) -> None:
    row = dict(row)
    width = row.pop("base_channels")
    networks = {
        "generator": {"base_channels": width, "dropout": 0.0},
        "discriminator": {"base_channels": width, "patch_size": 16, **row.pop("discriminator")},
        "loss": {"feature_matching_weight": row.pop("feature_matching_weight")},
    }
    with patch.object(RunWriter, "write_report", lambda writer: writer.folder):  # drawing takes longer than training
        train(data, run=run, image_size=32, training=SHARED | row | more, **networks)


def train_all(data: Path, runs: Path) -> None:
    """Train once for each row, one after the other in this rank."""
    for number, row in enumerate(covering_table()):
        train_row(data, runs / str(number), row)


def test_two_processes_train_with_every_pair_of_settings(
    nine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The last batch of each epoch is one pair, so one rank has none. With a norm over both they equal one process."""
    rows = covering_table()
    for one, other in itertools.combinations(FACTORS, 2):
        assert len({(str(row[one]), str(row[other])) for row in rows}) == 4
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    launch(functools.partial(train_all, nine, tmp_path), 2, timeout=300, environment={})
    said = capfd.readouterr().err
    assert not any(word in said for word in ("Error", "Traceback", "skipped"))
    for number, row in enumerate(rows):
        found = curve(tmp_path / str(number))
        assert found.keys() == {(step, split) for step in (3, 6) for split in ("train", "val")}
        saved = torch.load(tmp_path / str(number) / "checkpoints" / "state.pt", weights_only=True)
        assert all(tensor.isfinite().all() for tensor in saved["generator"].values())
        if row["sync_norm"]:
            train_row(nine, tmp_path / f"{number}-alone", row, batch_size=4)
            tolerance = 1e-4 if row["precision"] == "32" else 0.03
            for key, values in curve(tmp_path / f"{number}-alone").items():
                for name in ("g_l1", "d_real", "d_fake"):
                    assert found[key][name] == pytest.approx(values[name], rel=tolerance), (row, key, name)


def test_two_processes_train_by_the_defaults_of_the_command(nine: Path, tmp_path: Path) -> None:
    """Nothing but sizes is said: precision, threads and the rest are what they are on this machine."""
    words = ["--image-size", "32", "--base-channels", "4", "--discriminator.patch-size", "16", "--epochs", "1"]
    environment = {name: value for name, value in clean_environment().items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-m", "pix2pix", "train", str(nine), "--devices", "2", *words],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    threads = describe_threads(max(1, usable_cores() // 2), 2)
    assert f"machine      cpu, {threads}, {choose_precision('auto', 'cpu')} arithmetic" in done.stderr
    settings = yaml.safe_load((tmp_path / "runs/nine/config.yaml").read_text())
    assert (settings["training"]["precision"], settings["training"]["devices"]) == ("auto", 2)
    assert done.stderr.count("kept epoch 1 of 1") == 1
    assert "Traceback" not in done.stderr


def test_a_bad_loss_of_one_process_makes_all_skip_the_step(
    nine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    launch(functools.partial(train_with_bad_losses, nine, tmp_path / "run"), 2, timeout=300, environment={})
    said = capfd.readouterr().err
    assert said.count(" is skipped: g_l1 is not finite for ") == 2
    first, *_ = (line for line in said.splitlines() if line.startswith("step 2 of epoch 1 is skipped: "))
    assert first.count(str(nine)) == 4, "the files of both processes are named"
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row.values["skipped_steps"] for row in rows if row.split == "train"] == [1, 1]
    assert [row.step for row in rows if row.split == "train"] == [3, 6]


def train_with_bad_losses(data: Path, run: Path) -> None:
    """Train in this rank; the losses of the second rank are not finite in two steps."""
    from pix2pix.training import step, trainer

    compute, take = step.reconstruction_terms, trainer.Trainer._step
    active = False

    def terms(*args: Tensor) -> dict[str, Tensor]:
        found = compute(*args)
        return {name: term * float("nan") for name, term in found.items()} if active else found

    def take_step(self: Any, *args: Any, **options: Any) -> Any:
        nonlocal active
        active = self.group.rank == 1 and self.progress.step in (1, 4)
        return take(self, *args, **options)

    step.reconstruction_terms = terms
    trainer.Trainer._step = take_step  # type: ignore[method-assign]
    networks = {"generator": {"base_channels": 4}, "discriminator": {"base_channels": 4, "patch_size": 16}}
    training = {"epochs": 2, "batch_size": 2, "device": "cpu", "samples": 0}
    train(data, run=run, image_size=32, training=training, **networks)


def test_torchrun_starts_the_ranks(nine: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    words = ["pix2pix", "train", str(nine), "--run", str(run), *TINY, "--epochs", "1", "--batch-size", "2"]
    done = subprocess.run([*torchrun, *words], env=clean_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(run)], "rank 0 alone prints"
    assert done.stderr.count("kept epoch 1 of 1") == 1
    assert curve(run).keys() == {(3, "train"), (3, "val")}


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
        f"pix2pix: interrupted and saved in {training.run}; run the same command again to resume",
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
