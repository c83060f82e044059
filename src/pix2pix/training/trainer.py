"""The training loop: epochs of steps, validations, kept models and checkpoints.

The randomness of a step is a function of (seed, step, rank), that of a pair a function of (seed, epoch, index). So a
resumed training equals an uninterrupted one.

Every process runs this loop. All have the same weights, take their own part of each batch, and make the same decisions
from the same numbers.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pix2pix.config import Config
from pix2pix.data.loading.dataset import Batch
from pix2pix.data.loading.loader import PairLoader
from pix2pix.distributed.parallel import unwrap
from pix2pix.distributed.process_group import ProcessGroup
from pix2pix.errors import ConfigError, DataError, Interrupted, ModelError, RunError
from pix2pix.metrics.pixel import ACCURACIES, HIGHER_IS_BETTER
from pix2pix.networks.cpu.fused_adam import AdamInBackward
from pix2pix.reports.curves import read_metrics
from pix2pix.system.progress import ProgressBar
from pix2pix.text import format_count, format_digits, format_duration, format_examples
from pix2pix.training.checkpoint import Checkpoints, TrainingProgress, stateful_parts
from pix2pix.training.checkpoint_content import find_non_finite
from pix2pix.training.ema import ema_decay, update_ema
from pix2pix.training.finite import BadStepError
from pix2pix.training.metrics_log import AUGMENTED, SKIPPED
from pix2pix.training.run_files import name_kept_model
from pix2pix.training.run_writer import RunWriter, Shown, Speed
from pix2pix.training.schedule import Rates, learning_rates, loss_of_epoch, seed_step, set_learning_rates, step_seed
from pix2pix.training.step import TrainState, train_step
from pix2pix.training.validation import Validation

MOST_BAD_STEPS = 5
"""So many steps in a row whose numbers are not finite end a training."""

StopSignal = Callable[[], int | None]
"""Return the signal that asks the training to end, or None."""


@dataclass
class StepTime:
    """Seconds of training steps, in total and spent waiting for pairs."""

    total: float = 0.0
    waiting: float = 0.0

    @property
    def loading_share(self) -> float:
        """Share of the time spent waiting."""
        return self.waiting / (self.total or math.inf)


@dataclass
class Trainer:
    """Train one run to its end. `setup.make_trainer` makes its parts."""

    config: Config
    folder: Path
    device: torch.device
    group: ProcessGroup
    state: TrainState
    progress: TrainingProgress
    loader: PairLoader
    validation: Validation | None
    checkpoints: Checkpoints
    writer: RunWriter
    bar: ProgressBar

    def __post_init__(self) -> None:
        self.step_time = StepTime()  # since this process began
        self._sums = self._restored_sums()
        self._in_step = False  # then the networks may hold half an update

    def _restored_sums(self) -> dict[str, Tensor]:
        """Return the sums of the loss terms in this epoch: rank 0 begins with the saved ones."""
        saved = self.progress.sums.items()
        return {name: torch.tensor(value if self.group.is_first else 0.0) for name, value in saved}

    def fit(self, stop: StopSignal, begun: Callable[[], object] = lambda: None) -> TrainingProgress:
        """Train to the last epoch, or until patience has run out. Raises Interrupted, with all state saved.

        Rank 0 calls `begun` when a checkpoint of this training is on the disk. After an error between two updates, what
        was trained is saved too, and the error says so.
        """
        try:
            if not self.progress.step:
                self._save()  # shows a full disk or a wrong folder before hours of training do
                self.checkpoints.wait()
            self.group.broadcast(begun)
            while not self._is_finished():
                try:
                    means, speed = self._train_epoch(stop)
                except BadStepError as error:
                    self._go_back(error)
                    continue
                self._end_epoch(means, speed, stop)
        except Interrupted as interrupted:
            self._save()
            raise Interrupted(interrupted.signal, self.folder) from None
        except Exception as error:
            if (saved := self._save_after(error)) is not error:
                raise saved from error
            raise
        finally:
            self.loader.close()
            self.checkpoints.wait()
        return self.progress

    def _end_epoch(self, means: dict[str, float], speed: Speed, stop: StopSignal) -> None:
        """Log, validate, keep the model if it is the best, and save if that is due.

        Raises Interrupted after a stop signal. After any error the progress is that before this call, so a resumed
        training does all of it again.
        """
        progress, before, sums = self.progress, replace(self.progress), self._sums
        try:
            means[SKIPPED] = progress.skipped_steps
            progress.epoch, progress.batch, self._sums = progress.epoch + 1, 0, {}
            progress.skipped_steps = progress.skipped_pairs = 0
            alarms = self.writer.write_metrics("train", means, speed)

            scores: dict[str, float] = {}
            if self.validation is not None and self.validation.is_due(progress.epoch):
                scores = self.validation.run(progress.epoch, stop)
                self._refuse_non_finite(
                    {name: scores[name] for name in scores if name != "psnr"}
                )  # infinite for an exact copy
                alarms += self.writer.write_metrics("val", scores, speed)
            if self._is_best(scores):
                self.writer.write_model(self.state, scores, shown=self._shown(scores))
                if scores and self.validation is not None:
                    self.validation.keep_samples(progress.epoch, before.best_epoch)
            if progress.epoch % (self.config.training.keep_every or math.inf) == 0:
                name = name_kept_model(progress.epoch)
                self.writer.write_model(self.state, scores, name, shown=self._shown(scores))

            progress.finished = self._is_finished()
            (due,) = self.group.all_reduce_max(self.checkpoints.is_due)
            if due or progress.finished:
                self._save()
        except BaseException:
            vars(progress).update(vars(before))
            self._sums = sums
            raise
        for line in (describe_epoch(progress, means, scores, self.config.training.best_by), *alarms):
            self.bar.say(line)
        (signal,) = self.group.all_reduce_max(stop() or 0)
        if signal and not progress.finished:
            raise Interrupted(signal)

    def _shown(self, scores: Mapping[str, float]) -> Shown | None:
        """Return what the card of this epoch's model shows; None for an epoch without validation."""
        return self.validation.shown if scores and self.validation is not None else None

    def write_newest_model(self) -> None:
        """Write the model of the newest epoch, where that of the best one has been removed."""
        rows = read_metrics(self.folder / "metrics.csv")
        newest = [row for row in rows if (row.split, row.epoch) == ("val", self.progress.epoch)]
        self.progress.best_epoch = self.progress.epoch
        self.writer.write_model(self.state, newest[-1].values if newest else {})

    @property
    def pairs(self) -> int:
        """Number of examples in an epoch: pairs of the training split, or crops of them."""
        return len(self.loader.dataset)

    def _train_epoch(self, stop: StopSignal) -> tuple[dict[str, float], Speed]:
        """Take the remaining steps of one epoch. Returns the mean of each term over the whole epoch, and the speed."""
        progress, training = self.progress, self.config.training
        first = training.first_phase
        alone = f" ({first.name})" if progress.epoch < first.epochs else ""
        what = f"epoch {progress.epoch + 1}/{training.epochs}{alone}"
        self.state.generator.train()
        self.state.discriminator.train()
        began, seconds, seen = time.monotonic(), progress.seconds, progress.images_seen
        done = seen - progress.epoch * self.pairs  # pairs of this epoch
        epoch_time = StepTime()
        for batch in timed(self.loader.epoch(progress.epoch, done), epoch_time):
            self._in_step = True
            count, own = min(training.effective_batch, self.pairs - done), len(batch.index)
            try:
                means = self._step(batch, count)
            except BadStepError as error:
                self._skip(batch, count, error)
            else:
                progress.skipped_in_a_row = 0
                means |= self._adapt(means, own, count)
                terms = {name: mean * own if own else torch.zeros_like(mean) for name, mean in means.items()}
                self._sums = {name: self._sums.get(name, 0) + term for name, term in terms.items()}
            done += count
            progress.step, progress.batch = progress.step + 1, progress.batch + 1
            progress.images_seen += count
            progress.seconds = seconds + time.monotonic() - began
            self._in_step = False
            self.bar.update(progress.images_seen, training.epochs * self.pairs, what)
            signal, overdue = self.group.all_reduce_max(stop() or 0, self.checkpoints.is_overdue)
            if signal:
                raise Interrupted(signal)
            if overdue:
                self._save()
        totals = self.group.all_reduce_sum(self._sums)
        self._refuse_non_finite(totals)
        epoch_time.total = progress.seconds - seconds
        self.step_time.total += epoch_time.total
        self.step_time.waiting += epoch_time.waiting
        pace = (progress.images_seen - seen) / (epoch_time.total or math.inf)  # only the end was left to do
        used = self.pairs - progress.skipped_pairs
        speed = Speed(self._rates(progress.images_seen).generator, pace, epoch_time.loading_share)
        return {name: total / used for name, total in totals.items()}, speed

    def _rates(self, images_seen: int) -> Rates:
        """Return the learning rates of the step in this epoch that ends after so many pairs."""
        return learning_rates(self.config.optimizer, self.progress.epoch, self.config.training.epochs, images_seen)

    def _skip(self, batch: Batch, count: int, error: BadStepError) -> None:
        """Count and report a step that was undone; `count` pairs of all ranks were in it.

        Raises the error if the step could not be undone, and RunError if too many in a row are bad.
        """
        if not error.undone:
            raise error
        progress = self.progress
        progress.skipped_steps, progress.skipped_pairs = progress.skipped_steps + 1, progress.skipped_pairs + count
        progress.skipped_in_a_row += 1
        what = f"{error.what} is not finite for {self._name_files(batch)}"
        if progress.skipped_in_a_row >= MOST_BAD_STEPS:
            raise RunError(
                f"{self.folder}: {MOST_BAD_STEPS} steps in a row could not be used, the last one because {what}; the "
                "last checkpoint is intact: try a lower --learning-rate or --precision 32, and look at these files"
            )
        self.bar.say(f"step {progress.step + 1} of epoch {progress.epoch + 1} is skipped: {what}")

    def _name_files(self, batch: Batch) -> str:
        """Name the files of the pairs in a step, of all ranks."""
        dataset = self.loader.dataset
        indices = [index for part in self.group.all_gather(batch.index.tolist()) for index in part]
        return format_examples(dict.fromkeys(ref.file for index in indices for ref in dataset.pair_of(index).refs), 6)

    def _go_back(self, error: BadStepError) -> None:
        """Return to the newest checkpoint after a step that could not be undone; its repetition can be.

        From now on G's update waits until its gradient is complete, which takes more memory and gives the same bits.
        """
        bad = self.progress.step
        self.checkpoints.wait()
        vars(self.progress).update(vars(self.checkpoints.restore(self.state)))
        self._sums, self._in_step = self._restored_sums(), False
        if self.checkpoints.warning:
            self.bar.say(f"warning      {self.checkpoints.warning}")
        self.writer.go_back()
        assert isinstance(self.state.generator_optimizer, AdamInBackward), "no other updates during the backward pass"
        self.state.generator_optimizer.deferred = True
        again = format_count(bad - self.progress.step, "step")
        self.bar.say(
            f"step {bad + 1}: {error.what} is not finite, and some weights had already changed: going back to the "
            f"checkpoint of step {self.progress.step}, and repeating {again}"
        )

    def _step(self, batch: Batch, pairs: int) -> dict[str, Tensor]:
        """Take one step on this rank's part of a batch of `pairs`.

        Raises BadStepError on all ranks if a number is not finite on one.
        """
        training, state, progress = self.config.training, self.state, self.progress
        # The ranks' gradients are averaged as if their parts were equal: this part over the mean part.
        share = len(batch.index) * self.group.size / pairs
        set_learning_rates(state, self._rates(progress.images_seen + pairs))
        seed_step(step_seed(training.seed, progress.step, self.group.rank), self.device)
        terms = train_step(
            state,
            self._on_device(batch.source),
            self._on_device(batch.target),
            loss_of_epoch(self.config, progress.epoch),
            backward=torch.autograd.backward if share == 1 else lambda loss: torch.autograd.backward(loss * share),
            order=training.update_order,
            generator_learns=progress.epoch >= training.discriminator_epochs,
            mask=None if batch.mask is None else self._on_device(batch.mask),
            agree=lambda code: self.group.all_reduce_max(code)[0],
        )
        self.group.all_reduce_mean_(state.local_statistics)
        if state.average is not None:
            update_ema(state.average, unwrap(state.generator), ema_decay(training, pairs, progress.images_seen))
        return terms

    def _adapt(self, means: Mapping[str, Tensor], own: int, count: int) -> dict[str, Tensor]:
        """Adapt what D sees after a step with `own` of the `count` pairs of all ranks; return the term to log."""
        if (augment := self.state.augment) is None or "d_real_accuracy" not in means:  # G alone learned
            return {}
        used = {AUGMENTED: augment.probability.float()}
        accuracy = means["d_real_accuracy"]
        right = self.group.all_reduce_sum({"right": accuracy * own if own else torch.zeros_like(accuracy)})["right"]
        augment.adapt(right / count, count)
        return used

    def _on_device(self, tensor: Tensor) -> Tensor:
        """Copy a tensor to the device, without waiting if its memory is pinned."""
        return tensor.to(self.device, non_blocking=True)

    def _is_finished(self) -> bool:
        """Return whether all epochs are done, or patience has run out."""
        training, progress = self.config.training, self.progress
        if progress.epoch >= training.epochs:
            return True
        waited = progress.epoch - max(progress.best_epoch, training.first_phase.epochs)
        return training.patience is not None and self.validation is not None and waited >= training.patience

    def _is_best(self, scores: Mapping[str, float]) -> bool:
        """Return whether to keep the model of this epoch, and note its score. Without validation the newest is kept."""
        progress, training = self.progress, self.config.training
        if not scores and self.validation is not None:
            return False  # this epoch was not validated
        value = scores.get(training.best_by)
        if value is not None and progress.best is not None:
            better = value > progress.best if HIGHER_IS_BETTER[training.best_by] else value < progress.best
            if not better:
                return False
        counts = progress.epoch > training.first_phase.epochs  # before, one of the networks has not learned yet
        progress.best, progress.best_epoch = value if counts else None, progress.epoch
        return True

    def _save(self) -> None:
        """Save a checkpoint. Raises RunError if a number in it is not finite, or the run folder is gone."""
        self.group.broadcast(self.writer.require_folder)
        self.progress.sums = self.group.all_reduce_sum(self._sums)
        self._refuse_non_finite(self.progress.sums)
        parts = {name: part.state_dict() for name, part in stateful_parts(self.state).items()}
        if (name := find_non_finite(parts)) is not None:
            self._refuse_non_finite({name: math.nan})
        self.checkpoints.save(self.state, self.progress)

    def _save_after(self, error: Exception) -> Exception:
        """Save what was trained before an error, if that is whole. Return the error, which then says what to do."""
        if self.group.size > 1 or self._in_step:  # the other processes wait elsewhere; half an update is never saved
            return error
        try:
            self._save()
            self.checkpoints.wait()
        except Exception:  # such as a full disk: the first error is the cause
            return error
        if isinstance(error, DataError):
            how = "put the file back and run the same command again to resume, or leave the pair out with --skip-bad"
            how += " in another --run"
        else:
            how = "run the same command again to resume"
        return explained(error, f"what was trained until step {self.progress.step} is saved: {how}")

    def _refuse_non_finite(self, values: Mapping[str, float]) -> None:
        """Raise RunError naming the first value that is not finite."""
        epoch = math.ceil(self.progress.images_seen / self.pairs)
        for name, value in values.items():
            if not math.isfinite(value):
                raise RunError(
                    f"{self.folder}: {name} became {value} in epoch {epoch}; the last checkpoint is intact: "
                    "try a lower --learning-rate or --precision 32"
                )


