"""Write `metrics.csv` and TensorBoard events into a run folder."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from pix2pix.losses import all_terms
from pix2pix.metrics.pixel import HIGHER_IS_BETTER
from pix2pix.system.files import write_text
from pix2pix.training.metrics_rows import read_rows

PROGRESS = ("step", "epoch", "images_seen", "split", "seconds")
SPEED = ("learning_rate", "images_per_second", "loading_share")
SKIPPED = "skipped_steps"
"""Number of steps of an epoch that were skipped, because a number was not finite."""


def columns() -> tuple[str, ...]:
    """Return the columns of `metrics.csv`: progress, speed, every loss term, every image metric, skipped steps."""
    return *PROGRESS, *SPEED, *all_terms(), *HIGHER_IS_BETTER, SKIPPED


class MetricsLog:
    """Write the rows of one run. When a run is resumed, rows that are newer than the checkpoint are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / "metrics.csv"
        self._columns = columns()
        rows = _rows_until(self._path, step, self._columns)
        write_text(self._path, _as_csv(rows, self._columns, header=True))
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, row: Mapping[str, str | float]) -> None:
        """Append one row, which may lack some columns, and its TensorBoard scalars."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_as_csv([{name: _text(value) for name, value in row.items()}], self._columns))
        for name, value in row.items():
            if name not in PROGRESS and not isinstance(value, str):
                self._events.add_scalar(f"{name}/{row['split']}", value, int(row["step"]))
        self._events.flush()

    def close(self) -> None:
        """Close the TensorBoard events."""
        self._events.close()


def _rows_until(path: Path, step: int, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read the rows up to a step; an incomplete last line is skipped."""
    return [row for row in read_rows(path, columns) if int(row["step"]) <= step]


def _as_csv(rows: list[dict[str, str]], columns: tuple[str, ...], *, header: bool = False) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _text(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
