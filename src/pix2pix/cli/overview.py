"""Tables of the commands, and the overview that `pix2pix --help` prints.

This module imports nothing heavy, so the overview appears at once; the parser is imported only for a command.
"""

import os
import shutil
import sys
import textwrap
from typing import NoReturn

ABOUT = "Train an image-to-image translation model on pairs of images, measure it, and use it."

DATA_COMMANDS = {
    "check": "Read every file and report what is there; exit code 1 if anything is wrong, or if `train` would refuse.",
    "align": "Write pairs anew, with source and target of each pair at one size.",
    "preview": "Draw random pairs on a contact sheet, source | target, and print their names.",
    "make": "Make pairs from photos: a derived source in A, the photo as target in B. Run it again to continue.",
    "download": "Download and unpack a published data set of pairs. Run it again to continue.",
}
COMMANDS = {
    "demo": "Train and evaluate a model on generated facades, and write a report; takes minutes on two CPU cores.",
    "data": "Check, preview, align, make or download pairs.",
    "train": "Train a model on pairs. Run the same command again to resume.",
    "evaluate": "Measure a model on a split: losses, image metrics, confidence intervals, baselines, a report.",
    "translate": "Translate images, folders of images, or videos. Each output has the size and the name of its input.",
    "export": "Write a model as one ONNX file that translates pixels to pixels, of any size, without this package.",
    "serve": "Serve models over HTTP, with a page to draw on.",
    "info": "Describe a model: networks, channels, sizes, batch norm statistics, training, validation, evaluations.",
    "push": "Publish a model on the Hugging Face hub: weights, configuration, model card, and a model.onnx.",
    "convert": "Convert a file of pytorch-CycleGAN-and-pix2pix into a model folder, or a model into such a file.",
    "compare": "Compare runs: settings, curves, best epochs, evaluations, images, findings.",
    "study": "Repeat one of the paper's experiments: train its variants and compare them. Run it again to resume.",
}

HELP: tuple[list[str], ...] = ([], ["--help"], ["-h"])


def overview(prefix: str, about: str, commands: dict[str, str]) -> str:
    """Return the usage and the commands, one paragraph each, as wide as the terminal."""
    width, indent = min(shutil.get_terminal_size().columns, 100), max(map(len, commands)) + 4
    lines = [f"Usage: {prefix} COMMAND", "", *textwrap.wrap(about, width), "", "Commands:"]
    for name, summary in commands.items():
        lines += textwrap.wrap(summary, width, initial_indent=f"  {name:{indent - 2}}", subsequent_indent=" " * indent)
    more = [f"`{prefix} COMMAND --help` shows what a command takes."]
    if commands is COMMANDS:
        more.append("`pix2pix --version` prints the version.")
    return "\n".join([*lines, "", *more])


def hang_up() -> NoReturn:
    """Exit without a message after the reader of stdout has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
