"""Downloads from a local server that cuts, redirects and stalls; hostile archives."""

import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pix2pix.cli import main
from pix2pix.config import Data
from pix2pix.data.checks.check import check
from pix2pix.data.preparation import catalog, transfer
from pix2pix.data.preparation.archive import extract
from pix2pix.data.preparation.download import Downloaded, download
from pix2pix.errors import ConfigError, DataError
from pix2pix.synthetic.facades import make_facades

Files = dict[str, bytes]
Entry = tuple[tarfile.TarInfo, bytes]


def tar_of(files: Files) -> bytes:
    """A .tar.gz with the folders on the way to the files, as tar makes it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for folder in sorted({parent.as_posix() for name in files for parent in Path(name).parents} - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def zip_of(files: Files) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A small published set: side-by-side facades."""
    root = tmp_path_factory.mktemp("published") / "facades"
    make_facades(root, train=6, val=2, test=2, size=64)
    return {path.relative_to(root.parent).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.png"))}


@pytest.fixture(scope="session")
def archive(files: Files) -> bytes:
    return tar_of(files)


# ---- the server --------------------------------------------------------------------------------------------------

TAG = '"first"'


class Server(ThreadingHTTPServer):
    """Answer by a script: a function for each request, the last one for all that follow. Remember what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Callable[[Handler], None]] = []
        self.asked: list[dict[str, str]] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/facades.tar.gz"

    def play(self, *script: "Callable[[Handler], None]") -> None:
        self.script, self.asked = list(script), []

    def handle_error(self, request: Any, address: Any) -> None:
        """Ignore clients that go away."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append({"path": self.path, **self.headers})
        step = self.server.script[0]
        if len(self.server.script) > 1:
            self.server.script.pop(0)
        step(self)

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def answer(self, status: int, body: bytes = b"", **headers: str | int) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            if value != "":
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


Step = Callable[[Handler], None]


def serving(body: bytes, *, tag: str = TAG, upto: int | None = None, ranges: bool = True, **headers: str | int) -> Step:
    """A good server, which sends `upto` bytes of each answer at most and then hangs up."""

    def step(handler: Handler) -> None:
        asked = handler.headers.get("Range", "")
        start = int(asked[6:-1]) if asked and ranges and handler.headers.get("If-Range") == tag else 0
        part = body[start:]
        more = {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        known = {"Content_Length": len(part), "ETag": tag}
        handler.answer(206 if start else 200, part[:upto], **known | more | headers)
        handler.close_connection = True

    return step


def status(code: int, **headers: str | int) -> Step:
    return lambda handler: handler.answer(code, b"sorry", **headers)


def redirecting(target: str) -> Step:
    return lambda handler: handler.answer(302, Location=target)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def fetch(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Downloaded]:
    """Download the server's archive into `set`, without pauses between tries."""
    monkeypatch.setattr(transfer, "PAUSE", 0)

    def call(**changes: Any) -> Downloaded:
        return download(**{"name": "facades", "output": tmp_path / "set", "url": server.url} | changes)

    return call


def contents(root: Path) -> Files:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_is(root: Path, files: Files) -> None:
    there = contents(root)
    record = json.loads(there.pop("download.json"))
    assert there == {name.removeprefix("facades/"): content for name, content in files.items()}
    assert record["pairs"] == {"train": 6, "val": 2, "test": 2}
    assert sorted(path.name for path in root.parent.iterdir() if "set" in path.name) == ["set"]


# ---- transfers ---------------------------------------------------------------------------------------------------


def test_a_good_server(server: Server, fetch: Any, files: Files, archive: bytes, tmp_path: Path) -> None:
    server.play(serving(archive))
    seen: list[tuple[int, int, str]] = []
    done = fetch(digest=hashlib.sha256(archive).hexdigest().upper(), progress=lambda *step: seen.append(step))
    assert_is(done.path, files)
    assert (done.new, done.note) == (True, "")
    assert done.record["sha256"] == hashlib.sha256(archive).hexdigest()
    assert done.record["direction"] == "BtoA"
    assert (len(archive), len(archive), "downloading") in seen
    assert seen[-1][1:] == (len(archive), "unpacking")
    assert check(Data(path=str(done.path))).ok
    server.play(status(500))
    assert not fetch().new  # and asks nobody
    assert not server.asked
    with pytest.raises(ConfigError, match="holds facades from"):
        fetch(url=server.url + "?other")


def test_resume_after_each_cut(server: Server, fetch: Any, files: Files, archive: bytes) -> None:
    """Each answer brings a part; the next request asks for the rest of the same file."""
    server.play(serving(archive, upto=len(archive) // 7))
    assert_is(fetch().path, files)
    starts = [int(asked.get("Range", "bytes=0-")[6:-1]) for asked in server.asked]
    assert len(starts) > 7
    assert starts == sorted(set(starts))
    assert all(asked["If-Range"] == TAG for asked in server.asked[1:])


@pytest.mark.parametrize(
    "kind", ["no ranges", "no validator", "another file", "wrong offset", "416", "206 of another file"]
)
def test_restart_where_nothing_can_be_resumed(
    kind: str, server: Server, fetch: Any, files: Files, archive: bytes
) -> None:
    older = archive[:4] + os.urandom(len(archive) - 4)
    first = serving(older if kind in ("another file", "206 of another file") else archive, upto=len(archive) // 2)
    whole = serving(archive, tag='"second"', ranges=False)
    server.play(
        *{
            "no ranges": [first, whole],
            "no validator": [serving(archive, upto=len(archive) // 2, ETag=""), whole],
            "another file": [first, whole],
            "wrong offset": [
                first,
                lambda h: h.answer(206, archive[9:], ETag=TAG, Content_Range="bytes 9-99/*"),
                whole,
            ],
            "416": [first, status(416), whole],
            "206 of another file": [first, part_of_another_file(archive), whole],
        }[kind]
    )
    assert_is(fetch().path, files)
    if kind == "no validator":
        assert "Range" not in server.asked[1]


def part_of_another_file(body: bytes) -> Step:
    """The rest of another file, as its ETag tells, though If-Range asked for the first one's."""

    def step(handler: Handler) -> None:
        start = int(handler.headers["Range"][6:-1])
        where = f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.answer(206, body[start:], ETag='"second"', Content_Range=where)

    return step


def test_later_calls_resume(server: Server, fetch: Any, files: Files, archive: bytes, tmp_path: Path) -> None:
    half = len(archive) // 2
    server.play(serving(archive, upto=half), status(503))
    with pytest.raises(
        DataError, match=r"answers 503 .*set\.download keeps the partial download: run the same command again"
    ):
        fetch()
    assert len(server.asked) == 1 + transfer.TRIES
    server.play(status(404))
    with pytest.raises(DataError, match="answers 404"):
        fetch()
    server.play(serving(archive))
    assert_is(fetch().path, files)
    assert server.asked[0]["Range"] == f"bytes={half}-"


@pytest.mark.parametrize("after", [0, 5000])
def test_resume_after_a_stall(
    after: int, server: Server, fetch: Any, files: Files, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", 0.3)

    def stalling(handler: Handler) -> None:
        if after:
            serving(archive, upto=after)(handler)
        server.over.wait(20)

    began = time.monotonic()
    server.play(*[stalling] * (1 if after else 0), serving(archive)) if after else server.play(stalling)
    if after:
        assert_is(fetch().path, files)
        assert server.asked[1]["Range"] == f"bytes={after}-"
    else:
        with pytest.raises(DataError, match="timed out"):
            fetch()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (status(404), "answers 404"),
        (status(403), "answers 403"),
        (status(204), "answers 204"),
        (status(206), "answers 206"),
        (lambda h: h.answer(200, b"<html>log in</html>", Content_Type="text/html"), "is not a .tar.gz or .zip archive"),
        (redirecting("/facades.tar.gz"), "Exceeded maximum allowed redirects"),
        (redirecting("file:///etc/passwd"), "unsupported protocol"),
        (redirecting("ftp://127.0.0.1/x"), "unsupported protocol"),
        (
            lambda h: h.answer(200, b"\x1f\x8b\x08\x00 no more", Content_Length=10**18),
            "offers 1,000,000,000,000,000,000",
        ),
        (lambda h: h.answer(200, b"\x1f\x8b\x08\x00" + bytes(99)), "is damaged"),
        (lambda h: h.wfile.write(b"SSH-2.0-server\r\n\r\n"), "cannot be fetched"),
        (lambda h: None, "cannot be fetched"),
    ],
)
def test_addresses_that_give_no_archive(step: Step, words: str, server: Server, fetch: Any, tmp_path: Path) -> None:
    server.play(step)
    with pytest.raises(DataError, match=words) as error:
        fetch()
    assert "facades could not be downloaded" in str(error.value)
    assert server.url in str(error.value)
    assert "--url FILE" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_redirects_are_followed(server: Server, fetch: Any, files: Files, archive: bytes) -> None:
    server.play(redirecting("/elsewhere"), serving(archive, upto=9000), redirecting("/elsewhere"), serving(archive))
    assert_is(fetch().path, files)
    assert [asked["path"] for asked in server.asked[1::2]] == ["/elsewhere"] * 2
    assert server.asked[3]["Range"] == "bytes=9000-"


def test_plain_http_needs_a_hash(
    server: Server, fetch: Any, files: Files, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a redirect leads from https; here, this machine stands for https."""
    plain = server.url.replace("127.0.0.1", "127.0.0.2")
    server.play(redirecting(plain), serving(archive))
    with pytest.raises(DataError, match=r"leads to http://127\.0\.0\.2:.*plain http needs the --sha256"):
        fetch()
    assert len(server.asked) == 1
    monkeypatch.setattr(transfer, "is_open_to_all", lambda url: pytest.fail("the hash is known"))
    server.play(serving(archive))
    assert_is(fetch(digest=hashlib.sha256(archive).hexdigest()).path, files)
    assert not any(url.startswith("http:") for name in catalog.CATALOG for url in catalog.addresses_of(name))


def test_a_body_without_an_end(
    server: Server, fetch: Any, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "MAX_UNNAMED_BYTES", 2000)
    server.play(serving(archive, Content_Length=""))
    with pytest.raises(DataError, match="names no length and sends more than 2,000 bytes"):
        fetch()
    assert list(tmp_path.iterdir()) == []


def test_another_encoding_is_refused(server: Server, fetch: Any, archive: bytes, tmp_path: Path) -> None:
    """Nothing unpacks it, so that it cannot be a bomb."""
    server.play(serving(gzip.compress(bytes(10**6)), Content_Encoding="gzip"))
    with pytest.raises(DataError, match="sends the file in another encoding"):
        fetch()
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_drips_is_given_up(
    server: Server, fetch: Any, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "SLOW_SECONDS", 0.3)
    monkeypatch.setattr(transfer, "SLOWEST", 10_000)

    def dripping(handler: Handler) -> None:
        handler.answer(200, b"", Content_Length=len(archive), ETag=TAG)
        for byte in archive:
            handler.wfile.write(bytes([byte]))
            if server.over.wait(0.01):
                return

    server.play(dripping)
    began = time.monotonic()
    with pytest.raises(DataError, match=r"sends less than 10,000 bytes a second.*keeps the partial download"):
        fetch()
    assert time.monotonic() - began < 5


def test_names_that_windows_takes_for_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("set/nul", "set/CON.png", "set/a:b", "set/a. ", "set/a?")):
        (tmp_path / "set.zip").write_bytes(tar_with(GOOD, entry(name)))
        with monkeypatch.context() as patch:
            patch.setattr("pix2pix.data.preparation.archive.sys.platform", "win32")
            with pytest.raises(DataError, match="is not possible on Windows"):
                extract(tmp_path / "set.zip", tmp_path / f"out-{number}")


def test_a_body_without_a_length(server: Server, fetch: Any, files: Files, archive: bytes) -> None:
    """It ends when the connection does: only the archive itself tells whether it is whole."""
    server.play(serving(archive, Content_Length=""))
    assert_is(fetch().path, files)


def test_a_body_without_a_length_that_is_cut(server: Server, fetch: Any, archive: bytes, tmp_path: Path) -> None:
    server.play(serving(archive, Content_Length="", upto=len(archive) - 9))
    with pytest.raises(DataError, match="is damaged"):
        fetch()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room(
    server: Server, fetch: Any, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=len(archive) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    server.play(serving(archive))
    with pytest.raises(DataError, match=rf"offers {len(archive):,} bytes, more than the {usage.free:,} that .*set\.d"):
        fetch()
    assert len(server.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_while_unpacking(
    server: Server, fetch: Any, files: Files, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    server.play(serving(archive))
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", fail)
        with pytest.raises(OSError, match=r"No space left on device: '.*set\.partial"):
            fetch()
    assert [path.name for path in tmp_path.iterdir()] == ["set.download"]
    assert_is(fetch().path, files)
    assert len(server.asked) == 1  # the archive was there already


def test_folders_of_the_user_are_kept(server: Server, fetch: Any, archive: bytes, tmp_path: Path) -> None:
    """A file of the user beside what has arrived, and one that appears in the output meanwhile."""
    for path in (tmp_path / "set.download/notes.txt", tmp_path / "set/thesis.txt"):
        path.parent.mkdir()
        path.write_text("mine")
    (tmp_path / "set").rename(tmp_path / "later")

    def step(handler: Handler) -> None:
        (tmp_path / "later").rename(tmp_path / "set")
        serving(archive)(handler)

    server.play(step)
    with pytest.raises(ConfigError, match="is in use since the download began"):
        fetch()
    assert contents(tmp_path / "set") == {"thesis.txt": b"mine"}
    (tmp_path / "set").rename(tmp_path / "later")
    assert fetch().new
    assert len(server.asked) == 1  # the archive was there already
    assert contents(tmp_path / "set.download") == {"notes.txt": b"mine"}


def test_mirrors_sizes_and_hashes(
    server: Server, fetch: Any, files: Files, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One mirror is gone, one offers another size, one has other bytes, one is good."""
    bad = bytearray(archive)
    bad[len(bad) // 2] ^= 1
    by_path = {
        "/gone": status(404),
        "/long": serving(archive + b"x"),
        "/bad": serving(bytes(bad)),
        "/good": serving(archive),
    }
    server.play(lambda handler: by_path[handler.path.removesuffix("/facades.tar.gz")](handler))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
        hosts = [closed, *(server.url.replace("/facades.tar.gz", path) for path in by_path)]
        monkeypatch.setattr(catalog, "HOSTS", hosts)
        about = catalog.CATALOG["facades"]._replace(size=len(archive), sha256=hashlib.sha256(archive).hexdigest())
        monkeypatch.setitem(catalog.CATALOG, "facades", about)
        done = fetch(url=None)
        assert_is(done.path, files)
        assert done.record["from"] == f"{hosts[-1]}/facades.tar.gz"
        monkeypatch.setattr(catalog, "HOSTS", hosts[:-1])
        with pytest.raises(DataError) as error:
            fetch(url=None, output=tmp_path / "other")
    for words in ("cannot be fetched", "answers 404", f"expected {len(archive):,}", f"expected {about.sha256}"):
        assert words in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_and_run_again(server: Server, files: Files, archive: bytes, tmp_path: Path) -> None:
    half = len(archive) // 2

    def hanging(handler: Handler) -> None:
        serving(archive, upto=half)(handler)
        server.over.wait(60)

    server.play(hanging, serving(archive))
    command = [sys.executable, "-m", "pix2pix", "data", "download", "facades", "--url", server.url, "--output", "set"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
    while process.poll() is None and not any(path.stat().st_size == half for path in tmp_path.glob("set.download/*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "set").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "set\n")
    assert server.asked[-1]["Range"] == f"bytes={half}-"
    assert_is(tmp_path / "set", files)


def test_ctrl_c_says_where_to_go_on(
    server: Server, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(handler: Handler) -> None:
        handler.answer(200, archive[:5000], Content_Length=len(archive), ETag=TAG)
        while not any(path.stat().st_size == 5000 for path in tmp_path.glob("facades.download/*")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        server.over.wait(20)

    monkeypatch.chdir(tmp_path)
    server.play(interrupt)
    with pytest.raises(SystemExit) as end:
        main(["data", "download", "--url", server.url])
    assert end.value.code == 130
    assert "interrupted and saved in facades.download; run the same command again" in capsys.readouterr().err


# ---- names, files and messages --------------------------------------------------------------------------------------


def test_a_file_fetched_by_hand(files: Files, tmp_path: Path) -> None:
    for number, (name, data) in enumerate({"a.tar.gz": tar_of(files), "b.zip": zip_of(files)}.items()):
        (tmp_path / name).write_bytes(data)
        for url in (str(tmp_path / name), (tmp_path / name).as_uri()):
            done = (
                download("facades", tmp_path / f"{number}" / "set", url=url)
                if number
                else download(None, tmp_path / f"{number}{url.count(':')}" / "set", url=url)
            )
            assert len(contents(done.path)) == len(files) + 1
        assert (tmp_path / name).read_bytes() == data
    with pytest.raises(DataError, match="has the SHA-256"):
        download("facades", tmp_path / "hash", url=str(tmp_path / "b.zip"), digest="0" * 64)
    with pytest.raises(DataError, match="no such file"):
        download("facades", tmp_path / "hash", url="file:///no/such.zip")
    assert not (tmp_path / "hash").exists()


def test_no_layout_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "odd.zip").write_bytes(zip_of({"odd/left/1.png": b"x", "odd/right/1.png": b"y", "odd/.DS_Store": b""}))
    done = download(None, tmp_path / "odd", url=str(tmp_path / "odd.zip"))
    assert done.note.startswith(f"{tmp_path / 'odd'}: no known layout of pairs, it has the folders left, right")
    assert sorted(contents(done.path)) == ["download.json", "left/1.png", "right/1.png"]
    assert done.record["hidden_files_left_out"] == 1


def test_misuse(tmp_path: Path) -> None:
    for name, changes, words in (
        (None, {}, r"give the name of a set \(facades"),
        ("facade", {}, "did you mean `facades`?"),
        ("horses", {}, "known: facades, maps"),
        ("facades", {"digest": "abc"}, "64 hexadecimal digits"),
        ("facades", {"url": "ftp://host/x.zip"}, "http, https or file"),
        ("facades", {"url": "http:///x.zip"}, "and a host"),
        ("facades", {"url": "http://[/x.zip"}, "is not an address"),
        (None, {"url": "http://[/x.zip"}, "is not an address"),
        ("facades", {"output": Path(".")}, "the name of a folder to create"),
        ("../up", {"url": "http://host/x.zip"}, "not a name for a set"),
        (None, {"url": "http://host/"}, "not a name for a set"),
        (None, {"url": "http://host/x.zip"}, "anyone on the way can change plain http; give https, or also --sha256"),
    ):
        with pytest.raises(ConfigError, match=words):
            download(name, **{"output": tmp_path / "set"} | changes)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds files that are not a downloaded set"):
        download("facades", tmp_path / "mine")
    assert sorted(contents(tmp_path)) == ["mine/thesis.txt"]


def test_the_catalog() -> None:
    assert list(catalog.CATALOG) == ["facades", "maps", "cityscapes", "edges2shoes", "edges2handbags", "night2day"]
    for name, about in catalog.CATALOG.items():
        assert about.size is None or about.rounded_size == f"{about.size / 1e6:.0f} MB"
        assert all(url.endswith(f".berkeley.edu/{url.split('/', 3)[3]}") for url in catalog.addresses_of(name))
        assert about.sha256 is None or len(about.sha256) == 64


# ---- hostile archives --------------------------------------------------------------------------------------------


def tar_with(*entries: Entry, tail: bytes = b"") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for entry, content in entries:
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(data.getvalue() + tail)


def entry(
    name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, **facts: Any
) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.type, made.size = kind, len(content) if kind == tarfile.REGTYPE else 0
    for field, value in facts.items():
        setattr(made, field, value)
    return made, content


def raw_tar(size: bytes, kind: bytes, zeros: int) -> bytes:
    """A header that claims what it likes, and zeros."""
    header = bytearray(512)
    header[:1] = b"x"
    header[100:108] = b"0000644\0"
    header[124:136] = size.ljust(12, b"\0")
    header[156:157] = kind
    header[257:265] = b"ustar\00000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return gzip.compress(bytes(header) + bytes(zeros))


def zip_with(*members: tuple[zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for info, content in members:
            archive.writestr(info, content, compress_type=method)
    return data.getvalue()


def member(name: str, mode: int = 0) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made


def encrypted() -> bytes:
    data = bytearray(zip_with((member("a"), b"x")))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def crowded_zip() -> bytes:
    """A directory of 2 MB, which zipfile reads at once."""
    data = bytearray(zip_with((member("a"), b"x")))
    end = data.index(b"PK\x05\x06")
    padded = data[:end] + bytes(2 * 2**20)
    closing = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 2 * 2**20, end, 0)
    return bytes(padded + closing)


def misplaced_zip() -> bytes:
    """Its member begins ten bytes before the file."""
    data = bytearray(zip_with((member("a"), b"x")))
    data[-6:-2] = struct.pack("<L", struct.unpack("<L", data[-6:-2])[0] + 10)
    return bytes(data)


GOOD = entry("set/train/1.png")
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "symlink": (lambda: tar_with(GOOD, entry("set/l", kind=tarfile.SYMTYPE, linkname="/etc")), "a link or a device"),
    "hard link": (lambda: tar_with(GOOD, entry("set/l", kind=tarfile.LNKTYPE, linkname="set/train/1.png")), "a link"),
    "device": (lambda: tar_with(GOOD, entry("set/d", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)), "a device"),
    "pipe": (lambda: tar_with(GOOD, entry("set/p", kind=tarfile.FIFOTYPE)), "a device"),
    "sparse": (lambda: raw_tar(b"0", b"S", 1024), "a link or a device|damaged"),
    "absolute": (lambda: tar_with(GOOD, entry("/tmp/evil")), "'/tmp/evil' does not lead to a file inside"),
    "up": (lambda: tar_with(GOOD, entry("set/../../evil")), "does not lead to a file inside"),
    "up by backslash": (lambda: tar_with(GOOD, entry("set\\..\\..\\evil")), "does not lead to a file inside"),
    "drive": (lambda: tar_with(GOOD, entry("C:\\evil")), "does not lead to a file inside"),
    "control characters": (lambda: tar_with(GOOD, entry("set/a\x1b[2Jb")), "does not lead to a file inside"),
    "deep": (lambda: tar_with(GOOD, entry("a/" * 20 + "b")), "does not lead to a file inside"),
    "duplicates": (lambda: tar_with(GOOD, GOOD), "two members named"),
    "case": (lambda: tar_with(entry("a/B.png"), entry("a/b.png")), "two members named 'a/b.png'"),
    "case of folders": (lambda: tar_with(entry("A/1.png"), entry("a/2.png")), "two members named 'a'"),
    "Unicode forms": (lambda: tar_with(entry("\u00e9.png"), entry("e\u0301.png")), "two members named"),
    "a folder where a file is": (lambda: tar_with(entry("a"), entry("a/b")), "two members named 'a'"),
    "a file where a folder is": (lambda: tar_with(entry("a/b"), entry("a")), "two members named 'a'"),
    "the folder itself as a file": (lambda: tar_with(entry("./.")), "two members named '.'"),
    "bomb": (lambda: tar_with(GOOD, entry("set/zeros", bytes(8 * 2**20))), "more than 100 times its size"),
    "hidden bomb": (lambda: tar_with(GOOD, entry("set/.zeros", bytes(8 * 2**20))), "more than 100 times its size"),
    "bomb behind the end": (lambda: tar_with(GOOD, tail=bytes(8 * 2**20)), "more than 100 times its size"),
    "long name bomb": (lambda: raw_tar(b"%011o" % 2**23, b"L", 2**23), "headers of more"),
    "pax bomb": (lambda: raw_tar(b"%011o" % 2**23, b"x", 2**23), "headers of more"),
    "huge claim": (lambda: raw_tar(b"%011o" % (2**33 - 1), b"0", 1024), "damaged"),
    "negative size": (lambda: raw_tar(b"\xff" * 12, b"0", 4096), "damaged"),
    "broken header": (lambda: broken_header(), "where a member should begin"),
    "no files": (lambda: tar_with(entry("empty", b"", tarfile.DIRTYPE)), "holds no files"),
    "not a tar": (lambda: gzip.compress(os.urandom(5000)), "damaged"),
    "cut": (lambda: tar_with(entry("a", os.urandom(9999)))[:-2000], "damaged"),
    "checksum": (lambda: with_bad_checksum(tar_with(GOOD)), "damaged"),
    "zip symlink": (lambda: zip_with((member("l", stat.S_IFLNK | 0o777), b"/etc/passwd")), "a link or a device"),
    "zip device": (lambda: zip_with((member("d", stat.S_IFCHR), b"")), "a link or a device"),
    "zip up": (lambda: zip_with((member("../evil"), b"x")), "does not lead to a file inside"),
    "zip absolute": (lambda: zip_with((member("//tmp/evil"), b"x")), "does not lead to a file inside"),
    "zip bomb": (lambda: zip_with((member("zeros"), bytes(8 * 2**20))), "more than 100 times its size"),
    "zip bomb by bzip2": (lambda: zip_with((member("z"), b"x"), method=zipfile.ZIP_BZIP2), "another method"),
    "zip encrypted": (encrypted, "encrypted"),
    "zip directory": (crowded_zip, "a directory of more than"),
    "zip cut": (lambda: zip_with((member("a"), os.urandom(9999)))[:-50], "damaged"),
    "zip offset": (misplaced_zip, "damaged"),
    "zip twice": (lambda: zip_with((member("a/./b"), b"x"), (member("a/b"), b"y")), "two members named"),
    "empty": (lambda: b"", "is not a .tar.gz or .zip"),
    "other": (lambda: b"Rar!\x1a\x07\x00", "is not a .tar.gz or .zip"),
}  # fmt: skip


def broken_header() -> bytes:
    plain = gzip.decompress(tar_with(GOOD, entry("set/train/2.png")))
    damaged = bytearray(plain)
    damaged[1024] ^= 1  # the second member's name, so that its checksum is wrong; gzip's is right
    return gzip.compress(bytes(damaged))


def with_bad_checksum(data: bytes) -> bytes:
    return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pix2pix.data.preparation.archive.FREE_BYTES", 2**20
    )  # smaller, for bombs that are quick to build
    monkeypatch.setattr("pix2pix.data.preparation.archive.MAX_ZIP_DIRECTORY_BYTES", 2**20)
    build, words = HOSTILE[kind]
    (tmp_path / "set.zip").write_bytes(build())
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=words) as error:
        download(None, tmp_path / "place" / "set", url=str(tmp_path / "set.zip"))
    assert str(error.value).startswith(f"{tmp_path / 'set.zip'}: ")
    assert set(tmp_path.rglob("*")) - {tmp_path / "place"} == before


def test_limit_on_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pix2pix.data.preparation.archive.MAX_MEMBERS", 50)
    (tmp_path / "many.zip").write_bytes(tar_with(*(entry(f"{number}.png") for number in range(51))))
    with pytest.raises(DataError, match="more than 50 members"):
        download(None, tmp_path / "many", url=str(tmp_path / "many.zip"))
    (tmp_path / "some.zip").write_bytes(tar_with(*(entry(f"{number}.png") for number in range(50))))
    assert download(None, tmp_path / "some", url=str(tmp_path / "some.zip")).record["files"] == 50


def test_large_files_and_long_names(tmp_path: Path) -> None:
    """Long names need a header of their own; content that is no multiple of any block comes out to the byte."""
    rng = np.random.default_rng(0)
    sizes = (0, 1, 511, 512, 513, 65536, 3 * 65536, 1_000_003)
    files = {f"{'n' * 90}/{'m' * 90}/{size}.png": rng.bytes(size) for size in sizes}
    for suffix, data in {"tar.gz": tar_of(files), "zip": zip_of(files)}.items():
        (tmp_path / f"long.{suffix}").write_bytes(data)
        done = download(None, tmp_path / suffix.replace(".", "-"), url=str(tmp_path / f"long.{suffix}"))
        there = contents(done.path)
        assert {name: there[Path(name).name] for name in files} == files
