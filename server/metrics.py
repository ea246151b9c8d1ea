"""Prometheus metrics. Their names are documented in docs/metrics.md, and a test holds the two together."""

import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)

from retrieval.errors import BackendUnavailable

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The metrics of one server. Each has a registry of its own, so that tests can run several."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, CPU and open files, read when they are asked for
        self.requests = Counter(
            "twinspire_requests", "Calls answered.", ["method", "code"], registry=registry
        )
        self.errors = Counter("twinspire_errors", "Errors, by reason.", ["reason"], registry=registry)
        self.seconds = Histogram(
            "twinspire_request_seconds", "Time of a call.", ["method"], registry=registry, buckets=_SECONDS
        )
        # Gauges are read when they are asked for: see `server.app`.
        self.in_flight = Gauge("twinspire_requests_in_flight", "Calls being answered.", registry=registry)
        self.batch = Histogram(
            "twinspire_batch_size", "Queries answered together.", registry=registry, buckets=_BATCHES
        )
        self.stage = Counter(
            "twinspire_stage_seconds", "Time of batches, by stage.", ["stage"], registry=registry
        )
        self.queued = Gauge(
            "twinspire_searches_queued", "Searches waiting or being answered.", registry=registry
        )
        self.dropped = Counter(
            "twinspire_searches_dropped", "Searches dropped unanswered.", ["cause"], registry=registry
        )
        self.upserted = Counter("twinspire_items_upserted", "Items stored.", registry=registry)
        self.deleted = Counter("twinspire_items_deleted", "Items deleted.", registry=registry)
        self.swaps = Counter("twinspire_version_swaps", "Live versions loaded.", registry=registry)
        self.ready = Gauge("twinspire_collections_ready", "Collections loaded and warm.", registry=registry)

    def serve(self, host: str, port: int) -> tuple[WSGIServer, threading.Thread]:
        """Serve them over HTTP, in a thread; port 0 lets the system choose.

        Raises:
            BackendUnavailable: if the port is taken.
        """
        try:
            server, thread = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise BackendUnavailable(f"cannot serve metrics on {host}:{port}: {error.strerror}") from error
        return server, thread
