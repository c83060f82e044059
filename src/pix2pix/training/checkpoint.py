"""All training state <-> two files: the newest checkpoint and its description, written whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pix2pix.errors import RunError
from pix2pix.files import write_atomically, write_text

STATE, DESCRIPTION = "state.pt", "state.json"


@dataclass
class Progress:
    """How far a training is; with the seed it determines all randomness of what follows."""

    epoch: int = 0  # whole epochs done
    batch: int = 0  # batches done of the epoch under way
    step: int = 0  # updates done
    images_seen: int = 0
    seconds: float = 0.0  # spent on updates, over all sittings
    best: float | None = None  # of the validation metric that picks the model
    best_epoch: int = 0
    finished: bool = False  # all epochs are done, or patience has run out
    sums: dict[str, float] = field(default_factory=dict)  # of the terms in the epoch under way


def save_checkpoint(folder: Path, tensors: Mapping[str, Any], progress: Progress) -> None:
    """Write `state.pt`, and `state.json` for people. Raises OSError naming the file; the old ones then remain."""
    write_atomically(folder / STATE, lambda file: torch.save(dict(tensors, progress=asdict(progress)), file))
    write_text(folder / DESCRIPTION, json.dumps(asdict(progress), indent=2) + "\n")


def load_checkpoint(folder: Path, device: torch.device) -> tuple[dict[str, Any], Progress] | None:
    """The newest checkpoint, or None where there is none. Raises RunError if it is broken."""
    path = folder / STATE
    if not path.exists():
        return None
    try:
        tensors = torch.load(path, map_location=device, weights_only=True)
        return tensors, Progress(**tensors.pop("progress"))
    except Exception as error:  # whatever a damaged archive makes torch raise
        raise RunError(
            f"{path}: the checkpoint is broken ({type(error).__name__}); start again with --overwrite"
        ) from None
