"""Write `metrics.csv` and TensorBoard events into a run folder."""

import csv
import io
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from pix2pix.losses import all_terms
from pix2pix.metrics.pixel import HIGHER_IS_BETTER
from pix2pix.reports.alarms import ALARMS
from pix2pix.system.files import naming, write_text
from pix2pix.training.metrics_rows import read_rows

PROGRESS = ("step", "epoch", "images_seen", "split", "seconds")
SPEED = ("learning_rate", "images_per_second", "loading_share")
SKIPPED = "skipped_steps"
"""Number of steps of an epoch that were skipped, because a number was not finite."""
AUGMENTED = "d_augment"
"""Mean probability in an epoch of each change of what D sees (`--discriminator.augment`)."""

COMPARISON = ("source_dependence", "shuffled_ratio", "output_at_ends", "target_at_ends")
"""What alarms are made of: see `training/validation.py` and `reports/alarms.py`."""


def columns() -> tuple[str, ...]:
    """Return the columns of `metrics.csv`: progress, speed, every loss term, every image metric, signs of failure."""
    return *PROGRESS, *SPEED, *all_terms(), *HIGHER_IS_BETTER, AUGMENTED, SKIPPED, *COMPARISON, *ALARMS


class MetricsLog:
    """Write the rows of one run. When a run is resumed, rows that are newer than the checkpoint are dropped.

    All functions raise OSError naming the file; `metrics.csv` then ends with a whole row.
    """

    def __init__(self, folder: Path, step: int, epoch: int) -> None:
        self._path = folder / "metrics.csv"
        self._columns = columns()
        rows, dropped = _rows_until(self._path, step, epoch, self._columns)
        write_text(self._path, _as_csv(rows, self._columns, header=True))
        self._events = _Events(folder / "tensorboard", min(dropped, default=step + 1))

    def write(self, row: Mapping[str, str | float]) -> None:
        """Append one row, which may lack some columns, and its TensorBoard scalars."""
        text = _as_csv([{name: _text(value) for name, value in row.items()}], self._columns)
        _append(self._path, text.encode(), durable=True)  # a checkpoint that is on the disk has all its rows
        scalars = {
            f"{name}/{row['split']}": value
            for name, value in row.items()
            if name not in PROGRESS and not isinstance(value, str)
        }
        self._events.write(int(row["step"]), scalars)


class _Events:
    """Write a file of TensorBoard events in this thread: the writers of libraries lose errors in a thread."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        self._path = folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        with naming(self._path):
            folder.mkdir(exist_ok=True)
            self._path.touch(exist_ok=False)
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_step > 1:  # TensorBoard then forgets events from this step on
            log = SessionLog(status=SessionLog.START)
            self._append(Event(wall_time=time.time(), step=purge_step, session_log=log))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append scalars of one step, by name."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()])
        self._append(Event(wall_time=time.time(), step=step, summary=summary))

    def _append(self, event: Event) -> None:
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        _append(self._path, record.getvalue())


def _append(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Append bytes to an existing file, or restore its length; `durable` waits for the disk."""
    with naming(path):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        try:
            length = os.fstat(file).st_size
            try:
                _write_all(file, data)
                if durable:
                    os.fsync(file)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file, length)
                raise
        finally:
            os.close(file)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _rows_until(path: Path, step: int, epoch: int, columns: tuple[str, ...]) -> tuple[list[dict[str, str]], list[int]]:
    """Read the rows up to a step and an epoch, and the steps of those after them; an incomplete line is skipped."""
    kept, dropped = [], []
    for row in read_rows(path, columns):
        if int(row["step"]) <= step and int(row["epoch"]) <= epoch:
            kept.append(row)
        else:
            dropped.append(int(row["step"]))
    return kept, dropped


def _as_csv(rows: list[dict[str, str]], columns: tuple[str, ...], *, header: bool = False) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _text(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
