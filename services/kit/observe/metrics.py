"""Prometheus metrics of one process, in a registry of its own."""

from __future__ import annotations

from collections.abc import Sequence
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from services.kit.observe.machine_metrics import MachineCollector
from services.kit.observe.spread import Spread

LATENCY_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Seconds. The alert rules compare with 2, so there are buckets at and above it."""


class Metrics:
    """Makes metrics whose names start with the process's prefix."""

    def __init__(self, prefix: str) -> None:
        self.registry = CollectorRegistry()
        self._prefix = prefix
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.registry.register(MachineCollector())

    def counter(self, name: str, doc: str, labels: Sequence[str] = ()) -> Counter:
        """Make a counter; `name` ends in `_total`."""
        return Counter(f"{self._prefix}_{name}", doc, labels, registry=self.registry)

    def gauge(self, name: str, doc: str, labels: Sequence[str] = ()) -> Gauge:
        """Make a gauge."""
        return Gauge(f"{self._prefix}_{name}", doc, labels, registry=self.registry)

    def histogram(
        self,
        name: str,
        doc: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = LATENCY_BUCKETS,
    ) -> Histogram:
        """Make a histogram; seconds by default."""
        return Histogram(
            f"{self._prefix}_{name}", doc, labels, buckets=buckets, registry=self.registry
        )

    def spread(self, name: str, doc: str, bounds: Sequence[float]) -> Spread:
        """Make a histogram that takes many values at once."""
        made = Spread(f"{self._prefix}_{name}", doc, bounds)
        self.registry.register(made)
        return made

    def serve(self, address: str) -> MetricsServer:
        """Serve `/metrics` on host:port from a thread of its own."""
        host, port = address.rsplit(":", 1)
        server, _thread = start_http_server(int(port), host, self.registry)
        return MetricsServer(server)


class MetricsServer:
    """A running `/metrics` endpoint."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server

    @property
    def port(self) -> int:
        """Port in use."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
