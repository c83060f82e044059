"""Settings of a service, checked when they are made."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pix2pix.data.io.limits import MAX_PIXELS
from pix2pix.errors import ConfigError

Draw = Literal["auto", "labels", "lines", "image"]
"""What the page offers to draw with."""
LogFormat = Literal["plain", "json"]


@dataclass(frozen=True)
class Options:
    """What a service listens to, what it accepts, and how it computes."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    queue: int = 64
    """Requests that a process has accepted and not answered; it answers 429 to more."""
    deadline: float = 30.0
    """Seconds in which an accepted request is answered, and in which a body must arrive."""
    max_bytes: int = 20_000_000
    max_pixels: int = 2**24
    batch_size: int | None = None
    device: str = "auto"
    precision: Literal["32", "bf16"] = "32"
    draw: Draw = "auto"
    palette: Path | None = None
    examples: Path | None = None
    allow_host: tuple[str, ...] = ()
    allow_origin: tuple[str, ...] = ()
    log_format: LogFormat = "plain"

    def __post_init__(self) -> None:
        least = {"port": 0, "workers": 1, "queue": 1, "max_bytes": 1, "max_pixels": 1, "batch_size": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: expected {low} or more")
        if self.palette is not None and self.draw in ("lines", "image"):
            raise ConfigError(f"--palette {self.palette}: is for --draw labels, and --draw {self.draw} has no classes")
        if self.port > 65535:
            raise ConfigError(f"--port {self.port}: expected 0 to 65535; 0 takes a free one")
        if self.max_pixels > MAX_PIXELS:
            raise ConfigError(f"--max-pixels {self.max_pixels}: expected at most {MAX_PIXELS}")
        if not (self.deadline > 0 and math.isfinite(self.deadline)):
            raise ConfigError(f"--deadline {self.deadline:g}: expected a number of seconds above 0")
        for origin in self.allow_origin:
            scheme, _, rest = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or not rest or "/" in rest):
                raise ConfigError(f"--allow-origin {origin}: expected scheme and host, such as https://example.org")
        for host in self.allow_host:
            if not host or "/" in host or ":" in host:
                raise ConfigError(f"--allow-host {host}: expected a host name without port, such as example.org, or *")
