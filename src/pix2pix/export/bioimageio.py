"""Export a model as a package of bioimage.io, which Fiji, ilastik and napari read: an ONNX file and its description.

Such programs hand on float32 pixels in the order (batch, channel, y, x), so the file takes and gives these.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pix2pix.errors import ConfigError, ModelError
from pix2pix.system.files import remove_partial_files, write_atomically, write_text

if TYPE_CHECKING:
    from onnx import ModelProto

    from pix2pix.data.encoding.prepared import ImageEncoding
    from pix2pix.export.compare import Difference
    from pix2pix.export.engines import Run
    from pix2pix.model import Model

SMALLEST = 16  # pixels of a side that the description allows
TOLERANCE = 0.005  # of the range, between engines
MISMATCHED = 1000  # of a million pixels, whose rounding or class may differ between engines


@dataclass(frozen=True)
class Packaged:
    """A package that was written, and how its file compares with the model."""

    path: Path
    bytes: int
    difference: "Difference"
    notes: tuple[str, ...] = ()


def export_bioimageio(model: str | Path, *, output: str | Path, overwrite: bool = False) -> Packaged:
    """Export a run folder, a model folder or a model of the hub as a package of bioimage.io.

    Raises ConfigError, or ModelError for a model that cannot be exported; then nothing is written.
    """
    path = Path(output)
    _refuse(path, overwrite=overwrite)
    # Only now: these import torch, and packages that only this export needs.
    from pix2pix.export.compare import LIMITS, check_sizes, find_difference
    from pix2pix.export.engines import open_onnxruntime
    from pix2pix.export.example_images import draw_sources
    from pix2pix.export.translator_graph import build_graph
    from pix2pix.inference.translator import Translator
    from pix2pix.model import load_model

    translator = Translator(load_model(model))
    _refuse_fractions(translator.model)
    graph = put_channels_first(build_graph(translator.model), translator.model)
    run = open_onnxruntime(graph.SerializeToString())
    sources = draw_sources(translator.model.sources, check_sizes(translator.model)[0])
    difference = find_difference(_with_channels_last(run, translator.model), translator, sources)
    if not difference.is_within(LIMITS["32"]):
        raise ModelError(f"{path}: the exported file does not translate as the model does; nothing is written")
    tensors = [np.ascontiguousarray(one[None].transpose(0, 3, 1, 2), np.float32) for one in sources]
    with tempfile.TemporaryDirectory(prefix="pix2pix-bioimageio-") as place:
        folder = Path(place)
        (folder / "weights.onnx").write_bytes(graph.SerializeToString())
        for name, values in zip(_names(translator.model), [*tensors, run(tensors)], strict=True):
            np.save(folder / f"test_{name}.npy", values)
        content = _pack(translator.model, folder).read_bytes()
    remove_partial_files(path.parent, [path.name])  # of an export that was killed
    write_atomically(path, lambda file: file.write(content))
    return Packaged(path, len(content), difference, tuple(_notes(translator.model)))


def _refuse(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigError for words that cannot be meant, and for missing packages."""
    if path.suffix.lower() != ".zip":
        raise ConfigError(f"--output {path}: expected the name of a file that ends in .zip")
    if path.is_dir() or (path.exists() and not overwrite):
        raise ConfigError(f"--output {path}: is there already; give another name, or --overwrite to replace the file")
    if any(find_spec(name) is None for name in ("bioimageio", "onnx", "onnxruntime")):
        raise ConfigError("--format bioimageio needs more packages: pip install 'pix2pix[bioimageio]'")


def _refuse_fractions(model: "Model") -> None:
    if any(factor != int(factor) for factor in model.config.enlarged):
        factors = " and ".join(f"{factor:g}" for factor in model.config.enlarged)
        raise ModelError(
            f"outputs are {factors} times larger than their sources, and a package of bioimage.io can only say whole "
            "numbers; export an .onnx file"
        )


def _notes(model: "Model") -> Iterator[str]:
    if model.config.settings.training.license is None:
        yield "no licence is stated, which the model zoo asks for: add one to rdf.yaml, or train with --license"
    yield "no author is named, whom the model zoo asks for: add one to rdf.yaml before you upload it"


# ---- the file --------------------------------------------------------------------------------------------------


