"""Metrics of the service for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "mbert_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "mbert_request_seconds",
            "Time from the arrival of a request to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "mbert_requests_in_flight", "Requests being answered.", registry=registry
        )
        self.batch = Histogram(
            "mbert_batch_size", "Searches answered together.", buckets=SIZES, registry=registry
        )
        self.waiting = Gauge("mbert_searches_waiting", "Searches that wait.", registry=registry)
        self.passages = Gauge("mbert_index_passages", "Passages in the index.", registry=registry)
        self.commit = Gauge("mbert_index_commit", "The commit that is served.", registry=registry)
        self.opened = Counter("mbert_index_opened", "Commits opened.", registry=registry)
        self.changed = Counter(
            "mbert_passages_changed",
            "Passages changed through the service.",
            ("how",),
            registry=registry,
        )

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
