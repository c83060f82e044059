"""Draw on a label map and with a pen: what is sent has the exact colours."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serve.browser.pages import Drawn
from tests.serve.browser.pictures import COLOURS, label_map

Open = Callable[..., Drawn]
RGB = [tuple(bytes.fromhex(colour[1:])) for colour in COLOURS]


def test_drawn_labels_are_exact(open_page: Open, address: str) -> None:
    drawn = open_page(address, "labels")
    drawn.see("#output-picture")
    assert np.array_equal(drawn.source, label_map(0))  # the first example, its own bytes
    expected = label_map(0)

    drawn.choose("Rectangle")
    drawn.choose("molding")
    drawn.stroke((40, 50), (30, 20))
    expected[20:51, 30:41] = RGB[3]
    assert np.array_equal(drawn.source, expected)

    drawn.choose("Fill")
    drawn.choose("window")
    drawn.stroke((1, 1))
    before = expected.copy()
    expected[(expected == RGB[0]).all(axis=2)] = RGB[2]
    assert np.array_equal(drawn.source, expected)

    drawn.wait_for_output(lambda: drawn.page.click("#undo"))
    assert np.array_equal(drawn.source, before)
    drawn.wait_for_output(lambda: drawn.page.keyboard.press("Control+Shift+Z"))
    assert np.array_equal(drawn.source, expected)

    drawn.choose("Brush")
    drawn.stroke((5, 60), (50, 33), (60, 60))
    colours = {tuple(colour) for colour in drawn.source.reshape(-1, 3).tolist()}
    assert colours <= set(RGB)  # no colour between two classes
    assert (drawn.source != expected).any()
    drawn.choose("Eraser")
    drawn.stroke((5, 60), (60, 60))
    assert tuple(drawn.source[60, 30]) == RGB[1]  # what the example has most of
    assert " ms" in drawn.text("#time")


def test_another_size_that_is_not_square(open_page: Open, address: str) -> None:
    drawn = open_page(address, "labels")
    drawn.see("#output-picture")
    drawn.page.click("#new")
    drawn.page.fill("#new-width", "150")
    drawn.page.fill("#new-height", "70")
    drawn.wait_for_output(lambda: drawn.page.click("#new-form .main"))
    drawn.choose("Rectangle")
    drawn.choose("molding")
    drawn.stroke((149, 69), (100, 0))
    assert drawn.source.shape == (70, 150, 3)
    assert (drawn.source[:, 100:] == RGB[3]).all()
    assert (drawn.source[:, :100] == RGB[1]).all()
    assert Image.open(io.BytesIO(drawn.output())).size == (150, 70)
    box = drawn.page.locator("#output-picture").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(150 / 70, rel=0.02)
    drawn.page.click("#new")
    drawn.page.fill("#new-width", "128")  # the size of two pictures side by side, as in the training
    drawn.page.fill("#new-height", "64")
    drawn.wait_for_output(lambda: drawn.page.click("#new-form .main"))
    assert Image.open(io.BytesIO(drawn.output())).size == (128, 64)


def test_a_pen_draws_smooth_lines_of_two_values(open_page: Open, address: str) -> None:
    drawn = open_page(address, "lines")
    assert not drawn.page.locator("#tools").get_by_text("Fill").is_visible()
    corner = ((10, 10), (30, 50), (50, 10))
    drawn.stroke(*corner)
    smooth = drawn.source
    assert smooth.ndim == 2  # gray, as the model takes it
    assert set(np.unique(smooth)) == {0, 255}
    drawn.wait_for_output(lambda: drawn.page.click("#undo"))
    assert (drawn.source == 255).all()
    drawn.page.uncheck("#smooth")
    drawn.stroke(*corner)
    assert drawn.source[50, 30] == 0  # straight to the corner, which the smooth line cuts
    assert smooth[50, 30] == 255


def test_dice_give_other_samples_and_say_which(open_page: Open, address: str) -> None:
    drawn = open_page(address, "labels")
    drawn.see("#output-picture")
    plain = drawn.output()
    drawn.wait_for_output(lambda: drawn.page.click("#dice"))
    seed = drawn.sent[-1].url.partition("seed=")[2]
    assert drawn.text("#output-facts").endswith(f"sample {seed}")
    assert drawn.output() != plain


@pytest.mark.parametrize("how", ["keys", "touch"])
def test_keys_alone_and_touch_alone(open_page: Open, address: str, how: str) -> None:
    context: dict[str, Any] = {"has_touch": True, "viewport": {"width": 375, "height": 812}} if how == "touch" else {}
    drawn = open_page(address, "labels", **context)
    drawn.see("#output-picture")
    (draw_by_keys if how == "keys" else draw_by_touch)(drawn)
    expected = label_map(0)
    expected[32:43, 32:38] = RGB[3]
    assert np.array_equal(drawn.source, expected)


def draw_by_keys(drawn: Drawn) -> None:
    """Tab to the tools and the classes, choose with arrows, and draw a rectangle with the keyboard cursor."""
    keys = drawn.page.keyboard
    focused = "document.activeElement.value ?? document.activeElement.id"
    seen = []
    while (at := drawn.page.evaluate(focused)) != "canvas":
        seen.append(at)
        assert len(seen) < 40, seen
        if at == "brush":
            keys.press("ArrowDown")  # to the rectangle
        if at in COLOURS:
            for _ in range(2):
                keys.press("ArrowDown")  # from the second class to the fourth
        keys.press("Tab")
    keys.press(" ")
    assert "corner" in drawn.text("#spoken").lower()
    keys.press("Shift+ArrowDown")
    for _ in range(5):
        keys.press("ArrowRight")
    drawn.wait_for_output(lambda: keys.press(" "))


def draw_by_touch(drawn: Drawn) -> None:
    drawn.page.locator("label", has_text="Rectangle").tap()
    drawn.page.locator("#palette label").nth(3).tap()
    session = drawn.context.new_cdp_session(drawn.page)

    def swipe() -> None:
        for kind, *places in (
            ("touchStart", (32, 32)),
            ("touchStart", (35, 36), (9, 9)),
            ("touchMove", (37, 42), (5, 5)),
        ):
            points = [dict(zip("xy", drawn.place(*place), strict=True)) for place in places]
            points = [{"id": number, **point} for number, point in enumerate(points)]  # the second is a palm
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    drawn.wait_for_output(swipe)
