"""What an exported file says of itself: names and texts in its `metadata_props`.

Every value is a text; those that are not sentences are JSON. A program needs none of it to run the file.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import onnx
from onnx import helper

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import ImageEncoding
from pix2pix.export.compare import Difference, Speed
from pix2pix.export.translator_graph import source_ports
from pix2pix.model import Model
from pix2pix.model.card import write_card
from pix2pix.model.onnx_model import CHECKSUM, FORMAT
from pix2pix.model.weights import GENERATOR
from pix2pix.text import format_list

PLACE = "checksum" * 8
"""Stands for the digits until they are known."""
LAYOUT = "N, H, W, C; any N, H and W; pixels as they lie in files"


def describe(
    model: Model, precision: str, speeds: Sequence[Speed], differences: Sequence[Difference]
) -> dict[str, str]:
    """Return the fields of a model that was exported in a precision: name -> text."""
    config, data = model.config, model.config.settings.data
    sources = [
        _describe_image(port[0], source, data.source_from)
        for port, source in zip(source_ports(model), model.sources, strict=True)
    ]
    target = _describe_image("target", model.prepared.target, data.target_from)
    fields: dict[str, Any] = {
        "format": FORMAT,
        "task": _describe_task(model),
        "layout": LAYOUT,
        "config.json": config.model_dump_json(by_alias=True, exclude={"checksum", "sha256"}),
        "generator_sha256": config.sha256.get(GENERATOR, ""),
        "README.md": write_card(config) + _describe_file(precision, speeds, differences),
        "sources": sources,
        "target": target,
        "norm": f"{config.settings.generator.norm}, statistics of {_statistics(model)}",
        "size_multiple": str(model.size_multiple),
        "presented_size": config.describe_presented_size(),
        "output_size": config.describe_output_size() or "An output has the size of its source.",
        "not_refused": _describe_unrefused(model),
        "precision": precision,
        "differences": [asdict(one) for one in differences],
        "speeds": [asdict(one) for one in speeds],
    }
    return {
        f"pix2pix.{name}": value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        for name, value in fields.items()
    }


def _describe_image(name: str, image: ImageEncoding, chosen: Sequence[str] | None) -> dict[str, Any]:
    """Return what the values of an input or of the output mean."""
    facts: dict[str, Any] = {"name": name, "type": image.file_type, "channels": image.file_channels}
    if chosen:
        facts["channel_names"] = list(chosen)
    if isinstance(image.values, LabelEncoding):
        facts |= {"kind": "labels", "classes": list(image.values.classes), "tolerance": image.values.tolerance}
    else:
        facts |= {"kind": "image", "range": [list(bounds) for bounds in image.values.bounds]}
    if image.nodata is not None:
        facts |= {"nodata": image.nodata, "fill": list(image.fill)}
    if image.mask_value is not None:
        facts["mask_value"] = image.mask_value
    return facts


def _describe_file(precision: str, speeds: Sequence[Speed], differences: Sequence[Difference]) -> str:
    """Return a section of the model card on the file itself."""
    times = ", ".join(f"{one.engine} {one.milliseconds:.1f} ms" for one in speeds)
    errors = ", ".join(f"{100 * one.share_mean:.4f} % at {one.height}x{one.width}" for one in differences)
    return (
        f"\n## As an ONNX file\n\nPrecision {precision}. One image of the training's size, where it was exported: "
        f"{times}.\nMean error against the model, as a share of the range: {errors}.\n"
    )


def _describe_task(model: Model) -> str:
    sources = format_list(source.describe() for source in model.sources)
    return f"image-to-image translation of {sources} to {model.prepared.target.describe()}"


def _statistics(model: Model) -> str:
    norm = model.config.settings.generator.norm
    running = norm == "batch" and model.config.norm_statistics == "running"
    return "the training" if running else "each image"


def _describe_unrefused(model: Model) -> str:
    """Say what the package refuses and a graph cannot."""
    lines = []
    for source in model.sources:
        if isinstance(source.values, LabelEncoding):
            lines.append(
                f"A value of the {source.name} further than {source.values.tolerance:g} from all classes is refused by "
                "pix2pix; this file takes the nearest class."
            )
        elif source.file_type == "float32" and source.nodata is None:
            lines.append(
                f"NaN and infinity in the {source.name} are refused by pix2pix; this file gives undefined values."
            )
    return " ".join(lines)


def seal(model: onnx.ModelProto, fields: Mapping[str, str]) -> bytes:
    """Return the bytes of a model with these fields and a checksum."""
    helper.set_model_props(model, {**fields, CHECKSUM: PLACE})
    content = model.SerializeToString(deterministic=True)
    head, place, tail = content.partition(PLACE.encode())
    assert place, "a model keeps its fields as text"
    return head + hashlib.sha256(head + tail).hexdigest().encode() + tail
