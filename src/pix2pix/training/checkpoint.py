"""Save and restore the state of a training: when, what, and which of the two checkpoints that are kept."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pix2pix.distributed.parallel import unwrap
from pix2pix.distributed.process_group import ProcessGroup
from pix2pix.errors import RunError
from pix2pix.system.files import HeldFolder, check_free_space, sync_folder
from pix2pix.text import format_count, format_duration
from pix2pix.training.checkpoint_content import read_state, refuse_misfit, tensor_bytes
from pix2pix.training.checkpoint_files import (
    SavedPair,
    Search,
    begin_pair,
    find_pairs,
    settle_names,
)
from pix2pix.training.step import TrainState

SAVE_SECONDS = 300.0  # largest loss if the process is killed; an epoch may take hours
SAVE_SHARE = 0.005  # largest share of the time spent on saving, unless SAVE_SECONDS have passed

Count = Annotated[int, Field(ge=0, strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Score = Annotated[float, Field(strict=True)]  # PSNR of an exact copy is infinite


@dataclass
class TrainingProgress:
    """Progress of a training. With the seed it determines all later randomness."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # of what is read from a file

    epoch: Count = 0  # complete epochs
    batch: Count = 0  # batches done in the current epoch
    step: Count = 0  # steps done
    images_seen: Count = 0
    seconds: Number = 0.0  # spent on steps, before and after interruptions
    best: Score | None = None  # best value of the metric that selects the model
    best_epoch: Count = 0
    finished: Annotated[bool, Field(strict=True)] = False  # all epochs are done, or patience has run out
    sums: dict[str, Number] = field(default_factory=dict)
    """Sums of the loss terms in the current epoch."""
    skipped_steps: Count = 0  # of the current epoch, because a number was not finite
    skipped_pairs: Count = 0  # in these steps
    skipped_in_a_row: Count = 0  # newest steps
    validated: tuple[Count, Count] | None = None  # largest height and width in validation; None if images are whole


@dataclass(frozen=True)
class Checkpoint:
    """An intact checkpoint, and what to say about newer ones that cannot be used; empty if there are none."""

    tensors: dict[str, Any]
    progress: TrainingProgress
    pair: SavedPair
    warning: str


class Checkpoints:
    """Decide when to save a checkpoint, save it and restore it. Rank 0 reads and writes for all processes."""

    def __init__(self, folder: Path, group: ProcessGroup, *, save_share: float = SAVE_SHARE) -> None:
        self.folder, self.group, self.save_share = folder, group, save_share
        self.found = False  # whether the training was restored
        self.warning = ""  # what was wrong with the newest checkpoint when the training was restored
        self.save_seconds = 0.0  # for which training waited for the newest checkpoint
        self._saved_at = time.monotonic()
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._run: HeldFolder | None = None
        self._keep_newest = True  # false as long as the newest pair is damaged

    def restore(self, state: TrainState) -> TrainingProgress:
        """Load the newest intact checkpoint into `state` and return its progress; a new progress if there is none.

        Raises RunError if there are checkpoints and none is intact.
        """
        expected = {name: part.state_dict() for name, part in stateful_parts(state).items()}
        saved = self.group.broadcast(lambda: self._open(expected))
        if saved is None:
            return TrainingProgress()
        for name, part in stateful_parts(state).items():
            part.load_state_dict(saved.tensors[name])
        self.found = True
        self.warning = saved.warning
        return saved.progress

    def _open(self, expected: Mapping[str, Any]) -> Checkpoint | None:
        self._run = HeldFolder(self.folder.parent)
        saved = find_checkpoint(self.folder, expected)
        if saved is not None and saved.pair.description is not None:
            settle_names(self.folder, saved.pair)
        self._keep_newest = saved is None or not saved.warning
        return saved

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
            self._check_run_folder()
            if not self.folder.exists():
                self.folder.mkdir()  # not its parents: a run folder that was removed is not made again
                sync_folder(self.folder.parent)
            check_free_space(self.folder, tensor_bytes(tensors), "a checkpoint")
            finish = save_checkpoint(self.folder, tensors, progress, keep_newest=self._keep_newest)
            if self.group.size == 1:
                self._writing = self._writer.submit(self._finish, finish)
            else:
                self._finish(finish)  # before the other ranks continue, so that all see a failure

        self.group.broadcast(write)
        self._saved_at = time.monotonic()
        self.save_seconds = self._saved_at - began

    def _finish(self, finish: Callable[[], None]) -> None:
        finish()
        self._check_run_folder()  # otherwise it was written into a folder that nobody will find
        self._keep_newest = True

    def _check_run_folder(self) -> None:
        if self._run is not None:
            self._run.check()

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
    optional = {"average": state.average, "discriminator_augment": state.augment}
    return parts | {name: part for name, part in optional.items() if part is not None}


