"""A plan and pairs in; epochs of updates, validations, samples and checkpoints in the run folder out.

All randomness of an update is a function of (seed, step, rank) and of a pair of (seed, epoch, index), so that a
training that goes on from a checkpoint is the training that was never interrupted.

With several processes every rank runs these lines. All hold the same weights, take their own part of each batch, and
decide alike from the same numbers; what is written, rank 0 writes while the others wait (`ProcessGroup.broadcast`).
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pix2pix.config import Config, Optimizer
from pix2pix.data.checks.contact_sheet import draw_sheet, shrink_to_fit
from pix2pix.data.encoding import tensors
from pix2pix.data.io import images
from pix2pix.data.loading.dataset import Batch, PairDataset, make_dataset
from pix2pix.data.loading.loader import PairLoader, make_loader
from pix2pix.data.pairing.pair import Pair, source_titles
from pix2pix.distributed.environment import compute_device
from pix2pix.distributed.parallel import data_parallel, with_precision
from pix2pix.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from pix2pix.errors import ConfigError, Interrupted, RunError
from pix2pix.inference.any_size import AnySize
from pix2pix.metrics.perceptual import PerceptualMetrics, make_perceptual_metrics
from pix2pix.metrics.pixel import ACCURACIES, HIGHER_IS_BETTER, ImageScore, mean_scores, score
from pix2pix.metrics.segmentation import LabelScore, Segmenter, find_palette, get_segmenter
from pix2pix.model import Model, build_networks, choose_statistics, make_model_config
from pix2pix.networks import set_fast_convolutions
from pix2pix.networks.blocks import synchronise_norm
from pix2pix.reports.curves import draw_curves
from pix2pix.system.hardware import keep_memory
from pix2pix.system.progress import ProgressBar
from pix2pix.text import format_duration
from pix2pix.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from pix2pix.training.metrics_log import MetricsLog
from pix2pix.training.optimizers import make_adam
from pix2pix.training.plan import Plan
from pix2pix.training.step import State, update, update_ema

VALIDATION_BATCH = 2  # where sizes allow; four together take more memory than an update does
LARGEST_SAMPLE = 512  # pixels of the longer side on a sheet, where pictures are larger than image_size
SAVE_SECONDS = 300.0  # no more than this is lost if the process is killed; an epoch may take hours
SAVE_SHARE = 0.005  # of the time, at most, goes into saving, where that does not lose more than SAVE_SECONDS


class Waited(NamedTuple):
    """Seconds that updates waited for pairs, of how many they took."""

    seconds: float = 0.0
    of: float = 0.0

    def __str__(self) -> str:
        return f"{100 * self.seconds / self.of:.2g} % of the updates' time was waiting for pairs"


class _Timed:
    """The same batches, and the seconds that their coming took."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            began = time.perf_counter()
            batch = next(self._batches, None)
            self.seconds += time.perf_counter() - began
            if batch is None:
                return
            yield batch


