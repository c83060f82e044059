"""Find and read real sources, on which the ranges of int8 are measured and a file is compared with its model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.config.io import make_config, read_yaml
from pix2pix.data.io import images
from pix2pix.data.io.view import View
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.data.transforms.padding import reflected_indices
from pix2pix.errors import ConfigError, DataError
from pix2pix.inference.fit_sources import read_image
from pix2pix.inference.halves import choose_half
from pix2pix.inference.jobs import find_jobs, find_stacked_jobs
from pix2pix.inference.translator import Translator
from pix2pix.inference.views import view_source
from pix2pix.model.hub import locate
from pix2pix.model.model_config import Size

Array = NDArray[Any]
Files = Sequence[tuple[Path, View]]
"""The file of each source of an image, and how it is seen."""
MOST = 24
"""Images of which the ranges are measured, spread over all that are given."""


def find_calibration(name: str | Path, folders: Sequence[Path], translator: Translator) -> list[Files]:
    """List the images of the folders, one for each source; without folders the training pairs of the run.

    Raises ConfigError if there are neither, DataError for what cannot be translated.
    """
    found = _list_folders(folders, translator) if folders else _list_training(name)
    if not found:
        where = " and ".join(map(str, folders)) if folders else "the training split"
        raise DataError(f"{where}: holds no image to calibrate on")
    return [found[at] for at in np.linspace(0, len(found) - 1, min(MOST, len(found))).round().astype(int)]


def _list_folders(folders: Sequence[Path], translator: Translator) -> list[Files]:
    model = translator.model
    if len(folders) != len(model.sources):
        raise ConfigError(
            f"--calibration is given {len(folders)} times: give a folder of source images for each; "
            f"{translator.describe_sources()}"
        )
    list_jobs = find_jobs if len(folders) == 1 else find_stacked_jobs
    jobs = [job for job in list_jobs(folders, Path(), model.file_type, []) if not job.problem]
    found: list[Files] = []
    for job in jobs:
        views = [view_source(path, model, number)[0] for number, path in enumerate(job.sources)]
        if len(views) == 1:
            size = images.probe(job.sources[0], views[0]).size
            views = [replace(views[0], half=choose_half(model.config, size, "auto"))]
        found.append(list(zip(job.sources, views, strict=True)))
    return found


def _list_training(name: str | Path) -> list[Files]:
    """List the training pairs that the settings of a run name, if they are still there."""
    settings = next((one for one in (Path(name), locate(name).parent) if (one / "config.yaml").exists()), None)
    needs = "--precision int8 needs --calibration DIR, a folder of source images as the model will see them"
    if settings is None:
        raise ConfigError(f"{needs}: {name} is not a run, whose training pairs could be taken")
    data = make_config(read_yaml(settings / "config.yaml"), str(settings / "config.yaml")).data
    try:
        pairs = find_pairs(data).splits.get("train", ())
    except (ConfigError, DataError) as error:
        raise ConfigError(f"{needs}: the training pairs of the run are not found ({error})") from None
    return [[(ref.path, ref.view) for ref in pair.sources] for pair in pairs]


def read_calibration(files: Files, translator: Translator) -> list[Array]:
    """Read the sources (H, W, C) of an image as an exported file takes them. Raises DataError."""
    sources = []
    for (path, view), source in zip(files, translator.model.sources, strict=True):
        values, alpha, _ = read_image(path, view)
        if values.dtype.name != source.file_type:
            raise DataError(f"{path}: holds {values.dtype.name} values, but the model translates {source.file_type}")
        fitted, _ = translator.rule.fit(values, source, path, alpha=alpha)
        sources.append(np.ascontiguousarray(fitted))
    return sources


def fit_size(sources: Sequence[Array], size: Size) -> list[Array]:
    """Return the upper left part of each source, continued by reflection where it is smaller than `size`."""
    rows, columns = (
        [reflected_indices(has, max(has, side))[:side] for has in (one.shape[axis] for one in sources)]
        for axis, side in enumerate(size)
    )
    return [one[down][:, across] for one, down, across in zip(sources, rows, columns, strict=True)]
