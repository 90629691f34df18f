"""Counters: what the service did, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counters:
    """Counters of one app."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "hwnas_requests",
            "Requests answered, by path and status.",
            ("path", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "hwnas_request_seconds",
            "Seconds from a request's headers to its answer.",
            ("path",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._predictions = Counter(
            "hwnas_predictions",
            "Architectures whose latency was predicted, by device.",
            ("device",),
            registry=self._registry,
        )
        self._refusals = Counter(
            "hwnas_refusals",
            "Architectures of batches that have no prediction, by device.",
            ("device",),
            registry=self._registry,
        )

    def count_request(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_predictions(self, device: str, predicted: int, refused: int = 0) -> None:
        """Counts architectures; ``device`` must be a profiled one, or labels grow without end."""
        self._predictions.labels(device).inc(predicted)
        if refused:
            self._refusals.labels(device).inc(refused)

    def text(self) -> bytes:
        return generate_latest(self._registry)
