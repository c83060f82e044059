"""Validate the generator after an epoch: the mean of every metric, and a sheet of samples."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.config import Config
from pix2pix.data.checks.contact_sheet import shrink_to_fit
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.loading.dataset import Batch
from pix2pix.data.loading.loader import PairLoader
from pix2pix.distributed.parallel import unwrap, with_precision
from pix2pix.distributed.process_group import ProcessGroup
from pix2pix.errors import Interrupted
from pix2pix.inference.any_size import AnySize
from pix2pix.metrics.bootstrap import Interval, mean_intervals
from pix2pix.metrics.diagnostics import measure_source_dependence
from pix2pix.metrics.label_score import LabelScore
from pix2pix.metrics.perceptual import PERCEPTUAL, PerceptualMetrics
from pix2pix.metrics.pixel import ImageScore, mean_scores, score
from pix2pix.metrics.segmentation import Segmenter
from pix2pix.model.samples import MOST_ROWS
from pix2pix.training.run_writer import RunWriter, Shown
from pix2pix.training.schedule import loss_of_epoch
from pix2pix.training.step import TrainState

COMPARED, COMPARED_SIDE = 64, 32  # images compared with each other at most, and their side in pixels
END = 0.98  # of the range [-1, 1]: pixels beyond it are black or white
LARGEST_SAMPLE = 512  # pixels of the longer side on a sheet, for images larger than image_size


class Validation:
    """Measure the validation split, divided among the processes, and draw samples of its first pairs."""

    def __init__(
        self,
        config: Config,
        loader: PairLoader,
        state: TrainState,
        writer: RunWriter,
        *,
        perceptual: PerceptualMetrics,
        perceptual_epochs: int,
        segmenter: Segmenter | None,
        device: torch.device,
        group: ProcessGroup,
    ) -> None:
        self.config, self.loader, self.writer = config, loader, writer
        self.perceptual, self.segmenter, self.device, self.group = perceptual, segmenter, device, group
        self.perceptual_epochs = perceptual_epochs
        self.generator, self.similarity = _validated_generator(config, state), state.similarity
        self.discriminator = with_precision(unwrap(state.discriminator), config.training.precision)
        self._shown: dict[int, Pixels] = {}  # index of a pair -> its output in the newest validation
        self._scores: list[ImageScore] = []  # of that validation

    def is_due(self, epoch: int) -> bool:
        """Return whether to validate after an epoch, counted from 1: the first, the last, and every N-th."""
        training = self.config.training
        return epoch in (1, training.epochs) or epoch % training.validation_epochs == 0

    def run(self, epoch: int, stop: Callable[[], int | None] = lambda: None) -> dict[str, float]:
        """Return the mean of each metric; after some epochs, write a sample sheet. Raises Interrupted if `stop` does.

        `stop` returns the signal that asks to end, or None.
        """
        self.generator.eval()
        self.discriminator.eval()
        scores, outputs, compared = self._score(epoch, stop)
        (signal,) = self.group.all_reduce_max(stop() or 0)  # all processes go on, or none
        if signal:
            raise Interrupted(signal)
        parts = self.group.all_gather((scores, outputs, self.perceptual.take_features()))
        # In the order of the pairs, so that the sums do not depend on the number of processes.
        self._scores = sorted((one for part, *_ in parts for one in part), key=lambda one: one.index)
        means = mean_scores(self._scores)
        set_metrics = self.perceptual.compare_sets([pair for *_, features in parts for pair in features])
        best_by = self.config.training.best_by
        means |= {  # of fewer than two images it is NaN
            name: value for name, (value, _) in set_metrics.items() if name == best_by or math.isfinite(value)
        }
        means |= _compare_sources([image for part in self.group.all_gather(compared) for image in part])
        self._shown = dict(sorted(item for _, part, _ in parts for item in part.items()))
        if self._samples_are_due(epoch):
            self._write_samples(epoch)
        return means

    @property
    def shown(self) -> Shown:
        """What the model card shows of the newest validation."""
        return Shown(self._intervals, lambda: [self._sample(*item) for item in list(self._shown.items())[:MOST_ROWS]])

    def _intervals(self) -> dict[str, Interval | None]:
        """Return the intervals of the means over images; scores of label maps are of all pixels together, without."""
        rows = [one.values for one in self._scores if one.confusion is None]
        return mean_intervals([row for row in rows if not math.isnan(row["l1"])])

    def keep_samples(self, epoch: int, previous: int) -> None:
        """Write the sheet of the epoch just validated, whose model is kept now, in place of that of `previous`."""
        if not self._samples_are_due(epoch):
            self._write_samples(epoch)
        if previous != epoch and not self._samples_are_due(previous):
            self.writer.remove_samples(previous)

    def _write_samples(self, epoch: int) -> None:
        if self._shown:
            self.writer.write_samples(epoch, lambda: [self._sample(*item) for item in self._shown.items()])

    def _score(
        self, epoch: int, stop: Callable[[], int | None]
    ) -> tuple[list[ImageScore], dict[int, Pixels], list["_Compared"]]:
        """Measure the pairs of this process, or some of them after a stop signal.

        Also return the outputs for a sheet of samples, and what to compare of the pairs with an index below COMPARED.
        """
        loss = loss_of_epoch(self.config, epoch - 1)
        discriminator = self.discriminator if loss.adversarial_weight else None
        newest: list[Batch] = []

        def batches() -> Iterator[Batch]:
            for batch in self.loader.epoch(0):
                newest[:] = [batch]
                if len(batch.index):
                    yield batch

        measured = score(
            self.generator,
            discriminator,
            batches(),
            loss,
            self.device,
            self.perceptual if self._perceptual_is_due(epoch) else None,
            classes=self.loader.dataset.prepared.predicts_classes,
            similarity=self.similarity,
        )
        labels = None if self.segmenter is None else LabelScore(self.segmenter)
        scores: list[ImageScore] = []
        outputs: dict[int, Pixels] = {}
        compared: list[_Compared] = []
        for result, output in measured:
            if stop():
                break
            scores.append(result)
            if labels is not None:
                result.values["label_accuracy"] = self._label_accuracy(labels, result.index, output)
            if result.index < self.config.training.samples:
                outputs[result.index] = self._shrink(self.loader.dataset.draw_target(output.cpu()))
            if result.index < COMPARED:
                compared.append(_to_compare(result.index, output.cpu(), newest[0]))
        return scores, outputs, compared

    def _label_accuracy(self, labels: LabelScore, index: int, output: Tensor) -> float:
        dataset = self.loader.dataset
        batch = dataset.load_one(index)
        return labels.add(dataset.pairs[index], output, batch.target[0], None if batch.mask is None else batch.mask[0])

    def _perceptual_is_due(self, epoch: int) -> bool:
        training = self.config.training
        if training.best_by in PERCEPTUAL:
            return True
        return bool(self.perceptual_epochs) and (epoch % self.perceptual_epochs == 0 or epoch == training.epochs)

    def _samples_are_due(self, epoch: int) -> bool:
        training = self.config.training
        every = training.validation_epochs * max(1, training.epochs // 40 // training.validation_epochs)
        return epoch <= 3 or epoch % every == 0 or epoch == training.epochs

    def _sample(self, index: int, output: Pixels) -> list[Pixels]:
        """Draw one row of a sheet: the sources, the output, the target."""
        dataset = self.loader.dataset
        source, target, _ = dataset[0, index]
        return [*map(self._shrink, dataset.draw_sources(source)), output, self._shrink(dataset.draw_target(target))]

    def _shrink(self, image: Pixels) -> Pixels:
        return shrink_to_fit(image, max(LARGEST_SAMPLE, *self.config.data.image_size))


@dataclass(frozen=True)
class _Compared:
    """An output and its target, shrunk, and the shares of their pixels at the ends of the range."""

    index: int
    output: Tensor
    """(C, COMPARED_SIDE, COMPARED_SIDE), as the target; the target where that is unknown."""
    target: Tensor
    output_at_ends: float
    target_at_ends: float


def _to_compare(index: int, output: Tensor, batch: Batch) -> _Compared:
    n = batch.index.tolist().index(index)
    target = batch.target[n]
    if batch.mask is not None:
        output = torch.where(batch.mask[n], output, target)
    pair = torch.stack([output, target])
    ends = (pair.abs() >= END).float().mean(dim=(1, 2, 3)).tolist()
    return _Compared(index, *F.interpolate(pair, (COMPARED_SIDE, COMPARED_SIDE), mode="area"), *ends)


def _compare_sources(images: list[_Compared]) -> dict[str, float]:
    """Return what alarms need (`reports/alarms.py`); less for a single image."""
    images = sorted(images, key=lambda image: image.index)
    values = {
        "output_at_ends": sum(image.output_at_ends for image in images) / len(images),
        "target_at_ends": sum(image.target_at_ends for image in images) / len(images),
    }
    if len(images) > 1:
        output, target = (torch.stack([getattr(image, name) for image in images]) for name in ("output", "target"))
        found = measure_source_dependence(output, target, torch.ones_like(target, dtype=torch.bool))
        if math.isfinite(found["source_dependence"]):  # not if all targets are the same
            values["source_dependence"] = found["source_dependence"]
        if found["matched_l1"]:
            values["shuffled_ratio"] = found["shuffled_l1"] / found["matched_l1"]
    return values


def _validated_generator(config: Config, state: TrainState) -> nn.Module:
    """Return the generator to measure: the moving average if there is one; for any size if sizes are native."""
    network = unwrap(state.generator) if state.average is None else state.average
    generator = with_precision(network, config.training.precision)
    return AnySize(generator, int(network.size_multiple)) if config.native else generator  # type: ignore[arg-type]
