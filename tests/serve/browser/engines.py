"""Firefox and WebKit, driven by the protocols that they bring along: Marionette and W3C WebDriver."""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Send = Callable[[str, Mapping[str, Any]], Any]
"""Send a command of WebDriver with its values; return what it answers."""
MINI_BROWSER = next(iter(sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"))), None)
IN_MARIONETTE = {
    "url": "Navigate",
    "execute/sync": "ExecuteScript",
    "actions": "PerformActions",
    "screenshot": "TakeScreenshot",
}
"""Command of WebDriver -> of Marionette."""
LISTEN = """
  self.heard = [];
  for (const kind of ["error", "unhandledrejection", "securitypolicyviolation"]) {
    addEventListener(kind, (event) => heard.push(`${kind}: ${event.message ?? event.reason ?? event.blockedURI}`));
  }
  console.error = console.warn = (...words) => heard.push(words.join(" "));"""
PIXELS = """
  const shown = document.querySelector(given[0]);
  const [width, height] = [shown.naturalWidth ?? shown.width, shown.naturalHeight ?? shown.height];
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(shown, 0, 0);
  return [height, width, btoa(String.fromCharCode(...context.getImageData(0, 0, width, height).data))];"""


class Engine:
    """A browser of which one page is open."""

    def __init__(self, send: Send, log: Callable[[], list[str]]) -> None:
        """`log` lists the errors of the page from its first line on; WebKit has none, and is listened to later."""
        self.send, self.log = send, log

    def visit(self, address: str) -> None:
        self.send("url", {"url": "about:blank"})
        self.send("url", {"url": address})
        self.run(LISTEN)
        self.wait_for_output()

    def run(self, script: str, *given: object) -> Any:
        """Run a script on the page; in it, `given` are the values."""
        script = f"return (async (...given) => {{ {script} }})(...arguments)"
        return self.send("execute/sync", {"script": script, "args": list(given)})

    def complaints(self) -> list[str]:
        return [*self.log(), *self.run("return heard")]

    def wait(self, condition: str) -> None:
        """Wait until an expression of JavaScript holds."""
        until = time.monotonic() + 60
        while not self.run(f"return {condition}"):
            assert time.monotonic() < until, f"{condition}: {self.run('return document.body.innerText')}"
            time.sleep(0.05)

    def wait_for_output(self) -> None:
        self.wait('document.querySelector("[data-state=still] #output-picture")?.checkVisibility()')

    def pixels(self, selector: str) -> NDArray[np.uint8]:
        """Return what a canvas or an image shows."""
        return as_array(self.run(PIXELS, selector))

    def drag(self, pointer: str, selector: str, *places: tuple[float, float]) -> None:
        """Press a pointer (mouse, touch) in an element, drag it, let it go; places are shares of width and height."""
        left, top, width, height = self.run(
            "const box = document.querySelector(given[0]).getBoundingClientRect();"
            "return [box.left, box.top, box.width, box.height]",
            selector,
        )
        moves = [
            {"type": "pointerMove", "duration": 50, "x": round(left + x * width), "y": round(top + y * height)}
            for x, y in places
        ]
        actions = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:], {"type": "pointerUp", "button": 0}]
        source = {"type": "pointer", "id": pointer, "parameters": {"pointerType": pointer}, "actions": actions}
        self.send("actions", {"actions": [source]})

    def shoot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.send("screenshot", {})))


def as_array(picture: tuple[int, int, str]) -> NDArray[np.uint8]:
    """Turn [height, width, RGBA in base64] into RGB."""
    height, width, values = picture
    return np.frombuffer(base64.b64decode(values), np.uint8).reshape(height, width, 4)[..., :3]


# ---- Firefox ----

LOGGED = """
  const logged = Services.console.getMessageArray().filter((each) => each instanceof Ci.nsIScriptError);
  return logged.filter((each) => each.sourceName.startsWith("http")).map((each) => each.errorMessage);"""


def find_firefox() -> str | None:
    return shutil.which("firefox-esr") or shutil.which("firefox")


@contextmanager
def firefox() -> Iterator[Engine]:
    """Run Firefox without a window within the block."""
    port, program = _free_port(), find_firefox()
    assert program is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        Path(profile, "user.js").write_text(f'user_pref("marionette.port", {port});\n')
        words = [program, "--headless", "--marionette", "--remote-allow-system-access", "--profile", profile]
        with _running(words), closing(_connect(port)) as connection, connection.makefile("rb") as answers:

            def receive() -> Any:
                length = b""
                while not length.endswith(b":"):
                    byte = answers.read(1)
                    assert byte, "Firefox has ended"
                    length += byte
                return json.loads(answers.read(int(length[:-1])))

            def command(name: str, values: Mapping[str, Any]) -> Any:
                content = json.dumps([0, 0, name, values]).encode()
                connection.sendall(b"%d:%s" % (len(content), content))
                _, _, error, result = receive()
                assert error is None, error
                return result.get("value")

            def log() -> list[str]:
                command("Marionette:SetContext", {"value": "chrome"})
                logged: list[str] = command("WebDriver:ExecuteScript", {"script": LOGGED, "args": []})
                command("Marionette:SetContext", {"value": "content"})
                return logged

            receive()  # what it is
            command("WebDriver:NewSession", {})
            yield Engine(lambda name, values: command(f"WebDriver:{IN_MARIONETTE[name]}", values), log)


# ---- WebKit ----


def has_webkit() -> bool:
    return bool(MINI_BROWSER and shutil.which("WebKitWebDriver") and shutil.which("Xvfb"))


@contextmanager
def webkit() -> Iterator[Engine]:
    """Run WebKit's MiniBrowser on a screen of its own within the block."""
    port = _free_port()
    screen = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    with _running(screen, stdout=subprocess.PIPE) as shown:
        assert shown.stdout is not None
        display = shown.stdout.readline().decode().strip()
        with _running(["WebKitWebDriver", f"--port={port}"], env=os.environ | {"DISPLAY": f":{display}"}):
            _connect(port).close()

            def ask(method: str, path: str, values: Mapping[str, Any] | None = None) -> Any:
                content = None if values is None else json.dumps(values).encode()
                request = urllib.request.Request(f"http://127.0.0.1:{port}/session{path}", content, method=method)
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)["value"]

            options = {"webkitgtk:browserOptions": {"binary": str(MINI_BROWSER), "args": ["--automation"]}}
            session = ask("POST", "", {"capabilities": {"alwaysMatch": options}})["sessionId"]
            try:
                yield Engine(
                    lambda name, values: ask("POST" if values else "GET", f"/{session}/{name}", values or None), list
                )
            finally:
                ask("DELETE", f"/{session}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _connect(port: int) -> socket.socket:
    """Connect as soon as something listens."""
    until = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.1)


@contextmanager
def _running(words: list[str], **choices: Any) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(words, **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | choices) as process:
        try:
            yield process
        finally:
            process.terminate()
