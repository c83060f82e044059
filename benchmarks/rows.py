"""Turn what was measured into rows with a ratio, a target and a verdict, and rows into a table."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benchmarks.timing import Timing, faster

Unit = Literal["x", "%", "GB", "s"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. `value`, a ratio, share, gigabytes or seconds, is compared with `must`."""

    section: str
    work: str
    ours: str = ""
    reference: str = ""
    value: float | None = None  # None where it could not be measured; `note` then says why
    unit: Unit = "x"
    must: float | None = None  # None where the row only informs
    aim: float | None = None
    at_most: bool = False  # whether less is better
    spread: tuple[float, float] | None = None  # quartiles of the value over single rounds
    note: str = ""
    raw: dict[str, tuple[float, ...]] = field(default_factory=dict)  # seconds, repetition by repetition

    @property
    def verdict(self) -> str:
        if self.value is None:
            return f"not measured: {self.note}" if self.note else "not measured"
        if self.must is None:
            return "-"
        reached = self.value <= self.must if self.at_most else self.value >= self.must
        return "reached" if reached else "missed"

    def to_json(self) -> dict[str, Any]:
        """All of it, with the verdict."""
        return asdict(self) | {"verdict": self.verdict}


def compared(
    ours: Timing | None,
    reference: Timing | None,
    *,
    section: str,
    work: str,
    targets: tuple[float | None, float | None] = (None, None),
    note: str = "",
) -> Row:
    """Compare two tasks that were timed in turns; None stands for one that could not be."""
    must, aim = targets
    if ours is None or reference is None:
        return Row(section=section, work=work, must=must, aim=aim, note=note)
    ratio = faster(ours, reference)
    return Row(
        section=section,
        work=work,
        ours=milliseconds(ours.median),
        reference=milliseconds(reference.median),
        value=ratio.value,
        must=must,
        aim=aim,
        spread=(ratio.low, ratio.high),
        note=note,
        raw={"ours": ours.seconds, "reference": reference.seconds},
    )


HEADS = ("work", "ours", "reference", "ratio", "must reach", "verdict")


def table(rows: Iterable[Row]) -> str:
    """Rows -> aligned text: words to the left, figures to the right; notes stand below their rows."""
    rows = list(rows)
    cells = [(row.work, row.ours, row.reference, shown(row.value, row.unit), _must(row), row.verdict) for row in rows]
    widths = [max(len(line[column]) for line in [HEADS, *cells]) for column in range(len(HEADS))]
    lines = [_line(HEADS, widths)]
    section = None
    for row, line in zip(rows, cells, strict=True):
        if row.section != section:
            lines.append("")
            section = row.section
        lines.append(_line(line, widths))
        if row.note and row.value is not None:
            lines.append(f"    {row.note}")
    return "\n".join(lines)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    first, *rest = (
        cell.ljust(width) if column in (0, len(cells) - 1) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def _must(row: Row) -> str:
    if row.must is None:
        return ""
    return f"{'<=' if row.at_most else '>='} {shown(row.must, row.unit)}"


def shown(value: float | None, unit: Unit) -> str:
    """Write a value with its unit."""
    if value is None:
        return "-"
    match unit:
        case "x":
            return f"{value:.1f} x" if value >= 10 else f"{value:.2f} x"
        case "%":
            return f"{100 * value:.1f} %"
        case "GB":
            return f"{value:.2f} GB"
        case "s":
            return f"{value:.3f} s"


def milliseconds(seconds: float) -> str:
    """Seconds -> text in milliseconds, of three figures or so."""
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"
