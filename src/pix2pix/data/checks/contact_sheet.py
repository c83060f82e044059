"""Draw rows of images, uint8 (H, W, 1 or 3), on one contact sheet (H, W, 3): titled columns, framed, on white."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pix2pix.data.io.arrays import Pixels, pil_to_array, to_pil

GAP = 6  # pixels around every cell, white except for the frame
FRAME = (208, 215, 222)  # of one pixel around every image, so that white images are seen
MIN_SIDE = 128  # pixels; images with a shorter longer side are enlarged


def draw_sheet(rows: Sequence[Sequence[Pixels]], titles: Sequence[str]) -> Pixels:
    """Draw rows of images (H, W, 1 or 3) on one sheet (H, W, 3), with a title above each column.

    All cells have the size of the largest image; smaller images are centred. Images with both sides below MIN_SIDE are
    enlarged by whole pixels; no others are resampled. A row may end early.
    """
    assert all(len(row) <= len(titles) for row in rows), "one title for each column"
    cells = [[_to_rgb(enlarge(image)) for image in row] for row in rows]
    height = max((cell.shape[0] for row in cells for cell in row), default=MIN_SIDE)
    width = max((cell.shape[1] for row in cells for cell in row), default=MIN_SIDE)
    top = title_height(width)
    canvas = Image.new("RGB", (GAP + len(titles) * (width + GAP), top + len(rows) * (height + GAP)), "white")
    for column, title in enumerate(titles):
        canvas.paste(_draw_title(title, width, top), (GAP + column * (width + GAP), 0))
    sheet = np.array(canvas)
    for i, row in enumerate(cells):
        for j, cell in enumerate(row):
            h, w, _ = cell.shape
            y, x = top + i * (height + GAP) + (height - h) // 2, GAP + j * (width + GAP) + (width - w) // 2
            sheet[y - 1 : y + h + 1, x - 1 : x + w + 1] = FRAME
            sheet[y : y + h, x : x + w] = cell
    return sheet


def cut_columns(sheet: Pixels, count: int) -> list[Pixels] | None:
    """Cut a sheet of `count` columns that `draw_sheet` made into these, without titles; None for another sheet."""
    width, rest = divmod(sheet.shape[1] - GAP, count)
    top = title_height(width - GAP)
    if rest or width < MIN_SIDE or sheet.shape[0] <= top:
        return None
    return [sheet[top - 1 :, GAP - 1 + width * column :][:, : width - GAP + 2] for column in range(count)]


def enlarge(image: Pixels) -> Pixels:
    """Repeat every pixel of (H, W, C), so that the longer side has at least MIN_SIDE pixels."""
    factor = -(-MIN_SIDE // max(image.shape[:2]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else image


def shrink_to_fit(image: Pixels, most: int) -> Pixels:
    """Shrink (H, W, 1 or 3) to a longer side of `most` pixels if it is larger (bicubic)."""
    return fit(image, min(most, max(image.shape[:2])))


def fit(image: Pixels, side: int) -> Pixels:
    """Resize (H, W, 1 or 3) to a longer side of `side` pixels; by whole pixels where that is a multiple."""
    longest = max(image.shape[:2])
    if longest <= side and side % longest == 0:
        return image.repeat(side // longest, axis=0).repeat(side // longest, axis=1)
    height, width = (max(1, round(length * side / longest)) for length in image.shape[:2])
    return pil_to_array(to_pil(image).resize((width, height), Image.Resampling.BICUBIC))


def title_height(width: int) -> int:
    """Return the height in pixels of the titles above cells of this width; a large sheet needs larger titles."""
    return max(28, width // 12)


def _draw_title(text: str, width: int, height: int) -> Image.Image:
    """Draw one title, in a smaller font where it is long."""
    cell = Image.new("RGB", (width, height), "white")
    draw, size = ImageDraw.Draw(cell), height * 0.6
    length = draw.textlength(text, ImageFont.load_default(size))
    font = ImageFont.load_default(size * min(1, width / max(length, 1)))
    draw.text((width / 2, height / 2), text, "black", font, anchor="mm")
    return cell


def _to_rgb(image: Pixels) -> Pixels:
    return np.broadcast_to(image, (*image.shape[:2], 3))
