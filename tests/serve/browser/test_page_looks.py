"""The page for everyone: screen readers (axe), dark and light, a phone, no motion; and no stale answers."""

import importlib.util
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.serve.browser.pages import Drawn
from tests.serve.browser.pictures import as_png, photo

Open = Callable[..., Drawn]
PHONE = {"viewport": {"width": 375, "height": 812}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


def find_violations(drawn: Drawn) -> list[str]:
    """Let axe-core look at the page as it is now."""
    spec = importlib.util.find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    if not drawn.page.evaluate("() => 'axe' in window"):
        drawn.page.evaluate((Path(spec.origin).parent / "axe.min.js").read_text())
    found = drawn.page.evaluate("() => axe.run()")["violations"]
    return [f"{one['id']}: {json.dumps([node['html'] for node in one['nodes']])}" for one in found]


@pytest.mark.parametrize(
    "context",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {**PHONE, "color_scheme": "dark"}],
    ids=["light", "dark", "phone"],
)
def test_axe_finds_nothing(open_page: Open, address: str, context: dict[str, Any]) -> None:
    drawn = open_page(address, "labels", reduced_motion="reduce", **context)
    drawn.see("#output-picture")
    shade = drawn.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert shade == ("rgb(244, 243, 239)" if context["color_scheme"] == "light" else "rgb(16, 17, 21)")
    drawn.choose("vs source")
    drawn.give("notes.txt", b"no picture")
    drawn.see("#problem")
    assert not find_violations(drawn)
    if context["color_scheme"] == "dark":
        return
    drawn.page.click("#dismiss")
    drawn.page.click("#new")
    assert not find_violations(drawn)
    drawn.page.keyboard.press("Escape")
    drawn.page.select_option("#model", "photo")
    drawn.see("#source-blank")
    assert not find_violations(drawn)


def test_a_phone_shows_source_and_output_at_once(open_page: Open, address: str) -> None:
    drawn = open_page(address, "labels", **PHONE)
    drawn.see("#output-picture")
    assert drawn.page.evaluate("() => document.documentElement.scrollWidth") <= 375
    dock = drawn.page.locator("#tools").bounding_box()
    for picture in ("#source-picture", "#output-picture"):
        box = drawn.page.locator(picture).bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= dock["y"]
        assert box["width"] >= 200
    footer = drawn.page.locator(".output > footer").bounding_box()
    assert footer["y"] + footer["height"] <= dock["y"]
    for button in drawn.page.locator("button:visible, .tool-choice label, #palette label, #views input, #size").all():
        assert min(button.bounding_box()["height"], button.bounding_box()["width"]) >= 44  # a finger
    drawn.wait_for_output(lambda: drawn.page.locator("#example-list button").nth(1).tap())
    drawn.stroke((10, 10), (40, 50))
    assert drawn.page.evaluate("() => [scrollY, getComputedStyle(canvas).outlineStyle]") == [0, "none"]
    drawn.wait_for_output(lambda: drawn.page.select_option("#model", "lines"))
    assert drawn.page.evaluate("() => document.documentElement.scrollWidth") <= 375


@pytest.mark.parametrize(("width", "height"), [(844, 390), (640, 500), (900, 700), (320, 640)])
def test_nothing_covers_another_thing(open_page: Open, address: str, width: int, height: int) -> None:
    drawn = open_page(address, "labels", viewport={"width": width, "height": height})
    drawn.see("#output-picture")
    assert drawn.page.evaluate("() => document.documentElement.scrollWidth") <= width
    for header in drawn.page.locator(".card > header").all():
        parts = header.locator("h2:visible, fieldset:visible, .actions").all()
        boxes = [box for part in parts if (box := part.bounding_box())["width"] > 1]
        assert len(boxes) >= 1
        for left, right in pairwise(boxes):
            assert left["x"] + left["width"] <= right["x"]
    if height < 400:  # a phone held across
        for model in ("labels", "lines"):
            if model == "lines":
                drawn.wait_for_output(lambda: drawn.page.select_option("#model", "lines"))
            dock = drawn.page.locator("#tools").bounding_box()
            for picture in ("#source-picture", "#output-picture"):
                box = drawn.page.locator(picture).bounding_box()
                assert box["height"] >= 180
                assert box["y"] + box["height"] <= dock["y"]


def test_an_answer_to_another_picture_is_dropped(open_page: Open, address: str) -> None:
    drawn = open_page(address, "photo")
    held: list[Any] = []
    drawn.page.route("**/translate*", lambda route: held.append(route), times=1)
    drawn.give("old.png", as_png(photo(0)))
    drawn.page.wait_for_selector("[aria-busy=true]")
    drawn.wait_for_output(lambda: drawn.give("new.png", as_png(photo(1))))
    shown = drawn.page.get_attribute("#output", "src")
    held[0].fulfill(status=200, content_type="image/png", body=as_png(photo(2)))
    drawn.page.wait_for_timeout(200)
    assert drawn.page.get_attribute("#output", "src") == shown
