"""Describe a plan in lines of text."""

from collections.abc import Iterator, Mapping

from pix2pix.config import Augment, Config, Optimizer, Training
from pix2pix.data.checks.report import CheckReport
from pix2pix.data.encoding.prepared import ImageEncoding, PreparedData
from pix2pix.data.encoding.ranges import RangeEncoding
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.threads import choose_threads, describe_threads
from pix2pix.text import format_bytes, format_count, format_factors
from pix2pix.training.machine import describe_arithmetic
from pix2pix.training.memory import BYTES_IN_FILE, count_weights
from pix2pix.training.perceptual_validation import describe_perceptual
from pix2pix.training.plan import Plan, make_plan

Size = tuple[int, int]


def describe_plan(plan: Plan) -> list[str]:
    """Describe the plan in a few lines."""
    config = plan.config
    data, training, generator = config.data, config.training, config.generator
    pairs = ", ".join(f"{count} {split}" for split, count in plan.counts.items())
    first = training.first_phase
    epochs = format_count(training.epochs, "epoch") + (f", {first.epochs} of {first.name}" if first.epochs else "")
    devices = 1 if training.devices == "auto" else training.devices
    threads = describe_threads(choose_threads(training.threads, devices), devices)
    upsampling = "" if generator.upsampling == "transposed" else f", upsampling by {generator.upsampling}"
    batches = f"{training.batch_size}"
    if training.processes > 1:
        batches += f" x {training.processes} processes = {training.effective_batch}"
    perceptual = describe_perceptual(plan)
    channels = f"{plan.prepared.in_channels} -> {format_count(plan.prepared.out_channels, 'channel')}"
    return [
        f"pairs        {pairs}; {channels}, {data.direction}",
        f"values       {_describe_sources(plan.prepared)} -> {_describe_values(plan.prepared.target)}",
        f"images       {_image_sizes(plan)}, {_augmentations(config.augment)}",
        f"generator    {generator.kind}, depth {generator.depth}, {generator.base_channels} base channels{upsampling}",
        *_describe_discriminator(config),
        f"training     {epochs}; batches of {batches}; {_rates(config.optimizer)}",
        f"machine      {training.device}, {threads}, {describe_arithmetic(training)}{_processes(training)}",
        f"step         {training.update_order} discriminator, seed {training.seed}",
        *([] if perceptual is None else [f"validation   {perceptual}"]),
        *_kept_models(config),
    ]


def _rates(optimizer: Optimizer) -> str:
    """Describe the learning rates."""
    words = f"learning rate {optimizer.learning_rate:g} {optimizer.schedule}"
    if optimizer.discriminator_learning_rate is not None:
        words += f", of D {optimizer.discriminator_learning_rate:g}"
    return words + (f", after {optimizer.warmup_images:,} pairs of warm-up" if optimizer.warmup_images else "")


