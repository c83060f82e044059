"""A training's progress in, words for people on stderr out: a live bar on a terminal, plain lines elsewhere."""

import time
from collections import deque
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pix2pix.reports.pages import duration

PLAIN_SECONDS = 30.0  # between two lines where nothing can be redrawn
RECENT = 64  # updates over which the pace is taken


class Display:
    """Shows images per second and the time left; `say` prints a line that stays. `silent` shows nothing."""

    def __init__(self, console: Console | None = None, *, silent: bool = False) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True, quiet=silent)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=silent or not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, rate="")
        self._printed = time.monotonic()
        self._total = 0
        self._recent: deque[tuple[float, int]] = deque(maxlen=RECENT)  # (time, images done)

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
        self._total = total
        self._recent.clear()
        self._recent.append((time.monotonic(), done))
        self._bar.update(self._task, completed=done, total=total)

    def advance(self, done: int, where: str) -> None:
        """`done` images have been seen; `where` says in which epoch, in words."""
        now = time.monotonic()
        self._recent.append((now, done))
        since, before = self._recent[0]
        rate = (done - before) / (now - since) if now > since else 0.0
        self._bar.update(self._task, completed=done, description=where, rate=f"{rate:.1f} images/s")
        if self._bar.disable and now - self._printed > PLAIN_SECONDS and rate:
            self._printed = now
            left = duration((self._total - done) / rate)
            self.say(f"{where}: {done}/{self._total} images, {rate:.1f} images/s, {left} left")
