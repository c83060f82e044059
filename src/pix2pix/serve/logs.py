"""Logs of the service: one line for each event on stderr, in plain text or as JSON."""

import json
import logging
from datetime import datetime, timezone
from typing import Any

from pix2pix.serve.options import LogFormat
from pix2pix.system import streams
from pix2pix.text import escape_unprintable

LOGGER = "pix2pix.serve"
_log = logging.getLogger(LOGGER)


class _Lines(logging.Handler):
    """Writes a record and its facts, `extra={"facts": {...}}`, as one line."""

    def __init__(self, form: LogFormat) -> None:
        super().__init__()
        self.form = form

    def emit(self, record: logging.LogRecord) -> None:
        moment = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        facts: dict[str, Any] = dict(getattr(record, "facts", {}))
        if record.exc_info:
            facts["traceback"] = logging.Formatter().formatException(record.exc_info)
        if self.form == "json":
            head = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage()}
            streams.say(json.dumps(head | facts, default=str))
            return
        words = " ".join(f"{name}={value}" for name, value in facts.items())
        streams.say(escape_unprintable(f"{moment} {record.levelname.lower()} {record.getMessage()} {words}".rstrip()))


def start_logging(form: LogFormat) -> None:
    """Write the service's events, and warnings of others, to stderr."""
    for name, level in ((LOGGER, logging.INFO), ("uvicorn", logging.WARNING), ("pix2pix", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [_Lines(form)]
        logger.setLevel(level)
        logger.propagate = False


def log(event: str, level: int = logging.INFO, *, exc_info: bool = False, **facts: Any) -> None:
    """Write one event."""
    _log.log(level, event, exc_info=exc_info, extra={"facts": facts})
