"""Around every request: its id, the check of Host and Origin, security headers, log, metrics, faults."""

import ipaddress
import logging
import re
import time
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pix2pix.serve.logs import log
from pix2pix.serve.metrics import Metrics
from pix2pix.serve.problems import PROBLEM_JSON, ProblemError, fault
from pix2pix.serve.uploads import ClientGoneError

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
}
EXPOSED = "X-Request-Id, Server-Timing, Retry-After"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Guard:
    """ASGI middleware; nothing of the service is reached without it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self.app, self.metrics = app, metrics
        self.hosts = {host.lower() for host in hosts}
        self.origins = {origin.lower() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        allowed = self._allowed_origin(exchange.headers)
        if allowed and allowed is not True:
            exchange.cors = str(allowed)
        try:
            await self._answer(exchange, allowed, receive)
        except ClientGoneError:
            exchange.status = 499  # nobody reads an answer
        except Exception as error:
            await exchange.fail(error)
        finally:
            self._note(exchange)

    async def _answer(self, exchange: "_Exchange", allowed: str | bool, receive: Receive) -> None:
        if not self._is_our_host(exchange.headers.get("host", "")):
            raise ProblemError(
                400, "unknown-host", "the Host of the request is not served here; --allow-host NAME allows it"
            )
        if not allowed:
            raise ProblemError(
                403, "foreign-origin", "requests of other pages are refused; --allow-origin ORIGIN allows one"
            )
        scope = exchange.scope
        if scope["method"] == "OPTIONS" and exchange.cors and "access-control-request-method" in exchange.headers:
            preflight = {"Access-Control-Allow-Methods": "GET, POST", "Access-Control-Allow-Headers": "Content-Type"}
            await Response(status_code=204, headers=preflight)(scope, receive, exchange.send)
            return
        if scope["method"] == "HEAD":  # the server sends the header alone
            scope = exchange.scope = {**scope, "method": "GET"}
        await self.app(scope, receive, exchange.send)

    def _is_our_host(self, host: str) -> bool:
        """Return whether a Host header is allowed: a known name, or an address, which no foreign page can fake."""
        name = _split_port(host.lower())
        return "*" in self.hosts or name in self.hosts or _is_address(name)

    def _allowed_origin(self, headers: Headers) -> str | bool:
        """Return the Origin of another page that is allowed, True for our own page or none, False for others."""
        origin = headers.get("origin")
        if origin is None:
            return True
        try:
            parts = urlsplit(origin.lower())
        except ValueError:
            return False
        default = _DEFAULT_PORTS.get(parts.scheme, "")
        if default and parts.netloc.removesuffix(default) == headers.get("host", "").lower().removesuffix(default):
            return True
        return origin if origin.lower() in self.origins or "*" in self.origins else False

    def _note(self, exchange: "_Exchange") -> None:
        """Count the request and log it."""
        scope, seconds = exchange.scope, time.monotonic() - exchange.began
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(route, str(exchange.status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        if route in ("/health/live", "/health/ready", "/metrics") and exchange.status < 500:
            return
        log(
            "request",
            logging.WARNING if exchange.status >= 500 else logging.INFO,
            request_id=exchange.request_id,
            client=(scope.get("client") or ("",))[0],
            method=exchange.method,
            path=scope["path"][:200],
            status=exchange.status,
            ms=round(1000 * seconds, 1),
            **exchange.state,
        )


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self._send, self.method = scope, send, scope["method"]
        self.headers = Headers(scope=scope)
        given = self.headers.get("x-request-id", "")
        self.request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        self.began = time.monotonic()
        self.status = 0
        self.cors = ""
        self.state: dict[str, Any] = {}
        """What routes add to the line of log."""
        scope.setdefault("state", {}).update(request_id=self.request_id, facts=self.state)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cross-Origin-Resource-Policy", "cross-origin" if self.cors else "same-origin")
            if self.cors:
                headers["Access-Control-Allow-Origin"] = self.cors
                headers["Access-Control-Expose-Headers"] = EXPOSED
                headers.add_vary_header("Origin")
        await self._send(message)

    async def fail(self, error: Exception) -> None:
        """Answer with a problem: what was raised, or 500 for a fault of ours."""
        if not isinstance(error, ProblemError):
            log("fault", logging.ERROR, exc_info=True, request_id=self.request_id)
            error = fault()
        if self.status:  # an answer has begun
            return
        body = error.body(self.request_id)
        response = Response(body, error.status, media_type=PROBLEM_JSON, headers=error.headers)
        await response(self.scope, _nothing, self.send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _split_port(host: str) -> str:
    """Return a Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and ":" in host else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
