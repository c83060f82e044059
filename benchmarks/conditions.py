"""What is measured and how thoroughly, and the pairs that it is measured on."""

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pix2pix.config import Config, Data
from pix2pix.config.fields import UpdateOrder
from pix2pix.config.presets import choose_settings
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import DataError
from pix2pix.synthetic.facades import facade

TARGET_SIZES = (256, 64)  # image size and base channels that the targets of the table hold for
SMALLEST = 32  # pixels; smaller facades have no windows, and D sees no patch
QUALITY = 90  # of the JPEG files that procedural pairs are measured as
NO_BF16 = "this processor has no bf16 arithmetic"


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Sizes, arithmetic and thoroughness of one benchmark, and where its files are."""

    image_size: int = 256
    base_channels: int = 64
    bf16: bool = False  # whether bf16 is measured
    quick: bool = False
    pairs: Path  # a folder with `train/` and `val/`, side by side
    scratch: Path  # a folder for whatever is written

    def targets(self, given: tuple[float, float] | None) -> tuple[float | None, float | None]:
        """Return what must be reached and what is aimed at, where they hold for these sizes."""
        holds = (self.image_size, self.base_channels) == TARGET_SIZES
        return given if given is not None and holds else (None, None)

    def rounds(self, full: int) -> int:
        """Repetitions of something for which `full` are enough."""
        return max(3, full // 3) if self.quick else full

    def config(
        self,
        *,
        batch_size: int = 1,
        precision: str = "auto",
        order: UpdateOrder = "one-pass",
        epochs: int = 1,
        validate_every: int | None = None,
        image_size: int | None = None,
    ) -> Config:
        """Return the paper's settings at these sizes, in the default update order or another."""
        return choose_settings(
            self.pairs,
            None,
            None,
            {
                "data": {
                    "image_size": image_size or self.image_size,
                    "direction": "BtoA",
                    "test_fraction": 0.0,  # no test split: every image is trained on or validated
                },
                "generator": {"base_channels": self.base_channels},
                "discriminator": {"base_channels": self.base_channels},
                "training": {
                    "batch_size": batch_size,
                    "precision": precision,
                    "device": "cpu",
                    "epochs": epochs,
                    "validate_every": validate_every,
                    "update_order": order,
                },
            },
        )

    def task(self, *, batch: int = 1, precision: str = "auto", order: UpdateOrder = "one-pass") -> dict[str, Any]:
        """Return the same as JSON values, for `benchmarks.worker`."""
        return {
            "image_size": self.image_size,
            "base_channels": self.base_channels,
            "pairs": str(self.pairs),
            "scratch": str(self.scratch),
            "threads": torch.get_num_threads(),
            "batch": batch,
            "precision": precision,
            "order": order,
        }

    def batch(self, count: int, size: int | None = None) -> tuple[Tensor, Tensor]:
        """source, target (count, 3, size, size) in [-1, 1]: real images, since zeros are no typical numbers."""
        size = size or self.image_size
        paths = sorted((self.pairs / "train").iterdir())
        pairs = [_halves(paths[index % len(paths)], size) for index in range(count)]
        target, source = (torch.stack(side) for side in zip(*pairs, strict=True))
        return source, target


def _halves(path: Path, size: int) -> tuple[Tensor, Tensor]:
    """Read the left and the right half of a file, (3, size, size) in [-1, 1]."""
    with Image.open(path) as image:
        both = image.convert("RGB").resize((2 * size, size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(both)).permute(2, 0, 1) / 127.5 - 1
    return pixels[..., :size].contiguous(), pixels[..., size:].contiguous()


def collect_pairs(data: Path | None, folder: Path, *, train: int, val: int, size: int) -> None:
    """Fill folder/{train,val}/NNNN.*: procedural facades as JPEG, or side-by-side files of `data`, repeated.

    Raises DataError where `data` holds no side-by-side images.
    """
    given = itertools.cycle([] if data is None else _side_by_side(data))
    numbers = {"train": range(train), "val": range(train, train + val)}
    for split, count in numbers.items():
        (folder / split).mkdir(parents=True)
        for number in count:
            if data is not None:
                file = next(given)
                shutil.copyfile(file, folder / split / f"{number:04}{file.suffix.lower()}")
            else:
                both = np.concatenate(facade(number, size), axis=1)
                Image.fromarray(both).save(folder / split / f"{number:04}.jpg", quality=QUALITY)


def _side_by_side(data: Path) -> list[Path]:
    found = find_pairs(Data(path=str(data)))
    paths = [pair.source.path for pair in found.splits.get("train", ()) if pair.source.half is not None]
    if not paths:
        raise DataError(f"{data}: expected side-by-side images to measure on, found {found.layout}; leave --data out")
    return paths
