"""Call a function in several processes on this machine, and return the result of the first one.

torch's elastic agent starts the processes, forwards stop signals to them, and ends all if one fails. Each process
runs `worker.py`, not the script of the caller, so a script needs no `if __name__ == "__main__"` around its call.
"""

import logging
import pickle
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from pix2pix.distributed.environment import DEFAULT_PORT
from pix2pix.distributed.process_group import RESUME_HINT, LostRankError
from pix2pix.distributed.worker import CALL, RESULT, read_errors
from pix2pix.errors import ConfigError, Interrupted, RunError
from pix2pix.system.signals import STOP_SIGNALS, handled_signals

T = TypeVar("T")


def launch(call: Callable[[], T], devices: int, nodes: int = 1, *, timeout: float, environment: Mapping[str, str]) -> T:
    """Call a function in `devices` processes on this machine, one of `nodes`; return the result of the first process.

    The function, such as a `functools.partial`, must be picklable. After a signal the processes have `timeout` seconds
    to exit. Raises the error of a rank, or RunError naming a rank that was killed.
    """
    with tempfile.TemporaryDirectory(prefix="pix2pix-") as name, _quiet_agent():
        folder = Path(name)
        (folder / CALL).write_bytes(pickle.dumps(call))
        config = LaunchConfig(
            min_nodes=nodes,
            max_nodes=nodes,
            nproc_per_node=devices,
            run_id="pix2pix",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=name),
            signals_to_handle=",".join(number.name for number in handled_signals()),
            shutdown_timeout=int(timeout),
            **rendezvous(nodes, timeout, environment),
        )
        failures: Mapping[int, ProcessFailure] = {}
        stopped: int | None = None
        try:
            elastic_launch(config, sys.executable)("-m", "pix2pix.distributed.worker", name)
        except ChildFailedError as failed:
            failures = failed.failures
        except SignalException as signalled:
            stopped = signalled.sigval
        except DistError as error:
            raise RunError(f"the {nodes} machines did not connect: {str(error).splitlines()[0]}") from None
        if failures or stopped:
            raise _first_error(read_errors(folder), failures, stopped) from None
        result: T = pickle.loads((folder / RESULT).read_bytes())
        return result


def rendezvous(nodes: int, timeout: float, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return how the agents of all machines connect. Raises ConfigError if several machines have no address."""
    if nodes == 1:
        return {"rdzv_backend": "c10d", "rdzv_endpoint": "127.0.0.1:0", "local_addr": "127.0.0.1"}
    address, port, node = (environment.get(name) for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"))
    port = port or str(DEFAULT_PORT)
    if not address or not node or not node.isdecimal() or int(node) >= nodes or not port.isdecimal():
        raise ConfigError(
            f"training.nodes {nodes}: on each machine set MASTER_ADDR, the first one's address, and NODE_RANK, from 0 "
            f"to {nodes - 1} (here {address or 'unset'} and {node or 'unset'}); or start with torchrun or srun"
        )
    return {
        "rdzv_backend": "static",
        "rdzv_endpoint": f"{address}:{port}",
        "rdzv_configs": {"rank": int(node), "timeout": int(timeout)},
    }


def _first_error(
    errors: Sequence[BaseException], failures: Mapping[int, ProcessFailure], stopped: int | None
) -> BaseException:
    """Choose the error to raise: that of a rank, or else one that states the signal or exit code of a rank."""
    if not stopped:  # the agent has sent SIGTERM to the other ranks, and some were in no training yet
        errors = [error for error in errors if not (isinstance(error, Interrupted) and error.folder is None)]
    own = [error for error in errors if not isinstance(error, LostRankError)]
    if own:
        return own[0]
    if stopped:  # before the training began
        return Interrupted(stopped)
    # The agent ends the other ranks by SIGTERM.
    first, *_ = sorted(
        failures, key=lambda rank: (failures[rank].exitcode == -signal.SIGTERM, failures[rank].timestamp)
    )
    host, code = socket.gethostname(), failures[first].exitcode
    if code < 0:
        hint = " (is the machine out of memory?)" if code == -getattr(signal, "SIGKILL", 0) else ""
        how = f"was ended by {failures[first].signal_name()}{hint}, so the training cannot go on"
    elif errors:
        return errors[0]
    else:
        how = f"ended with exit code {code}"
    return RunError(f"rank {first} on {host} {how}; {RESUME_HINT}")


@contextmanager
def _quiet_agent() -> Iterator[None]:
    """Within the block, silence the log of the agent; afterwards, restore the signal handlers that it replaced."""
    log = logging.getLogger("torch.distributed.elastic")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
