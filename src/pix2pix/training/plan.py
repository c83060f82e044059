"""Plan a training: resolve all settings from the inspected data and the machine."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch

from pix2pix.config import SMALLEST_SIDE, Config, Data, Training, least_side, resolved_depth
from pix2pix.data.checks.report import CheckReport
from pix2pix.data.encoding.prepared import PreparedData, prepare_data
from pix2pix.data.io.view import Half
from pix2pix.data.loading.dataset import PairDataset, native_sizes
from pix2pix.data.loading.sampler import rank_slice
from pix2pix.errors import ConfigError, DataError
from pix2pix.networks.pretrained import WeightsUnavailableError
from pix2pix.networks.st_lpips import SMALLEST_SIDE as SMALLEST_COMPARED
from pix2pix.networks.st_lpips import find_weights
from pix2pix.system.progress import OnProgress
from pix2pix.training.machine import choose_machine
from pix2pix.training.memory import refuse_impossible

QUICK_VALIDATION = 2**22
"""Pixels that are always validated, as many as 64 images of 256x256 have."""


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first step."""

    config: Config  # all settings resolved, none is `auto`
    scale: (
        tuple[float, float] | None
    )  # size in training / size of the files; None if those differ and all become image_size
    counts: dict[str, int]  # pairs in each split
    prepared: PreparedData  # how files become channels
    smallest: tuple[int, int]  # the least height and width of images in validation
    sizes: dict[tuple[int, int], int]  # size of the files -> number of pairs
    validated: tuple[int, int] | None = None  # largest height and width in validation; None if images are whole
    half: Half | None = None  # half of side-by-side files that is the source
    enlarged: tuple[float, float] = (1.0, 1.0)  # size of an output / size of its source

    @property
    def norm_statistics(self) -> Literal["image", "running"]:
        """Statistics that batch norm uses outside training."""
        chosen = self.config.training.norm_statistics
        assert chosen != "auto", "all settings of a plan are resolved"
        return chosen


def make_plan(
    config: Config, report: CheckReport, progress: OnProgress | None = None, recorded: Data | None = None
) -> Plan:
    """Derive every open setting from the inspected data and the machine; `recorded` is as for `prepare_data`.

    Reads the training split if ranges must be measured, and then calls progress(done, total). Raises ConfigError or
    DataError for settings that do not fit the data.
    """
    prepared = _prepare(_choose_ranges(config.data, report), report, progress, recorded)
    resolved = _resolve(config, prepared, report)
    _refuse_unsuitable(config, prepared, report)
    refuse_impossible(resolved)
    (height, width), native = config.data.image_size, report.native_size
    sizes = {_size(text): count for text, count in report.sizes.items()}
    scale = None if native is None else (height / native[0], width / native[1])
    return Plan(
        config=resolved,
        scale=(1.0, 1.0) if config.native else scale,
        counts=dict(report.counts),
        prepared=prepared,
        smallest=(min(h for h, _ in sizes), min(w for _, w in sizes)) if config.native else config.data.image_size,
        sizes=sizes,
        validated=_limit_validation(config, report),
        half=next(iter(report.pairs.splits.values()))[0].source.half,
        enlarged=report.factor if config.data.resize_source and report.factor else (1.0, 1.0),
    )


def _limit_validation(config: Config, report: CheckReport) -> tuple[int, int] | None:
    """Return the size to which images are cropped in validation; None if they are validated whole.

    A validation may take as many pixels as an epoch trains on, each of which takes about three times as long, and
    QUICK_VALIDATION in any case.
    """
    pairs = report.pairs.splits.get("val")
    if not config.native or not pairs or config.training.validation_images == "whole":
        return None
    height, width = config.data.image_size
    most = max(QUICK_VALIDATION, report.counts["train"] * config.augment.crops_per_image * height * width)
    sizes = native_sizes(pairs)
    if sizes.prod(axis=1).sum() <= most:
        return None
    times = 1  # image_size, so that a validation is never less than that of one size
    while np.minimum(sizes, ((times + 1) * height, (times + 1) * width)).prod(axis=1).sum() <= most:
        times += 1
    return times * height, times * width


