"""Give the page pictures: files, pasted, dropped, photographed; compare, download, and read what is wrong."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from pix2pix import Translator
from pix2pix.data.io import images
from tests.serve.browser.pages import Drawn
from tests.serve.browser.pictures import SIZE, as_png, encode, label_map, photo

Open = Callable[..., Drawn]
HAND_OVER = """([bytes, kind]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "given.png", { type: "image/png" }));
  document.dispatchEvent(kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data })
    : new DragEvent("drop", { dataTransfer: data }));
}"""


def test_a_picture_is_chosen_pasted_dropped_and_taken(open_page: Open, address: str) -> None:
    drawn = open_page(address, "photo", permissions=["camera"])
    assert drawn.see("#source-blank").is_visible()
    assert "Choose a picture" in drawn.text("#output-hint")
    wide = as_png(photo(1, 60, 100))
    drawn.wait_for_output(lambda: drawn.give("wide.png", wide))
    assert drawn.sent[-1].post_data_buffer == wide  # the file's own bytes
    assert "100 × 60 · wide.png" in drawn.text("#source-facts")
    for number, kind in ((2, "paste"), (3, "drop")):
        picture = as_png(photo(number))
        drawn.wait_for_output(lambda: drawn.page.evaluate(HAND_OVER, [list(picture), kind]))  # noqa: B023
        assert drawn.sent[-1].post_data_buffer == picture

    drawn.page.click("#camera")
    drawn.page.wait_for_function("() => document.querySelector('#video').videoWidth > 0")
    drawn.wait_for_output(lambda: drawn.page.click("#shoot"))
    assert drawn.source.shape[:2] == (SIZE, SIZE)  # that of the training


def test_two_sources_are_chosen_one_after_the_other(open_page: Open, address: str, models: dict[str, Path]) -> None:
    drawn = open_page(address, "two")
    sources = [photo(1), photo(2)[..., 0]]
    drawn.give("one.png", as_png(sources[0]))
    drawn.page.get_by_text("Still to choose: source_2").wait_for()
    drawn.choose("source_2")
    drawn.wait_for_output(lambda: drawn.give("two.png", as_png(sources[1])))
    expected = Translator.from_pretrained(models["two"], device="cpu")(sources)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(drawn.output()))), expected)


def test_what_the_browser_does_not_allow_is_told(open_page: Open, address: str) -> None:
    drawn = open_page(address, "photo")
    for button, words in (("#camera", "was not allowed to use it"), ("#paste", "Copy a picture first")):
        drawn.page.click(button)
        drawn.page.get_by_role("alert").get_by_text(words).wait_for()
        drawn.page.click("#dismiss")


def test_the_comparison_moves_by_mouse_and_by_keys(open_page: Open, address: str) -> None:
    drawn = open_page(address, "labels")
    drawn.see("#output-picture")
    drawn.choose("vs target")
    box = drawn.see("#split").bounding_box()
    drawn.page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert float(drawn.page.input_value("#split")) == pytest.approx(25, abs=1)
    drawn.page.keyboard.press("ArrowRight")
    assert drawn.page.get_attribute("#split", "aria-valuetext") == f"{drawn.page.input_value('#split')} % target"
    shown = drawn.page.evaluate("() => document.querySelector('#output-picture').style.getPropertyValue('--split')")
    assert shown == f"{drawn.page.input_value('#split')}%"
    drawn.stroke((5, 5), (20, 20))  # there is no target for what is drawn
    assert drawn.page.is_checked("[name=view][value=output]")
    assert not drawn.page.is_visible("#view-target")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_on_its_side_is_turned(open_page: Open, address: str, kind: str) -> None:
    drawn = open_page(address, "photo")
    drawn.wait_for_output(lambda: drawn.give("photo", encode(photo(0, 40, 60), kind, turned=True)))
    assert Image.open(io.BytesIO(drawn.output())).size == (40, 60)
    assert drawn.text("#source-facts").startswith("40 × 60")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_go_as_the_bytes_of_the_file(
    open_page: Open, address: str, models: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    values = (photo()[..., 0].astype(np.uint16) * 251 + 7).astype(np.uint16)
    path = tmp_path / f"cells.{suffix}"
    if suffix == "png":
        Image.fromarray(values).save(path)
    else:
        tifffile.imwrite(path, values)
    drawn = open_page(address, "gray16")
    drawn.wait_for_output(lambda: drawn.give(path.name, path.read_bytes()))
    assert drawn.sent[-1].post_data_buffer == path.read_bytes()
    assert drawn.page.is_visible("#source-file") == (suffix == "tif")
    assert drawn.page.is_visible("#view-source") == (suffix == "png")
    assert not drawn.page.is_visible("#camera")  # which gives 8 bits
    output = np.asarray(Image.open(io.BytesIO(drawn.output())))
    expected = Translator.from_pretrained(models["gray16"], device="cpu")(values)
    assert np.array_equal(output, expected)
    assert output.max() > 255


@pytest.mark.parametrize("kind", ["gif", "bmp", "avif"])
def test_other_formats_go_as_they_are(
    open_page: Open, address: str, models: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"photo.{kind}"
    path.write_bytes(encode(photo(), kind.upper()))
    drawn = open_page(address, "photo")
    drawn.wait_for_output(lambda: drawn.give(path.name, path.read_bytes()))
    assert drawn.sent[-1].post_data_buffer == path.read_bytes()
    assert drawn.page.is_visible("#source-file") == (kind == "avif")
    expected = Translator.from_pretrained(models["photo"], device="cpu")(images.read(path))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(drawn.output()))), expected)


def test_what_is_wrong_is_said_and_the_picture_stays(open_page: Open, address: str) -> None:
    drawn = open_page(address, "labels")
    drawn.see("#output-picture")
    whole = as_png(photo(0, 200, 300))
    wrong = {
        "notes.txt": (b"no picture at all", "notes.txt is no PNG"),
        "half.png": (whole[: len(whole) // 3], "half.png is damaged"),
        "huge.png": (as_png(np.zeros((500, 500, 3), np.uint8)), "500 × 500 pixels; at most 0.2 million"),
        "heavy.tif": (b"II*\0" + bytes(310_000), "310 kB; at most 300 kB"),
        "photo.png": (whole, "not one of the 4 classes"),
    }
    for name, (content, words) in wrong.items():
        drawn.give(name, content)
        drawn.page.get_by_role("alert").get_by_text(words).wait_for()
        assert not drawn.page.is_visible("#retry")  # the same file would fail again
        drawn.page.click("#dismiss")
        assert drawn.page.is_visible("#output-picture")
    drawn.wait_for_output(lambda: drawn.page.click("#undo"))  # back from photo.png to the example


def test_the_server_goes_and_comes_back(open_page: Open, address: str) -> None:
    drawn = open_page(address, "labels")
    drawn.see("#output-picture")
    drawn.context.set_offline(True)
    x, y = drawn.place(30, 30)
    drawn.page.mouse.click(x, y)
    drawn.page.get_by_role("alert").get_by_text("The server does not answer").wait_for()
    assert drawn.page.is_visible("#output-picture")
    drawn.wait_for_output(lambda: drawn.context.set_offline(False))  # nobody clicks
    assert not drawn.page.is_visible("#problem")
    busy = {"status": 429, "headers": {"Retry-After": "1"}, "body": '{"detail": "64 requests are waiting already."}'}
    drawn.page.route("**/translate*", lambda route: route.fulfill(**busy), times=1)
    drawn.page.mouse.click(x + 40, y)
    drawn.page.get_by_role("alert").get_by_text("64 requests are waiting").wait_for()
    drawn.wait_for_output(lambda: None)


def test_a_picture_is_given_before_the_page_knows_the_models(open_page: Open, address: str) -> None:
    drawn = open_page(address, "labels")
    drawn.see("#output-picture")
    held: list[Any] = []
    asked = re.compile("v1/models$|source.png$")
    drawn.page.route(asked, lambda route: held.append(route))
    with drawn.page.expect_request(asked):
        drawn.page.reload()
    drawn.page.wait_for_selector("#source[inert]")  # no button of it can be pressed
    drawn.page.keyboard.press("Control+z")
    picture = as_png(label_map(1))
    drawn.page.evaluate(HAND_OVER, [list(picture), "drop"])
    held.pop().continue_()
    drawn.page.get_by_text("64 × 64 · given.png").wait_for()
    for example in held:
        example.continue_()
    drawn.page.wait_for_load_state("networkidle")
    assert "given.png" in drawn.text("#source-facts")  # the example came later, and does not take its place
    drawn.see("[data-state=still] #output-picture")
    assert drawn.sent[-1].post_data_buffer == picture
