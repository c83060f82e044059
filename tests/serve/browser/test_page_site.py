"""The exported page in a browser: the model runs inside it, from a static server below a path."""

import functools
import io
import os
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pix2pix import Translator
from pix2pix.export.compare import find_difference
from pix2pix.export.engines import open_onnxruntime
from pix2pix.serve.site import Site, export_site
from tests.serve.browser.pages import Drawn
from tests.serve.browser.pictures import label_map

PLACE = "some/where"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(models: dict[str, Path], examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    runtime = os.environ.get("PIX2PIX_ONNXRUNTIME_WEB")
    if runtime is None:
        required = os.environ.get("PIX2PIX_BROWSER_TESTS") == "required"
        (pytest.fail if required else pytest.skip)("no onnxruntime-web")
    folder = tmp_path_factory.mktemp("www") / PLACE
    return export_site(models["labels"], output=folder, precision="int8", examples=examples, onnxruntime_web=runtime)


@pytest.fixture(scope="module")
def static(site: Site) -> Iterator[str]:
    root = site.path.parents[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{PLACE}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_browser_translates_as_the_model_does(
    open_page: Callable[..., Drawn], static: str, site: Site, models: dict[str, Path]
) -> None:
    drawn = open_page(static, local=True)
    drawn.see("#output-picture")
    assert "inside this browser" in drawn.text("#note")
    drawn.choose("Rectangle")
    drawn.choose("molding")
    drawn.stroke((40, 50), (30, 20))
    expected = label_map(0)
    expected[20:51, 30:41] = (255, 80, 0)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(drawn.download("#save")))), expected)
    output = np.asarray(Image.open(io.BytesIO(drawn.output()))).astype(int)
    assert output.std() > 0
    run = open_onnxruntime(next((site.path / "models").iterdir()).read_bytes())
    assert np.abs(output - run([expected[None]])[0]).max() <= 1  # that of the file elsewhere, but for rounding
    error = find_difference(run, Translator.from_pretrained(models["labels"], device="cpu"), [expected])
    native = Translator.from_pretrained(models["labels"], device="cpu")(expected)
    assert np.abs(output - native).mean() <= error.mean + 0.01
    assert error.mean <= 1.5 * max(one.mean for one in site.differences)  # the error stated is of other pictures

    drawn.asked.clear()
    drawn.visit("")
    drawn.see("#output-picture")
    assert not [url for url in drawn.asked if url.endswith((".onnx", ".wasm"))]  # kept by the browser


def test_a_damaged_folder_is_told(open_page: Callable[..., Drawn], static: str, site: Site) -> None:
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
