"""Train an image-to-image translation model on pairs of images, measure it, and use it.

Every name is imported when it is first used, so that `import pix2pix` imports neither torch nor numpy.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pix2pix.system.telemetry import refuse_telemetry

if TYPE_CHECKING:
    from pix2pix.config import Augment, Config, Data, Discriminator, Generator, Loss, Optimizer, Training
    from pix2pix.demo import demo
    from pix2pix.evaluation.compare import Comparison, compare
    from pix2pix.evaluation.evaluate import Evaluation, evaluate
    from pix2pix.export.convert import Converted, convert
    from pix2pix.inference.translate import translate
    from pix2pix.inference.translator import Translator
    from pix2pix.model.push import push
    from pix2pix.training.train import Run, train

refuse_telemetry(os.environ)

_HOMES = {
    **dict.fromkeys(
        ("Augment", "Config", "Data", "Discriminator", "Generator", "Loss", "Optimizer", "Training"),
        "pix2pix.config",
    ),
    "Comparison": "pix2pix.evaluation.compare",
    "Converted": "pix2pix.export.convert",
    "Evaluation": "pix2pix.evaluation.evaluate",
    "Run": "pix2pix.training.train",
    "Translator": "pix2pix.inference.translator",
    "compare": "pix2pix.evaluation.compare",
    "convert": "pix2pix.export.convert",
    "demo": "pix2pix.demo",
    "evaluate": "pix2pix.evaluation.evaluate",
    "push": "pix2pix.model.push",
    "train": "pix2pix.training.train",
    "translate": "pix2pix.inference.translate",
}

__all__ = [
    "Augment",
    "Comparison",
    "Config",
    "Converted",
    "Data",
    "Discriminator",
    "Evaluation",
    "Generator",
    "Loss",
    "Optimizer",
    "Run",
    "Training",
    "Translator",
    "compare",
    "convert",
    "demo",
    "evaluate",
    "push",
    "train",
    "translate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pix2pix' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # replaces the submodule of the same name, which the import has set
    return value


def __dir__() -> list[str]:
    return __all__
