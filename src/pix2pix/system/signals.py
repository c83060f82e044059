"""Handle the signals that ask a command to stop: the first one lets it save, another one ends it at once.

Python sets handlers in the main thread only; in other threads these functions do nothing.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from pix2pix.errors import Interrupted
from pix2pix.system.streams import discard_lost_terminal

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
"""Ctrl-C; the request to end; a closed terminal or lost connection; SLURM's warning before the time limit."""
REPEAT_SECONDS = 0.5
"""Signals that follow the first one this closely are the same request: shells, `timeout` and SLURM send two."""

_seen: list[int] = []
"""The first signal since the outermost handler was set."""
_depth = 0
_waiting = False


def handled_signals() -> tuple[signal.Signals, ...]:
    """Return the stop signals, without SIGHUP and others that the caller ignores, as nohup does."""
    return tuple(
        number for number in STOP_SIGNALS if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    )


@contextmanager
def note_stop_signals() -> Iterator[Callable[[], int | None]]:
    """Within the block, only note the first stop signal. Yields a function that returns it, or None before one came.

    A signal raises Interrupted if it comes during `interruptible`.
    """
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)
        if _waiting:
            raise Interrupted(number)

    with _handle_first(note):
        yield lambda: noted[0] if noted else None


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, which waits for something, a stop signal raises Interrupted in place of being noted only."""
    global _waiting
    try:
        _waiting = threading.current_thread() is threading.main_thread()
        yield
    finally:
        _waiting = False


@contextmanager
def raise_interrupted(folder: Path | None = None, *, quiet: bool = False) -> Iterator[None]:
    """Within the block, raise Interrupted at the first stop signal. Its message names `folder` to resume from.

    During an import the process ends at once, since libraries may not survive an exception there; it prints the
    message itself unless `quiet`.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        error = Interrupted(number, folder)
        if _is_importing(frame):
            with suppress(OSError):
                quiet or os.write(2, f"pix2pix: {error}\n".encode())
            os._exit(128 + number)
        raise error

    with _handle_first(interrupt):
        try:
            yield
        except Interrupted:
            raise
        except KeyboardInterrupt:  # raised in other threads, where Python's own handler is active
            raise Interrupted(signal.SIGINT, folder) from None


def follow_parent(parent: int, number: int) -> None:
    """From now on, send a signal to this process as soon as its parent has died."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


def ignore_stop_signals() -> None:
    """Ignore stop signals in this process, a forked one, so that only its parent reacts to them."""
    signal.set_wakeup_fd(-1)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _handle_first(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call `handle` with the first stop signal; another one ends the process, whatever it is doing."""
    global _depth
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(number: int, frame: FrameType | None) -> None:
        if not _seen:
            _seen.append(number)
            if number == getattr(signal, "SIGHUP", None):
                discard_lost_terminal()
            handle(number, frame)

    before = {number: signal.signal(number, first) for number in handled_signals()}
    _depth += 1
    try:
        if _depth == 1:
            with _ending_at_second():
                yield
        else:
            yield
    finally:
        _depth -= 1
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _ending_at_second() -> Iterator[None]:
    """Within the block, a thread ends the process at the second stop signal, also while the main thread computes."""
    _seen.clear()
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_end_at_second, args=(receiver,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sender.close()
        thread.join()
        receiver.close()


def _end_at_second(receiver: socket.socket) -> None:
    """Read the numbers of signals; end the process at the second stop signal."""
    since: float | None = None
    while number := receiver.recv(1):
        if number[0] in STOP_SIGNALS:
            if since is not None and time.monotonic() - since > REPEAT_SECONDS:
                os._exit(128 + number[0])
            since = time.monotonic() if since is None else since


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
