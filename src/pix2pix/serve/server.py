"""Run the service: one process or several on one port, from the first signal to stop until everything is answered."""

import asyncio
import errno
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pix2pix.errors import RunError
from pix2pix.serve.app import Service, create_app
from pix2pix.serve.logs import log
from pix2pix.serve.options import Options

HEADER_SECONDS = 10.0
"""A connection that has not sent a whole request header for so long is closed."""
KEEP_ALIVE_SECONDS = 65
DRAIN_SECONDS = 1.0
"""After SIGTERM, new connections are still taken and told 503 for so long, so that a proxy notices."""
BACKLOG = 512
ALL_NETWORKS = ("0.0.0.0", "::", "")
"""Values of --host that listen to all networks."""


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that closes connections which do not complete the header of a request."""

    _timer: asyncio.TimerHandle | None = None
    _before: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_header()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is not None and self.cycle is not self._before:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._await_header()

    def _await_header(self) -> None:
        self._before = self.cycle

        def close() -> None:
            self._timer = None
            if self.cycle is self._before:
                self.transport.close()

        self._timer = self.loop.call_later(HEADER_SECONDS, close)


class Server(uvicorn.Server):
    """A server that `is_stopping` ends: what was accepted is answered first."""

    def __init__(self, config: uvicorn.Config, service: Service, stop: Callable[[], int | None]) -> None:
        super().__init__(config)
        self.service, self.stop = service, stop
        self._since: float | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command."""
        yield

    async def on_tick(self, counter: int) -> bool:
        number = self.stop()
        if number is not None and self._since is None:
            self._since = time.monotonic()
            log("stopping", signal=signal.Signals(number).name)
        if self._since is not None:
            drain = 0.0 if number == signal.SIGINT else DRAIN_SECONDS
            self.should_exit = time.monotonic() - self._since >= drain and not self.service.busy
        return await super().on_tick(counter)


def open_socket(options: Options) -> socket.socket:
    """Bind the address; nothing listens yet. Raises RunError if it is taken or not of this machine."""
    address = f"--host {options.host} --port {options.port}"
    try:
        family, _, _, _, place = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Without the protocol asyncio leaves Nagle's algorithm on, which delays answers by 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if sys.platform != "win32":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise RunError(f"{address}: cannot listen there ({error.strerror or error}); {_advise(error)}") from None
    return listener


def _advise(error: OSError) -> str:
    """Return what to type when an address cannot be bound."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "expected a --host of this machine, such as 127.0.0.1 or ::1, or 0.0.0.0 for all of its networks"
    if error.errno == errno.EACCES:
        return "ports below 1024 are kept for the system; choose a larger --port, or 0 for a free one"
    return "choose another --port, or 0 for a free one"


def address_of(listener: socket.socket, options: Options) -> str:
    """Return the address for a browser, such as http://127.0.0.1:8000."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(options.host, options.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{host}:{listener.getsockname()[1]}"


def allow_many_connections() -> None:
    """Raise the limit of open files as far as this process may."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_service(
    service: Service, listener: socket.socket, stop: Callable[[], int | None], ready: Callable[[], object]
) -> None:
    """Answer requests until `stop` returns a signal, and then what was accepted. Calls `ready` once it listens."""
    allow_many_connections()
    gc.collect()
    gc.freeze()  # the libraries and the models are garbage never, and searching them takes long
    config = uvicorn.Config(
        create_app(service),
        http=ImpatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(service.options.deadline) + 5,
    )
    service.is_stopping = lambda: stop() is not None
    server = Server(config, service, stop)

    async def run() -> None:
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready()
        await serving

    asyncio.run(run())
    if not server.started:
        raise RunError("the service did not start; the lines above say why")
    log("stopped")


def describe_start(service: Service, address: str) -> str:
    """Return what is served where, in words."""
    models = ", ".join(f"{name} ({model.description['task']})" for name, model in service.models.items())
    machine = next(iter(service.models.values())).engine.facts.machine
    open_to = "; other machines can reach it, without a password" if service.options.host in ALL_NETWORKS else ""
    return f"serving {models} at {address} on {machine}{open_to}; Ctrl-C stops"


def quiet_uvicorn() -> None:
    """Let only errors of uvicorn through; what it says of the start and the end, the command says."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
