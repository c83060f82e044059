"""The parser, and the way out.

Exit codes: 0 done, 1 failed, 2 misuse, 130 or 143 interrupted with everything saved.
"""

import io
import sys
from importlib.metadata import version
from typing import NoReturn

from cyclopts import App, CoercionError, CycloptsError, Group, UnknownCommandError, UnknownOptionError, ValidationError

from pix2pix.cli.console import say
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

OUT_OF_MEMORY = "out of memory; try a smaller --batch-size, --image-size or picture"


def _fail(message: object, code: int) -> NoReturn:
    say(f"pix2pix: {message}")
    sys.stdout.flush()
    sys.exit(code)


OLD_COMMANDS = {
    "bench": "`make bench` in a clone of the repository measures the speed",
}
"""Commands of version 0.1 -> what to use today."""


def _suggest(error: CycloptsError) -> str | None:
    """Return what to say about a command or flag of version 0.1."""
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        command = error.unused_tokens[0]
        return f"There is no command `{command}` any more; {OLD_COMMANDS[command]}" if command in OLD_COMMANDS else None
    if not isinstance(error, UnknownOptionError):
        return None
    from pix2pix.config.legacy import explain_removal, suggest_name

    flag = (error.token.keyword or error.token.value).partition("=")[0]
    first, dot, rest = flag.removeprefix("--").partition(".")
    name = first.replace("-", "_")
    if reason := explain_removal(name):
        return f"There is no option {flag} any more: {reason}"
    new = suggest_name(name)
    return new and f"Unknown option: {flag}. Did you mean --{new.replace('_', '-')}{dot}{rest}?"


def _explain(error: CycloptsError) -> str:
    """Put a parsing error into one sentence."""
    if suggestion := _suggest(error):
        return suggestion
    if isinstance(error, ValidationError):
        from pydantic import ValidationError as PydanticError

        from pix2pix.config.io import explain

        if isinstance(error.__cause__, PydanticError):
            return explain(error.__cause__)
    message = " ".join(str(error).split())
    if isinstance(error, CoercionError) and error.token is not None and error.token.keyword == "--seeds":
        example = "as in `pix2pix study losses DATA --seeds 0 1`"
        message += f"; if {error.token.value} is DATA, put it before --seeds, {example}"
    return message


def run(words: list[str]) -> None:
    """Run the command line; exits with a code as above."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        app(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        message = _explain(error)
        _fail(f"{message}{'' if message[-1] in '.?!' else '.'} See `pix2pix --help`.", 2)
    except ConfigError as error:
        _fail(error, 2)
    except (DataError, ModelError, RunError) as error:
        _fail(error, 1)
    except BrokenPipeError:
        hang_up()
    except OSError as error:
        _fail(f"{error.filename or 'the file system'}: {error.strerror or error}", 1)
    except MemoryError:
        _fail(OUT_OF_MEMORY, 1)
    except RuntimeError as error:  # torch's own
        if "out of memory" not in str(error) and "DefaultCPUAllocator" not in str(error):
            raise
        _fail(OUT_OF_MEMORY, 1)
    except Interrupted as interrupt:
        _fail(interrupt, 128 + interrupt.signal)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
