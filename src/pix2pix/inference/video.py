"""Translate video files frame by frame: a clip to a clip of the same times, with its audio copied."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels, take_half
from pix2pix.data.io.video import Frame, VideoReader, VideoWriter, is_video_name, open_video
from pix2pix.data.pairing.image_files import is_store_name
from pix2pix.data.pairing.pair import IMAGE_SUFFIXES
from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.inference.calls import ImageTranslator
from pix2pix.inference.fit_sources import SourceImage
from pix2pix.inference.halves import HalfChoice, take_half_of
from pix2pix.inference.jobs import Job
from pix2pix.inference.memory import Budget, needed_memory
from pix2pix.inference.noise import image_seed, seed_noise
from pix2pix.inference.writing import OutputWriter, stamp_sources
from pix2pix.system.hardware import say_gigabytes
from pix2pix.system.progress import OnNamedProgress
from pix2pix.text import format_count


def find_videos(inputs: Sequence[Path], output: Path) -> list[Path]:
    """Return the videos among the inputs: all or none. Raises ConfigError for both, and for a misleading output."""
    videos = [path for path in inputs if is_video_name(path) and path.is_file()]
    if videos and len(videos) < len(inputs):
        other = next(path for path in inputs if path not in videos)
        raise ConfigError(f"{videos[0]} is a video and {other} is none: translate them in two commands")
    if is_video_name(output) and not output.is_dir():
        if not videos:
            raise ConfigError(f"--output {output}: is the name of a video, but no input is one; give a folder")
        if len(videos) > 1:
            raise ConfigError(f"--output {output}: is one video, but {len(videos)} are given; give a folder")
    elif is_store_name(output.name) or (output.suffix.lower() in IMAGE_SUFFIXES and not output.is_dir()):
        raise ConfigError(
            f"--output {output}: is the name of an image; give a folder, in which outputs keep their names"
        )
    elif output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output}: is a file; give a folder, in which outputs keep their names")
    return videos


def video_jobs(videos: Sequence[Path], output: Path) -> tuple[list[Job], Path]:
    """Return a job for each video, and the folder of their outputs: `output`, unless it is the name of a video."""
    if is_video_name(output) and not output.is_dir():
        return [Job((videos[0],), Path(output.name))], output.parent
    return [Job((path,), Path(path.name)) for path in videos], output


def check_model(translator: ImageTranslator) -> None:
    """Raise ModelError for a model whose sources or outputs cannot be frames of a video."""
    model = translator.model
    if len(model.sources) > 1:
        raise ModelError(f"a frame of a video is one source, but {translator.describe_sources()}")
    source, target = model.source_values, model.file_type
    if source.dtype != "uint8" or target.dtype != "uint8" or target.channels not in (1, 3):
        raise ModelError(
            "frames of videos are 8-bit gray or colour, but the model translates "
            f"{format_count(model.in_channels, 'channel')} of {source.dtype} to {target.channels} of {target.dtype}: "
            "translate images"
        )


def translate_video(
    translator: ImageTranslator,
    job: Job,
    writer: OutputWriter,
    budget: Budget,
    *,
    half: HalfChoice,
    seed: int | None,
    progress: OnNamedProgress | None,
) -> list[str]:
    """Translate one video and write it; return what was changed in words. Raises DataError naming the frame."""
    path = writer.output / job.name
    stamps = stamp_sources(job)
    with open_video(job.sources[0]) as reader:
        placed, size = take_half_of(job, translator.model.config, reader.size, half)
        _refuse_large(reader, budget, size)
        notes: set[str] = set()

        def encode(file: BinaryIO) -> None:
            output = VideoWriter(file, path, reader, translator.model.output_size(size))
            for item in reader:
                if not isinstance(item, Frame):
                    output.copy(item)
                    continue
                if translator.dropout and seed is not None:
                    seed_noise(image_seed(seed, job.name))  # the same noise for all frames, which would flicker
                output.write(_translate_frame(translator, placed, item, notes), item)
                if progress is not None:
                    progress(item.number, reader.length, path.name)
            output.close()

        images.begin_to_encode(path, encode, writer.before_rename(job, stamps))()
        return [*reader.notes, *sorted(notes)]


def _refuse_large(reader: VideoReader, budget: Budget, size: tuple[int, int]) -> None:
    if not budget.fits([size]):
        needed, limit = say_gigabytes(needed_memory(budget.model, size)), say_gigabytes(budget.host)
        raise DataError(
            f"{reader.path}: a frame of {size[0]}x{size[1]} (HxW) takes {needed} of memory, but {limit} "
            "are free or allowed; --present image_size shows frames to the model at the size of its training"
        )


def _translate_frame(translator: ImageTranslator, job: Job, frame: Frame, notes: set[str]) -> Pixels:
    name = Path(f"{job.sources[0]} (frame {frame.number})")
    values = frame.values if job.half is None else take_half(frame.values, job.half, name)
    encoded = translator.encode([SourceImage(values, False, name)])
    notes.update(encoded.conversions)
    (output,) = translator.translate_encoded([encoded])
    return translator.to_output(output, None, name)
