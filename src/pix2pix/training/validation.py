"""Validate the generator after an epoch: the mean of every metric, and a sheet of samples."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pix2pix.config import Config
from pix2pix.data.checks.contact_sheet import shrink_to_fit
from pix2pix.data.encoding import tensors
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.loading.loader import PairLoader
from pix2pix.distributed.parallel import unwrap, with_precision
from pix2pix.distributed.process_group import ProcessGroup
from pix2pix.errors import ConfigError, Interrupted
from pix2pix.inference.any_size import AnySize
from pix2pix.metrics.label_score import LabelScore
from pix2pix.metrics.perceptual import PerceptualMetrics, make_perceptual_metrics
from pix2pix.metrics.pixel import ImageScore, mean_scores, score
from pix2pix.metrics.segmentation import Segmenter
from pix2pix.training.run_writer import RunWriter
from pix2pix.training.step import TrainState

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
        segmenter: Segmenter | None,
        device: torch.device,
        group: ProcessGroup,
    ) -> None:
        self.config, self.loader, self.writer = config, loader, writer
        self.perceptual, self.segmenter, self.device, self.group = perceptual, segmenter, device, group
        self.generator = _validated_generator(config, state)
        self.discriminator = with_precision(unwrap(state.discriminator), config.training.precision)

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
        samples = self.config.training.samples if self._samples_are_due(epoch) else 0
        scores, outputs = self._score(samples, stop)
        (signal,) = self.group.all_reduce_max(stop() or 0)  # all processes go on, or none
        if signal:
            raise Interrupted(signal)
        parts = self.group.all_gather((scores, outputs, self.perceptual.take_features()))
        # In the order of the pairs, so that the sums do not depend on the number of processes.
        means = mean_scores(sorted((one for part, *_ in parts for one in part), key=lambda one: one.index))
        set_metrics = self.perceptual.compare_sets([pair for *_, features in parts for pair in features])
        means |= {name: value for name, (value, _) in set_metrics.items()}
        if samples:
            shown = dict(sorted(item for _, part, _ in parts for item in part.items()))
            self.writer.write_samples(epoch, lambda: [self._sample(*item) for item in shown.items()])
        return means

    def _score(self, samples: int, stop: Callable[[], int | None]) -> tuple[list[ImageScore], dict[int, Tensor]]:
        """Measure the pairs of this process, or some of them after a stop signal.

        Also return the outputs of those with an index below `samples`.
        """
        discriminator = self.discriminator if self.config.loss.adversarial_weight else None
        batches = (batch for batch in self.loader.epoch(0) if len(batch.index))
        measured = score(self.generator, discriminator, batches, self.config.loss, self.device, self.perceptual)
        labels = None if self.segmenter is None else LabelScore(self.segmenter)
        scores: list[ImageScore] = []
        outputs: dict[int, Tensor] = {}
        for result, output in measured:
            if stop():
                break
            scores.append(result)
            if labels is not None:
                result.values["label_accuracy"] = self._label_accuracy(labels, result.index, output)
            if result.index < samples:
                outputs[result.index] = output.cpu()
        return scores, outputs

    def _label_accuracy(self, labels: LabelScore, index: int, output: Tensor) -> float:
        dataset = self.loader.dataset
        batch = dataset.load_one(index)
        return labels.add(dataset.pairs[index], output, batch.target[0], None if batch.mask is None else batch.mask[0])

    def _samples_are_due(self, epoch: int) -> bool:
        training = self.config.training
        every = training.validation_epochs * max(1, training.epochs // 40 // training.validation_epochs)
        return epoch <= 3 or epoch % every == 0 or epoch == training.epochs

    def _sample(self, index: int, output: Tensor) -> list[Pixels]:
        """Draw one row of a sheet: the sources, the output, the target."""
        dataset = self.loader.dataset
        source, target, _ = dataset[0, index]
        images = (*dataset.draw_sources(source), tensors.to_viewable(output), tensors.to_viewable(target))
        most = max(LARGEST_SAMPLE, *self.config.data.image_size)
        return [shrink_to_fit(image, most) for image in images]


def _validated_generator(config: Config, state: TrainState) -> nn.Module:
    """Return the generator to measure: the moving average if there is one; for any size if sizes are native."""
    network = unwrap(state.generator) if state.average is None else state.average
    generator = with_precision(network, config.training.precision)
    return AnySize(generator, int(network.size_multiple)) if config.native else generator  # type: ignore[arg-type]


def make_selection_metrics(config: Config, device: torch.device, smallest: tuple[int, int]) -> PerceptualMetrics:
    """Load what the metric `best_by` needs beyond the usual ones, for images of at least the size `smallest`.

    Raises ConfigError if the metric cannot be measured.
    """
    chosen, channels = config.training.best_by, config.data.target_channels
    assert channels is not None, "all settings of a plan are resolved"
    perceptual = make_perceptual_metrics([chosen], image_size=smallest, channels=channels, device=device)
    if chosen in perceptual.missing:
        raise ConfigError(
            f"training.best_by {chosen} cannot be measured: {perceptual.missing[chosen]}; or choose another"
        )
    return perceptual
