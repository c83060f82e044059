"""What is measured and how thoroughly, and the pairs that it is measured on."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.timing import Tick
from pix2pix.config import Config, Data
from pix2pix.config.fields import UpdateOrder
from pix2pix.config.presets import chosen_settings
from pix2pix.data.encoding import tensors
from pix2pix.data.io.arrays import Pixels, to_pil, with_channels
from pix2pix.data.io.eight_bit import from_pil
from pix2pix.data.loading.dataset import read_pair
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import DataError
from pix2pix.synthetic.facades import facade

JUDGED = (256, 64)  # image size and base channels that the table's targets are meant for
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
    tick: Tick

    def must(self, value: float | None) -> float | None:
        """A target, where it is meant for these sizes."""
        return value if (self.image_size, self.base_channels) == JUDGED else None

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
        """The paper's settings at these sizes, in the default update order or another."""
        return chosen_settings(
            self.pairs,
            None,
            None,
            {
                "data": {
                    "image_size": image_size or self.image_size,
                    "direction": "BtoA",
                    "test_fraction": 0.0,  # nothing is carved: every picture has its place
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
        """The same, as a process of its own is told it."""
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
        """source, target (count, 3, size, size) in [-1, 1]: real pictures, since zeros are no typical numbers."""
        size = size or self.image_size
        found = find_pairs(Data(path=str(self.pairs), direction="BtoA")).splits["train"]
        sides = zip(*(read_pair(found[index % len(found)]) for index in range(count)), strict=True)
        source, target = (torch.stack([_fitted(pixels, size) for pixels in side]) for side in sides)
        return source, target


def _fitted(pixels: Pixels, size: int) -> Tensor:
    picture = to_pil(with_channels(pixels, 3)).resize((size, size), Image.Resampling.BICUBIC)
    return tensors.to_tensor(from_pil(picture))


def collect_pairs(data: Path | None, folder: Path, *, train: int, val: int, size: int) -> None:
    """Fill folder/{train,val}/NNNN.jpg: procedural facades as JPEG, or side-by-side files of `data`, repeated.

    Raises DataError where `data` holds no side-by-side pictures.
    """
    given = [] if data is None else _side_by_side(data)
    counts = {"train": train, "val": val}
    done = 0
    for split, count in counts.items():
        (folder / split).mkdir(parents=True)
        for number in range(count):
            if given:
                source = given[done % len(given)]
                shutil.copyfile(source, folder / split / f"{number:04}{source.suffix.lower()}")
            else:
                picture = Image.fromarray(_stacked(done, size))
                picture.save(folder / split / f"{number:04}.jpg", quality=QUALITY)
            done += 1


def _stacked(seed: int, size: int) -> Pixels:
    photo, labels = facade(seed, size)
    both: Pixels = torch.cat([torch.from_numpy(photo), torch.from_numpy(labels)], dim=1).numpy()
    return both


def _side_by_side(data: Path) -> list[Path]:
    found = find_pairs(Data(path=str(data)))
    pairs: tuple[Pair, ...] = found.splits.get("train", ())
    paths = [pair.source.path for pair in pairs if pair.source.half is not None]
    if not paths:
        raise DataError(f"{data}: is measured on side-by-side pictures, and holds {found.layout}; leave --data out")
    return paths


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file, or a second file where the system has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
