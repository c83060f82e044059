"""Export a model as one ONNX file that is the whole translator: pixels in, pixels out, of any size.

The file is compared with the model before it gets its name.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pix2pix.errors import ConfigError, ModelError
from pix2pix.system.files import remove_partial_files, write_atomically

if TYPE_CHECKING:
    from onnx import ModelProto

    from pix2pix.export.calibration import Array, Files
    from pix2pix.export.compare import Difference, Speed
    from pix2pix.inference.translator import Translator

ExportPrecision = Literal["32", "16", "int8"]


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how it compares with the model."""

    path: Path
    precision: ExportPrecision
    bytes: int
    speeds: "tuple[Speed, ...]"
    """Time and error of one image of the training's size, of each engine that is installed, and the model's time."""
    differences: "tuple[Difference, ...]"
    """For each size at which it was compared, by onnxruntime."""
    notes: tuple[str, ...] = ()


def export_onnx(
    model: str | Path,
    *,
    output: str | Path,
    precision: ExportPrecision = "32",
    calibration: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> Exported:
    """Export a run folder, a model folder or a model of the hub as an ONNX file.

    `precision` is that of weights and maps: 32 or 16 bits of floating numbers, or int8. The ranges of int8 are measured
    on the source images of `calibration`, a folder for each source, or on the training pairs of the run. Raises
    ConfigError, or ModelError for a model that cannot be exported and for a file that does not translate as the model
    does; then nothing is written.
    """
    path = Path(output)
    _refuse(path, precision, overwrite=overwrite)
    # Only now: these import torch, and packages that only an export needs.
    from pix2pix.export.compare import find_difference, measure_engines
    from pix2pix.export.engines import open_onnxruntime, open_others
    from pix2pix.export.metadata import describe, seal
    from pix2pix.inference.translator import Translator
    from pix2pix.model import load_model

    translator = Translator(load_model(model))
    found = _find_images(model, translator, precision, [Path(folder) for folder in calibration])
    graph, notes = _build(translator, precision, found)
    content = graph.SerializeToString()
    run = open_onnxruntime(content)
    examples = _examples(translator, found)
    differences = tuple(find_difference(run, translator, example) for example in examples)
    _refuse_different(path, precision, differences)
    speeds = measure_engines({"onnxruntime": run, **open_others(content)}, translator, examples[0])
    content = seal(graph, describe(translator.model, precision, speeds, differences))
    remove_partial_files(path.parent, [path.name])  # of an export that was killed
    write_atomically(path, lambda file: file.write(content))
    return Exported(path, precision, len(content), speeds, differences, notes)


def _find_images(
    name: str | Path, translator: "Translator", precision: ExportPrecision, folders: Sequence[Path]
) -> "Sequence[Files]":
    """List images to measure ranges on and to compare with; none if none are given or needed."""
    from pix2pix.export.calibration import find_calibration

    return find_calibration(name, folders, translator) if folders or precision == "int8" else ()


def _build(
    translator: "Translator", precision: ExportPrecision, found: "Sequence[Files]"
) -> "tuple[ModelProto, tuple[str, ...]]":
    """Return the graph in a precision, and notes on how it was made."""
    from pix2pix.export.calibration import read_calibration
    from pix2pix.export.quantize import quantize
    from pix2pix.export.translator_graph import build_graph

    if precision == "int8":
        return quantize(translator, [read_calibration(files, translator) for files in found])
    return build_graph(translator.model, dtype="float16" if precision == "16" else "float32"), ()


def _examples(translator: "Translator", found: "Sequence[Files]") -> "list[list[Array]]":
    """Return sources of three sizes: parts of the images that were found, or drawn ones."""
    from pix2pix.export.calibration import fit_size, read_calibration
    from pix2pix.export.compare import check_sizes
    from pix2pix.export.example_images import draw_sources

    sizes = check_sizes(translator.model)
    if not found:
        return [draw_sources(translator.model.sources, size) for size in sizes]
    chosen = [found[number % len(found)] for number in range(len(sizes))]
    return [fit_size(read_calibration(one, translator), size) for one, size in zip(chosen, sizes, strict=True)]


def _refuse(path: Path, precision: str, *, overwrite: bool) -> None:
    """Raise ConfigError for words that cannot be meant, and for missing packages."""
    if precision not in get_args(ExportPrecision):
        raise ConfigError(f"--precision {precision}: expected {', '.join(get_args(ExportPrecision))}")
    if path.suffix.lower() != ".onnx":
        raise ConfigError(f"--output {path}: expected the name of a file that ends in .onnx")
    if path.is_dir() or (path.exists() and not overwrite):
        raise ConfigError(f"--output {path}: is there already; give another name, or --overwrite to replace the file")
    place = next(folder for folder in path.absolute().parents if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise ConfigError(f"--output {path}: no file can be made in {place}; give another name")
    require_packages()


def require_packages() -> None:
    """Raise ConfigError if what the extra `export` brings is not installed."""
    if missing := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]:
        raise ConfigError(f"an export needs {' and '.join(missing)}: pip install 'pix2pix[export]'")


def _refuse_different(path: Path, precision: ExportPrecision, differences: "tuple[Difference, ...]") -> None:
    """Raise ModelError for errors that only a fault of the file explains."""
    from pix2pix.export.compare import LIMITS

    for one in differences:
        if not one.is_within(LIMITS[precision]):
            raise ModelError(
                f"{path}: is not written, since it would not translate as the model does: at {one.height}x{one.width} "
                f"{one.describe_mean()}{'' if precision == '32' else '; use a higher precision: --precision 32'}"
            )
