"""All training state <-> two files: the newest checkpoint and its description, written whole or not at all."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pix2pix.errors import RunError
from pix2pix.system.files import begin_to_write, write_text

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


def save_checkpoint(folder: Path, tensors: Mapping[str, Any], progress: Progress) -> Callable[[], None]:
    """Begin to write `state.pt`, and `state.json` for people; the old ones remain until what is returned is called.

    The tensors may change meanwhile: all that is left is to wait for the disk. Both raise OSError naming the file.
    """
    for leftover in folder.glob(f".{STATE}.*.partial"):  # of a process that was killed while it wrote
        leftover.unlink(missing_ok=True)
    now = asdict(progress)
    finish = begin_to_write(folder / STATE, lambda file: torch.save(dict(tensors, progress=now), file))

    def finish_both() -> None:
        finish()
        write_text(folder / DESCRIPTION, json.dumps(now, indent=2) + "\n")

    return finish_both


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
