"""Tables of commands, and the overview printed from them.

The overview needs nothing else, so that `pix2pix --help` answers at once; the parser is imported for a command.
"""

import os
import shutil
import sys
import textwrap
from typing import NoReturn

ABOUT = "Bring a folder of image pairs; get a translator that is trained, measured and ready to use."

DATA = {
    "check": "Read every file and say what is there and what is wrong; exit code 1 if anything is.",
    "preview": "Draw a contact sheet of random pairs, source | target, and name them.",
    "make": "Make pairs from ordinary photos, source in A, target in B; the same command goes on where it was stopped.",
    "download": "Fetch and unpack a published set of pairs; the same command goes on where it was stopped.",
}
VERBS = {
    "demo": "Embedded data, trained, evaluated and reported in minutes on two CPU cores.",
    "data": "Get a set of pairs, or make one from photos; check it before training; look at it.",
    "train": "Train a translator on pairs; the same command again resumes it.",
    "evaluate": "Measure a model on a split: the slides' four numbers, all metrics, intervals, baselines, a report.",
    "translate": "Translate images and folders of images; each output has its input's size and name.",
    "info": "What a model is: networks, channels, sizes, statistics, validation.",
    "compare": "Put runs side by side: settings that differ, curves, best epochs, evaluations, pictures, and findings.",
    "study": "Repeat one of the paper's experiments: variants of one budget on one page; the same command resumes it.",
}

HELP: tuple[list[str], ...] = ([], ["--help"], ["-h"])


def overview(prefix: str, about: str, verbs: dict[str, str]) -> str:
    """The verbs, one paragraph each, as wide as the terminal."""
    width, indent = min(shutil.get_terminal_size().columns, 100), max(map(len, verbs)) + 4
    lines = [f"Usage: {prefix} COMMAND", "", *textwrap.wrap(about, width), "", "Commands:"]
    for name, summary in verbs.items():
        lines += textwrap.wrap(summary, width, initial_indent=f"  {name:{indent - 2}}", subsequent_indent=" " * indent)
    more = [f"`{prefix} COMMAND --help` shows what a command takes."]
    if verbs is VERBS:
        more.append("`pix2pix --version` prints the version.")
    return "\n".join([*lines, "", *more])


def hang_up() -> NoReturn:
    """Nobody reads stdout any more: leave without a word, and with nothing left to flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
