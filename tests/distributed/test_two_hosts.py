"""A training on two hosts: network namespaces with a cable between them, which is then cut."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pix2pix.synthetic.facades import make_facades

ADDRESSES = {"first": "10.77.0.1", "second": "10.77.0.2"}
TRAIN = [
    "--direction", "BtoA", "--image-size", "32", "--base-channels", "4", "--discriminator.patch-size", "16",
    "--device", "cpu", "--samples", "0", "--batch-size", "2", "--epochs", "100000",
    "--nodes", "2", "--devices", "1", "--rank-timeout", "10",
]  # fmt: skip


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[dict[str, str]]:
    """Two namespaces by the names of their hosts, which have an address each and no other way to talk."""
    if sys.platform != "linux" or os.geteuid() or not (shutil.which("ip") and shutil.which("unshare")):
        pytest.skip("needs root on Linux, ip and unshare")
    names = {host: f"pix2pix-{host}-{os.getpid()}" for host in ADDRESSES}
    try:
        try:
            for name in names.values():
                ip("netns", "add", name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"cannot add network namespaces: {error.stderr.decode().strip()}")
        first, second = names.values()
        ip("link", "add", "cable0", "netns", first, "type", "veth", "peer", "name", "cable0", "netns", second)
        for host, address in ADDRESSES.items():
            ip("-n", names[host], "address", "add", f"{address}/24", "dev", "cable0")
            for device in ("lo", "cable0"):
                ip("-n", names[host], "link", "set", device, "up")
        yield names
    finally:
        for name in names.values():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def test_two_hosts_train_and_each_misses_the_other(hosts: dict[str, str], tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    make_facades(data, train=4, val=2, test=1, size=40)
    command = [sys.executable, "-m", "pix2pix", "train", str(data), "--run", str(run), *TRAIN]
    processes = []
    for node, (host, namespace) in enumerate(hosts.items()):
        own = f'hostname {host}; exec env MASTER_ADDR={ADDRESSES["first"]} NODE_RANK={node} OMP_NUM_THREADS=1 "$@"'
        words = ["ip", "netns", "exec", namespace, "unshare", "--uts", "sh", "-c", own, "sh", *command]
        processes.append(subprocess.Popen(words, stderr=subprocess.PIPE, text=True))
    try:
        assert processes[0].stderr is not None
        said = []
        for line in processes[0].stderr:
            said.append(line)
            if line.startswith("epoch "):
                break
        assert any("batches of 2 x 2 processes = 4" in line for line in said), "".join(said)
        ip("-n", hosts["first"], "link", "set", "cable0", "down")
        ends = [process.communicate(timeout=120)[1] for process in processes]
        assert [process.returncode for process in processes] == [1, 1], ends
        for end, rank, host in zip(ends, (1, 0), ("second", "first"), strict=True):
            expected = f"pix2pix: rank {rank} on {host} has ended or does not answer, so the training cannot go on"
            assert end.splitlines()[-1].startswith(expected), end
        assert "Traceback" not in "".join(ends)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
