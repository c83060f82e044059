"""Parse the command line, run a command, and turn an error into one sentence and an exit code.

Exit codes: 0 done, 1 failed, 2 misuse, 128 + signal (130 by Ctrl-C, 143 by SIGTERM) interrupted with everything saved.
"""

import errno
import io
import logging
import sys
from importlib.metadata import version

from cyclopts import App, CycloptsError, Group

from pix2pix.cli.console import EscapingFormatter, say
from pix2pix.cli.misuse import explain_misuse, refuse_empty_words
from pix2pix.cli.overview import ABOUT, COMMANDS, DATA_COMMANDS, hang_up
from pix2pix.errors import ConfigError, DataError, Interrupted, ModelError, RunError

app = App(
    name="pix2pix",
    help=ABOUT,
    version=lambda: version("pix2pix"),
    help_format="plaintext",
    help_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
    group_parameters=Group("Parameters", sort_key=0),
)
data_app = App(name="data", help=COMMANDS["data"])
app.command(data_app)
for command, summary in COMMANDS.items():
    if command != "data":
        app.command(f"pix2pix.cli.commands.{command}:{command}", name=command, help=summary)
for command, summary in DATA_COMMANDS.items():
    data_app.command(f"pix2pix.cli.commands.data:{command}", name=command, help=summary)

LOOP, QUOTES = "Symlink loop from ", "'\""
FREE_SPACE = "; free some space and run the same command again"
READ_ONLY = "; give a folder that can be written, with --output, or --run to train"
OUT_OF_MEMORY = "out of memory; try a smaller --batch-size, --image-size or image"


def run(words: list[str]) -> None:
    """Run a command; exit with one of the codes above."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(EscapingFormatter())
    try:
        refuse_empty_words(words)
        app(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except BrokenPipeError:
        hang_up()
    except (Exception, KeyboardInterrupt) as error:
        outcome = _explain(error)
        if outcome is None:
            raise
        message, code = outcome
        say(f"pix2pix: {message}")
        sys.stdout.flush()
        sys.exit(code)


def _explain(error: BaseException) -> tuple[str, int] | None:
    """Return the sentence and the exit code of an expected error; None for a bug."""
    match error:
        case CycloptsError():
            return explain_misuse(error), 2
        case ConfigError():
            return str(error), 2
        case DataError() if _is_full(error.__cause__):
            return f"{error}{FREE_SPACE}", 1
        case DataError() | ModelError() | RunError():
            return str(error), 1
        case OSError():
            advice = FREE_SPACE if _is_full(error) else READ_ONLY if error.errno == errno.EROFS else ""
            return f"{error.filename or 'the file system'}: {error.strerror or error}{advice}", 1
        case MemoryError():
            return OUT_OF_MEMORY, 1
        case RuntimeError() if str(error).startswith(LOOP):  # of Path.resolve, before Python 3.13
            return f"{str(error).removeprefix(LOOP).strip(QUOTES)}: is a link that leads to itself; give another", 1
        case RuntimeError() if "out of memory" in str(error) or "DefaultCPUAllocator" in str(error):  # torch's own
            return OUT_OF_MEMORY, 1
        case Interrupted():
            return str(error), 128 + error.signal
        case KeyboardInterrupt():
            return "interrupted", 130
        case _:
            return None


def _is_full(error: BaseException | None) -> bool:
    """Return whether a disk is full, or a quota is used up."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
