"""Settings and the look at the data in; a plan out: settings with nothing left open, and how pictures are presented."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import torch

from pix2pix.config import SMALLEST_SIDE, Augment, Config, Data, Training, resolved_depth, smallest_discriminated
from pix2pix.data.checks.report import CheckReport
from pix2pix.data.encoding.prepared import PreparedData, prepare_data
from pix2pix.data.loading.dataset import native_sizes
from pix2pix.data.loading.loader import part_of
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.hardware import choose_device, choose_precision


@dataclass(frozen=True)
class Plan:
    """A training as it will be run."""

    config: Config  # nothing in it is `auto` or open
    scale: tuple[float, float] | None  # size presented over the files' size; None where all become image_size
    counts: dict[str, int]  # pairs in each split
    prepared: PreparedData  # how files become channels
    smallest: tuple[int, int]  # the least height and width of pictures that are validated
    sizes: dict[tuple[int, int], int]  # of the files, with how many pairs have each

    @property
    def norm_statistics(self) -> Literal["image", "running"]:
        """What batch norm uses outside training."""
        chosen = self.config.training.norm_statistics
        assert chosen != "auto", "a plan leaves nothing open"
        return chosen


def make_plan(config: Config, report: CheckReport, progress: Callable[[int, int], None] | None = None) -> Plan:
    """Derive everything that is open from the data and the machine, reading the training split where ranges are to be
    measured, with progress(done, total). Raises ConfigError or DataError where that cannot be.
    """
    data, generator, training = config.data, config.generator, config.training
    height, width = data.image_size
    device = choose_device(training.device)
    prepared = _prepare(data, report, progress)
    values = config.model_copy(
        update={
            "data": prepared.to_settings(data),
            "augment": config.augment.model_copy(update={"load_size": config.load_size}),
            "generator": generator.model_copy(update={"depth": resolved_depth(generator, data.image_size)}),
            "training": training.model_copy(
                update={
                    "device": device,
                    "precision": choose_precision(training.precision, device),
                    "convolutions": _convolutions(training.convolutions, device),
                    "norm_statistics": _statistics(training),
                    "devices": 1 if training.devices == "auto" else training.devices,
                    "nodes": 1 if training.nodes == "auto" else training.nodes,
                }
            ),
            "provenance": {
                "pix2pix": version("pix2pix"),
                "python": platform.python_version(),
                "torch": torch.__version__,
                "data_fingerprint": report.fingerprint,
            },
        }
    )
    if config.augment.photometric:
        _refuse_photometric(prepared)
    if generator.bottleneck_norm and generator.norm == "batch":
        _refuse_single_pairs(training, report.counts.get("train", 0))
    if config.native:
        _refuse_small_pictures(config, report)
    sizes = {_size(text): count for text, count in report.sizes.items()}
    native = report.native_size
    scale = None if native is None else (height / native[0], width / native[1])
    return Plan(
        config=values,
        scale=(1.0, 1.0) if config.native else scale,
        counts=dict(report.counts),
        prepared=prepared,
        smallest=(min(h for h, _ in sizes), min(w for _, w in sizes)) if config.native else data.image_size,
        sizes=sizes,
    )


def _size(text: str) -> tuple[int, int]:
    """`HxW` -> (H, W)."""
    height, width = text.split("x")
    return int(height), int(width)


def _refuse_small_pictures(config: Config, report: CheckReport) -> None:
    """Raises DataError for pairs in which, whole, D has no patch or SSIM no window."""
    least = max(SMALLEST_SIDE, smallest_discriminated(config.discriminator.patch_size))
    if all(min(_size(text)) >= least for text in report.sizes):
        return
    pairs = [pair for split in report.pairs.splits.values() for pair in split]
    for pair, (height, width) in zip(pairs, native_sizes(pairs).tolist(), strict=True):
        if min(height, width) < least:
            raise DataError(
                f"{pair.source.path}: is {height}x{width} (HxW), and --load-size native validates pictures whole, "
                f"which takes {least} pixels a side: remove the pair, or train at one size without --load-size native"
            )


def _prepare(data: Data, report: CheckReport, progress: Callable[[int, int], None] | None) -> PreparedData:
    """Prepare the training split; label maps of the other splits may hold its classes alone."""
    splits = report.pairs.splits
    prepared = prepare_data(data, splits.get("train", ()), progress)
    prepared.refuse_unknown_classes(pair for split, pairs in splits.items() if split != "train" for pair in pairs)
    return prepared


def _refuse_photometric(prepared: PreparedData) -> None:
    """Raise ConfigError where photometric changes have nothing to change."""
    if len(prepared.sources) > 1 and not any(source.is_photo for source in prepared.sources):
        raise ConfigError("augment.photometric changes those of several sources that are 8-bit images: these have none")


def _refuse_single_pairs(training: Training, pairs: int) -> None:
    """Raises ConfigError if the last batch, or a process's part of it, is a single pair."""
    batch, processes = training.effective_batch, training.processes
    last, parts = pairs % batch, 1 if training.sync_norm else processes
    if 1 in {len(range(last)[part_of(last, part, parts)]) for part in range(parts)}:
        whole = "is" if parts == 1 else f"leaves one of {parts} processes"
        raise ConfigError(
            f"generator.bottleneck_norm: the last batch of {pairs} pairs in batches of {batch} {whole} a single "
            "pair, which a batch norm on a 1x1 map turns into zeros; choose another --batch-size"
        )


