"""Draw procedural facades, train a small translator on them by the preset `modern` and evaluate it, in one command."""

from pathlib import Path
from typing import Literal

from pix2pix.config.io import merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.evaluation.evaluate import Evaluation, evaluate
from pix2pix.metrics.perceptual import BY_VGG, describe_missing
from pix2pix.synthetic.facades import make_facades
from pix2pix.system.progress import ProgressBar
from pix2pix.training.train import train_with

TRAIN, VAL, TEST = 240, 24, 24  # pairs
SETTINGS = {
    "data": {"direction": "BtoA", "image_size": 128},
    "augment": {"flip": False},  # the light comes from the left
    "generator": {"base_channels": 32},
    "discriminator": {"base_channels": 32},
    "training": {"epochs": 6, "precision": "32"},  # networks this small gain little from bf16
}


def demo(
    run: str | Path = Path("runs/demo"), *, overwrite: bool = False, threads: Literal["auto"] | int = "auto"
) -> Evaluation:
    """Draw pairs, train for about two minutes on two CPU cores, evaluate the test split. The page is RUN/report.html.

    The pairs are written beside the run, into NAME-data, and are drawn only once.
    """
    run = Path(run)
    bar = ProgressBar()
    data = run.parent / f"{run.resolve().name}-data"
    settings = merge_settings(SETTINGS, {"training": {"threads": threads}})
    chosen = choose_settings(data, "modern", None, settings)
    if not data.exists():
        bar.say(f"making {TRAIN + VAL + TEST} procedural facades in {data}")
        make_facades(data, train=TRAIN, val=VAL, test=TEST, size=128)
    train_with(chosen, run, overwrite=overwrite)
    bar.say("evaluating the model on the test split")
    evaluation = evaluate(run, data, split="test", threads=threads)
    missing = evaluation.metrics["missing"]
    for line in describe_missing({name: missing[name] for name in BY_VGG if name in missing}):
        bar.say(line)
    return evaluation