def _kept_models(config: Config) -> list[str]:
    """Say what --keep-every takes on the disk."""
    if (every := config.training.keep_every) is None:
        return []
    models = format_count(config.training.epochs // every, "model")
    return [
        f"kept         {models} of {format_bytes(BYTES_IN_FILE * count_weights(config))} in models/, beside the best"
    ]


def _describe_discriminator(config: Config) -> Iterator[str]:
    """Describe the discriminator with the terms of the loss, and what changes its images."""
    discriminator = config.discriminator
    size = f"{discriminator.patch_size}x{discriminator.patch_size}"
    kind = "classes      of pixels" if discriminator.kind == "classes" else f"patches      {size}"
    if discriminator.scales > 1:
        kind += f" at {discriminator.scales} scales"
    norm = ", spectral norm" if discriminator.spectral_norm else ""
    yield f"{kind}{norm}, {_terms(config)}"
    if discriminator.augment == "fixed":
        yield f"D sees       changed images, each change with probability {discriminator.augment_probability:g}"
    if discriminator.augment == "adaptive":
        yield "D sees       changed images, the more often the better it knows the targets"


def _terms(config: Config) -> str:
    """Describe the terms of the loss."""
    loss, words = config.loss, config.adversarial if config.discriminator.kind == "patch" else "cross-entropy"
    if config.data.target_kind == "labels":
        words += f", cross-entropy of the classes with weight {loss.cross_entropy_weight:g}"
    if loss.feature_matching_weight:
        words += f", feature matching with weight {loss.feature_matching_weight:g}"
    if loss.perceptual_weight:
        words += f", ST-LPIPS with weight {loss.perceptual_weight:g}"
    return words


def _image_sizes(plan: Plan) -> str:
    """Describe how images are resized or cropped."""
    config = plan.config
    height, width = config.data.image_size
    crops = _crops(config.augment) + _describe_enlarged(plan)
    if config.load_size != "native":
        load = config.load_size if config.augment.jitter else (height, width)
        return f"{_resizing(plan.sizes, load, (height, width))}{crops}"
    small = sum(count for (h, w), count in plan.sizes.items() if h < height or w < width)
    total = sum(plan.sizes.values())
    padded = f" ({small:,} of {total:,} pairs are smaller and padded by reflection)" if small else ""
    whole = "validated whole"
    if plan.validated is not None:
        middle = "x".join(map(str, plan.validated))
        whole = (
            f"validated on the middle {middle} of each, since whole ones have more pixels than an epoch trains on "
            "(--validation-images whole takes them, as `evaluate` does)"
        )
    return f"crops of {height}x{width} at their own size{crops}{padded}, {whole}"


def _describe_enlarged(plan: Plan) -> str:
    """Say how sources are resized to their targets, and what size outputs have."""
    if not plan.config.data.resize_source:
        return ""
    if plan.enlarged == (1.0, 1.0):
        return ", sources resized to their targets if these differ (outputs have the size of their input)"
    times = format_factors(*plan.enlarged)
    words = f", sources resized to their targets (outputs have {times} times the size of their input"
    load = plan.config.load_size
    if load != "native" and any(h > load[0] or w > load[1] for h, w in plan.sizes):
        words += ", but less detail than the targets, which are made smaller: --load-size native keeps it"
    return words + ")"


def _crops(augment: Augment) -> str:
    """Describe how many crops are taken of each image, and of what."""
    words = f", {augment.crops_per_image} of each in an epoch" if augment.crops_per_image > 1 else ""
    if augment.crop_foreground:
        words += f", {100 * augment.crop_foreground:.3g} % of them on foreground"
    return words


def _resizing(sizes: Mapping[Size, int], load: Size, crop: Size) -> str:
    """Describe how files of these sizes (H, W), each with its number of pairs, become training images."""
    heights, widths = zip(*sizes, strict=True)
    if len(sizes) == 1:
        words = f"{heights[0]}x{widths[0]} in the files"
    else:
        words = f"heights {min(heights)} to {max(heights)}, widths {min(widths)} to {max(widths)} in the files"
    if set(sizes) != {load}:
        smaller = max(heights) < crop[0] and max(widths) < crop[1]
        words += f", {'enlarged' if smaller else 'resized'} to {load[0]}x{load[1]}"
        words += " (a smaller --image-size takes less time)" if smaller else ""
    if changed := sum(count for size, count in sizes.items() if _changes_shape(size, load)):
        share = "" if len(sizes) == 1 else f" of {changed:,} of {sum(sizes.values()):,} pairs"
        words += f" (the shape{share} changes; --load-size native keeps the pixels)"
    return words if crop == load else f"{words}, crops of {crop[0]}x{crop[1]}"


def _changes_shape(size: Size, load: Size) -> bool:
    """Return whether a resize changes the ratio of height to width by more than rounding does, 2 %."""
    return abs(size[0] * load[1] / (size[1] * load[0]) - 1) > 0.02


def _augmentations(augment: Augment) -> str:
    rare = [name for name in ("vertical_flip", "rotate90", "affine", "photometric") if getattr(augment, name)]
    return ", ".join(["mirrored" if augment.flip else "not mirrored", *rare])


def _describe_sources(prepared: PreparedData) -> str:
    if len(prepared.sources) == 1:
        return _describe_values(prepared.sources[0])
    return " + ".join(source.describe() for source in prepared.sources)


def _describe_values(image: ImageEncoding) -> str:
    """Describe the values of an image, and what happens to pixels without data."""
    words = image.values.describe()
    if image.fill:
        filled = ", ".join(f"{number:g}" for number in image.fill[:4])
        words += f" ({_plain(image.nodata)} marks no data, filled with {filled})"
    if image.mask_value is not None and isinstance(image.values, RangeEncoding):
        words += f" ({_plain(image.mask_value)} marks no data, left out)"
    return words


def _plain(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _processes(training: Training) -> str:
    if training.processes == 1:
        return ""
    norm = "over all processes" if training.sync_norm else "in each process by itself"
    machines = "one machine" if training.nodes == 1 else f"each of {training.nodes} machines"
    return f"; {training.devices} processes on {machines}, batch norm {norm}"


def try_plan(config: Config, report: CheckReport) -> Plan | str:
    """Return the plan of a training on the usable pairs of these data, or the reason why it would not start."""
    try:
        usable = report.without_bad()
        if "train" not in usable.counts or not (usable.source_channels and usable.target_channels):
            return "there are no pairs to train on"
        return make_plan(config, usable)
    except (ConfigError, DataError) as error:
        return str(error)


def preview_plan(plan: Plan | str, report: CheckReport) -> list[str]:
    """Describe what `train` would do with these data and settings, or why it would not start."""
    if isinstance(plan, str):
        return [f"train        would refuse: {plan}"]
    condition = "" if report.ok else ", once the bad files are repaired, or with --skip-bad"
    return [f"train would choose{condition}:", *(f"  {line}" for line in describe_plan(plan))]