def _statistics(training: Training) -> Literal["image", "running"]:
    """`auto` -> the image's own where batch norm normalises single images in training, else the running averages."""
    if training.norm_statistics == "auto":
        together = training.effective_batch if training.sync_norm else training.batch_size
        return "image" if together == 1 else "running"
    return training.norm_statistics


def _convolutions(chosen: str, device: str) -> str:
    if chosen == "auto":
        return "fast" if device == "cpu" else "native"
    return chosen


def would_choose(config: Config, report: CheckReport) -> list[str]:
    """What a training with these settings would make of checked data, for people."""
    usable = report.without_bad()
    if "train" not in usable.counts or not (usable.source_channels and usable.target_channels):
        return ["train        would refuse: there are no pairs to train on"]
    try:
        lines = describe(make_plan(config, usable))
    except (ConfigError, DataError) as error:
        return [f"train        would refuse: {error}"]
    on_the_rest = "" if report.ok else ", once what is wrong is mended or with --skip-bad"
    return [f"train would choose{on_the_rest}:", *(f"  {line}" for line in lines)]


def describe(plan: Plan) -> list[str]:
    """Describe the plan in a few lines."""
    config = plan.config
    data, training, generator = config.data, config.training, config.generator
    pairs = ", ".join(f"{count} {split}" for split, count in plan.counts.items())
    warm_up = f", {training.discriminator_epochs} of discriminator warm-up" if training.discriminator_epochs else ""
    rate = f"{config.optimizer.learning_rate:g} {config.optimizer.schedule}"
    batches = f"{training.batch_size}"
    if training.processes > 1:
        batches += f" x {training.processes} processes = {training.effective_batch}"
    return [
        f"pairs        {pairs}; {plan.prepared.in_channels} -> {plan.prepared.out_channels} channels, {data.direction}",
        f"values       {_describe_sources(plan.prepared)} -> {plan.prepared.target.values.describe()}",
        f"images       {_image_sizes(plan)}, {_changes(config.augment)}",
        f"generator    {generator.kind}, depth {generator.depth}, {generator.base_channels} base channels",
        f"patches      {config.discriminator.patch_size}x{config.discriminator.patch_size}, {config.loss.adversarial}",
        f"training     {training.epochs} epochs{warm_up}; batches of {batches}; learning rate {rate}",
        f"machine      {training.device}, {training.precision} arithmetic, {training.convolutions} convolutions"
        f"{_processes(training)}",
        f"step         {training.update_order} discriminator, seed {training.seed}",
    ]


def _image_sizes(plan: Plan) -> str:
    """What becomes of the files' sizes."""
    config = plan.config
    height, width = config.data.image_size
    if config.load_size != "native":
        load = "x".join(map(str, config.load_size)) if config.augment.jitter else "none"
        mixed = "; all are resized to it, whatever their shape" if len(plan.sizes) > 1 else ""
        return f"{height}x{width}{mixed}; random jitter from {load}"
    small = sum(count for (h, w), count in plan.sizes.items() if h < height or w < width)
    total = sum(plan.sizes.values())
    continued = f" ({small:,} of {total:,} pairs are smaller and padded by reflection)" if small else ""
    return f"crops of {height}x{width} at their own size{continued}, validated whole"


def _changes(augment: Augment) -> str:
    rare = [name for name in ("vertical_flip", "rotate90", "affine", "photometric") if getattr(augment, name)]
    return ", ".join(["mirrored" if augment.flip else "not mirrored", *rare])


def _describe_sources(prepared: PreparedData) -> str:
    if len(prepared.sources) == 1:
        return prepared.sources[0].values.describe()
    return " + ".join(source.describe() for source in prepared.sources)


def _processes(training: Training) -> str:
    if training.processes == 1:
        return ""
    norm = "over all processes" if training.sync_norm else "in each process apart"
    machines = "one machine" if training.nodes == 1 else f"each of {training.nodes} machines"
    return f"; {training.devices} processes on {machines}, batch norm {norm}"
