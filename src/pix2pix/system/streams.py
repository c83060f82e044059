"""Print to stderr even if nobody reads it any more: a closed terminal, an ended `tee` or a full log end no command."""

import os
import sys
from contextlib import suppress
from typing import TextIO


def say(line: str) -> None:
    """Print a line to stderr, or nowhere."""
    with suppress(ValueError, AttributeError):  # closed, or None in a process without a console
        LastingStream(sys.stderr).write(f"{line}\n")


class LastingStream:
    """A text stream that discards what is written after the first error. `rich` prints through it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", "utf-8")

    def write(self, text: str) -> int:
        """Write a text and return its length."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            discard(self._stream)
        return len(text)

    def flush(self) -> None:
        """Do nothing: `write` has flushed."""

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the number of the stream's file."""
        return self._stream.fileno()


def discard(stream: TextIO) -> None:
    """Send what is in a stream's buffer, and everything that follows, to nowhere."""
    with suppress(OSError, ValueError):  # has no file
        _lead_nowhere(stream.fileno())
        stream.flush()


def discard_lost_terminal() -> None:
    """Discard stdout and stderr from now on if they lead to a terminal that is gone. Safe in a signal handler."""
    for number in (1, 2):
        try:
            os.write(number, b"")  # fails on a terminal that is gone, and changes nothing elsewhere
        except OSError:
            with suppress(OSError):
                _lead_nowhere(number)


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
