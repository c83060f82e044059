"""Counters and times of the service for Prometheus; of all its processes together where there are several."""

import os
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder in which several processes add up their metrics."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("pix2pix_requests", "Requests answered.", ["route", "status"], **made)
        self.seconds = Histogram(
            "pix2pix_request_seconds", "Seconds from the request to its answer.", ["route"], buckets=_SECONDS, **made
        )
        self.queued = Histogram(
            "pix2pix_queue_seconds", "Seconds of a translation outside the model.", buckets=_SECONDS, **made
        )
        self.model = Histogram(
            "pix2pix_model_seconds", "Seconds in the model, of the batch.", ["model"], buckets=_SECONDS, **made
        )
        self.batch = Histogram("pix2pix_batch_pictures", "Pictures in a batch.", buckets=(1, 2, 4, 8, 16, 32), **made)
        self.waiting = Gauge(
            "pix2pix_requests_waiting",
            "Requests accepted and not answered.",
            multiprocess_mode="livesum",
            **made,
        )
        self.pictures = Counter("pix2pix_pictures", "Pictures translated.", ["model"], **made)
        self.given_up = Counter("pix2pix_given_up", "Translations beyond the deadline, or whose client left.", **made)

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        if os.environ.get(FOLDER):
            together = CollectorRegistry()
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]
            return generate_latest(together)
        return generate_latest(self.registry)
