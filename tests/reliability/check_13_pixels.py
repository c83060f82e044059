"""Pixels against the truth: arrays written by other encoders, and other decoders for the lossy formats."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from pix2pix.data.io import images

TITLE = "pixels agree with the truth: orientation, modes, 16 bits"
Array = NDArray[Any]
Case = tuple[str, bytes, Array, int]
"""(name, file, its pixels (H, W, C), largest difference allowed in steps of the type)."""

HEIGHT, WIDTH = 37, 52
TURNS: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: a.swapaxes(0, 1)[::-1],
}  # fmt: skip
"""EXIF orientation -> what makes the stored image upright."""


def picture() -> NDArray[np.uint8]:
    """A smooth colour image, for which lossy decoders agree."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([4 * x + y, 255 - 3 * y, (x * y) // 8], -1).clip(0, 255).astype(np.uint8)


def encode(kind: str, values: Array, **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


def deep_cases() -> Iterator[Case]:
    """16-bit and other types, written by imagecodecs, tifffile and numpy."""
    deep = np.random.default_rng(13).integers(0, 65536, (HEIGHT, WIDTH, 3), np.uint16)
    deep[0, :3] = [[0] * 3, [1000, 40000, 65535], [65535] * 3]
    yield "16-bit colour PNG", bytes(imagecodecs.png_encode(deep)), deep, 0
    yield "16-bit gray PNG", bytes(imagecodecs.png_encode(deep[..., 0].copy())), deep[..., :1], 0
    for compression in (None, "zlib", "lzw", "zstd", "packbits", "lzma"):
        for order in "<>":
            file = BytesIO()
            tifffile.imwrite(file, deep, compression=compression, byteorder=order, photometric="rgb")
            yield f"16-bit TIFF {compression} {order}", file.getvalue(), deep, 0
    for dtype in ("uint8", "int8", "uint16", "int16", "float32", ">u2", ">f4"):
        values = deep.view(np.int16).astype(dtype) if dtype != "uint16" else deep
        file = BytesIO()
        np.save(file, values)
        yield f".npy {dtype}", file.getvalue(), values, 0
        file = BytesIO()
        tifffile.imwrite(file, values.transpose(2, 0, 1).copy(), photometric="minisblack")
        yield f"pages {dtype}", file.getvalue(), values, 0


def eight_bit_cases() -> Iterator[Case]:
    """8-bit modes: their pixels are known, or decoded by imagecodecs."""
    colour = picture()
    gray, opaque = colour[..., 0].copy(), np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    for kind in ("PNG", "BMP", "TIFF"):
        yield f"colour {kind}", encode(kind, colour), colour, 0
        yield f"gray {kind}", encode(kind, gray), gray[..., None], 0
    yield "opaque PNG", encode("PNG", np.concatenate([colour, opaque], -1)), colour, 0
    yield "lossless WebP", encode("WEBP", colour, lossless=True, exact=True), colour, 0
    bits = gray > 99
    yield "1-bit PNG", encode("PNG", bits), bits[..., None] * np.uint8(255), 0
    palette = np.random.default_rng(3).integers(0, 256, (256, 3), np.uint8)
    for kind in ("PNG", "GIF", "BMP"):
        image, file = Image.fromarray(gray).convert("P"), BytesIO()
        image = Image.frombytes("P", (WIDTH, HEIGHT), gray.tobytes())
        image.putpalette(palette.tobytes())
        image.save(file, kind)
        yield f"palette {kind}", file.getvalue(), palette[gray], 0
    for quality in (50, 95):
        for sampling in (0, 2):
            content = encode("JPEG", colour, quality=quality, subsampling=sampling)
            yield f"JPEG {quality} {sampling}", content, np.asarray(imagecodecs.jpeg8_decode(content)), 1
    content = encode("WEBP", colour, quality=90)
    yield "lossy WebP", content, np.asarray(imagecodecs.webp_decode(content))[..., :3], 1


def turned_cases() -> Iterator[Case]:
    """Every orientation in every format that has one; the orientation is written by Pillow."""
    colour = picture()
    formats = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}, "TIFF": {}, "JPEG": {"quality": 95}}
    for kind, options in formats.items():
        for orientation, turn in TURNS.items():
            exif = Image.Exif()
            exif[0x0112] = orientation
            content = encode(kind, colour, exif=exif, **options)
            stored = np.asarray(imagecodecs.jpeg8_decode(content)) if kind == "JPEG" else colour
            yield f"{kind} turned {orientation}", content, turn(stored), int(kind == "JPEG")


def measure(work: Path, read: Callable[[Path], Array]) -> str:
    """Compare what `read` returns with the truth."""
    wrong, count = [], 0
    for name, content, truth, allowed in (*deep_cases(), *eight_bit_cases(), *turned_cases()):
        path, count = work / "image", count + 1
        path.write_bytes(content)
        values = read(path)
        if values.shape != truth.shape or values.dtype != truth.dtype.newbyteorder("="):
            wrong.append(f"{name}: {values.dtype} {values.shape}, expected {truth.dtype} {truth.shape}")
            continue
        largest = np.abs(values.astype(np.float64) - truth.astype(np.float64)).max()
        if largest > allowed:
            wrong.append(f"{name}: differs by up to {largest:g} steps")
    figures = f"{count - len(wrong)} of {count} kinds of files agree with the truth"
    assert not wrong, f"{figures}; {'; '.join(wrong[:5])}"
    return figures


def check(work: Path, full: bool) -> str:  # the full check takes two seconds
    """Read every case as the package does."""
    return measure(work, images.read)


def control(work: Path) -> str:
    """Read by Pillow's `convert("RGB")`, which clips 16 bits and ignores the orientation."""

    def read(path: Path) -> Array:
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))
        except Exception:
            return np.zeros((1, 1, 1), np.uint8)

    return measure(work, read)