def seconds_between_saves(save_seconds: float, save_share: float = SAVE_SHARE) -> float:
    """Return the seconds of training before the next checkpoint, which takes `save_seconds` to write."""
    return min(save_seconds / save_share, SAVE_SECONDS)


def save_checkpoint(
    folder: Path, tensors: Mapping[str, Any], progress: TrainingProgress, *, keep_newest: bool = True
) -> Callable[[], None]:
    """Begin to write a checkpoint into an existing folder; return a function that finishes the write.

    Until it has finished, the old files stay. The tensors may change after the first call: the second waits for the
    disk and reads back what is there. Both raise OSError naming the file.
    """
    now = asdict(progress)
    return begin_pair(folder, lambda file: torch.save(dict(tensors, progress=now), file), now, keep_newest=keep_newest)


def find_checkpoint(folder: Path, expected: Mapping[str, Any] | None = None) -> Checkpoint | None:
    """Read the newest intact checkpoint; None if there is none at all. Its tensors stay in the file until copied.

    `expected` holds the state of each part of the training, which the checkpoint has to fit. Raises RunError if there
    are checkpoints and none is intact.
    """
    search = Search()
    for pair in find_pairs(folder, search):
        try:
            tensors = read_state(pair.state)
            progress = _read_progress(tensors.pop("progress", None))
            if expected is not None:
                refuse_misfit(tensors, expected)
        except (OSError, ValueError) as error:
            search.problems.append(f"{pair.state.name}: {error}")
        else:
            return Checkpoint(tensors, progress, pair, _describe_loss(folder, search, pair, progress))
    if search.problems:
        raise RunError(
            f"{folder}: no checkpoint can be used ({'; '.join(search.problems)}); nothing was removed: copy the folder "
            "back from a backup, or train again with --overwrite"
        )
    return None


def _read_progress(values: Any) -> TrainingProgress:
    """Check the progress in a checkpoint. Raises ValueError."""
    try:
        return TypeAdapter(TrainingProgress).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("progress", *first["loc"])))
        raise ValueError(f"{where}: {first['msg']}") from None


def _describe_loss(folder: Path, search: Search, pair: SavedPair, progress: TrainingProgress) -> str:
    """Say in one sentence what is wrong with newer checkpoints, and what has to be trained again."""
    if not search.problems:
        return ""
    try:
        newest = _read_progress({key: (search.lost or {})[key] for key in asdict(progress)})
    except (KeyError, ValueError):
        again = "what was trained after it is trained again"
    else:
        again = _describe_repeated(progress, newest)
    return (
        f"{folder}: {'; '.join(search.problems)}; going on from {pair.state.name} of step {progress.step:,}, so {again}"
    )


def _describe_repeated(progress: TrainingProgress, newest: TrainingProgress) -> str:
    """Say what has to be done again to get from one checkpoint to a newer one, which is lost."""
    epochs, number = newest.epoch - progress.epoch, newest.step - progress.step
    if number == 0:
        return "the end of its epoch is done again" if epochs else "nothing is lost"
    minutes = format_duration(max(0.0, newest.seconds - progress.seconds))
    more = f"{format_count(epochs, 'epoch')}, " if epochs > 0 else ""
    return f"{format_count(number, 'step')} ({more}{minutes}) {'is' if number == 1 else 'are'} trained again"
