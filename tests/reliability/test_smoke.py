"""The small version of every reliability check, and its control, which must fail."""

import pytest

from tests.reliability.runner import Check, find_checks, run_check


@pytest.mark.parametrize("check", [pytest.param(check, id=check.path.stem) for check in find_checks()])
def test_reliability(check: Check) -> None:
    result = run_check(check, full=False)
    if result.state == "not run":
        pytest.skip(result.line)
    assert result.state == "passed", f"{result.line}\n{result.measured.output}\n{result.control.output}"
