"""Run `check` or `control` of one module in this process: python -m tests.reliability.one FILE check|control ...

The result goes to a JSON file. What the functions print goes to the output of this process.
"""

import importlib.util
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.reliability import NotRun


def load(path: Path) -> ModuleType:
    """Import the module of a check."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # classes in it can be pickled
    spec.loader.exec_module(module)
    return module


def outcome(function: Callable[[], Any]) -> dict[str, Any]:
    """Call a function; return how it ended, and its figures."""
    began = time.monotonic()
    try:
        ended, figures = "returned", function()
    except AssertionError as error:
        traceback.print_exc()
        ended, figures = "failed", str(error) or "an assertion without figures"
    except NotRun as error:
        ended, figures = "not run", str(error)
    except BaseException as error:
        traceback.print_exc()
        ended, figures = "broke", f"{type(error).__name__}: {error}"
    return {"ended": ended, "figures": str(figures), "seconds": time.monotonic() - began}


def main(path: str, what: str, scale: str, work: str, result: str) -> None:
    """Run one function and write its outcome."""

    def call() -> Any:
        module = load(Path(path))
        return module.control(Path(work)) if what == "control" else module.check(Path(work), scale == "full")

    # Renamed when complete, so that a process that is killed leaves none.
    unfinished = Path(f"{result}.partial")
    unfinished.write_text(json.dumps(outcome(call)), encoding="utf-8")
    unfinished.replace(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
