"""Set up this package's training step and translator as `train` and `translate` do."""

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.conditions import Conditions
from benchmarks.reference import ReferenceUNet, copy_weights
from pix2pix.config import Config, resolved_depth
from pix2pix.config.fields import Statistics
from pix2pix.inference.optimize import Precision
from pix2pix.inference.translator import Translator
from pix2pix.model import Model, build_networks, choose_statistics, make_model_config
from pix2pix.system.progress import ProgressBar
from pix2pix.training.inspection import inspect_and_plan
from pix2pix.training.run_folder import begin_run
from pix2pix.training.setup import make_trainer
from pix2pix.training.step import train_step


class OurTraining:
    """A trainer as the command `train` makes it, for its step to be run alone; writes into `folder`."""

    def __init__(self, config: Config, folder: Path, bar: ProgressBar | None = None) -> None:
        bar = bar or ProgressBar(silent=True)
        plan, pairs, _ = inspect_and_plan(config, bar)
        begin_run(folder, plan.config, overwrite=False)
        self.plan, self.folder = plan, folder
        self.trainer = make_trainer(plan, pairs.splits, folder, bar)
        self.trainer.state.generator.train()
        self.trainer.state.discriminator.train()

    def step(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Update D and G once on (N, C, H, W) in [-1, 1]."""
        config = self.plan.config
        order = config.training.update_order
        return train_step(self.trainer.state, source, target, config.loss, order=order)


def save_model(conditions: Conditions, folder: Path, statistics: Statistics) -> ReferenceUNet:
    """Write a model folder as training would; returns the same network, plainly built, in eval mode.

    Its weights are as drawn, and its running averages have seen a few images, so that outputs vary as a trained
    network's do.
    """
    torch.manual_seed(0)
    config = conditions.config()
    data = config.data.model_copy(update={"source_channels": 3, "target_channels": 3})
    depth = resolved_depth(config.generator, data.image_size)
    config = config.model_copy(update={"data": data, "generator": config.generator.model_copy(update={"depth": depth})})
    generator, discriminator = build_networks(config)
    choose_statistics(generator, discriminator, statistics)

    plain = ReferenceUNet(depth=depth, base=conditions.base_channels)
    copy_weights(plain, generator)
    source, _ = conditions.batch(4)
    with torch.no_grad():
        for _ in range(20):
            plain.train()(source)
    copy_weights(generator, plain)

    card = make_model_config(config, statistics, (1.0, 1.0), False, 1, {})
    Model(generator.eval(), None, card).save(folder)
    return plain.eval()


def our_translator(folder: Path, precision: Precision = "32") -> Translator:
    """Load a model folder as `translate` does on the processor."""
    return Translator.from_pretrained(folder, device="cpu", precision=precision)