def put_channels_first(graph: "ModelProto", model: "Model") -> "ModelProto":
    """Change a graph to take and give float32 in the order (N, C, H, W); values of integers are rounded and clipped."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    before: list[Any] = []
    for port, source in zip(graph.graph.input, model.sources, strict=True):
        inner, value = f"{port.name}_pixels", f"{port.name}_last"
        for node in graph.graph.node:
            node.input[:] = [inner if name == port.name else name for name in node.input]
        before.append(helper.make_node("Transpose", [port.name], [value], perm=[0, 2, 3, 1]))
        if source.file_type != "float32":
            limits = np.iinfo(source.file_type)
            ends = [f"{port.name}_least", f"{port.name}_greatest"]
            graph.graph.initializer.extend(
                numpy_helper.from_array(np.float32(end), name)
                for end, name in zip((limits.min, limits.max), ends, strict=True)
            )
            before.append(helper.make_node("Round", [value], [f"{value}_round"]))
            before.append(helper.make_node("Clip", [f"{value}_round", *ends], [f"{value}_clip"]))
            value = f"{value}_clip"
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(source.file_type))
        before.append(helper.make_node("Cast", [value], [inner], to=kind))
        _set_float_first(port)
    (target,) = graph.graph.output
    for node in graph.graph.node:
        node.output[:] = ["target_pixels" if name == target.name else name for name in node.output]
    after = [
        helper.make_node("Cast", ["target_pixels"], ["target_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["target_float"], [target.name], perm=[0, 3, 1, 2]),
    ]
    _set_float_first(target)
    nodes = [*before, *graph.graph.node, *after]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    onnx.checker.check_model(graph)
    return graph


def _set_float_first(port: Any) -> None:
    """Declare a port (N, H, W, C) of any type as (N, C, H, W) of float32."""
    kind = port.type.tensor_type
    kind.elem_type = 1
    n, h, w, c = [type(one).FromString(one.SerializeToString()) for one in kind.shape.dim]
    del kind.shape.dim[:]
    kind.shape.dim.extend([n, c, h, w])


def _with_channels_last(run: "Run", model: "Model") -> "Run":
    """Return a function that takes and gives (N, H, W, C) in the types of the files, to compare with the model."""

    def translate(sources: Sequence[Any]) -> Any:
        output = run([np.ascontiguousarray(one.transpose(0, 3, 1, 2), np.float32) for one in sources])
        return output.transpose(0, 2, 3, 1).astype(model.prepared.target.file_type)

    return translate


# ---- its description -------------------------------------------------------------------------------------------


def _names(model: "Model") -> list[str]:
    """Name the tensors: the inputs, then the output."""
    return [*model.source_names, "target"]


def _pack(model: "Model", folder: Path) -> Path:
    """Write the package of the files in a folder; return its path."""
    from bioimageio.spec import ValidationContext, save_bioimageio_package_as_folder
    from bioimageio.spec.model import v0_5 as spec
    from loguru import logger

    from pix2pix.model.card_file import make_card

    logger.disable("bioimageio")
    config, loaded = model.config, model.folder
    assert loaded is not None, "a model that was loaded"
    write_text(folder / "README.md", make_card(loaded, config, samples=False))
    *sources, target = _names(model)
    data = config.trained.data if config.trained is not None else "model"
    with ValidationContext(perform_io_checks=False):
        described = spec.ModelDescr(
            name=f"pix2pix {re.sub(r'[^A-Za-z0-9_+() -]', '-', data)}"[:64],
            description=_describe(model),
            tags=["pix2pix", "image-to-image", "conditional-gan", "2d"],
            license=_find_license(config.settings.training.license),
            cite=[spec.CiteEntry(text="Isola et al. 2017, Image-to-Image Translation", doi="10.1109/CVPR.2017.632")],
            documentation=spec.FileDescr(source=folder / "README.md"),
            covers=[spec.FileDescr(source=path) for path in _draw_cover(loaded, folder)],
            inputs=[
                spec.InputTensorDescr(
                    id=name,
                    axes=_input_axes(spec, model, number),
                    data=_describe_values(spec, model.sources[number]),
                    test_tensor=spec.FileDescr(source=folder / f"test_{name}.npy"),
                )
                for number, name in enumerate(sources)
            ],
            outputs=[
                spec.OutputTensorDescr(
                    id=target,
                    axes=_output_axes(spec, model, sources[0]),
                    data=_describe_values(spec, model.prepared.target),
                    test_tensor=spec.FileDescr(source=folder / "test_target.npy"),
                )
            ],
            weights=spec.WeightsDescr(
                onnx=spec.OnnxWeightsDescr(source=folder / "weights.onnx", opset_version=_opset(folder))
            ),
            config={"bioimageio": {"reproducibility_tolerance": [_tolerance(model, folder)]}},
        )
        package = save_bioimageio_package_as_folder(described, output_path=folder / "package")
    return Path(shutil.make_archive(str(folder / "packed"), "zip", package))


def _opset(folder: Path) -> int:
    import onnx

    return int(onnx.load(folder / "weights.onnx", load_external_data=False).opset_import[0].version)


def _describe(model: "Model") -> str:
    from pix2pix.text import format_list

    sources = format_list(source.describe() for source in model.sources)
    whole = "Batch norm uses the statistics of each image: give whole images, or large tiles. "
    return (
        f"Translates {sources} to {model.prepared.target.describe()}. Values are those of the files, as float32; "
        "integers are rounded and clipped to their type. No pre- or postprocessing is needed. "
        f"{whole if model.config.norm_statistics == 'image' else ''}{model.config.describe_presented_size()}"
    )[:1024]


def _find_license(name: str | None) -> Any:
    """Return the SPDX identifier that the hub writes in lower case; None for one that SPDX does not know."""
    from bioimageio.spec.model.v0_5 import LicenseId
    from packaging.licenses import canonicalize_license_expression

    try:
        return None if name is None else LicenseId(canonicalize_license_expression(name))
    except ValueError:
        return None


def _input_axes(spec: Any, model: "Model", number: int) -> list[Any]:
    first = number == 0 or model.prepared.resize_source
    sizes = {
        side: spec.ParameterizedSize(min=SMALLEST, step=1)
        if first
        else spec.SizeReference(tensor_id=_names(model)[0], axis_id=side)
        for side in ("y", "x")
    }
    return [
        spec.BatchAxis(),
        spec.ChannelAxis(channel_names=_channel_names(model.sources[number])),
        *(spec.SpaceInputAxis(id=side, size=size) for side, size in sizes.items()),
    ]


def _output_axes(spec: Any, model: "Model", source: str) -> list[Any]:
    return [
        spec.BatchAxis(),
        spec.ChannelAxis(channel_names=_channel_names(model.prepared.target)),
        *(
            spec.SpaceOutputAxis(id=side, size=spec.SizeReference(tensor_id=source, axis_id=side), scale=1 / factor)
            for side, factor in zip(("y", "x"), model.config.enlarged, strict=True)
        ),
    ]


def _channel_names(image: "ImageEncoding") -> list[str]:
    return [f"channel_{number}" for number in range(image.file_channels)]


def _describe_values(spec: Any, image: "ImageEncoding") -> Any:
    if image.file_type == "float32":
        return spec.IntervalOrRatioDataDescr(type="float32")
    limits = np.iinfo(image.file_type)
    return spec.IntervalOrRatioDataDescr(type="float32", range=(float(limits.min), float(limits.max)))


def _tolerance(model: "Model", folder: Path) -> dict[str, Any]:
    """Say how far another engine may be: a value may be rounded the other way, and a pixel get another class."""
    values = np.load(folder / "test_target.npy", allow_pickle=False)
    span = float(values.max() - values.min())
    most = max(0.0, min(TOLERANCE * span + 1.0 * (values == np.rint(values)).all(), 0.01 * float(values.max())))
    return {"absolute_tolerance": most, "mismatched_elements_per_million": MISMATCHED}


def _draw_cover(loaded: Path, folder: Path) -> list[Path]:
    """Write the picture of the card as a cover twice as wide as high, as the model zoo wants it."""
    from PIL import Image

    from pix2pix.model.card import SAMPLES

    if not (loaded / SAMPLES).is_file():
        return []
    with Image.open(loaded / SAMPLES) as picture:
        picture = picture.convert("RGB")
    picture.thumbnail((800, 400))
    cover = Image.new("RGB", (800, 400), "white")
    cover.paste(picture, ((800 - picture.width) // 2, (400 - picture.height) // 2))
    cover.save(folder / "cover.png")
    return [folder / "cover.png"]
