"""The exported page in a browser: the model runs inside it, from a static server below a path."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pix2pix.serve.site import Site, export_site
from tests.serve.browser.pages import Drawn
from tests.serve.browser.pictures import as_png, encode, label_map, moving, photo
from tests.serve.browser.static import serve_folder

Open = Callable[..., Drawn]
PLACE = "some/where"


@pytest.fixture(scope="module")
def site(models: dict[str, Path], examples: Path, runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("www") / PLACE
    return export_site(models["labels"], output=folder, precision="int8", examples=examples, onnxruntime_web=runtime)


@pytest.fixture(scope="module")
def static(site: Site) -> Iterator[str]:
    with serve_folder(site.path.parents[1]) as address:
        yield f"{address}/{PLACE}"


def test_what_is_drawn_is_translated_inside_the_browser(open_page: Open, static: str) -> None:
    drawn = open_page(static, local=True)
    drawn.see("#output-picture")
    assert "inside this browser" in drawn.text("#note")
    assert drawn.page.evaluate("() => [...document.querySelectorAll('img[src]')].every((image) => image.naturalWidth)")
    before = drawn.output()
    drawn.choose("Rectangle")
    drawn.choose("molding")
    drawn.stroke((40, 50), (30, 20))
    expected = label_map(0)
    expected[20:51, 30:41] = (255, 80, 0)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(drawn.download("#save")))), expected)
    assert drawn.output() != before

    drawn.asked.clear()
    drawn.reload()
    drawn.see("#output-picture")
    assert any(url.endswith("models.json") for url in drawn.asked)
    assert not [url for url in drawn.asked if url.endswith((".onnx", ".wasm"))]  # kept by the browser


def test_a_picture_can_be_chosen_while_the_model_is_loaded(open_page: Open, static: str) -> None:
    drawn = open_page(static, local=True)
    drawn.see("#output-picture")
    drawn.page.evaluate("() => caches.keys().then((names) => Promise.all(names.map((name) => caches.delete(name))))")
    held: list[Any] = []
    drawn.page.route("**/models/*.onnx", lambda route: held.append(route))  # Playwright marks functions
    drawn.reload()
    drawn.page.wait_for_function("() => document.querySelector('#loading').checkVisibility()")
    drawn.give("mine.png", as_png(label_map(1)))
    drawn.page.get_by_text("64 × 64 · mine.png").wait_for()
    assert drawn.page.is_visible("#loading")
    held[0].continue_()
    drawn.see("[data-state=still] #output-picture")
    assert "mine.png" in drawn.text("#source-facts")  # no example takes its place


def test_what_a_browser_would_change_or_cannot_hold_is_refused(open_page: Open, static: str) -> None:
    drawn = open_page(static, local=True)
    wrong = {
        "deep.png": (as_png(photo()[..., 0].astype(np.uint16) * 257), "has 16 bits"),
        "print.jpg": (encode(photo(), "JPEG", mode="CMYK"), "is in CMYK"),
        "half.jpg": (encode(photo(), "JPEG")[:-200], "half.jpg is damaged"),
        "half.webp": (encode(photo(), "WEBP")[:-20], "half.webp is damaged"),
        "changed.png": (as_png(photo()).replace(b"IDAT", b"IDAt"), "changed.png is damaged"),
        "palette.gif": (encode(photo(), "GIF"), "reads PNG, JPEG and WebP"),
        "moving.png": (moving("PNG"), "moving.png has several frames"),
        "moving.webp": (moving("WEBP"), "moving.webp has several frames"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(99), "phone.heic is a HEIC photo"),
        "thin.png": (as_png(photo(0, 1, 3000)), "for the model 12.3 million"),
    }
    for name, (content, words) in wrong.items():
        drawn.see("#output-picture")
        drawn.give(name, content)
        drawn.page.get_by_role("alert").get_by_text(words).wait_for()
        drawn.page.click("#dismiss")


def test_another_model_takes_the_place_of_the_one_that_the_browser_kept(
    open_page: Open, models: dict[str, Path], runtime: str, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    export_site(models["labels"], output=folder, onnxruntime_web=runtime)
    with serve_folder(tmp_path) as address:
        drawn = open_page(f"{address}/site", local=True)
        drawn.see("#output-picture")
        second = drawn.context.new_page()  # a second tab
        second.goto(f"{address}/site/")
        second.wait_for_selector("#output-picture:visible")
        before = drawn.output()
        export_site(models["lines"], output=folder, onnxruntime_web=runtime, draw="lines", overwrite=True)
        drawn.reload()
        drawn.see("#output-picture")
        assert drawn.text("#model-name") == "lines"
        assert drawn.output() != before
        kept = drawn.page.evaluate(
            "async () => (await (await caches.open((await caches.keys())[0])).keys()).map(({ url }) => url)"
        )
        assert len([url for url in kept if "/models/" in url]) == 1, kept


def test_a_damaged_folder_is_told(open_page: Open, static: str, site: Site) -> None:
    model = next((site.path / "models").iterdir())
    content = model.read_bytes()
    model.write_bytes(content[:-100] + bytes(100))
    try:
        drawn = open_page(static, local=True)
        drawn.page.get_by_role("alert").get_by_text("is not the file that was exported").wait_for()
        model.write_bytes(content)
        drawn.page.click("#retry")
        drawn.see("#output-picture")
    finally:
        model.write_bytes(content)
