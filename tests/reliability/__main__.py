"""Run the reliability checks: python -m tests.reliability [NUMBER ...] [--smoke] [--jobs N] [--markdown FILE]."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.reliability.runner import Result, find_checks, run_checks


def main() -> int:
    """Run the checks and print a line for each; return 1 if any fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="of the checks to run; by default all")
    parser.add_argument("--smoke", action="store_true", help="the small version, as in make test")
    parser.add_argument("--jobs", type=int, default=2, help="checks at a time; by default 2")
    parser.add_argument("--markdown", type=Path, help="write the results as a table into this file")
    chosen = parser.parse_args()
    try:
        checks = find_checks(chosen.numbers)
    except ValueError as error:
        parser.error(str(error))

    began, results = time.monotonic(), list[Result]()
    for result in run_checks(checks, full=not chosen.smoke, jobs=chosen.jobs):
        results.append(result)
        print(result.line, flush=True)
        for outcome in (result.measured, result.control):
            if result.state == "failed" and outcome.output:
                print(outcome.output, file=sys.stderr, flush=True)
    if chosen.markdown:
        chosen.markdown.write_text(table(results), encoding="utf-8")
    states = [result.state for result in results]
    print(
        f"{states.count('passed')} of {len(states)} passed, {states.count('failed')} failed, "
        f"{states.count('not run')} not run on this machine, in {(time.monotonic() - began) / 60:.1f} min"
    )
    return 1 if "failed" in states or not states else 0


def table(results: Sequence[Result]) -> str:
    """Return a Markdown table of the results."""
    lines = ["| # | check | result | figures | control, which must fail | s |", "|---|---|---|---|---|---|"]
    for result in sorted(results, key=lambda result: result.check.number):
        control = result.control.figures if result.control.ended == "failed" else result.control_figures
        cells = (
            result.check.number, result.check.title, result.state, result.figures, control, f"{result.seconds:.0f}"
        )  # fmt: skip
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
