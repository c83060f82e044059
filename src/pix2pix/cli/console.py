"""Output of commands: messages go to stderr, results and tables to stdout."""

import logging
import sys
from pathlib import Path
from typing import Any

from pix2pix.system import streams
from pix2pix.text import escape_unprintable, format_count, format_decimals

METRICS_FIRST = ["g_adversarial", "g_l1", "d_real", "d_fake", "l1", "psnr", "ssim"]
"""Columns that every evaluation of images has, the lecture's four numbers first."""
CLASSES_FIRST = ["g_adversarial", "g_cross_entropy", "d_real", "d_fake", "mean_iou", "pixel_accuracy"]
"""The same for outputs that are label maps."""
METRICS_MEASURED = ["ms_ssim", "lpips", "st_lpips", "fid", "kid", "kid_vgg", "mae", "rmse"]
"""Columns of metrics that not every evaluation has."""


def say(line: str) -> None:
    """Print one line to stderr; a name in it can neither end the line nor command the terminal."""
    streams.say(escape_unprintable(line))


def print_path(path: Path) -> None:
    """Print a path to stdout: as it is for programs, with escapes on a terminal."""
    print(escape_unprintable(path) if sys.stdout.isatty() else path)


def align(facts: dict[str, Any]) -> list[str]:
    """Return one line for each fact, with the values in one column."""
    width = max(map(len, facts))
    return [escape_unprintable(f"{name:{width}}  {value}") for name, value in facts.items()]


class EscapingFormatter(logging.Formatter):
    """Put a log message on one line, as `say` does."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_unprintable(super().format(record))


def print_labels(labels: dict[str, Any]) -> None:
    """Print how well labels were read from the outputs and from the real targets."""
    print("labels read from         pixel accuracy  class accuracy             IoU")
    for what, values in (("outputs", labels), ("real targets", labels["ceiling"])):
        cells = (values[name] for name in ("pixel_accuracy", "class_accuracy", "iou"))
        print(f"{what:23}" + "".join(f"{cell:16.4f}" for cell in cells))


def print_metrics(metrics: dict[str, Any]) -> None:
    """Print a row for each metric of an evaluation: its confidence interval, and the same of the baselines."""
    names = (CLASSES_FIRST if metrics.get("classes") else METRICS_FIRST) + [
        name for name in METRICS_MEASURED if metrics.get(name) is not None
    ]
    baselines = metrics["baselines"]
    title = f"{metrics['split']} ({format_count(metrics['images'], 'image')})"
    print(f"{title:18}{'mean':>12}{'95 %: from':>12}{'to':>12}" + "".join(f"{name:>13}" for name in baselines))
    for name in names:
        ends = metrics["intervals"].get(name) or (None, None)
        values = [metrics.get(name), *ends, *(one.get(name) for one in baselines.values())]
        cells = ("-" if value is None else format_decimals(value) for value in values)
        print(f"{name:18}" + "".join(f" {cell:>{11 if at < 3 else 12}}" for at, cell in enumerate(cells)))
