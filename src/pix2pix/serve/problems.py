"""Errors of the service as problem details, application/problem+json (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

PROBLEM_JSON = "application/problem+json"


class ProblemError(Exception):
    """A request that is not answered as it asked: a status, a stable `kind` for programs, and one sentence."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.headers = status, kind, detail, dict(headers or {})

    def body(self, request_id: str) -> bytes:
        """Return the JSON document."""
        facts: dict[str, Any] = {
            "type": f"urn:pix2pix:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        return json.dumps(facts).encode()


def queue_full(limit: int, seconds: float) -> ProblemError:
    """Return the answer to a request that finds the queue full."""
    return ProblemError(
        429,
        "queue-full",
        f"{limit} requests are waiting already, the most that this service accepts; try again later",
        {"Retry-After": retry_after(seconds)},
    )


def stopping() -> ProblemError:
    """Return the answer to a request that comes after the request to stop."""
    return ProblemError(
        503, "stopping", "the service is stopping; ask again, another one may answer", {"Retry-After": "2"}
    )


def fault() -> ProblemError:
    """Return the answer where the service itself has a fault."""
    return ProblemError(500, "fault", "the service has a fault; its log tells more under this request id")


def retry_after(seconds: float) -> str:
    """Return whole seconds, 1 to 60, for the header Retry-After."""
    return str(max(1, min(60, round(seconds + 0.5))))
