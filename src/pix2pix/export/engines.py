"""Run an ONNX model by the engines that are installed: onnxruntime, and OpenVINO if it is there."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import onnxruntime
import torch
from numpy.typing import NDArray

Array = NDArray[Any]
Run = Callable[[Sequence[Array]], Array]
"""Translate the sources (N, H, W, C) of some images."""


def open_onnxruntime(content: bytes) -> Run:
    """Load an ONNX model; return how to run it on the CPU, in as many threads as torch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(sources: Sequence[Array]) -> Array:
        output: Array = session.run(None, dict(zip(names, sources, strict=True)))[0]
        return output

    return run


def open_openvino(content: bytes, **choices: str) -> Run:
    """Load an ONNX model into OpenVINO, which by default computes float32 in bf16 where the processor has it."""
    import openvino

    choices = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": str(torch.get_num_threads()), **choices}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(content), "CPU", choices)

    def run(sources: Sequence[Array]) -> Array:
        output: Array = compiled(list(sources))[0]
        return output

    return run


def open_others(content: bytes) -> dict[str, Run]:
    """Load an ONNX model into the installed engines other than onnxruntime, by name."""
    return {"openvino": open_openvino(content)} if find_spec("openvino") else {}
