"""Translate an image with a file of `pix2pix export`: onnxruntime, numpy and Pillow are all that this needs.

    pip install onnxruntime numpy pillow
    python translate.py model.onnx input.png output.png

A model of several sources takes an image for each, in their order, before the output.
"""

import argparse

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def read(path: str, port: onnxruntime.NodeArg) -> np.ndarray:
    """Read an image as (1, H, W, C) of the type that an input of the model takes."""
    channels = port.shape[3]
    if path.endswith(".npy"):
        pixels = np.load(path, allow_pickle=False)
    else:
        image = ImageOps.exif_transpose(Image.open(path))
        pixels = np.asarray(image if image.mode.startswith(("I", "F")) else image.convert(MODES[channels]))
    return pixels.reshape(1, *pixels.shape[:2], channels)


def write(path: str, pixels: np.ndarray) -> None:
    """Write (H, W, C)."""
    if path.endswith(".npy"):
        np.save(path, pixels)
    else:
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("source", nargs="+")
    parser.add_argument("output")
    given = parser.parse_args(words)

    session = onnxruntime.InferenceSession(given.model)
    ports = session.get_inputs()
    sources = {port.name: read(path, port) for port, path in zip(ports, given.source, strict=True)}
    (target,) = session.run(["target"], sources)
    write(given.output, target[0])
    print(session.get_modelmeta().custom_metadata_map["pix2pix.task"])


if __name__ == "__main__":
    main()
