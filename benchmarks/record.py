"""Append a benchmark to `history.jsonl` and write the history's table into `docs/performance.md`.

    python -m benchmarks --json > bench.json
    python -m benchmarks.record bench.json

A complete benchmark at 256 px and 64 channels is kept without its single repetitions, under the commit that is checked
out here. Several files of sections that were measured one by one (`--only`) on one machine become one line. Recording
the same again changes nothing.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.rows import shown
from pix2pix.system.files import write_text

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- history: written by benchmarks/record.py -->", "<!-- end of history -->"
COLUMNS = 4  # newest benchmarks that the table shows


def entry_of(bench: Any, commit: str) -> dict[str, Any]:
    """Return what is kept of a benchmark. Raises ValueError for what is none, or not a whole one."""
    if not isinstance(bench, dict) or bench.get("format") != 1:
        raise ValueError("not the JSON of `python -m benchmarks --json`")
    if not bench["complete"] or not bench["settings"]["judged"]:
        raise ValueError("interrupted, or of other sizes than 256 px and 64 channels; only whole ones are compared")
    if not bench["rows"]:
        raise ValueError("has no rows; a profile is not recorded")
    rows = [{name: value for name, value in row.items() if name != "raw"} for row in bench["rows"]]
    if bench["limits"] is None:
        raise ValueError("has no limits of the machine")
    kept = {name: bench[name] for name in ("date", "machine", "settings", "limits", "seconds")}
    return {**kept, "commit": commit, "rows": rows}


def joined(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Sections measured one by one -> one benchmark, with the best limits of all. Raises ValueError if they differ."""
    first = entries[0]
    for entry in entries[1:]:
        if (entry["machine"], _sizes(entry)) != (first["machine"], _sizes(first)):
            raise ValueError("measured on different machines, versions or settings; record them apart")
    rows = [row for entry in entries for row in entry["rows"]]
    works = [row["work"] for row in rows]
    if again := [work for work in works if works.count(work) > 1]:
        raise ValueError(f"`{again[0]}` was measured twice; give each section once")
    limits = {
        name: max((entry["limits"][name] for entry in entries if entry["limits"][name]), default=None)
        for name in ("fp32", "bf16", "bandwidth")
    }
    seconds = sum(entry["seconds"] for entry in entries)
    return {**first, "limits": limits, "seconds": round(seconds, 1), "rows": rows}


def _sizes(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry["settings"].items() if name != "sections"}


def table_of(history: list[dict[str, Any]]) -> str:
    """Put the newest benchmarks side by side, in Markdown: a row for each work, its value, whether it is enough."""
    newest = history[-COLUMNS:]
    heads = [f"{entry['date'][:10]} `{entry['commit']}`" for entry in newest]
    machines = [f"{entry['machine']['processor']}, {entry['machine']['threads']} threads" for entry in newest]
    limits = []
    for entry in newest:
        bf16 = entry["limits"]["bf16"]
        peaks = f"{entry['limits']['fp32'] / 1e9:.0f} / {f'{bf16 / 1e9:.0f}' if bf16 else '-'} GFLOP/s"
        limits.append(f"{peaks}, {entry['limits']['bandwidth'] / 1e9:.1f} GB/s")
    quick = ["quick" if entry["settings"]["quick"] else "full" for entry in newest]

    lines = [("work", "must reach", *heads), ("---",) * (2 + len(newest))]
    lines += [("machine", "", *machines), ("limits, fp32 / bf16, memory", "", *limits), ("kind", "", *quick)]
    works = {row["work"]: row for entry in newest for row in entry["rows"]}
    for work, last in works.items():
        sign = "≤" if last["at_most"] else "≥"
        must = f"{sign} {shown(last['must'], last['unit'])}" if last["must"] is not None else ""
        found = [next((row for row in entry["rows"] if row["work"] == work), None) for entry in newest]
        lines.append((work, must, *map(_cell, found)))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    if row["value"] is None:
        return row["verdict"]
    value = shown(row["value"], row["unit"])
    return value if row["verdict"] == "-" else f"{value}, {row['verdict']}"


def replaced(page: str, table: str) -> str:
    """Put the table between the two marks of a page. Raises ValueError if they are not there once each."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"has no place for the history; expected the lines {BEGIN} and {END}")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path, nargs="+", help="output of `python -m benchmarks --json`")
    parser.add_argument("--commit", help="what was measured; by default the commit that is checked out")
    parser.add_argument("--history", type=Path, default=ROOT / "benchmarks" / "history.jsonl")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    chosen = parser.parse_args(arguments)
    try:
        commit = chosen.commit or _commit()
        entry = joined([entry_of(json.loads(path.read_text(encoding="utf-8")), commit) for path in chosen.bench])
        lines = chosen.history.read_text(encoding="utf-8").splitlines() if chosen.history.exists() else []
        line = json.dumps(entry, separators=(",", ":"))
        if line not in lines:
            lines.append(line)
        page = replaced(chosen.page.read_text(encoding="utf-8"), table_of([json.loads(line) for line in lines]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"{', '.join(map(str, chosen.bench))}: cannot be recorded: {error}")
    write_text(chosen.history, "\n".join(lines) + "\n")
    write_text(chosen.page, page)


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
