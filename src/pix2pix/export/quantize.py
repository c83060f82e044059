"""Quantize the convolutions of a translator's graph to int8, by ranges that are measured on images (static, QDQ)."""

import copy
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, create_calibrator
from onnxruntime.quantization.calibrate import HistogramCollector
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

from pix2pix.export.compare import encode, find_difference
from pix2pix.export.engines import open_onnxruntime
from pix2pix.export.equalise import equalise
from pix2pix.export.translator_graph import build_graph
from pix2pix.inference.translator import Translator
from pix2pix.text import format_count

Array = NDArray[Any]
ENOUGH = 0.002
"""Mean error as a share of the range, 0.004 in [-1, 1], at which no more layers are kept in float32."""
MEASURED = 6
"""Images on which it is measured, at most."""
PERCENTILE = 99.99
"""Rare values beyond this share are clipped, which makes the steps between 8-bit numbers smaller."""


def quantize(translator: Translator, images: Sequence[Sequence[Array]]) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return the graph with as many 8-bit convolutions as the error allows, and notes.

    `images` are the sources (H, W, C) of some images. The outermost convolutions, whose errors reach the output, become
    float32 again until the mean error is within ENOUGH. If it never is, the best graph is returned.
    """
    equalised = equalise(translator, (encode(translator, sources) for sources in images))
    graph = build_graph(replace(translator.model, generator=equalised))
    names = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    kept = list(_kept_layers(names))
    few = [images[at] for at in np.linspace(0, len(images) - 1, min(MEASURED, len(images))).round().astype(int)]
    best: tuple[float, onnx.ModelProto, list[str]] | None = None
    for keep, quantized in zip(kept, _quantize(graph, images, kept), strict=False):
        run = open_onnxruntime(quantized.SerializeToString())
        error = fmean(find_difference(run, translator, sources).share_mean for sources in few)
        if best is None or error < best[0]:
            best = error, quantized, keep
        if error <= ENOUGH:
            break
    assert best is not None, "at least one way is tried"
    error, quantized, keep = best
    rest = ", the others float32" if keep else ""
    return quantized, (
        f"{len(names) - len(keep)} of {format_count(len(names), 'convolution')} are int8{rest}; on "
        f"{format_count(len(few), 'image')} of {len(images)} the mean error is {100 * error:.2f} % of the range",
    )


def _kept_layers(names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the convolutions that stay float32: none, then more and more of the outermost ones."""
    for first, last in ((0, 0), (0, 1), (0, 2), (2, 2), (2, 3), (3, 4)):
        yield list(dict.fromkeys([*names[:first], *names[len(names) - last :]]))


def _quantize(
    graph: onnx.ModelProto, images: Sequence[Sequence[Array]], kept: Iterable[Sequence[str]]
) -> Iterator[onnx.ModelProto]:
    """Yield the graph with all convolutions quantized but those to be kept; ranges are measured once."""
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):  # onnxruntime prints what it does
        path, augmented = Path(folder) / "float.onnx", str(Path(folder) / "augmented.onnx")
        onnx.save(graph, path)
        choices = {"calibrate_method": CalibrationMethod.Percentile, "extra_options": {"percentile": PERCENTILE}}
        calibrator = create_calibrator(path, ["Conv"], augmented_model_path=augmented, **choices)
        ranges = _measure(calibrator, [port.name for port in graph.graph.input], images)
        loaded = load_model_with_shape_infer(path)
    for keep in kept:
        types = {"weight_qType": QuantType.QInt8, "activation_qType": QuantType.QUInt8}
        with redirect_stdout(io.StringIO()):
            quantizer = QDQQuantizer(
                copy.deepcopy(loaded),
                per_channel=True,
                reduce_range=False,
                tensors_range=ranges,
                nodes_to_quantize=[],
                nodes_to_exclude=list(keep),
                op_types_to_quantize=["Conv"],
                extra_options={},
                **types,
            )
            quantizer.quantize_model()
        yield quantizer.model.model


def _measure(calibrator: Any, names: Sequence[str], images: Sequence[Sequence[Array]]) -> Any:
    """Measure the ranges of all maps on images of any sizes, one after the other."""
    outputs, session = [one.name for one in calibrator.infer_session.get_outputs()], calibrator.infer_session
    most: dict[str, float] = {}
    for sources in images:
        for name, values in zip(outputs, session.run(None, _feed(names, sources)), strict=True):
            most[name] = max(most.get(name, 0.0), float(np.abs(values).max()))
    # A histogram begins with the largest value of all: those of later images would add bins without an end to it.
    calibrator.collector = HistogramCollector("percentile", True, calibrator.num_bins, 128, PERCENTILE, "same")
    known = {name: np.array([0.0, most[name]], np.float32) for name in calibrator.tensors_to_calibrate}
    calibrator.collector.collect(known)
    for sources in images:
        calibrator.collect_data(_Reader(_feed(names, sources)))
    return calibrator.compute_data()


def _feed(names: Sequence[str], sources: Sequence[Array]) -> dict[str, Array]:
    return {name: one[None] for name, one in zip(names, sources, strict=True)}


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Gives the sources of one image."""

    def __init__(self, sources: dict[str, Array]) -> None:
        self._left = [sources]

    def get_next(self) -> dict[str, Array] | None:
        return self._left.pop() if self._left else None
