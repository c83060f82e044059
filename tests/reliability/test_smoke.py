"""The small version of every reliability check, and its control, which must fail."""

import sys
from collections.abc import Iterator

import pytest

from tests.reliability.runner import MARK, ROOT, Check, environment, find_checks, run_check
from tests.reliability.warm import Warm, warm


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm | None]:
    """What forks the checks; None where a process that has imported so much had better not be forked."""
    if sys.platform != "linux":
        yield None
        return
    with warm(MARK, environment(tmp_path_factory.mktemp("warm")), ROOT) as started:
        yield started


@pytest.mark.parametrize("check", [pytest.param(check, id=check.path.stem) for check in find_checks()])
def test_reliability(check: Check, server: Warm | None) -> None:
    result = run_check(check, full=False, server=server)
    if result.state == "not run":
        pytest.skip(result.line)
    assert result.state == "passed", f"{result.line}\n{result.measured.output}\n{result.control.output}"
