"""Names of models: what is a path is never asked of the hub, and a server on this machine records what is asked."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pix2pix.config.io import make_config
from pix2pix.model import Model, build_networks, make_model_config

COMMIT = "1" * 40
ASK = """
import json, sys
from pix2pix.errors import ModelError
from pix2pix.model import locate
for name in json.loads(sys.argv[1]):
    try:
        print(sorted(path.name for path in locate(name).iterdir()))
    except ModelError as error:
        print(error)
"""


@dataclass
class Hub:
    """A hub with the models `good/model` and `huge/model`."""

    address: str
    asked: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def locate(self, folder: Path, *names: str, **environment: str) -> tuple[list[str], str]:
        """Look names up in another process; return a line for each, and stderr."""
        own = {"HF_ENDPOINT": self.address, "HF_HOME": str(folder / ".cache"), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", ASK, json.dumps(names)],
            cwd=folder,
            env={**os.environ, **own, "no_proxy": "*", "HF_HUB_DISABLE_XET": "1", **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout.splitlines(), done.stderr


@pytest.fixture
def hub() -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def answer(self, *, body: bool) -> None:
            found.asked.append(self.path)
            content = self.content()
            self.send_response(404 if content is None else 200)
            for name, value in {"X-Repo-Commit": COMMIT, "ETag": '"abc"', "Accept-Ranges": "none"}.items():
                self.send_header(name, value)
            if content is None:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if body:
                self.wfile.write(content or b"")

        def content(self) -> bytes | None:
            path = self.path.partition("?")[0]
            if "/resolve/" in path and path.startswith("/good/model/"):
                return found.files[path.rpartition("/")[2]]
            if path.startswith("/api/models/good/model"):
                sizes: dict[str, int] = {name: len(content) for name, content in found.files.items()}
            elif path.startswith("/api/models/huge/model"):
                sizes = {"generator.safetensors": 10**12}
            else:
                return None
            if "/tree/" in path:
                entries: Any = [{"type": "file", "path": n, "size": s, "oid": "a" * 40} for n, s in sizes.items()]
                return json.dumps(entries).encode()
            siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
            return json.dumps({"id": "good/model", "_id": "1", "sha": COMMIT, "siblings": siblings}).encode()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


LOCAL = [
    "runs/facades", "./a/b", "/a/b", "../a/b", "~/b", "a", "a/b/c", "a/b/", "Runs/x", "models/facades",
    "run/facades", "rnus/facades", "other/model", "experiment/one", "experiments2/one", "x/tiny",
    "a/model.safetensors", "a/model.pth", "a/config.json", "a/..", "a\\b/c", "a/b c", "", "a/b\n", "hf://a", "hf://a/../b",
]  # fmt: skip


def test_what_looks_like_a_path_is_never_asked_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    for name in ("experiments", "other", "runs/tiny", "Documents"):
        (tmp_path / name).mkdir(parents=True)
    lines, talk = hub.locate(tmp_path, *LOCAL)
    assert len([line for line in lines if line]) >= len(LOCAL)
    assert talk == ""
    assert hub.asked == []
    assert any("did you mean runs/facades?" in line for line in lines if line.startswith("rnus/facades"))


def test_a_hub_id_is_asked_after_a_line_that_says_so(hub: Hub, tmp_path: Path) -> None:
    """Only the files of a model arrive; a pickle beside them is left."""
    settings = make_config(
        {
            "data": {"image_size": 64, "source_channels": 3, "target_channels": 3},
            "generator": {"base_channels": 2},
            "discriminator": {"base_channels": 2, "patch_size": 16},
        }
    )
    config = make_model_config(settings, "image", None, converts=False, epoch=1, validation={})
    Model(*build_networks(settings), config).save(tmp_path / "model")
    hub.files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    hub.files["evil.pkl"] = b"cposix\nsystem\n(S'touch owned'\ntR."
    (tmp_path / "here" / "good").mkdir(parents=True)
    lines, talk = hub.locate(tmp_path / "here", "hf://good/model", "nobody/nothing", "huge/model", "hf://good/model")
    files = "['config.json', 'discriminator.safetensors', 'generator.safetensors']"
    assert lines[0] == lines[3] == files
    assert lines[1].startswith("nobody/nothing: there is no such folder, and the hub did not give this model (")
    assert lines[2].startswith("huge/model: generator.safetensors has 1,000,000,000,000 bytes on the hub, more than")
    assert [line.partition(":")[0] for line in talk.splitlines() if "asking" in line] == [
        "good/model",
        "nobody/nothing",
        "huge/model",
    ]
    assert f"asking {hub.address} for this model" in talk
    assert not [path for path in hub.asked if "evil" in path or "/model" not in path.replace("/nothing", "/model")]
    hub.asked.clear()
    lines, talk = hub.locate(tmp_path / "here", "hf://good/model", "nobody/nothing", HF_HUB_OFFLINE="1")
    assert lines[0] == files
    assert lines[1].startswith("nobody/nothing: there is no such folder")
    assert hub.asked == []
    assert "asking" not in talk
