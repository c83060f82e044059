"""Run an exported file by onnxruntime or by OpenVINO, which read the same file."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, get_args

from pix2pix.data.io.arrays import Array
from pix2pix.errors import ConfigError, ModelError

Engine = Literal["auto", "onnxruntime", "openvino"]
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Device -> what onnxruntime calls it."""


class Session(NamedTuple):
    """A file that is ready to run."""

    run: Callable[[Mapping[str, Array]], Array]
    """Translate the sources by name, (N, H, W, C) each."""
    inputs: Mapping[str, str]
    """Names and types of the inputs."""
    engine: str
    device: str


def open_session(content: bytes, engine: Engine, device: str, threads: int) -> Session:
    """Load the bytes of a file. Raises ConfigError for what this machine lacks, ModelError for an unreadable file.

    `auto` is OpenVINO where it is installed, which is faster on processors; otherwise, and on a GPU, onnxruntime.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"--engine {engine}: expected {', '.join(get_args(Engine))}")
    if device not in ("auto", *PROVIDERS):
        raise ConfigError(f"--device {device}: an exported file runs on cpu or cuda")
    there = [name for name in ("openvino", "onnxruntime") if find_spec(name) is not None]
    if engine != "auto" and engine not in there:
        raise ConfigError(f"--engine {engine}: is not installed: pip install {engine}")
    if not there:
        raise ConfigError("an exported file needs a runtime: pip install onnxruntime")
    if engine == "openvino" and device == "cuda":
        raise ConfigError("--engine openvino: computes on the CPU; --engine onnxruntime runs on --device cuda")
    wants_cpu = device == "cpu" or (device == "auto" and not _has_cuda(there))
    chosen = engine if engine != "auto" else there[0] if wants_cpu else "onnxruntime"
    if chosen not in there:
        raise ConfigError(f"--device {device}: an exported file needs onnxruntime for it: pip install onnxruntime-gpu")
    opened = _open_openvino if chosen == "openvino" else _open_onnxruntime
    try:
        return opened(content, "cpu" if wants_cpu or chosen == "openvino" else "cuda", threads)
    except (ConfigError, ModelError):
        raise
    except Exception as error:  # the runtimes raise many kinds
        raise ModelError(f"{chosen} does not read it ({first_line(error)})") from None


def _has_cuda(there: list[str]) -> bool:
    if "onnxruntime" not in there:
        return False
    import onnxruntime

    return PROVIDERS["cuda"] in onnxruntime.get_available_providers()


def _open_onnxruntime(content: bytes, device: str, threads: int) -> Session:
    import onnxruntime

    if PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise ConfigError(f"--device {device}: this onnxruntime has none: pip install onnxruntime-gpu, or --device cpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.load_model_format", "ONNX")  # the format that was checked, no other
    session = onnxruntime.InferenceSession(content, options, providers=[PROVIDERS[device]])
    if PROVIDERS[device] not in session.get_providers():
        raise ConfigError(f"--device {device}: onnxruntime cannot use it on this machine; use --device cpu")

    def run(sources: Mapping[str, Array]) -> Array:
        output: Array = session.run(["target"], dict(sources))[0]
        return output

    inputs = {port.name: _type_of(port.type) for port in session.get_inputs()}
    return Session(run, inputs, "onnxruntime", device)


def _open_openvino(content: bytes, device: str, threads: int) -> Session:
    import openvino

    core = openvino.Core()
    model = core.read_model(content)
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    settings["INFERENCE_PRECISION_HINT"] = "f32"  # that of the file: bfloat16 would have larger errors
    compiled = core.compile_model(model, "CPU", settings)

    def run(sources: Mapping[str, Array]) -> Array:
        output: Array = compiled([sources[name] for name in inputs])[0]
        return output.copy()  # the next run overwrites it

    # Of the model as it was read: in the compiled one, inputs can have the names of nodes that became one with them.
    inputs = {port.any_name: port.element_type.to_dtype().name for port in model.inputs}
    return Session(run, inputs, "openvino", device)


def _type_of(words: str) -> str:
    """Return numpy's name of a type: `tensor(float)` -> float32."""
    name = words.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


def first_line(error: Exception) -> str:
    """Return the first line of what a runtime says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
