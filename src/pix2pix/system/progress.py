"""Progress on stderr: a bar on a terminal, a line every 30 seconds elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, cast

from pix2pix.system.streams import LastingStream
from pix2pix.text import escape_unprintable, format_duration

if TYPE_CHECKING:
    from rich.console import Console

OnProgress = Callable[[int, int], object]
"""Called with the number of items done and of all. `ProgressBar.update` is one."""
OnNamedProgress = Callable[[int, int | None, str], object]
"""Called with the number of items done, of all (None if unknown), and what is being done."""

LINE_SECONDS = 30.0  # between two lines without a terminal
RECENT = 64  # updates from which the rate is computed


class ProgressBar:
    """Show the progress, the rate and the time left; nothing if `silent`."""

    def __init__(
        self,
        what: str = "",
        *,
        unit: str = "images",
        in_bytes: bool = False,
        silent: bool = False,
        console: "Console | None" = None,
    ) -> None:
        from rich import console as rich_console
        from rich import progress as rich

        self.console = console or rich_console.Console(
            file=cast(IO[str], LastingStream(sys.stderr)), highlight=False, soft_wrap=True, quiet=silent
        )
        self._what, self._unit = what, unit
        counts = (rich.DownloadColumn(), rich.TransferSpeedColumn()) if in_bytes else (rich.MofNCompleteColumn(),)
        self._bar = rich.Progress(
            rich.TextColumn("{task.description}"),
            rich.BarColumn(bar_width=None),
            *counts,
            rich.TextColumn("{task.fields[rate]}"),
            rich.TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=silent or not self.console.is_terminal,
        )
        self._in_bytes = in_bytes
        self._task = self._bar.add_task(what, total=None, rate="")
        self._total: int | None = None
        self._line_at = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque(maxlen=RECENT)  # (time, done)

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print one line above the bar; a name in it can neither end the line nor command the terminal."""
        self.console.print(escape_unprintable(line), markup=False)

    def update(self, done: int, total: int | None, what: str | None = None, unit: str | None = None) -> None:
        """Show that `done` of `total` items are done; `total` is None if unknown, `what` names the work.

        `unit` names the items, if they are others than usual.
        """
        unit = unit or self._unit
        if total != self._total or (self._recent and done < self._recent[-1][1]):  # other work begins
            self._total = total
            self._recent.clear()
        now = time.monotonic()
        self._recent.append((now, done))
        since, before = self._recent[0]
        rate = (done - before) / (now - since) if now > since else 0.0
        what = what or self._what
        words = "" if self._in_bytes or not rate else f"{rate:.1f} {unit}/s"
        self._bar.update(self._task, completed=done, total=total, description=what, rate=words)
        if self._bar.disable and now - self._line_at > LINE_SECONDS:
            self._line_at = now
            self.say(f"{what}: {self._line(done, total, rate, unit)}")

    def _line(self, done: int, total: int | None, rate: float, unit: str) -> str:
        scale, unit = (10**6, "MB") if self._in_bytes else (1, unit)
        count = f"{done // scale:,} {unit}" if total is None else f"{done // scale:,} of {total // scale:,} {unit}"
        if not rate:
            return count
        left = "" if total is None else f", {format_duration((total - done) / rate)} left"
        return f"{count}, {rate / scale:.1f} {unit}/s{left}"
