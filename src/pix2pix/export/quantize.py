"""Quantize the convolutions of an ONNX model to int8, by ranges that are measured on images (QDQ, static)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from pix2pix.export.compare import find_difference, open_session
from pix2pix.inference.translator import Translator
from pix2pix.text import format_count

Array = NDArray[Any]
ENOUGH = 0.002
"""Mean error as a share of the range, 0.004 in [-1, 1], at which no more layers are kept in float32."""
MEASURED = 6
"""Images on which it is measured."""
QUANTIZED = ("Conv",)
"""Operators whose inputs, weights and outputs become 8-bit numbers."""


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Gives the sources (H, W, C) of one image after the other."""

    def __init__(self, names: Sequence[str], images: Iterable[Sequence[Array]]) -> None:
        self._names, self._images = names, iter(images)

    def get_next(self) -> dict[str, Array] | None:
        sources = next(self._images, None)
        return None if sources is None else {name: one[None] for name, one in zip(self._names, sources, strict=True)}


def quantize(model: onnx.ModelProto, images: Iterable[Sequence[Array]], keep: Sequence[str] = ()) -> onnx.ModelProto:
    """Return the model with 8-bit convolutions, except the nodes `keep`. The other nodes stay float32."""
    names = [port.name for port in model.graph.input]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Reader(names, images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(keep),
        )
        return onnx.load(path)


def quantize_within(
    model: onnx.ModelProto, images: Sequence[Sequence[Array]], translator: Translator
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Quantize all convolutions; keep the last in float32, or the last and the first, if the error is too large else.

    Return the first whose mean error is within ENOUGH, or the best one, and notes. The error is measured on a few of
    the images.
    """
    layers = [node.name for node in model.graph.node if node.op_type == "Conv"]
    tried: list[tuple[float, onnx.ModelProto, str]] = []
    for keep, words in (
        ([], "all convolutions are int8"),
        (layers[-1:], "the last convolution stays float32"),
        ([layers[0], layers[-1]], "the first and the last convolution stay float32"),
    ):
        quantized = quantize(model, images, keep)
        run = open_session(quantized.SerializeToString())
        few = images[:: -(-len(images) // MEASURED)]
        error = fmean(find_difference(run, translator, one).share_mean for one in few)
        tried.append((error, quantized, words))
        if error <= ENOUGH:
            break
    error, quantized, words = min(tried, key=lambda one: one[0])
    return quantized, (f"{words}; ranges of {format_count(len(images), 'image')}, mean error {100 * error:.2f} %",)
