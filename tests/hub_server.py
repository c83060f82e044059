"""A small HTTP server that speaks the part of the Hugging Face hub's API that is used, and records what is asked."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKENS = {"writes": "write", "reads": "read"}
"""Token -> what it may do, in the repositories of `me`."""
DROP = 0
"""In place of a status: close the connection without an answer."""


@dataclass
class Repository:
    """The commits of a repository, oldest first: the files of each; `tags` name some of them."""

    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b""}])
    tags: dict[str, int] = field(default_factory=dict)
    private: bool = False
    sizes: dict[str, int] = field(default_factory=dict)  # sizes that are claimed
    messages: list[str] = field(default_factory=list)

    def find(self, revision: str) -> int | None:
        if revision == "main":
            return len(self.commits) - 1
        numbers = {**self.tags, **{commit_id(n): n for n in range(len(self.commits))}}
        return numbers.get(revision)


def commit_id(number: int) -> str:
    return f"{number + 1:040x}"


@dataclass
class HubServer:
    """A hub: its repositories by name, what was asked of it, and answers that must fail."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    """Part of a path -> status of the answer, or DROP."""
    stored: dict[str, bytes] = field(default_factory=dict)
    """SHA-256 -> content, of large files."""


@contextmanager
def serve_hub() -> Iterator[HubServer]:
    """Serve until the block ends."""
    hub = HubServer()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def do_GET(self) -> None:
        self._route()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def _route(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        for part, status in self.hub.faults.items():
            if part in f"{self.command} {path}":
                return self._drop() if status == DROP else self._send(status, {"error": "said by the hub"})
        for pattern, answer in _ROUTES:
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                return answer(self, *found.groups())
        return self._send(404, {}, {"X-Error-Code": "RepoNotFound"})

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _may(self, owner: str = "me") -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return TOKENS.get(token) if owner == "me" else None

    def _find(self, name: str, revision: str) -> tuple[Repository, int] | None:
        """Find a revision, or send an error."""
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._may(name.partition("/")[0])):
            return self._send(401 if not self._may() else 404, {}, {"X-Error-Code": "RepoNotFound"})
        number = repository.find(revision)
        if number is None:
            return self._send(404, {}, {"X-Error-Code": "RevisionNotFound"})
        return repository, number

    # ---- reading -----------------------------------------------------------------------------------------------

    def info(self, name: str, revision: str | None) -> None:
        if found := self._find(name, revision or "main"):
            repository, number = found
            sizes = {name: len(content) for name, content in repository.commits[number].items()} | repository.sizes
            siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
            facts = {"id": name, "_id": "1", "sha": commit_id(number), "private": repository.private}
            self._send(200, {**facts, "siblings": siblings})

    def tree(self, name: str, revision: str) -> None:
        if found := self._find(name, revision):
            files = found[0].commits[found[1]]
            entries = [{"type": "file", "path": n, "size": len(c), "oid": _oid(c)} for n, c in files.items()]
            self._send(200, entries)

    def resolve(self, name: str, revision: str, file: str) -> None:
        if found := self._find(name, revision):
            content = found[0].commits[found[1]].get(file)
            if content is None:
                return self._send(404, {}, {"X-Error-Code": "EntryNotFound"})
            headers = {"X-Repo-Commit": commit_id(found[1]), "ETag": f'"{_oid(content)}"', "Accept-Ranges": "none"}
            return self._send(200, content, headers)

    # ---- writing -----------------------------------------------------------------------------------------------

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        allowed = self._may(asked["organization"])
        if allowed is None and self._may() is None:
            return self._send(
                401, {"error": "Invalid"}, {"X-Error-Message": "Invalid credentials in Authorization header"}
            )
        if allowed != "write":
            return self._send(403, {"error": "You don't have the rights"})
        if name in self.hub.repositories:
            return self._send(409, {"error": "You already created this model repo"})
        self.hub.repositories[name] = Repository(private=asked.get("visibility") == "private")
        return self._send(200, {"url": f"{self.hub.address}/{name}"})

    def validate(self) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        if self._may(name.partition("/")[0]) != "write":
            return self._send(403, {"error": "no permission"})
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(("safetensors", "onnx", "jpg")) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        return self._send(200, {"files": files})

    def batch(self, name: str) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{one['oid']}"}}}
            for one in json.loads(self.body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.stored[oid] = self.body
        self._send(200, {})

    def commit(self, name: str, revision: str) -> None:
        repository = self.hub.repositories[name]
        files = dict(repository.commits[-1])
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            match line["key"]:
                case "header":
                    repository.messages.append(value["summary"])
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.stored[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        repository.commits.append(files)
        oid = commit_id(len(repository.commits) - 1)
        self._send(200, {"commitUrl": f"{self.hub.address}/{name}/commit/{oid}", "commitOid": oid})


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


_ID = r"([\w.-]+/[\w.-]+)"
_ROUTES = [
    (rf"GET /api/models/{_ID}(?:/revision/([^/]+))?", _Handler.info),
    (rf"GET /api/models/{_ID}/tree/([^/]+)", _Handler.tree),
    (rf"(?:GET|HEAD) /{_ID}/resolve/([^/]+)/(.+)", _Handler.resolve),
    (r"POST /api/repos/create", _Handler.create),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"POST /api/models/{_ID}/preupload/([^/]+)", _Handler.preupload),
    (rf"POST /{_ID}\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /lfs/(\w+)", _Handler.store),
    (rf"POST /api/models/{_ID}/commit/([^/]+)", _Handler.commit),
]
