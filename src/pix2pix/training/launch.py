"""A training asked for on several devices in; one process for each of them out, and what became of them back.

The launcher is no rank. It starts them, hands Ctrl-C and SIGTERM on to them, waits, and raises here what a rank raised
there, so that to its caller a training on several devices is like any other. Ranks whose launcher is killed save and
end by themselves.
"""

import atexit
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pix2pix.config import Config, Training
from pix2pix.config.io import make_config
from pix2pix.distributed.environment import PORT, RankInfo
from pix2pix.distributed.process_group import GO_ON, LAUNCHER, LostRankError, signal_name
from pix2pix.errors import ConfigError, DataError, Interrupted, ModelError, RunError
from pix2pix.training.run_folder import Run

GRACE = 30.0  # seconds that the others have for saving and leaving, once one has ended
ASKED, DONE = "asked.json", "done.json"
KINDS = (
    ConfigError,
    DataError,
    ModelError,
    LostRankError,
    RunError,
    Interrupted,
    OSError,
    MemoryError,
    KeyboardInterrupt,
)


def launch(config: Config, run: Path | None, *, overwrite: bool) -> Run:
    """Train by `training.devices` processes on this machine, of `training.nodes`.

    Raises what the ranks raise, and RunError naming a rank that was killed.
    """
    places = _places(config.training, os.environ)
    with tempfile.TemporaryDirectory(prefix="pix2pix-") as name:
        folder = Path(name)
        asked = {"config": config.model_dump(mode="json"), "run": run and str(run), "overwrite": overwrite}
        (folder / ASKED).write_text(json.dumps(asked), encoding="utf-8")
        ranks = [_started(place, folder) for place in places]
        with _handed_on(ranks) as signals:
            late = _wait(ranks)
        codes = {place.rank: rank.wait() for place, rank in zip(places, ranks, strict=True)}
        _raise_first(folder, codes, late={places[n].rank for n in late}, signals=signals)
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
        return Run(Path(done["run"]), done["metrics"])


def _places(training: Training, environment: Mapping[str, str]) -> list[RankInfo]:
    """The ranks of this machine. Raises ConfigError where other machines are meant and not named."""
    count, nodes = training.devices, training.nodes
    assert count != "auto"
    assert nodes != "auto"
    if nodes == 1:
        return [RankInfo(n, count, n, count, "127.0.0.1", port) for port in [_free_port()] for n in range(count)]
    address, port, node = (environment.get(name) for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"))
    port = port or str(PORT)
    if not address or not node or not node.isdecimal() or int(node) >= nodes or not port.isdecimal():
        raise ConfigError(
            f"training.nodes {nodes}: on each machine set MASTER_ADDR, the address of the first, and NODE_RANK, from 0 "
            f"to {nodes - 1} (here {address or 'unset'} and {node or 'unset'}); or start with torchrun or srun"
        )
    return [RankInfo(int(node) * count + n, nodes * count, n, count, address, int(port)) for n in range(count)]


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _started(place: RankInfo, folder: Path) -> subprocess.Popen[bytes]:
    """In a session of its own: a terminal's Ctrl-C must reach a rank once, through the launcher."""
    own = {LAUNCHER: str(os.getpid()), "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR")}
    return subprocess.Popen(
        [sys.executable, "-m", "pix2pix.training.launch", str(folder)],
        env=os.environ | place.environment() | own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


@contextmanager
def _handed_on(ranks: Sequence[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Within the block, Ctrl-C and SIGTERM go to every rank; a second one ends all at once."""
    seen: list[int] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        seen.append(number)
        for rank in ranks:
            if rank.poll() is None:
                rank.send_signal(number if len(seen) == 1 else signal.SIGKILL)

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        yield seen
    finally:
        for rank in ranks:  # whatever has happened here, none stays behind
            if rank.poll() is None:
                rank.kill()
                rank.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(ranks: Sequence[subprocess.Popen[bytes]]) -> set[int]:
    """Until all have ended. Once one has, and not well, the others have GRACE seconds; returns who was late."""
    deadline = math.inf
    while running := {n for n, rank in enumerate(ranks) if rank.poll() is None}:
        if any(rank.returncode for rank in ranks):
            deadline = min(deadline, time.monotonic() + GRACE)
        if time.monotonic() > deadline:
            for n in running:
                ranks[n].kill()
            return running
        time.sleep(0.05)
    return set()


def _raise_first(folder: Path, codes: dict[int, int], *, late: set[int], signals: list[int]) -> None:
    """What the caller must hear, if all did not end well: a rank's own words before its neighbours' guesses."""
    if not any(codes.values()):
        return
    said = [error for rank in codes if (error := _report(folder, rank)) is not None]
    own = [error for error in said if not isinstance(error, LostRankError)]
    if signals and not own:  # before there was anything to save, or for the second time
        raise KeyboardInterrupt if signals[0] == signal.SIGINT else SystemExit(128 + signals[0])
    for error in own:
        raise error
    for rank, code in codes.items():
        if code < 0 and rank not in late:
            hint = " (is the machine out of memory?)" if code == -signal.SIGKILL else ""
            raise RunError(
                f"rank {rank} on {socket.gethostname()} was ended by {signal_name(-code)}{hint}, so the training "
                f"cannot go on; {GO_ON}"
            )
    for error in said:
        raise error
    rank, code = next((rank, code) for rank, code in codes.items() if code)
    raise RunError(f"rank {rank} on {socket.gethostname()} ended with exit code {code}; {GO_ON}")


# ---- in the rank -------------------------------------------------------------------------------------------------


def main(folder: Path) -> None:
    """Train as was asked for; leave in the folder what the launcher is to return or raise."""
    from pix2pix.training.train import train_with

    asked = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    rank = os.environ["RANK"]
    try:
        run = train_with(
            make_config(asked["config"]), asked["run"] and Path(asked["run"]), overwrite=asked["overwrite"]
        )
    except (Exception, KeyboardInterrupt) as error:
        kind = next((kind for kind in KINDS if isinstance(error, kind)), None)
        if kind is None and "out of memory" in str(error):
            kind = MemoryError  # torch raises RuntimeErrors
        if kind is None:
            raise
        (folder / f"{rank}.json").write_text(json.dumps([kind.__name__, _arguments(error)]), encoding="utf-8")
        raise SystemExit(1) from None
    if os.environ["LOCAL_RANK"] == "0":
        (folder / DONE).write_text(json.dumps({"run": str(run.path), "metrics": run.metrics}), encoding="utf-8")


def _arguments(error: BaseException) -> list[Any]:
    match error:
        case Interrupted():
            return [error.signal, str(error.folder)]
        case OSError():
            return [error.errno, error.strerror or str(error), str(error.filename or "the file system")]
    return [str(error)]


def _report(folder: Path, rank: int) -> BaseException | None:
    path = folder / f"{rank}.json"
    if not path.exists():
        return None
    name, arguments = json.loads(path.read_text(encoding="utf-8"))
    kind = next(kind for kind in KINDS if kind.__name__ == name)
    return kind(*arguments)


def _leave(code: int) -> NoReturn:
    """End without taking Python apart, which may abort where a thread of the library's still waits for other ranks."""
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except SystemExit as end:
        _leave(int(end.code or 0))
    _leave(0)
