"""Run the command line: print the overview at once, or import the parser and run a command."""

import sys

from pix2pix.cli.overview import ABOUT, COMMANDS, DATA_COMMANDS, HELP, hang_up, overview


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit with a code listed in `pix2pix.cli.app`."""
    words = sys.argv[1:] if arguments is None else arguments
    if words in HELP:
        _show(overview("pix2pix", ABOUT, COMMANDS))
    elif words[:1] == ["data"] and words[1:] in HELP:
        _show(overview("pix2pix data", COMMANDS["data"], DATA_COMMANDS))
    else:
        from pix2pix.cli.app import run

        run(words)


def _show(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        hang_up()
