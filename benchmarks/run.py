"""Rows of a whole run: what `train` adds to its updates."""

import math
import time
from collections.abc import Callable, Iterator

from benchmarks.conditions import Conditions
from benchmarks.ours import OurTraining
from benchmarks.rows import Row, milliseconds
from benchmarks.timing import Timing
from pix2pix.config import Training
from pix2pix.system.progress import ProgressBar
from pix2pix.training.checkpoint import seconds_between_saves

FULL_EPOCH = 320  # pairs of the facades that are trained on, of 400
VALIDATED = 40
EPOCHS = 200


class _Clock(ProgressBar):
    """A progress bar that shows nothing, notes when updates were done, and runs bare steps in between."""

    BLOCK = 4  # updates in a row of either kind

    def __init__(self) -> None:
        super().__init__(silent=True)
        self.bare: Callable[[], object] | None = None
        self.updates: list[list[float]] = []  # of each epoch: seconds of each update but the first
        self.between: list[float] = []  # seconds from an epoch's last update to the next one's first
        self.bare_seconds: list[float] = []
        self.began = self.last = time.perf_counter()
        self.first_update: float | None = None
        self.epoch = ""
        self.count = 0

    def update(self, done: int, total: int | None, what: str | None = None) -> None:
        now = time.perf_counter()
        where = what or ""
        if not where.startswith("epoch"):  # still looking at the data
            return
        if self.first_update is None:
            self.first_update = now - self.began
            self.updates.append([])
        elif where != self.epoch:
            self.between.append(now - self.last)
            self.updates.append([])
        else:
            self.updates[-1].append(now - self.last)
        self.epoch = where
        self.count += 1
        if self.bare is not None and self.count % self.BLOCK == 0:
            for _ in range(self.BLOCK):
                began = time.perf_counter()
                self.bare()
                self.bare_seconds.append(time.perf_counter() - began)
        self.last = time.perf_counter()


def run_rows(conditions: Conditions) -> Iterator[Row]:
    """Measure what `train` adds to its updates: loading, logs, validation, checkpoints; batch 1, default settings.

    Three epochs are trained, and every few updates the same step is run bare on a batch at hand. What the second
    validation, the checkpoint and the run cost beside their updates is then laid on the facades' 320 pairs and 200
    epochs, with the validations and the checkpoints that such a training has.
    """
    clock, epochs = _Clock(), 3
    config = conditions.config(epochs=epochs, validate_every=1)
    training = OurTraining(config, conditions.scratch / "run", clock)
    source, target = conditions.batch(1)
    for _ in range(2):
        training.step(source, target)
    clock.bare = lambda: training.step(source, target)
    training.trainer.fit(lambda: None)
    ended = time.perf_counter()
    training.trainer.writer.write_report()
    after = time.perf_counter() - ended

    bare, inside = (
        Timing(tuple(clock.bare_seconds)),
        Timing(tuple(seconds for epoch in clock.updates for seconds in epoch)),
    )
    validating, saving = max(0.0, clock.between[-1] - inside.median), training.trainer.checkpoints.save_seconds
    updates, validations = EPOCHS * FULL_EPOCH, 1 + EPOCHS // Training(epochs=EPOCHS).validation_epochs
    apart = math.ceil(seconds_between_saves(saving) / (FULL_EPOCH * inside.median))  # epochs, for a save is at an end
    saves = 1 + EPOCHS // max(1, apart)
    once = (clock.first_update or 0.0) + after
    beside = validations * validating + saves * saving + once
    whole = updates * bare.median / (updates * inside.median + beside)
    validated = len(training.trainer.validation.loader.dataset) if training.trainer.validation else 0
    raw = {"ours": inside.seconds, "reference": bare.seconds}
    yield Row(
        section="run",
        work="train, updates inside an epoch, against the bare step",
        ours=milliseconds(inside.median),
        reference=milliseconds(bare.median),
        value=bare.median / inside.median,
        unit="%",
        raw=raw,
    )
    must, aim = conditions.targets((0.97, 0.99))
    yield Row(
        section="run",
        work="train, the whole command, against the bare step",
        ours=f"{whole / bare.median:.2f}/s",
        reference=f"{1 / bare.median:.2f}/s",
        value=whole,
        unit="%",
        must=must,
        aim=aim,
        note=f"{EPOCHS} epochs of {FULL_EPOCH} pairs; validating {validated} takes {validating:.1f} s, "
        f"{validations} times, saving {saving:.1f} s, {saves} times, start and end {once:.1f} s",
    )
