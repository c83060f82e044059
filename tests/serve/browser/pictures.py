"""Pictures for the models of these tests."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = ("#0000df", "#0030ff", "#0080ff", "#ff5000")
SIZE = 64


def label_map(number: int = 0) -> NDArray[np.uint8]:
    """A label map (64, 64, 3) of the colours of the classes."""
    index = np.zeros((SIZE, SIZE), np.uint8)
    index[12:60, 8:56] = 1
    for left in range(12 + 2 * number, 52, 12):
        index[18:30, left : left + 7] = 2
    index[40:60, 28:36] = 3
    return np.array([list(bytes.fromhex(colour[1:])) for colour in COLOURS], np.uint8)[index]


def photo(number: int = 0, height: int = SIZE, width: int = SIZE) -> NDArray[np.uint8]:
    """A smooth picture (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([3 * x % 256, 2 * y % 256, (x + y + 40 * number) % 256], axis=2).astype(np.uint8)


def encode(values: NDArray[Any], kind: str, *, turned: bool = False, mode: str = "RGB") -> bytes:
    """Encode a picture by Pillow, `turned` with an orientation that asks to turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    content = io.BytesIO()
    Image.fromarray(values).convert(mode).save(content, kind, exif=exif)
    return content.getvalue()


def moving(kind: str) -> bytes:
    """Encode an animation of two frames by Pillow."""
    content = io.BytesIO()
    first, second = (Image.fromarray(photo(number)) for number in (0, 1))
    first.save(content, kind, save_all=True, append_images=[second])
    return content.getvalue()


def as_png(values: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, "PNG")
    return content.getvalue()
