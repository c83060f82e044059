"""Evaluate a model on a split: the lecture's four numbers, all metrics with intervals, baselines, a report.

The steps are: find the pairs, measure, write.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pix2pix.config.evaluation import EvaluateOptions
from pix2pix.config.io import explain
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.loading.dataset import Batch, PairDataset
from pix2pix.errors import ConfigError, DataError
from pix2pix.evaluation.baselines import (
    TrainingMean,
    average_targets,
    compare_with_baselines,
    measure_baselines,
    read_batches,
    target_span,
)
from pix2pix.evaluation.examples import read_gallery
from pix2pix.evaluation.pairs import (
    EvaluationPairs,
    describe_pairs,
    find_evaluation_pairs,
    present_pairs,
    sees_file_pixels,
)
from pix2pix.evaluation.record import record_evaluation
from pix2pix.evaluation.write import (
    choose_output,
    claim_output,
    find_run,
    refuse_output,
    remove_numbers,
    write_numbers,
    write_output,
)
from pix2pix.inference.translator import Translator
from pix2pix.metrics.bootstrap import mean_intervals
from pix2pix.metrics.classes import describe_classes
from pix2pix.metrics.diagnostics import Diagnostics, TrainingTargets, choose_evenly, diagnose
from pix2pix.metrics.label_score import LabelScore
from pix2pix.metrics.palette import find_palette, parse_palette
from pix2pix.metrics.perceptual import PERCEPTUAL, PerceptualMetrics, load_features, make_perceptual_metrics
from pix2pix.metrics.pixel import ImageScore, mean_scores, metric_names, score
from pix2pix.metrics.segmentation import load_or_train_segmenter
from pix2pix.model import Model, load_model, locate
from pix2pix.networks.pretrained import WeightsUnavailableError
from pix2pix.networks.st_lpips import load_st_lpips
from pix2pix.reports.evaluation_page import write_evaluation_report
from pix2pix.reports.pages import draw_run_curves, write_run_report
from pix2pix.system.hardware import choose_device
from pix2pix.system.progress import OnNamedProgress
from pix2pix.system.threads import computing_threads
from pix2pix.text import format_count


@dataclass(frozen=True)
class Evaluation:
    """The folder of an evaluation and the content of its `metrics.json`."""

    path: Path
    metrics: dict[str, Any]


def evaluate(
    model: str | Path,
    data: str | Path | None = None,
    *,
    features: nn.Module | str | None = None,
    progress: OnNamedProgress | None = None,
    **options: Any,
) -> Evaluation:
    """Measure a model on a split of pairs.

    `model` is a run folder, a model folder or a hub id; `data` is a folder of pairs or a manifest. `options` are the
    flags of the command line, such as `split="val"` or `output="folder"` (`EvaluateOptions`). `features` is another
    network for FID and KID, (N, C, H, W) in [-1, 1] -> (N, d), or its `package.module:factory`. `progress` is called
    with the number of images done, of all, and what is being done.

    Writes `metrics.json`, `per_image.csv`, `report.html` and `outputs/`. Raises ConfigError, DataError or ModelError.
    """
    try:
        checked = EvaluateOptions(**options)
    except ValidationError as error:
        raise ConfigError(explain(error, EvaluateOptions)) from None
    return evaluate_with(model, data, checked, features=features, progress=progress)


def evaluate_with(
    model: str | Path,
    data: str | Path | None,
    options: EvaluateOptions,
    *,
    features: nn.Module | str | None = None,
    progress: OnNamedProgress | None = None,
) -> Evaluation:
    """Measure a model as `evaluate` does, with checked options."""
    with computing_threads(options.threads):
        return _evaluate(model, data, options, features, progress)


def _evaluate(
    model: str | Path,
    data: str | Path | None,
    options: EvaluateOptions,
    features: nn.Module | str | None,
    progress: OnNamedProgress | None,
) -> Evaluation:
    loaded = load_model(model, discriminator=True)
    found = find_evaluation_pairs(loaded, data, options)
    folder = options.output or choose_output(model, f"{found.split}-full-size" if options.full_size else found.split)
    run = find_run(locate(model))
    refuse_output(folder, found.chosen, loaded)
    measurement = _prepare(loaded, found, options, options.features if features is None else features)
    # Baselines read every pair, so a broken pair raises before anything is written.
    training = average_targets(found.train, loaded)
    baselines = measure_baselines(training, measurement.dataset, loaded)
    labels = _prepare_label_score(measurement, (run or folder) / "segmenter", options, progress)
    claim_output(folder, found.chosen, loaded)
    remove_numbers(folder)
    scores = list(_measure_pairs(measurement, folder, labels, progress))
    summary = _summarize(measurement, scores)
    diagnostics = _diagnose(measurement, training)
    known = _drop_masked(scores)
    metrics = {
        "model": str(model),
        **_describe(measurement),
        "dropout": options.dropout,
        **summary,
        "baselines": {name: mean_scores(of_images) for name, of_images in baselines.items()},
        "baseline_differences": compare_with_baselines(known, baselines),
        "labels": None if labels is None else labels.to_json(),
        "classes": _describe_classes(loaded, known),
        "diagnostics": {**diagnostics.numbers, "sentences": diagnostics.sentences},
    }
    gallery = read_gallery(folder, known, measurement.dataset, loaded, labels)
    metrics["notes"] += record_evaluation(model, loaded, found, metrics, gallery)
    write_numbers(folder, metrics, scores, found.chosen)
    write_evaluation_report(
        folder / "report.html",
        metrics,
        gallery,
        scores=[one.values for one in known],
        adversarial=loaded.config.settings.adversarial,
        diagnostics=diagnostics,
        curves=[] if run is None else draw_run_curves(run),
    )
    if folder.parent.name == "evaluation" and (own := find_run(folder.parent)) is not None:
        write_run_report(own)
    return Evaluation(folder, metrics)


# ---- measuring -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Measurement:
    """Everything that measures a model on the pairs of one split."""

    translator: Translator
    found: EvaluationPairs
    dataset: PairDataset  # at image_size, or at full size
    at_image_size: PairDataset
    full_size: bool
    perceptual: PerceptualMetrics
    features: str | None  # class name of the user's network for FID and KID
    similarity: nn.Module | None  # network of g_perceptual, if the model was trained with it and it is installed

    @property
    def model(self) -> Model:
        return self.translator.model


def _prepare(
    model: Model, found: EvaluationPairs, options: EvaluateOptions, features: nn.Module | str | None
) -> _Measurement:
    full_size = options.full_size or model.config.settings.native
    if model.predicts_classes and (options.weights or features is not None):
        flag = "--weights" if options.weights else "--features"
        raise ConfigError(
            f"{flag}: is for metrics of photos, and the outputs of this model are label maps: leave it out"
        )
    dataset = present_pairs(found.chosen, model)
    measured = present_pairs(found.chosen, model, full_size=True) if full_size else dataset
    translator = Translator(model, device=choose_device(options.device), dropout=options.dropout)
    network = load_features(features) if isinstance(features, str) else features
    perceptual = make_perceptual_metrics(
        () if model.predicts_classes else PERCEPTUAL,
        image_size=measured.smallest,
        largest=measured.largest,
        channels=dataset.target_channels,
        device=translator.device,
        weights=options.weights,
        features=network,
    )
    name = None if network is None else type(network).__name__
    similarity = _load_similarity(model, translator.device, perceptual.missing)
    return _Measurement(translator, found, measured, dataset, full_size, perceptual, name, similarity)


def _load_similarity(model: Model, device: torch.device, missing: dict[str, str]) -> nn.Module | None:
    """Load the network of g_perceptual if the model was trained with it, or say in `missing` what to install."""
    if not model.config.settings.loss.perceptual_weight:
        return None
    try:
        return load_st_lpips("alex").to(device)
    except WeightsUnavailableError as error:
        missing["g_perceptual"] = str(error)
        return None


def _prepare_label_score(
    measurement: _Measurement, folder: Path, options: EvaluateOptions, progress: OnNamedProgress | None
) -> LabelScore | None:
    """Load or train the segmenter in `folder`, or in the folder of an option; None if no option asks for it."""
    if not options.segmenter and options.segmenter_folder is None and options.palette is None:
        return None
    found = measurement.found
    if measurement.model.predicts_classes:
        raise ConfigError("--segmenter reads labels from photos, but the outputs are label maps: leave it out")
    if measurement.full_size:
        raise ConfigError("--segmenter needs images of one size, but these keep their own sizes: leave it out")
    if not found.train:
        raise DataError(f"{found.place}: has no training pairs to train a segmenter on; leave --segmenter out")
    segmenter = load_or_train_segmenter(
        options.segmenter_folder or folder,
        present_pairs(found.train, measurement.model),
        find_palette(found.train) if options.palette is None else parse_palette(options.palette),
        device=measurement.translator.device,
        fingerprint=found.pairs.fingerprint(),
        progress=progress,
    )
    return LabelScore(segmenter)


def _measure_pairs(
    measurement: _Measurement, folder: Path, labels: LabelScore | None, progress: OnNamedProgress | None
) -> Iterator[ImageScore]:
    """Score every pair and write its output."""
    translator, model, dataset = measurement.translator, measurement.model, measurement.dataset
    generator = translator.for_any_size(translator.generator) if dataset.full_size else translator.generator
    discriminator = _choose_discriminator(measurement)
    loss = model.config.settings.loss
    torch.manual_seed(model.config.settings.training.seed)  # for dropout, if it is on
    scored = score(
        generator,
        discriminator,
        read_batches(dataset),
        loss,
        translator.device,
        measurement.perceptual,
        target_span(model),
        classes=model.predicts_classes,
        similarity=measurement.similarity,
    )
    for done, (result, output) in enumerate(scored, start=1):
        pair = dataset.pairs[result.index]
        write_output(folder, pair, model, model.target_values.to_array(output.clamp(-1, 1)))
        if labels is not None:
            batch = dataset.load_one(result.index)
            mask = None if batch.mask is None else batch.mask[0]
            result.values["label_accuracy"] = labels.add(pair, output, batch.target[0], mask)
        if progress is not None:
            progress(done, len(dataset), "evaluating")
        yield result


def _choose_discriminator(measurement: _Measurement) -> nn.Module | None:
    """Return the discriminator on the device; None if it was not trained, or trained on images of another scale."""
    model = measurement.model
    if not model.config.settings.loss.adversarial_weight or model.discriminator is None:
        return None
    if measurement.dataset.full_size and not sees_file_pixels(model):
        return None
    return model.discriminator.to(measurement.translator.device)


def _drop_masked(scores: Sequence[ImageScore]) -> list[ImageScore]:
    """Drop images whose target is masked everywhere, since they have no metrics."""
    return [one for one in scores if not math.isnan(one.values.get("l1", one.values.get("pixel_accuracy", math.nan)))]


def _summarize(measurement: _Measurement, scores: Sequence[ImageScore]) -> dict[str, Any]:
    """Return the means of all metrics, their intervals, why some are missing, and notes. Raises DataError."""
    known, found, perceptual = _drop_masked(scores), measurement.found, measurement.perceptual
    if not known:
        raise DataError(
            f"{found.chosen[0].target.path} and all others of its split: masked everywhere; check --mask-value"
        )
    sets = perceptual.compare_sets(perceptual.take_features(), intervals=True)
    intervals = mean_intervals([one.values for one in known])
    if classes := _describe_classes(measurement.model, known):
        own = classes["intervals"]
        intervals |= {"mean_iou": own["iou"], "pixel_accuracy": own["pixel_accuracy"]}
    notes = list(describe_pairs(found, measurement.model, full_size=measurement.full_size))
    if masked := len(scores) - len(known):
        notes.append(f"{format_count(masked, 'target')} masked everywhere: not counted")
    return {
        **dict.fromkeys(metric_names()),
        **mean_scores(known),
        **{name: value for name, (value, _) in sets.items()},
        "intervals": intervals | {name: interval for name, (_, interval) in sets.items()},
        "missing": perceptual.missing,
        "features": measurement.features,
        "notes": notes,
    }


def _describe_classes(model: Model, scores: Sequence[ImageScore]) -> dict[str, Any] | None:
    """Return the part `classes` of metrics.json; None unless targets are label maps."""
    values, confusions = model.target_values, [one.confusion for one in scores if one.confusion is not None]
    return describe_classes(confusions, values.classes) if isinstance(values, LabelEncoding) else None


def _describe(measurement: _Measurement) -> dict[str, Any]:
    """Describe what was measured: data, split, size, model."""
    found, model, config = measurement.found, measurement.model, measurement.model.config
    return {
        "data": found.place,
        "split": found.split,
        "images": len(found.chosen),
        "epoch": config.epoch,
        "direction": config.settings.data.direction,
        "image_size": list(config.settings.data.image_size),
        "norm_statistics": config.norm_statistics,
        "full_size": measurement.full_size,
        "target_values": model.target_values.describe(),
    }


def _diagnose(measurement: _Measurement, training: TrainingMean | None) -> Diagnostics:
    """Diagnose the generator on some pairs of the split, at image_size."""
    found, model, dataset = measurement.found, measurement.model, measurement.at_image_size

    def read(index: int) -> tuple[str, Tensor]:
        _, target, _ = present_pairs([found.train[index]], model)[0, 0]
        return found.train[index].name, target

    # Not for the training split, where the nearest training target is the target itself.
    targets = None if training is None or found.split == "train" else TrainingTargets(training.thumbnails, read)
    indices = choose_evenly(len(dataset))
    return diagnose(
        measurement.translator.generator,
        _join([dataset.load_one(index) for index in indices]),
        measurement.translator.device,
        names=[dataset.pairs[index].name for index in indices],
        training=targets,
        classes=model.predicts_classes,
        seed=model.config.settings.training.seed,
    )


def _join(batches: Sequence[Batch]) -> Batch:
    masks = [batch.mask for batch in batches if batch.mask is not None]
    source, target, index = (
        torch.cat([getattr(batch, name) for batch in batches]) for name in ("source", "target", "index")
    )
    return Batch(source, target, index, torch.cat(masks) if masks else None)
