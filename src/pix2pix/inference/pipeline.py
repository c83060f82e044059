"""Translate files and folders into files of the same names, each written completely or not at all."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pix2pix.data.io import images
from pix2pix.data.pairing.pair import Ignored
from pix2pix.errors import ConfigError, DataError
from pix2pix.inference.batches import Batch, BatchLimits, Reading, form_batches, read_ahead
from pix2pix.inference.calls import ImageTranslator
from pix2pix.inference.halves import HalfChoice, take_half_of
from pix2pix.inference.jobs import Job, Shard, find_jobs, find_stacked_jobs
from pix2pix.inference.memory import Budget
from pix2pix.inference.noise import image_seed, sample_seed, seed_noise
from pix2pix.inference.notes import Notes
from pix2pix.inference.onnx_translator import OnnxTranslator
from pix2pix.inference.outputs import plan_outputs, refuse_collisions, remove_leftovers
from pix2pix.inference.record import Record, hash_method
from pix2pix.inference.samples import Sampling, write_spreads
from pix2pix.inference.stacks import translate_stack
from pix2pix.inference.tiling import Tiling
from pix2pix.inference.translator import Translator
from pix2pix.inference.video import check_model, find_videos, translate_video, video_jobs
from pix2pix.inference.writing import FileThreads, OutputWriter, stamp_sources
from pix2pix.model.model_config import Size
from pix2pix.system.progress import OnNamedProgress, OnProgress
from pix2pix.text import format_count

BATCH_PIXELS = 2**24
"""Largest number of pixels in a batch, unless one image has more."""


@dataclass(frozen=True)
class Translated:
    """What a translation has written, and what it has not."""

    written: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]
    """Inputs that could not be translated, each with the reason."""
    already: tuple[Path, ...] = ()
    """Outputs that an earlier translation has written, of the same sources by the same model and settings."""
    edited: tuple[Path, ...] = ()
    """Such outputs that were changed since; they stay as they are."""
    lost: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """What outputs could not keep of what surrounds the pixels, such as a georeference -> the sources that have it."""
    ignored: tuple[Ignored, ...] = ()
    """What is no image among the inputs, each with the reason."""
    notes: tuple[str, ...] = ()
    """What was done to the files before the model saw them, a sentence for each kind of change."""
    machine: str = ""
    """Device and threads that computed, in words."""


@dataclass(frozen=True)
class Options:
    """How images are translated; the defaults are those of the command."""

    batch_size: int = 4
    overwrite: bool = False
    """Translate all images again, and replace files that no translation wrote."""
    seed: int | None = None
    """Seed of dropout. An output depends on the seed and its own name only."""
    memory: float | None = None
    """Most bytes for all images in flight; by default all that are free."""
    batch_pixels: int = BATCH_PIXELS
    tiling: Tiling = field(default_factory=Tiling)
    """Tiles of images that are larger, or that do not fit into the memory."""
    half: HalfChoice = "auto"
    """Half of side-by-side files that is translated."""
    sampling: Sampling = field(default_factory=Sampling)
    """Samples of each image, for which the translator has dropout on and there is a seed."""


def translate_files(
    translator: ImageTranslator,
    inputs: Sequence[Path],
    output: Path,
    options: Options = Options(),
    *,
    shard: Shard = Shard(),  # noqa: B008  # a tuple
    patterns: Sequence[str] = (),
    progress: OnProgress | None = None,
    tile_progress: OnNamedProgress | None = None,
) -> Translated:
    """Translate images and folders, or videos, into `output`; each output has the name of its input.

    A model of several sources takes one file, or one folder, for each; images are matched by name or by `patterns`.
    Consecutive images of one size form batches. What an earlier translation has written, of the same sources by the
    same model and settings, is not done again. Images that cannot be read, do not fit the model or cannot be written
    are skipped and reported. Calls progress(done, total), and tile_progress(done, total, name) for each tile. Raises
    DataError if there is nothing to translate, if an input or a file that no translation wrote would be replaced, and
    for a full disk.
    """
    _refuse_useless(translator, options)
    if videos := find_videos(inputs, output):
        if patterns:
            raise ConfigError(f"--source-pattern: matches folders of images, and {videos[0]} is a video; leave it out")
        return _translate_videos(translator, videos, output, options, shard, tile_progress)
    _check_tiling(translator, options.tiling)
    ignored: list[Ignored] = []
    found = _list_jobs(translator, inputs, output, patterns, ignored, exact=options.sampling.spread)
    sampling, model = options.sampling, translator.model
    refuse_collisions([*sampling.jobs(found), *sampling.spread_jobs(found, model)], output)
    record = Record(output)
    method = _method_of(translator, options)
    notes = Notes(model)
    chosen = shard.select(found)
    mine, about = sampling.jobs(chosen), sampling.spread_jobs(chosen, model)
    planned = plan_outputs(mine, output, record, method(), overwrite=options.overwrite)
    spreads = plan_outputs(about, output, record, method(samples=sampling.count), overwrite=options.overwrite)
    remove_leftovers([*planned.to_do, *spreads.to_do], output)
    limits = _limits(translator, options)
    with FileThreads(2) as threads, ThreadPoolExecutor(2) as disk:
        writer = OutputWriter(output, record, method(), model, planned, threads, disk)

        def place(job: Job, file_size: Size) -> tuple[Job, Size]:
            placed, size = take_half_of(job, translator.model.config, file_size, options.half)
            notes.add_size(placed, file_size, size, options.half)
            return placed, translator.model.output_size(size)

        def finish_writing() -> None:
            writer.finish()
            if progress is not None and (done := len(writer.written) + len(writer.failed)):
                progress(len(mine) - len(planned.to_do) + done, len(mine))

        batches = form_batches(planned.to_do, limits, place, writer.fail)
        for batch in read_ahead(batches, _reader(translator), threads, limits, finish_writing):
            if batch.alone:
                finish_writing()
            if batch.planes:
                _translate_stack(translator, batch, writer, notes, options.seed, limits.budget.host, tile_progress)
            elif batch.tiled:
                _translate_tiled(translator, batch.jobs[0], writer, notes, options, limits.budget, tile_progress)
            else:
                _translate_batch(translator, batch, writer, notes, options.seed, finish_writing)
        finish_writing()
        lines = tuple(notes.lines(path.relative_to(output) for path in writer.written))
        if sampling.spread:
            writer.method, writer.planned = method(samples=sampling.count), spreads
            write_spreads(chosen, sampling, writer, planned, limits.budget.host)
    already, edited = (*planned.already, *spreads.already), (*planned.edited, *spreads.edited)
    failed = tuple(dict.fromkeys(writer.failed))  # samples of one image fail alike
    return Translated(tuple(writer.written), failed, already, edited, writer.lost, tuple(ignored), lines)


def _method_of(translator: ImageTranslator, options: Options) -> Callable[..., str]:
    """Return the hash of all that decides an output beside its sources, as a function of further settings."""
    drawn = {"dropout": translator.dropout, "seed": options.seed if translator.dropout else None}
    tiling = {"tile": options.tiling.tile, "overlap": options.tiling.overlap}
    shown = {"present": translator.model.present, "half": options.half, "background": translator.rule.background}
    return partial(hash_method, translator.model, precision=translator.precision, **drawn, **tiling, **shown)


def _translate_videos(
    translator: ImageTranslator,
    videos: Sequence[Path],
    output: Path,
    options: Options,
    shard: Shard,
    progress: OnNamedProgress | None,
) -> Translated:
    """Translate videos as `translate_files` does images, one after the other."""
    check_model(translator)
    tiling = options.tiling
    if options.sampling.count or tiling != Tiling():
        flag = "--samples" if options.sampling.count else "--overlap" if tiling.tile is None else "--tile"
        raise ConfigError(f"{flag}: is for images, and {videos[0]} is a video; leave it out")
    found, folder = video_jobs(videos, output)
    refuse_collisions(found, folder)
    record, method = Record(folder), _method_of(translator, options)()
    planned = plan_outputs(shard.select(found), folder, record, method, overwrite=options.overwrite)
    remove_leftovers(planned.to_do, folder)
    budget = Budget.of(translator.model, translator.device, options.memory)
    notes: list[str] = []

    def write(job: Job) -> None:
        done = translate_video(translator, job, writer, budget, half=options.half, seed=options.seed, progress=progress)
        notes.extend(f"{job.sources[0]}: {note}" for note in done)

    with FileThreads(1) as threads:
        writer = OutputWriter(folder, record, method, translator.model, planned, threads, threads)
        for job in planned.to_do:
            writer.finish_one(job, lambda job=job: write(job))  # type: ignore[misc]
    done = tuple(writer.written), tuple(writer.failed), tuple(planned.already), tuple(planned.edited)
    return Translated(*done, notes=tuple(notes))


def _refuse_useless(translator: ImageTranslator, options: Options) -> None:
    """Raise ConfigError for choices that would change nothing with this model."""
    if options.seed is not None and not translator.dropout:
        exported = isinstance(translator, OnnxTranslator)
        advice = "an exported file has none; leave it out" if exported else "it is off: add --dropout, or --samples 4"
        raise ConfigError(f"--seed {options.seed}: is that of dropout, and {advice}")
    if options.half in ("left", "right") and len(translator.model.sources) > 1:
        raise ConfigError(
            f"--half {options.half}: is for files that hold two images, and the model takes several files"
        )


def _check_tiling(translator: ImageTranslator, tiling: Tiling) -> None:
    """Raise ConfigError for tiles that the generator cannot take, and for an exported file, which takes none."""
    if isinstance(translator, OnnxTranslator) and (tiling.tile is not None or tiling.overlap is not None):
        raise ConfigError("--tile, --overlap: an exported file translates whole images; give the model folder instead")
    tiling.check(translator.model.size_multiple)


def _limits(translator: ImageTranslator, options: Options) -> BatchLimits:
    draws = translator.dropout and options.seed is not None  # each image has a seed of its own
    budget = Budget.of(translator.model, translator.device, options.memory)
    return BatchLimits(1 if draws else options.batch_size, options.batch_pixels, budget, options.tiling.tile)


def _list_jobs(
    translator: ImageTranslator,
    inputs: Sequence[Path],
    output: Path,
    patterns: Sequence[str],
    ignored: list[Ignored],
    *,
    exact: bool,
) -> list[Job]:
    """List the images; with `exact` no output is a JPEG, which mixes values of pixels."""
    model = translator.model
    file_type = model.file_type._replace(exact=exact or model.file_type.exact)
    if len(model.sources) == 1:
        if patterns:
            raise ConfigError("--source-pattern matches the folders of several sources, and the model has one")
        return find_jobs(inputs, output, file_type, ignored)
    if len(inputs) != len(model.sources):
        given, needed = format_count(len(inputs), "input"), translator.describe_sources()
        raise ConfigError(f"got {given}, but {needed}; give one file or one folder for each")
    return find_stacked_jobs(inputs, output, file_type, ignored, patterns)


def _reader(translator: ImageTranslator) -> Callable[[Job], Reading]:
    def read(job: Job) -> Reading:
        stamps = stamp_sources(job)
        return Reading(stamps, translator.read(job.sources, half=job.half))

    return read


def _translate_batch(
    translator: ImageTranslator,
    batch: Batch,
    writer: OutputWriter,
    notes: Notes,
    seed: int | None,
    finish_writing: Callable[[], object],
) -> None:
    """Translate a batch that has been read, and begin to write its outputs."""
    done: list[tuple[Job, Reading]] = []
    for job, reading in zip(batch.jobs, batch.readings, strict=True):
        try:
            done.append((job, reading.result()))
            notes.add_conversions(job, done[-1][1].encoded.conversions)
        except DataError as error:
            writer.fail(job, str(error))
    batch.readings.clear()
    if translator.device.type == "cpu":
        writer.threads.wait_until_idle()
    while done:  # of one size, unless the header of a file is wrong
        alike = [one for one in done if one[1].encoded.shape == done[0][1].encoded.shape]
        done = [one for one in done if one[1].encoded.shape != alike[0][1].encoded.shape]
        if seed is not None and translator.dropout:
            seed_noise(derive_seed(seed, alike[0][0]))
        outputs = translator.translate_encoded([reading.encoded for _, reading in alike])
        finish_writing()
        to_write = [(job, reading.stamps, reading.encoded.holes) for job, reading in alike]
        alike.clear()  # the sources are not needed any more
        for (job, stamps, holes), image in zip(to_write, outputs, strict=True):
            try:
                writer.begin(job, stamps, translator.to_output(image, holes, job.sources[0]))
            except DataError as error:
                writer.fail(job, str(error))


def _translate_tiled(
    translator: ImageTranslator,
    job: Job,
    writer: OutputWriter,
    notes: Notes,
    options: Options,
    budget: Budget,
    progress: OnNamedProgress | None,
) -> None:
    """Translate one image in tiles and write its output."""
    path = writer.output / job.name

    def write() -> None:
        if not isinstance(translator, Translator):
            raise DataError(
                f"{job.sources[0]}: does not fit into the memory that is free or allowed, and an exported file "
                "translates whole images; the model folder translates it in tiles"
            )
        from pix2pix.inference.huge import translate_huge

        if translator.dropout and options.seed is not None:
            seed_noise(derive_seed(options.seed, job))
        stamps = stamp_sources(job)
        # With dropout the rows that are left would be drawn differently.
        identity = None if translator.dropout else " ".join([writer.method, *(stamp.sha256 for stamp in stamps)])
        image = translate_huge(
            translator,
            job,
            path,
            options.tiling,
            budget,
            before_rename=writer.before_rename(job, stamps),
            identity=identity,
            surroundings=writer.surroundings(job, translator.model.out_channels),
            progress=progress,
        )
        notes.add_conversions(job, image.conversions)

    writer.finish_one(job, write)


def _translate_stack(
    translator: ImageTranslator,
    batch: Batch,
    writer: OutputWriter,
    notes: Notes,
    seed: int | None,
    most: float,
    progress: OnNamedProgress | None,
) -> None:
    """Translate the planes of one stack and write its output, with the same axes."""
    (job,) = batch.jobs

    def write() -> None:
        if translator.dropout and seed is not None:
            seed_noise(derive_seed(seed, job))
        seal = writer.before_rename(job, stamp_sources(job))
        output, conversions = translate_stack(translator, job, batch.planes, most, progress)
        notes.add_conversions(job, conversions)
        kept = replace(writer.surroundings(job, output.shape[-1]), planes=batch.planes)
        images.begin_to_write(writer.output / job.name, output, seal, surroundings=kept)()

    writer.finish_one(job, write)


def derive_seed(seed: int, job: Job) -> int:
    """Return the seed of one output."""
    return sample_seed(seed, job.sample) if job.sample else image_seed(seed, job.name)
