"""Write and read the files of an evaluation: metrics.json, per_image.csv, outputs."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.tensors import to_viewable
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array, Pixels
from pix2pix.data.io.surroundings import NOTHING, TIFF_SUFFIXES
from pix2pix.data.pairing.pair import Pair
from pix2pix.errors import DataError, ModelError
from pix2pix.metrics.pixel import OWN_UNITS, ImageScore, metric_names
from pix2pix.model import Model, locate
from pix2pix.system.files import write_text
from pix2pix.system.folded_names import find_folded
from pix2pix.system.reading import LARGE, read_json
from pix2pix.system.written import claim, refuse_others
from pix2pix.training.run_folder import is_run

NUMBERS = ("metrics.json", "per_image.csv", "report.html")


def choose_output(model: str | Path, name: str) -> Path:
    """Return RUN/evaluation/NAME, or MODEL/evaluation/NAME for a local model outside a run.

    Raises ModelError for a model of the hub.
    """
    folder = locate(model)
    if (run := find_run(folder)) is not None:
        return run / "evaluation" / name
    if Path(model).exists():
        return folder / "evaluation" / name
    raise ModelError(f"{model}: comes from the hub; give a folder to write to with --output DIR")


def find_run(folder: Path) -> Path | None:
    """Return the run that contains a model folder or a folder of evaluations; None outside a run."""
    run = folder.parent
    return run if (run / "model").is_dir() and is_run(run) else None


def refuse_output(folder: Path, pairs: Sequence[Pair], model: Model) -> None:
    """Raise ConfigError if an evaluation would replace a file of others, DataError if two outputs would be one file."""
    if one_file := find_folded(_names(folder, pairs, model), folder):
        raise DataError(
            f"{folder}: {one_file[0]} and {one_file[1]} would be one file there; rename one of the pairs, or give "
            "an --output on a disk that tells them apart"
        )
    refuse_others(folder, _names(folder, pairs, model), is_ours=_is_evaluation)


def claim_output(folder: Path, pairs: Sequence[Pair], model: Model) -> None:
    """Record what an evaluation is going to write. Raises as `refuse_output` does, and OSError."""
    claim(folder, _names(folder, pairs, model), is_ours=_is_evaluation)


def _names(folder: Path, pairs: Sequence[Pair], model: Model) -> list[str]:
    outputs = [output_path(folder, pair, model).relative_to(folder).as_posix() for pair in pairs]
    return [*NUMBERS, *outputs]


def _is_evaluation(folder: Path) -> bool:
    """Return whether an older version, which kept no record, has evaluated into a folder."""
    try:
        metrics = read_json(folder / "metrics.json", limit=LARGE)
    except (OSError, ValueError):
        return False
    return isinstance(metrics, dict) and {"model", "split", "images", "g_l1"} <= metrics.keys()


def remove_numbers(folder: Path) -> None:
    """Remove older numbers, so that an interrupted evaluation does not leave them beside newer outputs."""
    for name in NUMBERS:
        (folder / name).unlink(missing_ok=True)


def output_path(folder: Path, pair: Pair, model: Model) -> Path:
    """Return the path of the output of a pair."""
    suffix = images.suffix_for(model.file_type.dtype, model.file_type.channels)
    if pair.target.path.suffix.lower() in TIFF_SUFFIXES:  # which holds what surrounds the pixels, as the target does
        suffix = ".tif"
    return folder / "outputs" / f"{pair.name}{suffix}"


def write_output(folder: Path, pair: Pair, model: Model, output: Array) -> None:
    """Write the output (H, W, C) of a pair, with what its target states beside the pixels. Raises DataError."""
    path, target = output_path(folder, pair, model), pair.target
    surroundings = NOTHING if target.half else images.read_surroundings(target.path).of_channels(target.view.channels)
    if surroundings != NOTHING:
        facts, bounds = images.probe(target.path, target.view), model.target_values.bounds
        extremes = min(low for low, _ in bounds), max(high for _, high in bounds)
        kept, _ = surroundings.fit(path.suffix, output.dtype.name, output.shape[2], extremes)
        surroundings = kept.resized((facts.height / output.shape[0], facts.width / output.shape[1]))
    images.write(path, output, surroundings, palette=model.palette)


def read_output(folder: Path, pair: Pair, model: Model) -> Tensor:
    """Read the output of a pair back as (C, H, W) in [-1, 1]. Raises DataError."""
    path, values = output_path(folder, pair, model), model.target_values
    if isinstance(values, LabelEncoding):
        return values.to_tensor(images.read(path), path)
    return values.to_tensor(images.read(path, alpha=True))


def draw_output(image: Tensor, model: Model) -> Pixels:
    """Draw an output or a target (C, H, W) as (H, W, 1 or 3) uint8."""
    values = model.target_values
    return values.to_viewable(image) if isinstance(values, LabelEncoding) else to_viewable(image)


def write_numbers(
    folder: Path, metrics: Mapping[str, Any], scores: Sequence[ImageScore], pairs: Sequence[Pair]
) -> None:
    """Write `per_image.csv`, then `metrics.json`."""
    names = [name for name in (*metric_names(), *(own.name for own in OWN_UNITS)) if name in scores[0].values]
    text = io.StringIO()
    rows = csv.DictWriter(text, ["name", *names], lineterminator="\n")
    rows.writeheader()
    for score in scores:
        rows.writerow({"name": pairs[score.index].name, **{name: f"{score.values[name]:.6g}" for name in names}})
    write_text(folder / "per_image.csv", text.getvalue())
    write_text(folder / "metrics.json", to_json(metrics))


def to_json(metrics: Mapping[str, Any]) -> str:
    """Return strict JSON; infinity, such as the PSNR of an exact copy, and NaN become null."""

    def finite(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: finite(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(metrics), indent=2, allow_nan=False) + "\n"
