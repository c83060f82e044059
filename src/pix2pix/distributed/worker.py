"""Call a pickled function in one rank, and leave the result or the error in a folder for the launcher."""

import os
import pickle
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

from pix2pix.errors import ConfigError, DataError, ModelError, RunError
from pix2pix.system.files import write_atomically
from pix2pix.system.signals import follow_parent, raise_interrupted
from pix2pix.system.threads import settle_libraries

CALL, RESULT = "call.pickle", "result.pickle"
REPORTED = (ConfigError, DataError, ModelError, RunError, OSError, MemoryError, KeyboardInterrupt)
REPORT_SECONDS = 5.0  # for which a rank that exits silently waits for an error report


def main(folder: Path) -> None:
    """Call the function in this rank; exit with 1 after an error that the launcher will raise."""
    settle_libraries(os.environ)  # before the call imports torch
    follow_parent(os.getppid(), signal.SIGTERM)  # save and exit
    try:
        with raise_interrupted(quiet=True):
            result = pickle.loads((folder / CALL).read_bytes())()
    except SystemExit:  # wait until rank 0 has written the error, before the agent ends all ranks
        deadline = time.monotonic() + REPORT_SECONDS
        while not any(folder.glob("*.error")) and time.monotonic() < deadline:
            time.sleep(0.05)
        raise
    except (Exception, KeyboardInterrupt) as error:
        known = isinstance(error, REPORTED) or "out of memory" in str(error) or "DefaultCPUAllocator" in str(error)
        text = pickle.dumps(error if known else _as_sentence(error))
        write_atomically(folder / f"{int(os.environ['RANK']):06}.error", lambda file: file.write(text))
        raise SystemExit(1) from None
    if os.environ["LOCAL_RANK"] == "0":
        (folder / RESULT).write_bytes(pickle.dumps(result))


def _as_sentence(error: BaseException) -> RunError:
    """Put an unexpected error into one sentence; as many tracebacks as ranks would bury it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    what = next(iter(str(error).splitlines()), "")[:300]
    return RunError(
        f"rank {os.environ['RANK']} on {socket.gethostname()} failed in {Path(place.filename).name}, line "
        f"{place.lineno}, with {type(error).__name__}: {what}; the last checkpoint is intact: run the same command "
        "again to resume, and report this sentence if it comes again"
    )


def read_errors(folder: Path) -> list[BaseException]:
    """Read the errors that ranks have left in a folder, in the order of ranks."""
    return [pickle.loads(path.read_bytes()) for path in sorted(folder.glob("*.error"))]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
