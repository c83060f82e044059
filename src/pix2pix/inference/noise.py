"""Draw the method's noise z, which is dropout (paper, 3.1): where a generator has it, and its seeds."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix.errors import ModelError

if TYPE_CHECKING:
    from torch import nn


def turn_dropout_on(network: "nn.Module") -> None:
    """Let dropout draw in a network that is in eval mode."""
    from torch import nn

    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train()


def require_dropout(network: "nn.Module", what: str) -> None:
    """Raise ModelError, which begins with `what`, for a generator without dropout."""
    from torch import nn

    if not any(isinstance(module, nn.Dropout) and module.p for module in network.modules()):
        raise ModelError(
            f"{what}: the model was trained without dropout, so it has one output for each image; train one with "
            "dropout, such as --preset paper (modern has none) or --generator.dropout 0.5"
        )


def seed_noise(seed: int) -> None:
    """Let the next draws of dropout be those of a seed."""
    import torch

    torch.manual_seed(seed)


def image_seed(seed: int, name: Path) -> int:
    """Return the seed of one output, so that it depends neither on the others nor on their order."""
    return _derive(f"{seed} {name.as_posix()!r}")


def sample_seed(seed: int, number: int) -> int:
    """Return the seed of a sample by its number, from 1: the same for every image, in the shell and in Python."""
    return _derive(f"{seed} sample {number}")


def _derive(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