def _resolve(config: Config, prepared: PreparedData, report: CheckReport) -> Config:
    """Return the settings with all open ones resolved, and with their provenance."""
    data, generator, training = config.data, config.generator, choose_machine(config.training)
    provenance = {
        "pix2pix": version("pix2pix"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "data_fingerprint": report.fingerprint,
    }
    return config.model_copy(
        update={
            "data": prepared.to_settings(data),
            "augment": config.augment.model_copy(update={"load_size": config.load_size}),
            "generator": generator.model_copy(update={"depth": resolved_depth(generator, data.image_size)}),
            "training": training.model_copy(
                update={"norm_statistics": _choose_norm_statistics(training), "best_by": _choose_best_by(config)}
            ),
            "provenance": provenance,
        }
    )


def _refuse_unsuitable(config: Config, prepared: PreparedData, report: CheckReport) -> None:
    if config.augment.photometric:
        _refuse_photometric(prepared)
    if config.loss.perceptual_weight:
        _refuse_perceptual(config, prepared)
    if config.discriminator.kind == "classes" and prepared.target.mask_value is not None:
        raise ConfigError(
            "discriminator.kind classes cannot leave out pixels of the target, but its files mark some as unknown "
            f"({prepared.target.mask_value}): leave it out"
        )
    if config.generator.bottleneck_norm and config.generator.norm == "batch":
        _refuse_single_pairs(config.training, config.augment.crops_per_image * report.counts.get("train", 0))
    if config.native:
        _refuse_small_images(config, report)
    if config.optimizer.warmup_images:
        _refuse_endless_warmup(config, config.augment.crops_per_image * report.counts.get("train", 0))
    pairs = report.pairs.splits.get("train", ())
    if config.augment.crop_foreground:
        PairDataset(pairs, prepared, augment=config.augment, load_size=config.load_size).refuse_no_foreground()


def _size(text: str) -> tuple[int, int]:
    """Parse `HxW` as (H, W)."""
    height, width = text.split("x")
    return int(height), int(width)


def _refuse_small_images(config: Config, report: CheckReport) -> None:
    """Raise DataError for a pair that is smaller than D, the window of SSIM or the perceptual term need."""
    least = max(SMALLEST_SIDE, least_side(config.discriminator))
    if config.loss.perceptual_weight:
        least = max(least, SMALLEST_COMPARED["alex"])
    if all(min(_size(text)) >= least for text in report.sizes):
        return
    pairs = [pair for split in report.pairs.splits.values() for pair in split]
    for pair, (height, width) in zip(pairs, native_sizes(pairs).tolist(), strict=True):
        if min(height, width) < least:
            raise DataError(
                f"{pair.target.path}: is {height}x{width} (HxW), but --load-size native validates whole images, "
                f"which need {least} pixels a side: remove the pair, or train at one size without --load-size native"
            )


def _choose_ranges(data: Data, report: CheckReport) -> Data:
    """Take the measured range where a source's values are far narrower than their type. Asks for the kind of targets.

    Raises ConfigError for targets of few integers, which may be classes or quantities.
    """
    measured: dict[str, Any] = {}
    for number, side in enumerate(report.values, start=1):
        if side.prefix == "target_" and report.target_channels == 1 and side.question is not None:
            raise ConfigError(f"{data.path or data.target}: {side.question}")
        if not side.narrow or side.settings.range is not None:
            continue
        if side.prefix == "target_":
            measured["target_range"] = "measured"
        elif side.prefix == "source_":
            measured["source_range"] = "measured"
        else:
            part = data.source_settings(len(report.values) - 1)[number - 1].model_copy(update={"range": "measured"})
            measured["sources"] = measured.get("sources", data.sources) | {str(number): part}
    return data.model_copy(update=measured) if measured else data


def _prepare(data: Data, report: CheckReport, progress: OnProgress | None, recorded: Data | None) -> PreparedData:
    """Prepare the data by the training split. Label maps of the other splits may hold only its classes."""
    splits = report.pairs.splits
    prepared = prepare_data(data, splits.get("train", ()), progress, recorded=recorded)
    prepared.refuse_unknown_classes(pair for split, pairs in splits.items() if split != "train" for pair in pairs)
    return prepared


def _refuse_photometric(prepared: PreparedData) -> None:
    """Raise ConfigError if photometric changes apply to none of several sources."""
    if len(prepared.sources) > 1 and not any(source.is_photo for source in prepared.sources):
        raise ConfigError(
            "augment.photometric changes only sources that are 8-bit images, and none of these is: leave it out"
        )


def _refuse_perceptual(config: Config, prepared: PreparedData) -> None:
    """Raise ConfigError if ST-LPIPS is not installed, or cannot compare these targets."""
    try:
        find_weights("alex")
    except WeightsUnavailableError as error:
        raise ConfigError(f"loss.perceptual_weight: ST-LPIPS {error}, or add --perceptual-weight 0") from None
    if prepared.out_channels not in (1, 3):
        raise ConfigError(
            f"loss.perceptual_weight compares pictures of 1 or 3 channels, but the targets have "
            f"{prepared.out_channels}: add --perceptual-weight 0"
        )
    if min(config.data.image_size) < SMALLEST_COMPARED["alex"]:
        height, width = config.data.image_size
        raise ConfigError(
            f"loss.perceptual_weight needs images of {SMALLEST_COMPARED['alex']} pixels a side, but data.image_size is "
            f"{height}x{width}: raise --image-size, or add --perceptual-weight 0"
        )


def _refuse_single_pairs(training: Training, pairs: int) -> None:
    """Raise ConfigError if the last batch, or the part of one process, is a single pair."""
    batch, processes = training.effective_batch, training.processes
    last, parts = pairs % batch, 1 if training.sync_norm else processes
    if 1 in {len(range(last)[rank_slice(last, part, parts)]) for part in range(parts)}:
        whole = "is" if parts == 1 else f"leaves one of {parts} processes"
        raise ConfigError(
            f"generator.bottleneck_norm: the last batch of {pairs} pairs in batches of {batch} {whole} a single "
            "pair, which a batch norm on a 1x1 map turns into zeros; choose another --batch-size"
        )


def _refuse_endless_warmup(config: Config, pairs: int) -> None:
    """Raise ConfigError if the learning rates would still rise when the training ends."""
    warmup, seen = config.optimizer.warmup_images, config.training.epochs * pairs
    if warmup >= seen:
        raise ConfigError(
            f"optimizer.warmup_images {warmup:,} is as long as the whole training, which sees {seen:,} pairs: lower "
            "it, or raise --epochs"
        )


def _choose_norm_statistics(training: Training) -> Literal["image", "running"]:
    """Resolve `auto`: "image" if training also normalises single images, else "running"."""
    if training.norm_statistics == "auto":
        return "image" if training.normalised_together == 1 else "running"
    return training.norm_statistics


def _choose_best_by(config: Config) -> str:
    """Resolve `auto`: with a discriminator, the lowest L1 is that of an early, blurred epoch (docs/log.md)."""
    training = config.training
    if training.best_by != "auto":
        return training.best_by
    if config.data.target_kind == "labels":
        return "mean_iou"
    return "last" if config.loss.adversarial_weight and training.patience is None else "l1"
