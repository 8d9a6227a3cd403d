"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one server, in a registry of its own. in_flight: tells how many images are in the server now."""

    def __init__(self, in_flight: Callable[[], float]) -> None:
        registry = self._registry = CollectorRegistry()
        self.images = Counter(
            "sacvit_images", "Images answered: exit, continue or error.", ["outcome"], registry=registry
        )
        self.refused = Counter("sacvit_refused", "Requests refused, by HTTP status.", ["status"], registry=registry)
        self.seconds = Histogram(
            "sacvit_stage_seconds",
            "Seconds of a step, an image's own or a batch's call: prepare, ee, sac; queue: in front of the engines.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.request_seconds = Histogram(
            "sacvit_request_seconds", "Seconds of an HTTP request.", ["path"], buckets=SECONDS, registry=registry
        )
        self.batch = Histogram(
            "sacvit_batch_images", "Images of an engine call.", ["stage"], buckets=SIZES, registry=registry
        )
        queue = Gauge("sacvit_queue_images", "Images in the server: waiting, or in a step.", registry=registry)
        queue.set_function(in_flight)
        for outcome in ("exit", "continue", "error"):  # so that a rate has a beginning
            self.images.labels(outcome)

    def to_text(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self._registry)
