"""Time exported files against plain torch on one image of the training's size, and measure their errors.

    python -m benchmarks.export MODEL --calibration DIR

MODEL is a run or model folder, DIR a folder of source images; both as for `pix2pix export`. OpenVINO is measured where
it is installed. Threads are those of torch (OMP_NUM_THREADS).
"""

import argparse
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

import torch

from pix2pix.export.calibration import find_calibration, fit_size, read_calibration
from pix2pix.export.compare import encode, find_difference, measure_milliseconds
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
    given = parser.parse_args(words)
    translator = Translator.from_pretrained(given.model, device="cpu")
    size = translator.model.config.settings.data.image_size
    found = find_calibration(given.model, given.calibration, translator)
    images = [fit_size(read_calibration(files, translator), size) for files in found]
    files = make_files(translator, images)
    print(f"| {size[0]}x{size[1]}, {torch.get_num_threads()} threads | MB | ms | x | mean error in [-1, 1] |")
    print("|---|---|---|---|---|")
    plain = measure_milliseconds(make_plain(translator, images[0]), images[0])
    print(f"| torch, eager fp32 | | {plain:.1f} | 1 | |")
    for kind, content in files.items():
        for engine, open_file in engines(kind).items():
            run = open_file(content)
            time = measure_milliseconds(run, images[0])
            error = 2 * mean_error(run, translator, images)
            size_on_disk = len(content) / 1e6
            print(
                f"| {kind}, {engine} | {size_on_disk:.0f} | {time:.1f} | {plain / time:.2f} | {error:.5f} |", flush=True
            )


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


def engines(kind: str) -> dict[str, Callable[[bytes], Run]]:
    """Return what opens a file: each engine that is installed."""
    found: dict[str, Callable[[bytes], Run]] = {"onnxruntime": open_onnxruntime}
    if find_spec("openvino"):
        found["openvino"] = open_openvino
        if kind == "fp32":
            found["openvino in f32"] = lambda content: open_openvino(content, INFERENCE_PRECISION_HINT="f32")
    return found


def make_plain(translator: Translator, sources: Sequence[Array]) -> Run:
    """Return what runs the generator as torch has it, from channels to channels."""
    source = encode(translator, sources)[None]

    @torch.no_grad()
    def run(_: Sequence[Array]) -> Array:
        return translator.generator(source).numpy()

    return run


def mean_error(run: Run, translator: Translator, images: Sequence[Sequence[Array]]) -> float:
    """Return the mean error on some images, as a share of the range."""
    return fmean(find_difference(run, translator, one).share_mean for one in images[:: len(images) // ERRORS_OF or 1])


if __name__ == "__main__":
    main()