class Trainer:
    """The epochs of one run, from its checkpoint or its beginning to its end, in one of its processes."""

    def __init__(
        self,
        plan: Plan,
        splits: dict[str, tuple[Pair, ...]],
        folder: Path,
        display: ProgressBar,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.plan, self.config, self.folder, self.display, self.group = plan, plan.config, folder, display, group
        keep_memory()
        self.device = compute_device(plan.config.training.device, group.info)
        self._make_networks()
        self.progress = self._restore()
        self.train_loader, self.val_loader = self._loaders(splits)
        self.perceptual = metrics_for_selection(self.config, self.device, plan.smallest)
        by_labels = self.config.training.best_by == "label_accuracy" and self.val_loader is not None
        self.segmenter = self._taught(splits["train"]) if by_labels else None
        self.log = MetricsLog(folder, self.progress.step) if group.is_first else None
        self._pace = 0.0  # images per second of the newest epoch's updates
        self._waited = 0.0  # seconds of those in which the loader was waited for, as a share
        self.waited = Waited()  # of all updates of this sitting
        self._saved = time.monotonic()
        self.save_took = 0.0  # seconds of the newest checkpoint
        self._disk = ThreadPoolExecutor(1)
        self._saving: Future[None] | None = None

    # ---- set-up ----------------------------------------------------------------------------------------------

    def _make_networks(self) -> None:
        config = self.config
        torch.manual_seed(config.training.seed)
        generator, discriminator = build_networks(config)
        for network in (generator, discriminator):
            set_fast_convolutions(network, config.training.convolutions == "fast")
        average = copy.deepcopy(generator).requires_grad_(False) if config.training.ema else None
        for network in filter(None, (generator, average)):
            choose_statistics(network, discriminator, self.plan.norm_statistics)
        # What a process counts by itself: made equal after every update, so that all hold the same networks.
        self._own_counts: list[Tensor] = []
        if self.group.size > 1 and config.training.sync_norm:
            synchronise_norm(generator)
            synchronise_norm(discriminator)
        else:
            buffers = [*generator.buffers(), *discriminator.buffers()]
            self._own_counts = [buffer for buffer in buffers if buffer.is_floating_point()]
        alone = self.group.size == 1  # else gradients are averaged over the ranks before they change anything
        for network in (generator, discriminator):
            network.to(self.device)  # before the Adams are made, whose moments lie beside the weights
        # In the precision of the settings: what is validated; with averaged gradients besides: what is trained.
        precision = config.training.precision
        cast_generator, self.cast_discriminator = (with_precision(one, precision) for one in (generator, discriminator))
        self.state = State(
            data_parallel(cast_generator, self.group),
            data_parallel(self.cast_discriminator, self.group),
            make_adam(generator, config.optimizer, in_backward=alone, used_once=True),
            make_adam(discriminator, config.optimizer, in_backward=alone),
        )
        # The same weights without wrappers, and what is validated: the moving average, if there is one.
        self.generator, self.discriminator, self.average = generator, discriminator, average
        self.shown = cast_generator if average is None else with_precision(average.to(self.device), precision)
        if config.native:
            self.shown = AnySize(self.shown, int(generator.size_multiple))  # type: ignore[arg-type]

    def _loaders(self, splits: dict[str, tuple[Pair, ...]]) -> tuple[PairLoader, PairLoader | None]:
        config, seed = self.config, self.config.training.seed
        batch, workers = config.training.batch_size, config.data.workers
        train = make_dataset(splits["train"], self.plan.prepared, config.data, config.augment, config.load_size, seed)
        gpu = config.training.device == "cuda"
        part: Any = {"rank": self.group.rank, "ranks": self.group.size, "neighbours": self.group.info.local_size}
        loader = make_loader(train, batch_size=batch, workers=workers, seed=seed, shuffle=True, pin_memory=gpu, **part)
        if "val" not in splits:
            return loader, None
        val = make_dataset(splits["val"], self.plan.prepared, config.data, seed=seed, full_size=config.native)
        together = 1 if config.native else VALIDATION_BATCH
        return loader, make_loader(val, batch_size=together, workers=0, shuffle=False, **part)

    def _taught(self, pairs: Sequence[Pair]) -> Segmenter:
        """Who reads labels from outputs, taught on the training pairs by rank 0, or at hand."""
        dataset = PairDataset(pairs, self.plan.prepared)

        def said(done: int, total: int, what: str) -> None:
            self.display.update(done, total, what)

        def get() -> Segmenter:
            fingerprint, device = self.config.provenance["data_fingerprint"], self.device
            palette = find_palette(pairs)
            return get_segmenter(
                self.folder / "segmenter", dataset, palette, device=device, fingerprint=fingerprint, progress=said
            )

        self.group.broadcast(lambda: bool(get()))
        return get()

    # ---- the epochs ------------------------------------------------------------------------------------------

    def fit(self, stop: Callable[[], int | None]) -> Progress:
        """Train to the last epoch. Raises Interrupted once `stop` names a signal, with all state saved."""
        progress, epochs = self.progress, self.config.training.epochs
        try:
            while progress.epoch < epochs and not self._out_of_patience():
                self._train_epoch(stop)
                signal = self._finish_epoch(stop)
                if signal and not progress.finished:
                    raise Interrupted(signal, self.folder)
        finally:
            self._wait_for_the_disk()
            if self.log is not None:
                self.log.close()
        return progress

    @property
    def _pairs(self) -> int:
        return len(self.train_loader.dataset)

    def _train_epoch(self, stop: Callable[[], int | None]) -> None:
        """The updates of one epoch, or of what is left of it."""
        progress, training = self.progress, self.config.training
        learns = progress.epoch >= training.discriminator_epochs
        self._set_rate(learning_rate(self.config.optimizer, progress.epoch, training.epochs))
        where = f"epoch {progress.epoch + 1}/{training.epochs}" + ("" if learns else " (D alone)")
        self.state.generator.train()
        self.state.discriminator.train()
        # Each rank adds up its own parts; what the checkpoint holds of the epoch is rank 0's to remember.
        sums = {name: torch.tensor(value if self.group.is_first else 0.0) for name, value in progress.sums.items()}
        began, seconds, seen = time.monotonic(), progress.seconds, progress.images_seen
        done = seen - progress.epoch * self._pairs  # of this epoch, whatever its batches were when it began
        batches = _Timed(self.train_loader.epoch(progress.epoch, done))
        for batch in batches:
            self._seed(seed_of(training.seed, progress.step, self.group.rank))  # dropout
            source, target = self._on_device(batch.source), self._on_device(batch.target)
            part, whole = len(batch.index), min(training.effective_batch, self._pairs - done)
            terms = update(
                self.state,
                source,
                target,
                self.config.loss,
                backward=self._backward(part, whole),
                order=training.update_order,
                generator_learns=learns,
                mask=None if batch.mask is None else self._on_device(batch.mask),
            )
            self.group.all_reduce_mean_(self._own_counts)
            if self.average is not None:
                update_ema(self.average, self.generator, training.ema)
            sums = {
                name: sums.get(name, 0) + (term * part if part else torch.zeros_like(term))
                for name, term in terms.items()
            }
            progress.step, progress.batch = progress.step + 1, progress.batch + 1
            done, progress.images_seen = done + whole, progress.images_seen + whole
            progress.seconds = seconds + time.monotonic() - began
            self.display.update(progress.images_seen, training.epochs * self._pairs, where)
            signal, due = self.group.all_reduce_max(stop() or 0, time.monotonic() - self._saved > SAVE_SECONDS)
            if (due or signal) and done < self._pairs:
                progress.sums = self.group.all_reduce_sum(sums)
                self._refuse_non_finite(progress.sums)
                self._save()
                if signal:
                    raise Interrupted(signal, self.folder)
        progress.sums = self.group.all_reduce_sum(sums)
        took = progress.seconds - seconds
        self._pace, self._waited = (progress.images_seen - seen) / took, batches.seconds / took
        self.waited = Waited(self.waited.seconds + batches.seconds, self.waited.of + took)

    def _on_device(self, tensor: Tensor) -> Tensor:
        """Without waiting for the copy, where the memory is pinned for that."""
        return tensor.to(self.device, non_blocking=True)

    def _seed(self, seed: int) -> None:
        """All randomness of an update. A build with CUDA takes half a millisecond to note it for GPUs too."""
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _backward(self, part: int, whole: int) -> Callable[[Tensor], None]:
        """Gradients of the mean over a batch of `whole` pairs, of which this rank has `part`.

        The ranks' gradients are averaged as if their parts were equal, so a part counts by its share.
        """
        share = part * self.group.size / whole
        return torch.autograd.backward if share == 1 else lambda loss: torch.autograd.backward(loss * share)

    def _finish_epoch(self, stop: Callable[[], int | None]) -> int:
        """Log, validate, sample, keep the best, save; the epoch counts as done from here on. Returns the signal."""
        progress, training = self.progress, self.config.training
        means = {name: value / self._pairs for name, value in progress.sums.items()}
        self._refuse_non_finite(means)
        progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, {}
        self._write_row("train", means)
        validation = self._validate() if self._validation_is_due() else {}
        if validation:
            self._write_row("val", validation)
        if validation or self.val_loader is None or training.best_by == "last":
            self._keep_best(validation)
        progress.finished = progress.epoch >= training.epochs or self._out_of_patience()
        signal, due = self.group.all_reduce_max(stop() or 0, self._saving_is_due())
        if signal or due or progress.finished:
            self._save()
        self._say_epoch(means, validation)
        return int(signal)

    def _validation_is_due(self) -> bool:
        training, epoch = self.config.training, self.progress.epoch
        return epoch in (1, training.epochs) or epoch % training.validation_epochs == 0

    def _validate(self) -> dict[str, float]:
        """The means of every metric over the validation split, and a sheet of its first pairs now and then."""
        if self.val_loader is None:
            return {}
        self.shown.eval()
        self.cast_discriminator.eval()
        discriminator = self.cast_discriminator if self.config.loss.adversarial_weight else None
        batches = (batch for batch in self.val_loader.epoch(0) if len(batch.index))
        scores: list[ImageScore] = []
        outputs: dict[int, Tensor] = {}
        measured = score(self.shown, discriminator, batches, self.config.loss, self.device, self.perceptual)
        labels = None if self.segmenter is None else LabelScore(self.segmenter)
        for result, output in measured:
            scores.append(result)
            if labels is not None:
                pair, one = self.val_loader.dataset.pairs[result.index], self.val_loader.dataset.one(result.index)
                mask = None if one.mask is None else one.mask[0]
                result.values["label_accuracy"] = labels.see(pair, output, one.target[0], mask)
            if self._samples_are_due() and result.index < self.config.training.samples:
                outputs[result.index] = output.cpu()
        parts = self.group.all_gather((scores, outputs, self.perceptual.taken()))
        # Added up in the order of the pairs, as one process would.
        means = mean_scores(sorted((one for part, *_ in parts for one in part), key=lambda one: one.index))
        of_the_set = self.perceptual.of_the_set([pair for *_, seen in parts for pair in seen])
        means |= {name: value for name, (value, _) in of_the_set.items()}
        self._refuse_non_finite({name: value for name, value in means.items() if name != "psnr"})  # inf for a copy
        if self._samples_are_due():
            shown = dict(sorted(item for _, part, _ in parts for item in part.items()))
            self.group.broadcast(lambda: self._write_samples(shown))
        return means

    # ---- what is written -------------------------------------------------------------------------------------

    def _write_row(self, split: str, values: dict[str, float]) -> None:
        progress = self.progress
        if self.log is None:
            return
        self.log.write(
            {
                "step": progress.step,
                "epoch": progress.epoch,
                "images_seen": progress.images_seen,
                "split": split,
                "seconds": progress.seconds,
                "learning_rate": self.state.generator_optimizer.param_groups[0]["lr"],
                "images_per_second": self._pace,
                "loading_share": self._waited,
                **values,
            }
        )

    def _write_samples(self, outputs: dict[int, Tensor]) -> None:
        assert self.val_loader is not None
        rows = []
        for index, output in outputs.items():
            source, target, _ = self.val_loader.dataset[0, index]
            shown = self.val_loader.dataset.pictures(source)
            most = max(LARGEST_SAMPLE, *self.config.data.image_size)
            rows.append(
                [shrink_to_fit(one, most) for one in (*shown, tensors.to_viewable(output), tensors.to_viewable(target))]
            )
        path = self.folder / "samples" / f"epoch_{self.progress.epoch:04}.png"
        path.parent.mkdir(exist_ok=True)
        images.write(path, draw_sheet(rows, [*source_titles(len(rows[0]) - 2), "output", "target"]))

    def _samples_are_due(self) -> bool:
        training, epoch = self.config.training, self.progress.epoch
        if not training.samples:
            return False
        step = training.validation_epochs * max(1, training.epochs // 40 // training.validation_epochs)
        return epoch <= 3 or epoch % step == 0 or epoch == training.epochs

    def draw_curves(self) -> None:
        """Write `curves.png`; for rank 0 to call."""
        draw_curves(
            self.folder / "metrics.csv",
            self.folder / "curves.png",
            discriminator_epochs=self.config.training.discriminator_epochs,
            adversarial=self.config.loss.adversarial,
        )

    def _keep_best(self, validation: dict[str, float]) -> None:
        """Save the model if it is the best by validation; without a validation, always."""
        progress, chosen = self.progress, self.config.training.best_by
        value = validation.get(chosen)
        if value is not None and progress.best is not None:
            better = value > progress.best if HIGHER_IS_BETTER[chosen] else value < progress.best
            if not better:
                return
        if progress.epoch <= self.config.training.discriminator_epochs:
            value = None  # nothing has been learnt yet that could be the best
        progress.best, progress.best_epoch = value, progress.epoch
        plan, epoch = self.plan, progress.epoch
        card = make_model_config(
            self.config, plan.norm_statistics, plan.scale, plan.prepared.converts, epoch, dict(validation)
        )
        kept = self.generator if self.average is None else self.average
        self.group.broadcast(lambda: Model(kept, self.discriminator, card).save(self.folder / "model"))

    def _say_epoch(self, means: dict[str, float], validation: dict[str, float]) -> None:
        progress, quiet = self.progress, ("g_l2", *ACCURACIES)
        train = " ".join(f"{name} {value:.3f}" for name, value in means.items() if name not in quiet)
        named = dict.fromkeys(("g_l1", "psnr", "ssim", self.config.training.best_by))
        val = " ".join(f"{name} {validation[name]:.4g}" for name in named if name in validation)
        star = " *" if progress.best_epoch == progress.epoch else ""
        took = format_duration(progress.seconds)
        self.display.say(f"epoch {progress.epoch}: {train}{f' | val {val}' if val else ''}{star}  [{took}]")

    def _refuse_non_finite(self, means: dict[str, float]) -> None:
        for name, value in means.items():
            if not math.isfinite(value):
                raise RunError(
                    f"{self.folder}: {name} became {value} in epoch {self.progress.epoch + 1}; the last checkpoint is "
                    "untouched: try a lower --learning-rate or --precision 32"
                )

    # ---- state -----------------------------------------------------------------------------------------------

    def _set_rate(self, rate: float) -> None:
        for optimizer in (self.state.generator_optimizer, self.state.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _out_of_patience(self) -> bool:
        patience, progress = self.config.training.patience, self.progress
        waited = progress.epoch - max(progress.best_epoch, self.config.training.discriminator_epochs)
        return patience is not None and self.val_loader is not None and waited >= patience

    def _stateful(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator_optimizer": self.state.generator_optimizer,
            "discriminator_optimizer": self.state.discriminator_optimizer,
        }
        return parts | ({"average": self.average} if self.average is not None else {})

    def _saving_is_due(self) -> bool:
        """Whether an epoch's end is worth it: of short epochs not each is, since what is lost is soon done again."""
        return time.monotonic() - self._saved >= seconds_between_saves(self.save_took)

    def _save(self) -> None:
        began = time.monotonic()
        for network in (self.generator, self.discriminator):
            for name, weights in network.named_parameters():
                if not (weights.sum().isfinite() or weights.isfinite().all()):  # a sum is ten times as fast
                    self._refuse_non_finite({name: math.nan})
        self._wait_for_the_disk()
        tensors = {name: part.state_dict() for name, part in self._stateful().items()}

        def write() -> None:
            finish = save_checkpoint(self.folder / "checkpoints", tensors, self.progress)
            if self.group.size == 1:
                self._saving = self._disk.submit(finish)  # while training goes on
            else:
                finish()  # all ranks are told if it fails

        self.group.broadcast(write)
        self._saved = time.monotonic()
        self.save_took = self._saved - began

    def _wait_for_the_disk(self) -> None:
        """Until the newest checkpoint is there. Raises OSError if it cannot be."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def _restore(self) -> Progress:
        # Rank 0 reads and hands on; on the CPU, or all would find their tensors on rank 0's GPU.
        device = self.device if self.group.size == 1 else torch.device("cpu")
        saved = self.group.broadcast(lambda: load_checkpoint(self.folder / "checkpoints", device))
        if saved is None:
            return Progress()
        tensors, progress = saved
        for name, part in self._stateful().items():
            part.load_state_dict(tensors[name])
        done = progress.epoch >= self.config.training.epochs
        what = "already trained, to" if done else "going on from"
        self.display.say(f"{what} epoch {progress.epoch}, step {progress.step}")
        return progress


def metrics_for_selection(config: Config, device: torch.device, smallest: tuple[int, int]) -> PerceptualMetrics:
    """Who measures what picks the model, beyond what every validation does, in pictures of at least `smallest`.

    Raises ConfigError if no one can.
    """
    chosen, data = config.training.best_by, config.data
    channels = data.target_channels
    assert channels is not None, "a plan leaves nothing open"
    perceptual = make_perceptual_metrics([chosen], image_size=smallest, channels=channels, device=device)
    if chosen in perceptual.missing:
        raise ConfigError(
            f"training.best_by {chosen} cannot be measured: {perceptual.missing[chosen]}; or choose another"
        )
    return perceptual


def seconds_between_saves(took: float) -> float:
    """How long a training goes on before its next checkpoint is worth the seconds that one takes."""
    return min(took / SAVE_SHARE, SAVE_SECONDS)


def learning_rate(settings: Optimizer, epoch: int, epochs: int) -> float:
    """The rate of an epoch, counted from 0: constant, or constant for half of the epochs and then linear to 0."""
    if settings.schedule == "constant":
        return settings.learning_rate
    constant = epochs - epochs // 2
    return settings.learning_rate * (1 - max(0, epoch + 1 - constant) / (epochs // 2 + 1))


def seed_of(seed: int, step: int, rank: int = 0) -> int:
    """One seed for a rank's part of one update, unrelated to its neighbours' and to other ranks'."""
    words = [seed, step, rank] if rank else [seed, step]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
