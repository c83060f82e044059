"""Pictures in, one contact sheet out: uint8 arrays (H, W, C) -> (H, W, 3), in titled columns on white."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

GAP = 4  # white pixels around every cell
LEGIBLE = 128  # pixels; a picture whose longer side is below is enlarged


def sheet(rows: Sequence[Sequence[Pixels]], titles: Sequence[str]) -> Pixels:
    """Rows of pictures (H, W, 1 or 3) -> one picture (H, W, 3), with a title above each column.

    All cells have the largest picture's size; a smaller one stands in the middle of its cell. Small pictures are
    `enlarged`, and nothing else is resampled.
    """
    assert all(len(row) == len(titles) for row in rows), "one title for each column"
    pictures = [[_coloured(enlarged(picture)) for picture in row] for row in rows]
    height = max((picture.shape[0] for row in pictures for picture in row), default=LEGIBLE)
    width = max((picture.shape[1] for row in pictures for picture in row), default=LEGIBLE)
    top = title_height(width)
    canvas = Image.new("RGB", (GAP + len(titles) * (width + GAP), top + len(rows) * (height + GAP)), "white")
    for column, title in enumerate(titles):
        canvas.paste(_title(title, width, top), (GAP + column * (width + GAP), 0))
    result = np.array(canvas)
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            h, w, _ = picture.shape
            y, x = top + i * (height + GAP) + (height - h) // 2, GAP + j * (width + GAP) + (width - w) // 2
            result[y : y + h, x : x + w] = picture
    return result


def source_titles(count: int) -> list[str]:
    """Of the columns for each of a pair's sources."""
    return ["source"] if count == 1 else [f"source {number}" for number in range(1, count + 1)]


def abreast(pictures: Sequence[Pixels]) -> Pixels:
    """Pictures (H, W, 1 or 3) of one height, side by side; one alone as it is."""
    if len(pictures) == 1:
        return pictures[0]
    return np.concatenate([_coloured(picture) for picture in pictures], axis=1)


def enlarged(picture: Pixels) -> Pixels:
    """(H, W, C) -> the same with every pixel repeated, for a longer side of at least LEGIBLE pixels."""
    factor = -(-LEGIBLE // max(picture.shape[:2]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else picture


def fitted(picture: Pixels, most: int) -> Pixels:
    """(H, W, 1 or 3) -> the same, made smaller if its longer side is above `most`, to that."""
    height, width, _ = picture.shape
    scale = most / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    small = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    return small if small.ndim == 3 else small[..., None]


def title_height(width: int) -> int:
    """Height in pixels of the band above the cells; a larger sheet is seen from farther away."""
    return max(28, width // 12)


def _title(text: str, width: int, height: int) -> Image.Image:
    """A cell of the title band; a long title is written smaller."""
    cell = Image.new("RGB", (width, height), "white")
    draw, size = ImageDraw.Draw(cell), height * 0.6
    length = draw.textlength(text, ImageFont.load_default(size))
    font = ImageFont.load_default(size * min(1, width / max(length, 1)))
    draw.text((width / 2, height / 2), text, "black", font, anchor="mm")
    return cell


def _coloured(picture: Pixels) -> Pixels:
    height, width, _ = picture.shape
    return np.broadcast_to(picture, (height, width, 3))
