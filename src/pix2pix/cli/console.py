"""Output of commands: messages go to stderr, results and tables to stdout."""

import sys
from typing import Any

from pix2pix.text import format_count

METRICS_FIRST = ["g_adversarial", "g_l1", "d_real", "d_fake", "l1", "psnr", "ssim"]
"""Columns that every evaluation has, the lecture's four numbers first."""
METRICS_MEASURED = ["ms_ssim", "lpips", "fid", "kid", "mae", "rmse"]
"""Columns of metrics that not every evaluation has."""


def say(line: str) -> None:
    """Print a message to stderr."""
    print(line, file=sys.stderr)


def align(facts: dict[str, Any]) -> str:
    """Return one line for each fact, with the values in one column."""
    width = max(map(len, facts))
    return "\n".join(f"{name:{width}}  {value}" for name, value in facts.items())


def print_labels(labels: dict[str, Any]) -> None:
    """Print how well labels were read from the outputs and from the real targets."""
    print("labels read from         pixel accuracy  class accuracy             IoU")
    for what, values in (("outputs", labels), ("real targets", labels["ceiling"])):
        cells = (values[name] for name in ("pixel_accuracy", "class_accuracy", "iou"))
        print(f"{what:23}" + "".join(f"{cell:16.4f}" for cell in cells))


def print_metrics(metrics: dict[str, Any]) -> None:
    """Print the metrics of an evaluation, those of its baselines, and confidence intervals."""
    rows = {f"{metrics['split']} ({format_count(metrics['images'], 'image')})": metrics} | metrics["baselines"]
    names = METRICS_FIRST + [name for name in METRICS_MEASURED if metrics.get(name) is not None]
    print(" " * 22 + "".join(f"{name:>14}" for name in names))
    for row, values in rows.items():
        cells = (values.get(name) for name in names)
        print(f"{row:22}" + "".join(f"{'-' if cell is None else f'{cell:.4f}':>14}" for cell in cells))
    for end, what in enumerate(("95 %: from", "95 %: to")):
        ends = ((metrics["intervals"].get(name) or (None, None))[end] for name in names)
        print(f"{what:22}" + "".join(f"{'-' if cell is None else f'{cell:.4f}':>14}" for cell in ends))
