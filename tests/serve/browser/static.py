"""A plain server of static files, as for an exported page."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar


class Plain(SimpleHTTPRequestHandler):
    """Knows the oldest types alone, neither .mjs nor .wasm; compresses nothing and says nothing of caching."""

    KNOWN: ClassVar = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

    def guess_type(self, path: Any) -> str:
        return self.KNOWN.get(Path(path).suffix, "application/octet-stream")

    def log_message(self, *_: Any) -> None:
        pass


class Isolated(Plain):
    """Sends what a browser asks for before it allows threads."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


@contextmanager
def serve_folder(folder: Path, kind: type[Plain] = Plain) -> Iterator[str]:
    """Serve a folder within the block; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(kind, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
