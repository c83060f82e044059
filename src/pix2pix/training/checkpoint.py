"""Save and restore the state of a training: one checkpoint and its description, written atomically."""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pix2pix.distributed.parallel import unwrap
from pix2pix.distributed.process_group import ProcessGroup
from pix2pix.errors import RunError
from pix2pix.system.files import begin_to_write, write_text
from pix2pix.training.step import TrainState

STATE, DESCRIPTION = "state.pt", "state.json"
SAVE_SECONDS = 300.0  # largest loss if the process is killed; an epoch may take hours
SAVE_SHARE = 0.005  # largest share of the time spent on saving, unless SAVE_SECONDS have passed


@dataclass
class TrainingProgress:
    """Progress of a training. With the seed it determines all later randomness."""

    epoch: int = 0  # complete epochs
    batch: int = 0  # batches done in the current epoch
    step: int = 0  # steps done
    images_seen: int = 0
    seconds: float = 0.0  # spent on steps, before and after interruptions
    best: float | None = None  # best value of the metric that selects the model
    best_epoch: int = 0
    finished: bool = False  # all epochs are done, or patience has run out
    sums: dict[str, float] = field(default_factory=dict)  # sums of the loss terms in the current epoch
    skipped_steps: int = 0  # of the current epoch, because a number was not finite
    skipped_pairs: int = 0  # in these steps
    skipped_in_a_row: int = 0  # newest steps


class Checkpoints:
    """Decide when to save a checkpoint, save it and restore it. Rank 0 reads and writes for all processes."""

    def __init__(self, folder: Path, group: ProcessGroup, *, save_share: float = SAVE_SHARE) -> None:
        self.folder, self.group, self.save_share = folder, group, save_share
        self.save_seconds = 0.0  # for which training waited for the newest checkpoint
        self._saved_at = time.monotonic()
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def restore(self, state: TrainState, device: torch.device) -> TrainingProgress:
        """Load the newest checkpoint into `state` and return its progress; a new progress if there is none."""
        # Several processes load it onto the CPU, since they have different GPUs.
        place = device if self.group.size == 1 else torch.device("cpu")
        saved = self.group.broadcast(lambda: load_checkpoint(self.folder, place))
        if saved is None:
            return TrainingProgress()
        tensors, progress = saved
        for name, part in stateful_parts(state).items():
            part.load_state_dict(tensors[name])
        return progress

    @property
    def is_overdue(self) -> bool:
        """Whether to save a checkpoint now, within an epoch."""
        return time.monotonic() - self._saved_at > SAVE_SECONDS

    @property
    def is_due(self) -> bool:
        """Whether to save a checkpoint now, at the end of an epoch: not after every short epoch."""
        return time.monotonic() - self._saved_at >= seconds_between_saves(self.save_seconds, self.save_share)

    def save(self, state: TrainState, progress: TrainingProgress) -> None:
        """Write a checkpoint, in the background in a training of one process. Raises OSError naming the file."""
        began = time.monotonic()
        self.wait()
        tensors = {name: part.state_dict() for name, part in stateful_parts(state).items()}

        def write() -> None:
            finish = save_checkpoint(self.folder, tensors, progress)
            if self.group.size == 1:
                self._writing = self._writer.submit(finish)
            else:
                finish()  # before the other ranks continue, so that all see a failure

        self.group.broadcast(write)
        self._saved_at = time.monotonic()
        self.save_seconds = self._saved_at - began

    def wait(self) -> None:
        """Wait until the newest checkpoint is on the disk. Raises OSError naming the file."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()


def stateful_parts(state: TrainState) -> dict[str, Any]:
    """Return the parts of a checkpoint by name; each has `state_dict` and `load_state_dict`."""
    parts: dict[str, Any] = {
        "generator": unwrap(state.generator),
        "discriminator": unwrap(state.discriminator),
        "generator_optimizer": state.generator_optimizer,
        "discriminator_optimizer": state.discriminator_optimizer,
    }
    return parts | ({"average": state.average} if state.average is not None else {})


def seconds_between_saves(save_seconds: float, save_share: float = SAVE_SHARE) -> float:
    """Return the seconds of training before the next checkpoint, which takes `save_seconds` to write."""
    return min(save_seconds / save_share, SAVE_SECONDS)


def save_checkpoint(folder: Path, tensors: Mapping[str, Any], progress: TrainingProgress) -> Callable[[], None]:
    """Begin to write `state.pt` and, for people, `state.json`; return a function that finishes the write.

    Until it has finished, the old files stay. The tensors may change after the first call, since the second only waits
    for the disk. Both raise OSError naming the file.
    """
    for leftover in folder.glob(f".{STATE}.*.partial"):  # of a process that was killed during a write
        leftover.unlink(missing_ok=True)
    now = asdict(progress)
    finish = begin_to_write(folder / STATE, lambda file: torch.save(dict(tensors, progress=now), file))

    def finish_both() -> None:
        finish()
        write_text(folder / DESCRIPTION, json.dumps(now, indent=2) + "\n")

    return finish_both


def load_checkpoint(folder: Path, device: torch.device) -> tuple[dict[str, Any], TrainingProgress] | None:
    """Read the newest checkpoint; None if there is none. Raises RunError if it is damaged."""
    path = folder / STATE
    if not path.exists():
        return None
    try:
        tensors = torch.load(path, map_location=device, weights_only=True)
        return tensors, TrainingProgress(**tensors.pop("progress"))
    except Exception as error:  # a damaged archive may raise anything
        raise RunError(
            f"{path}: the checkpoint is broken ({type(error).__name__}); train again with --overwrite"
        ) from None
