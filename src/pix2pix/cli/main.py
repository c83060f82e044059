"""Run the command line: print the overview at once, or import the parser and run a command."""

import os
import signal
import sys

from pix2pix.system.threads import settle_libraries


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit with a code listed in `pix2pix.cli.app`."""
    if arguments is None:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback
        arguments = sys.argv[1:]
        settle_libraries(os.environ)
    from pix2pix.cli.overview import ABOUT, COMMANDS, DATA_COMMANDS, HELP, overview

    if arguments in HELP:
        _show(overview("pix2pix", ABOUT, COMMANDS))
    elif arguments[:1] == ["data"] and arguments[1:] in HELP:
        _show(overview("pix2pix data", COMMANDS["data"], DATA_COMMANDS))
    else:
        _run(arguments)


def _run(words: list[str]) -> None:
    """Run a command; the first stop signal ends it with a sentence."""
    from pix2pix.errors import Interrupted
    from pix2pix.system.signals import raise_interrupted
    from pix2pix.system.streams import say

    try:
        with raise_interrupted():
            from pix2pix.cli.app import run

            run(words)
    except Interrupted as interrupt:  # before or after `run` could handle it
        say(f"pix2pix: {interrupt}")
        sys.exit(128 + interrupt.signal)


def _show(text: str) -> None:
    from pix2pix.cli.overview import hang_up

    try:
        print(text, flush=True)
    except BrokenPipeError:
        hang_up()
