"""Time exported files against plain torch on one image of the training's size, and measure their errors.

    python -m benchmarks.export MODEL --calibration DIR [--rounds 11]

MODEL is a run or model folder, DIR a folder of source images; both as for `pix2pix export`. OpenVINO is measured where
it is installed. Threads are those of torch (OMP_NUM_THREADS).
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from benchmarks.timing import interleaved
from pix2pix.export.calibration import find_calibration, fit_size, read_calibration
from pix2pix.export.compare import encode, find_difference
from pix2pix.export.engines import Array, Run, open_onnxruntime, open_openvino
from pix2pix.export.quantize import quantize
from pix2pix.export.translator_graph import build_graph
from pix2pix.inference.translator import Translator

ERRORS_OF = 6  # images


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--calibration", type=Path, action="append", required=True)
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args(words)
    translator = Translator.from_pretrained(given.model, device="cpu")
    size = translator.model.config.settings.data.image_size
    found = find_calibration(given.model, given.calibration, translator)
    images = [fit_size(read_calibration(files, translator), size) for files in found]
    files = make_files(translator, images)
    runs = open_all(files)
    batch = [one[None] for one in images[0]]
    plain = make_plain(translator, images[0])
    tasks: dict[str, Callable[[], object]] = {"torch, eager fp32": plain}
    tasks |= {name: lambda run=run: run(batch) for name, run in runs.items()}
    timings = interleaved(tasks, given.rounds, in_a_row=2)
    print(f"| {size[0]}x{size[1]}, {torch.get_num_threads()} threads | MB | ms | x | mean error in [-1, 1] |")
    print("|---|---|---|---|---|")
    for name, timing in timings.items():
        ratio = timings["torch, eager fp32"].median / timing.median
        megabytes = "" if name not in runs else f"{len(files[name.rpartition(', ')[0]]) / 1e6:.0f}"
        error = f"{2 * mean_error(runs[name], translator, images):.5f}" if name in runs else ""
        print(f"| {name} | {megabytes} | {1000 * timing.median:.1f} | {ratio:.2f} | {error} |")


def make_files(translator: Translator, images: Sequence[Sequence[Array]]) -> dict[str, bytes]:
    """Return the content of a file of each kind."""
    model = translator.model
    quantized, notes = quantize(translator, images)
    print(*notes)
    return {
        "fp32": build_graph(model).SerializeToString(),
        "fp32 with ConvTranspose": build_graph(model, phases=False).SerializeToString(),
        "fp16": build_graph(model, dtype="float16").SerializeToString(),
        "int8": quantized.SerializeToString(),
    }


def open_all(files: Mapping[str, bytes]) -> dict[str, Run]:
    """Load each file into each engine."""
    runs = {f"{name}, onnxruntime": open_onnxruntime(content) for name, content in files.items()}
    if find_spec("openvino"):
        runs |= {f"{name}, openvino": open_openvino(content) for name, content in files.items()}
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        runs["fp32, openvino in f32"] = open_openvino(files["fp32"], **exact)
    return runs


def make_plain(translator: Translator, sources: Sequence[Array]) -> Callable[[], object]:
    """Return what runs the generator as torch has it, from channels to channels."""
    source = encode(translator, sources)[None]

    @torch.no_grad()
    def run() -> np.ndarray:
        return translator.generator(source).numpy()

    return run


def mean_error(run: Run, translator: Translator, images: Sequence[Sequence[Array]]) -> float:
    """Return the mean error on some images, as a share of the range."""
    return fmean(find_difference(run, translator, one).share_mean for one in images[:: len(images) // ERRORS_OF or 1])


if __name__ == "__main__":
    main()
