"""Train on 16-bit TIFF pairs; the translation has the type and the units of the targets.

    python examples/sixteen_bit.py

The pairs stand for a noisy short exposure (source) and a long exposure (target) of a detector with 16 bits.
"""

import argparse
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

import pix2pix

DARK, FULL = 400, 52_000  # counts of the detector: no light, and the brightest spot of a long exposure


def draw_exposures(seed: int, size: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Draw a short and a long exposure of the same bright spots, (H, W) uint16."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    light = np.zeros((size, size))
    for _ in range(12):
        centre_y, centre_x, width = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.02, 0.1)
        light += rng.uniform(0.2, 1) * np.exp(-((y - centre_y) ** 2 + (x - centre_x) ** 2) / width**2)
    long = DARK + (FULL - DARK) * np.clip(light, 0, 1)
    short = DARK + rng.poisson((long - DARK) / 500) * 10  # a fiftieth of the light, and its noise
    return short.astype(np.uint16), long.astype(np.uint16)


def write_pairs(folder: Path, *, train: int, val: int, size: int) -> None:
    """Write folder/{source,target}/{train,val}/NN.tif."""
    for number in range(train + val):
        split = "train" if number < train else "val"
        for side, image in zip(("source", "target"), draw_exposures(number, size), strict=True):
            path = folder / side / split / f"{number:02}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, image)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/sixteen-bit"), help="folder for all that is written")
    parser.add_argument("--pairs", type=int, default=40, help="pairs to train on")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--base-channels", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10)
    chosen = parser.parse_args(arguments)

    pairs = chosen.work / "pairs"
    write_pairs(pairs, train=chosen.pairs, val=8, size=chosen.image_size)

    # By default the values of 16-bit files are measured on the training split; here they are known. The model keeps
    # them: -1 and 1 of its output are 0 and 65535 counts.
    run = pix2pix.train(
        pairs,
        run=chosen.work / "run",
        image_size=chosen.image_size,
        base_channels=chosen.base_channels,
        epochs=chosen.epochs,
        source_range=(0, 2_000),
        target_range=(0, 65_535),
    )

    short, long = draw_exposures(seed=1_000, size=chosen.image_size)
    output = pix2pix.Translator.from_pretrained(run.path)(short)
    difference = np.abs(output.astype(float) - long).mean()
    print(f"{output.dtype} {output.shape}, {difference:.0f} counts from the long exposure on average")
    tifffile.imwrite(chosen.work / "output.tif", output)


if __name__ == "__main__":
    main()
