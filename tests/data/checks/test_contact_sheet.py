"""Contact sheets, to the pixel."""

import numpy as np

from pix2pix.data.checks.contact_sheet import GAP, draw_sheet, title_height
from pix2pix.data.io.arrays import Pixels


def pixels(*shape: int) -> Pixels:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def test_sheet_places_every_pixel() -> None:
    large, gray, short = pixels(200, 151, 3), pixels(200, 151, 1), pixels(130, 140, 3)
    result = draw_sheet([[large, gray, short], [short, large, large]], ("source", "output", "target"))
    top = title_height(151)
    assert result.dtype == np.uint8
    assert result.shape == (top + 2 * (200 + GAP), GAP + 3 * (151 + GAP), 3)

    def cell(row: int, column: int) -> Pixels:
        y, x = top + row * (200 + GAP), GAP + column * (151 + GAP)
        return result[y : y + 200, x : x + 151]

    assert (cell(0, 0) == large).all()
    assert (cell(0, 1) == gray).all()  # the one channel, three times
    assert (cell(1, 2) == large).all()
    assert (cell(0, 2)[35:165, 5:145] == short).all()
    rest = result.astype(int)
    for row in range(2):
        rest[top + row * (200 + GAP) : top + row * (200 + GAP) + 200] = 255
    assert (rest[top:] == 255).all()  # white between the rows
    for column in range(3):  # a title over each column, white beside it
        x = GAP + column * (151 + GAP)
        assert (result[:top, x : x + 151] < 128).any()
        assert (result[:top, x - GAP : x] == 255).all()


def test_sheet_enlarges_small_images_by_whole_pixels() -> None:
    small = pixels(30, 40, 3)
    result = draw_sheet([[small]], ["a title much too long for so narrow a column"])
    expected = np.kron(small, np.ones((4, 4, 1), np.uint8))  # 40 -> 160, the first multiple from 128
    top = title_height(160)
    assert (result[top : top + 120, GAP : GAP + 160] == expected).all()
    assert (result[:top, :GAP] == 255).all()


def test_sheet_without_rows_has_its_titles() -> None:
    assert (draw_sheet([], ("source", "output", "target")) < 128).any()
