"""The page as a person sees it, with what it sends."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EXPECTED = re.compile("Failed to load resource")  # an answer that reports an error


class Drawn:
    """One open page."""

    def __init__(self, context: Any, address: str, *, local: bool = False, query: str = "") -> None:
        self.context, self.address, self.local, self.query = context, address, local, query
        self.page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.elsewhere: list[str] = []
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.sent: list[Any] = []
        self.page.on("request", self._look_at)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)

    def _look_at(self, request: Any) -> None:
        origin = "/".join(self.address.split("/")[:3])
        if not request.url.startswith((f"{origin}/", f"blob:{origin}/", "data:")):
            self.elsewhere.append(request.url)
        self.asked.append(request.url)
        if "/translate" in request.url:
            self.sent.append(request)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning") and not EXPECTED.search(message.text):
            self.complaints.append(message.text)

    def visit(self, model: str) -> None:
        self.page.goto(f"{self.address}/{self.query}#{model}")
        self.page.wait_for_selector("[data-state=still]")

    def reload(self) -> None:
        self.page.reload()
        self.page.wait_for_selector("[data-state=still]")

    # ---- what is there ----

    def see(self, selector: str) -> Any:
        """Wait until something is visible."""
        self.page.wait_for_selector(f"{selector}:visible")
        return self.page.locator(selector)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    @property
    def source(self) -> NDArray[np.uint8]:
        """What was sent last, as an array."""
        return np.asarray(Image.open(io.BytesIO(self.sent[-1].post_data_buffer)))

    def output(self) -> bytes:
        """The file of the output, by the download button."""
        return self.download("#download")

    def download(self, button: str) -> bytes:
        with self.page.expect_download() as download:
            self.page.click(button)
        return Path(download.value.path()).read_bytes()

    # ---- what a person does ----

    def wait_for_output(self, act: Callable[[], object]) -> None:
        """Do something, and wait for the output that follows it."""
        if self.local:  # no request to wait for
            act()
        else:
            with self.page.expect_response(lambda response: "/translate" in response.url and response.ok):
                act()
        self.see("[data-state=still] #output-picture")

    def stroke(self, *places: tuple[int, int]) -> None:
        """Drag the mouse over pixels (x, y) of the source; wait for the output."""

        def drag() -> None:
            self.page.mouse.move(*self.place(*places[0]))
            self.page.mouse.down()
            for place in places[1:]:
                self.page.mouse.move(*self.place(*place))
            self.page.mouse.up()

        self.wait_for_output(drag)

    def place(self, x: int, y: int) -> tuple[float, float]:
        """Return where the middle of a pixel is on the screen."""
        box = self.page.locator("#canvas").bounding_box()
        width, height = self.page.evaluate("() => [canvas.width, canvas.height]")  # the element of this id
        return box["x"] + (x + 0.5) * box["width"] / width, box["y"] + (y + 0.5) * box["height"] / height

    def choose(self, name: str) -> None:
        """Choose a tool or a class by its name."""
        self.page.get_by_role("radio", name=name, exact=True).check(force=True)

    def give(self, name: str, content: bytes) -> None:
        """Choose a file, without waiting."""
        self.page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": content})
