"""Contact sheets, to the pixel."""

import numpy as np

from pix2pix.data.checks.contact_sheet import FRAME, GAP, draw_sheet, fit, title_height
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
        first = top + row * (200 + GAP)
        for y in (first - 1, first + 200):  # a frame above and below
            x = GAP + 2 * (151 + GAP) if row else GAP  # the first image of full size in this row
            assert (result[y, x - 1 : x + 152] == FRAME).all()
        rest[first - 1 : first + 201] = 255
    assert (rest[top:] == 255).all()  # white between the rows
    for column in range(3):  # a title over each column, white beside it
        x = GAP + column * (151 + GAP)
        assert (result[: top - 1, x : x + 151] < 128).any()
        assert (result[: top - 1, x - GAP : x] == 255).all()


def test_sheet_enlarges_small_images_by_whole_pixels() -> None:
    small = pixels(30, 40, 3)
    result = draw_sheet([[small]], ["a title much too long for so narrow a column"])
    expected = np.kron(small, np.ones((4, 4, 1), np.uint8))  # 40 -> 160, the first multiple from 128
    top = title_height(160)
    assert (result[top : top + 120, GAP : GAP + 160] == expected).all()
    assert (result[: top - 1, :GAP] == 255).all()


def test_a_white_image_has_a_frame() -> None:
    white = np.full((130, 130, 3), 255, np.uint8)
    result, top = draw_sheet([[white, white], [white]], ("source", "target")), title_height(130)
    framed = (result[top - 1 :] == FRAME).all(axis=2)
    assert framed.sum() == 3 * 4 * 131
    assert (result[top - 1 :][~framed] == 255).all()


def test_images_fit_one_side() -> None:
    image = pixels(32, 16, 3)
    assert (fit(image, 128) == np.kron(image, np.ones((4, 4, 1), np.uint8))).all()
    assert fit(image, 100).shape == (100, 50, 3)
    assert fit(image, 16).shape == (16, 8, 3)
    assert (fit(image, 32) == image).all()


def test_sheet_without_rows_has_its_titles() -> None:
    assert (draw_sheet([], ("source", "output", "target")) < 128).any()
