"""A service in this process, and files to send."""

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array
from pix2pix.serve.app import Service
from pix2pix.serve.engine import Facts, ReadImage, Size, SourceFacts
from pix2pix.serve.options import Options
from pix2pix.serve.served import ServedModel

SIDE = 32


class SlowEngine:
    """Returns the negative of a picture, once `may_go` is set; keeps the sizes of the batches."""

    facts = Facts(1, (SourceFacts("source", 3, "uint8"),), 3, "uint8", (SIDE, SIDE), 1, noise=False, batch_size=4)

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.may_go.set()
        self.batches: list[int] = []

    def read(self, files: Sequence[Path], half: str = "auto") -> ReadImage:
        values = images.read(files[0])
        return ReadImage(values, values.shape)

    def seen_size(self, size: Size) -> Size:
        return size

    def translate(self, inputs: Sequence[ReadImage], seed: int | None = None) -> list[Array]:
        assert self.may_go.wait(20)
        self.batches.append(len(inputs))
        return [255 - one.values for one in inputs]

    def warm_up(self) -> None:
        """Nothing to do."""


def slow_service(**choices: Any) -> tuple[Service, SlowEngine]:
    engine = SlowEngine()
    return Service({"slow": ServedModel("slow", engine, {"name": "slow"})}, Options(**choices)), engine


def png(height: int = SIDE, width: int = SIDE, *, seed: int = 0, channels: int = 3) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return images.encode(".png", values)


def decode(content: bytes, suffix: str, folder: Path) -> Array:
    path = folder / f"answer{suffix}"
    path.write_bytes(content)
    return images.read(path)


def npy(values: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()
