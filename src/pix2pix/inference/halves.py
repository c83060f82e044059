"""Decide which half of a side-by-side file is translated, by what the model was trained on or by the user."""

from dataclasses import replace
from typing import Literal

from pix2pix.data.io.view import Half
from pix2pix.inference.jobs import Job
from pix2pix.model.model_config import ModelConfig, Size

HalfChoice = Literal["auto", "left", "right", "whole"]


def choose_half(config: ModelConfig, size: Size, choice: HalfChoice) -> Half | None:
    """Return the half of a file of `size` that is translated; None for the whole file.

    `auto` takes the half that held the source, if the file has the size of the training's side-by-side files.
    """
    if choice != "auto":
        return None if choice == "whole" else choice
    if config.half is None or config.file_size is None:
        return None
    height, width = config.file_size
    return config.half if size == (height, 2 * width) else None


def take_half_of(job: Job, config: ModelConfig, file_size: Size, choice: HalfChoice) -> tuple[Job, Size]:
    """Return the job with the half of its file that is translated, and the size of that half; else both as they are."""
    half = choose_half(config, file_size, choice) if len(job.sources) == 1 else None
    if half is None:
        return job, file_size
    return replace(job, half=half), (file_size[0], file_size[1] // 2)


def looks_like_two(config: ModelConfig, size: Size) -> bool:
    """Return whether a file has the shape of two images side by side, and the model was trained on such files."""
    if config.half is None:
        return False
    height, width = config.file_size or (1, 1)
    return size[1] % 2 == 0 and abs(size[1] * height / (size[0] * 2 * width) - 1) < 0.01