def timed(batches: Iterator[Batch], step_time: StepTime) -> Iterator[Batch]:
    """Yield the same batches, and add up the time spent waiting for them."""
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        step_time.waiting += time.perf_counter() - began
        if batch is None:
            return
        yield batch


def explained(error: Exception, hint: str) -> Exception:
    """Return an error for users with a hint appended to its sentence; any other error as it is."""
    if isinstance(error, OSError):
        return OSError(error.errno, f"{error.strerror or error}; {hint}", error.filename)
    if isinstance(error, ConfigError | DataError | ModelError | RunError):
        return type(error)(f"{error}; {hint}")
    return error


def describe_epoch(
    progress: TrainingProgress, means: Mapping[str, float], scores: Mapping[str, float], best_by: str
) -> str:
    """Describe an epoch in one line: training terms, main validation metrics, a star if the model was kept."""
    train = " ".join(
        f"{name} {value:.3f}" for name, value in means.items() if name not in ("g_l2", SKIPPED, *ACCURACIES)
    )
    shown = dict.fromkeys(("g_l1", "psnr", "ssim", "g_cross_entropy", "pixel_accuracy", best_by))
    val = " ".join(f"{name} {format_digits(scores[name])}" for name in shown if name in scores)
    star = " *" if progress.best_epoch == progress.epoch else ""
    line = f"epoch {progress.epoch}: {train}{f' | val {val}' if val else ''}{star}"
    return f"{line}  [{format_duration(progress.seconds)}]"
