"""The exported page with the model on the graphics processor, which the browser imitates here."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pix2pix import Translator
from pix2pix.serve.site import export_site
from tests.serve.browser.conftest import find_chromium
from tests.serve.browser.pages import Drawn
from tests.serve.browser.pictures import as_png, photo
from tests.serve.browser.static import serve_folder

WEBGPU = ["enable-unsafe-webgpu", "enable-features=Vulkan", "use-webgpu-adapter=swiftshader", "use-vulkan=swiftshader"]


@pytest.fixture(scope="module")
def browser(browser: Any) -> Iterator[Any]:
    with browser.browser_type.launch(
        executable_path=find_chromium(), args=[f"--{name}" for name in (*WEBGPU, "ignore-gpu-blocklist", "no-sandbox")]
    ) as imitating:
        yield imitating


def test_outputs_are_those_of_the_model(
    open_page: Callable[..., Drawn], models: dict[str, Path], runtime: str, tmp_path: Path
) -> None:
    export_site(models["photo"], output=tmp_path / "site", onnxruntime_web=runtime)
    picture = photo(0, 51, 70)
    expected = np.asarray(Translator.from_pretrained(models["photo"], device="cpu")(picture))
    with serve_folder(tmp_path / "site") as address:
        for query, engine in (("?engine=webgpu", "WebGPU"), ("", "WebAssembly")):  # an imitation is never taken unasked
            drawn = open_page(address, local=True, query=query)
            drawn.wait_for_output(lambda drawn=drawn: drawn.give("mine.png", as_png(picture)))
            assert f"({engine}" in drawn.text("#note")
            error = np.abs(np.asarray(Image.open(io.BytesIO(drawn.output()))).astype(int) - expected)
            assert error.max() <= 1
            assert error.mean() < 0.05


def test_a_browser_on_which_webgpu_fails_falls_back(
    open_page: Callable[..., Drawn], models: dict[str, Path], runtime: str, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    export_site(models["photo"], output=site, onnxruntime_web=runtime)
    (worker,) = site.rglob("worker.js")
    taken = worker.read_text().replace("adapter && !software", "adapter")  # as if the imitation were a real processor
    assert taken != worker.read_text()
    worker.write_text(taken)
    (binary,) = site.rglob("*.asyncify.wasm")
    with serve_folder(site) as address:
        for engine in ("WebGPU", "WebAssembly"):
            drawn = open_page(address, local=True)
            drawn.wait_for_output(lambda drawn=drawn: drawn.give("mine.png", as_png(photo())))
            assert f"({engine}" in drawn.text("#note")
            binary.unlink(missing_ok=True)  # as an owner does whose host takes no file of its size
