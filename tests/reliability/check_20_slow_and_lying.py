"""Slow clients, lying lengths, paths and addresses in every field, foreign Host and Origin."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pix2pix.serve import server, uploads
from pix2pix.serve.guard import Guard
from tests.reliability import served

TITLE = "slow clients, lying lengths, paths and URLs in every field, foreign Host and Origin: health answers throughout"
CANARY = "canary-1f3870be"
HEALTH_SECONDS = 3.0  # on a busy machine; it takes a few milliseconds


def check(work: Path, full: bool) -> str:
    return measure(work, 200 if full else 30, 2.0 if full else 0.7)


def control(work: Path) -> str:
    """A service that takes any Host."""
    return measure(work, 4, 0.5, lambda: setattr(Guard, "_is_our_host", lambda self, host: True))


def measure(work: Path, slow: int, seconds: float, prepare: Callable[[], object] = lambda: None) -> str:
    served.save_model(work)
    (work / "secret.txt").write_text(CANARY, encoding="utf-8")

    def impatient() -> None:
        server.HEADER_SECONDS = uploads.IDLE_SECONDS = seconds
        prepare()

    with served.serving(work, "--queue", "8", prepare=impatient) as service, trap() as (address, visits):
        with watched(service) as waits:
            closed = slow_clients(service, slow, seconds)
            lied = lying_clients(service)
            leaks = [name for name, answer in hostile_fields(service, work, address) if CANARY.encode() in answer.body]
            let_in = foreign(service)
        good = service.send(served.pictures(1)[0]).status
        code = service.stop()
    figures = (
        f"{closed} of {slow} slow clients closed, {lied} lying ones answered or closed, {len(visits)} URLs fetched, "
        f"{len(leaks)} files read, {len(let_in)} foreign requests served; health at most {max(waits):.2f} s"
    )
    assert closed == slow, figures
    assert [*visits, *leaks, *let_in] == [], f"{figures}: {[*leaks, *let_in]}"
    assert max(waits) < HEALTH_SECONDS, figures
    assert (good, code) == (200, 0), f"{figures}; afterwards {good}, exit {code}"
    return figures


@contextmanager
def trap() -> Iterator[tuple[str, list[bytes]]]:
    """Listen on an address that nobody should visit; yield it and the list of the visits."""
    visits: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def wait() -> None:
            try:
                while True:
                    visits.append(listener.accept()[0].recv(100))
            except OSError:
                return

        threading.Thread(target=wait, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x.png", visits
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def watched(service: served.Running) -> Iterator[list[float]]:
    """Ask for the health again and again within the block; yield the seconds of the answers."""
    waits: list[float] = [0.0]
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                answer = service.get("/health/live")
                waits.append(answer.seconds if answer.status == 200 else 1e9)
            except OSError:
                waits.append(1e9)
            time.sleep(0.05)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield waits
    finally:
        done.set()
        thread.join()


def slow_clients(service: served.Running, count: int, seconds: float) -> int:
    """Open connections that send nothing, half a header, half a body; return how many the service closed."""
    head = b"POST /v1/translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 5000\r\n"
    starts = [b"", head, head + b"\r\n", head + b"\r\n" + b"x" * 100]
    connections = [socket.create_connection(("127.0.0.1", service.port), timeout=seconds + 15) for _ in range(count)]
    for number, connection in enumerate(connections):
        connection.sendall(starts[number % len(starts)])
    closed = 0
    for connection in connections:
        with connection:
            try:
                while connection.recv(4096):
                    pass
                closed += 1
            except ConnectionError:
                closed += 1
            except OSError:
                continue
    return closed


def lying_clients(service: served.Running) -> int:
    """Send bodies that are longer or shorter than their length; return how many were answered or closed."""
    body, done = served.pictures(1)[0], 0
    head = "POST /v1/translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n"
    lengths = ["10", "99999999999999999999", "-5", "abc", f"{len(body)}\r\nContent-Length: 3", str(2 * len(body))]
    for length in lengths:
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
            try:
                connection.sendall(head.format(length).encode() + body)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65536)
                done += 1
            except ConnectionError:
                done += 1
    assert done == len(lengths)
    return done


def hostile_fields(service: served.Running, work: Path, address: str) -> Iterator[tuple[str, served.Answer]]:
    """Put a path and an address into every field."""
    secret = str(work / "secret.txt")
    for value in (secret, f"file://{secret}", address, f"../../../../../../..{secret}"):
        for name, kind in (("source", "image/png"), ("url", "text/plain"), (value, "image/png")):
            form = (
                f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{value}"\r\n'
                f"Content-Type: {kind}\r\n\r\n{value}\r\n--b--\r\n"
            )
            yield f"form {name}", service.send(form.encode(), Content_Type="multipart/form-data; boundary=b")
        yield "body", service.send(value.encode())
        quoted = value.replace("/", "%2F")
        for path in (f"/page/{quoted}", f"/v1/models/{quoted}/translate", f"/v1/models/model/examples/0/{quoted}"):
            yield path, service.get(path)
        yield "query", service.send(served.pictures(1)[0], f"/v1/translate?url={quoted}&path={quoted}&source={quoted}")
        for header in ("X-Original-URL", "X-Accel-Redirect", "Referer", "X-Forwarded-Host", "Content-Location"):
            yield header, service.send(served.pictures(1)[0], **{header: value})


def foreign(service: served.Running) -> list[str]:
    """Return the foreign Hosts and Origins that were served."""
    picture, let_in = served.pictures(1)[0], []
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:80", "x@localhost"):
        try:
            if service.send(picture, Host=host).status != 400:
                let_in.append(f"Host {host}")
        except http.client.HTTPException:
            continue
    for origin in ("https://evil.example", "null", "http://localhost.evil.example", "file://", "http://127.0.0.1:1"):
        if service.send(picture, Origin=origin).status != 403:
            let_in.append(f"Origin {origin}")
    return let_in
