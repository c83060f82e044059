"""A browser, a service with four small models, and a page whose every request is looked at."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serve.browser.pages import Drawn
from tests.serve.browser.pictures import COLOURS, SIZE, label_map, photo

REQUIRED = os.environ.get("PIX2PIX_BROWSER_TESTS") == "required"
SHOTS = Path(__file__).parents[3] / "build" / "browser"
"""Screenshots of the tests, for a person to look at."""
DESKTOP = {"viewport": {"width": 1280, "height": 800}}


def find_chromium() -> str | None:
    """Return the browser's program."""
    return os.environ.get("PIX2PIX_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Chromium without a window; without it these tests are skipped, or fail where it is required.

    Ended with this package: Playwright keeps an event loop running in the thread of the tests.
    """
    sync_api = None
    try:
        from playwright import sync_api
    except ImportError:
        missing = "no playwright"
    else:
        missing = "" if find_chromium() else "no chromium"
    if missing:
        (pytest.fail if REQUIRED else pytest.skip)(missing)
    assert sync_api is not None
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--use-fake-device-for-media-stream"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def runtime() -> str:
    """The folder of the package onnxruntime-web; without it a test is skipped, or fails where it is required."""
    folder = os.environ.get("PIX2PIX_ONNXRUNTIME_WEB")
    if folder is None:
        (pytest.fail if REQUIRED else pytest.skip)("no onnxruntime-web")
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained models of a few weights: of a label map, of lines, of photos, and of 16-bit gray."""
    from tests.serve.browser.models import save_models

    return save_models(tmp_path_factory.mktemp("models"), COLOURS, SIZE)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two label maps with their photos, side by side."""
    folder = tmp_path_factory.mktemp("examples")
    for number in range(2):
        Image.fromarray(np.concatenate([label_map(number), photo(number)], axis=1)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def address(models: dict[str, Path], examples: Path) -> Iterator[str]:
    """The service, in a thread."""
    pytest.importorskip("fastapi")
    from pix2pix.serve.app import Service
    from pix2pix.serve.options import Options
    from pix2pix.serve.served import load_models
    from pix2pix.serve.server import address_of, open_socket, run_service

    limits: dict[str, Any] = {"port": 0, "device": "cpu", "max_bytes": 300_000, "max_pixels": 200_000}
    options = Options(**limits, examples=examples)
    served = load_models([f"labels={models['labels']}"], options)
    served |= load_models([f"lines={models['lines']}"], Options(**limits, draw="lines"))
    served |= load_models([f"{name}={models[name]}" for name in ("photo", "gray16", "two")], Options(**limits))
    stopped, started = threading.Event(), threading.Event()
    listener = open_socket(options)
    stop: Callable[[], int | None] = lambda: 2 if stopped.is_set() else None  # noqa: E731
    thread = threading.Thread(target=run_service, args=(Service(served, options), listener, stop, started.set))
    thread.start()
    assert started.wait(30)
    yield address_of(listener, options)
    stopped.set()
    thread.join(30)


@pytest.fixture
def open_page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Drawn]]:
    """Open a page; when the test ends, its picture is kept, and every request must have gone to its server."""
    opened: list[Drawn] = []

    def open_page(address: str, model: str = "", *, local: bool = False, query: str = "", **context: Any) -> Drawn:
        drawn = Drawn(browser.new_context(**(DESKTOP | context)), address, local=local, query=query)
        opened.append(drawn)
        drawn.visit(model)
        return drawn

    yield open_page
    SHOTS.mkdir(parents=True, exist_ok=True)
    for number, drawn in enumerate(opened):
        drawn.page.screenshot(path=SHOTS / f"{request.node.name}{f'-{number}' if number else ''}.png")
        drawn.context.close()
        assert not drawn.elsewhere, f"requests to other hosts: {drawn.elsewhere}"
        assert not drawn.complaints, drawn.complaints
