"""An epoch's numbers and pictures in; `metrics.csv`, TensorBoard events, `curves.png` and `samples/` out."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from pix2pix.metrics.pixel import METRICS
from pix2pix.reports.curves import draw_curves
from pix2pix.system.files import write_text

COLUMNS = (
    "step", "epoch", "images_seen", "split", "seconds", "learning_rate", "images_per_second", "loading_share",
    *METRICS,
)  # fmt: skip


class MetricsLog:
    """The log of one run; made again after an interruption, it drops what came after the checkpoint's step."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / "metrics.csv"
        rows = _rows_until(self._path, step)
        write_text(self._path, _as_csv(rows, header=True))
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, row: Mapping[str, str | float]) -> None:
        """Append one row, a mapping with some of COLUMNS, and its TensorBoard scalars."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_as_csv([{name: _text(value) for name, value in row.items()}]))
        for name, value in row.items():
            if name in COLUMNS[5:] and not isinstance(value, str):
                self._events.add_scalar(f"{name}/{row['split']}", value, int(row["step"]))
        self._events.flush()

    def curves(self, output: Path, *, discriminator_epochs: int, adversarial: str) -> None:
        """Draw what has been logged so far."""
        draw_curves(self._path, output, discriminator_epochs=discriminator_epochs, adversarial=adversarial)

    def close(self) -> None:
        """Finish the TensorBoard events."""
        self._events.close()


def _rows_until(path: Path, step: int) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.keys() <= set(COLUMNS) and None not in row.values()]
    return [row for row in rows if row["step"].isdecimal() and int(row["step"]) <= step]  # a torn line is none


def _as_csv(rows: list[dict[str, str]], *, header: bool = False) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _text(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
