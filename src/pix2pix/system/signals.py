"""Handle the stop signals SIGINT (Ctrl-C) and SIGTERM: the first lets a command save, the second ends it at once.

Python sets handlers in the main thread only; in other threads these functions do nothing.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pix2pix.errors import Interrupted

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def note_stop_signals() -> Iterator[Callable[[], int | None]]:
    """Within the block, only note the first stop signal. Yields a function that returns it, or None before one came."""
    seen: list[int] = []
    with _handle_first(seen.append):
        yield lambda: seen[0] if seen else None


@contextmanager
def raise_interrupted(folder: Path) -> Iterator[None]:
    """Within the block, raise Interrupted at the first stop signal. Its message names `folder` to resume from."""

    def interrupt(number: int) -> None:
        raise Interrupted(number, folder)

    with _handle_first(interrupt):
        try:
            yield
        except Interrupted:
            raise
        except KeyboardInterrupt:  # raised in other threads, where Python's own handler is active
            raise Interrupted(signal.SIGINT, folder) from None


@contextmanager
def _handle_first(handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` with the first stop signal; a second one has its default effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(number: int, _: FrameType | None) -> None:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        handle(number)

    before = {number: signal.signal(number, first) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
