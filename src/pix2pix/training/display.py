"""A training's progress in, words for people on stderr out: a live bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 30.0  # between two lines where nothing can be redrawn


class Display:
    """Shows images per second and the time left; `say` prints a line that stays."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, rate="")
        self._printed = time.monotonic()
        self._started, self.start, self._total = time.monotonic(), 0, 0

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(line, markup=False)

    def begin(self, done: int, total: int) -> None:
        """Start counting at `done` of `total` images."""
        self._started, self.start, self._total = time.monotonic(), done, total
        self._bar.update(self._task, completed=done, total=total)

    @property
    def elapsed(self) -> float:
        """Seconds since `begin`."""
        return time.monotonic() - self._started

    def advance(self, done: int, where: str) -> None:
        """`done` images have been seen; `where` says in which epoch, in words."""
        elapsed = self.elapsed
        rate = (done - self.start) / elapsed if elapsed else 0.0
        self._bar.update(self._task, completed=done, description=where, rate=f"{rate:.1f} images/s")
        if self._bar.disable and time.monotonic() - self._printed > PLAIN_SECONDS and rate:
            self._printed = time.monotonic()
            left = duration((self._total - done) / rate)
            self.say(f"{where}: {done}/{self._total} images, {rate:.1f} images/s, {left} left")


def duration(seconds: float) -> str:
    """Seconds -> `1 h 02 min`, `3 min 20 s`, `45 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
