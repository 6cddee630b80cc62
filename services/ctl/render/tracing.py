"""Renders tracing of the proxies: what each HTTP connection manager writes, and to whom.

A proxy keeps the caller's choice; without one it begins a trace that is written for a share of the
calls. A failed call of a service is written by that service whatever was chosen here.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from services.catalog import ports

SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
COLLECTOR = "traces"
"""Name of the collector's cluster."""
SHARE_PERCENT = 5
"""Share of the calls without a choice of their own that are traced."""
HEALTH_LISTENERS = "health-"
_TYPE = "type.googleapis.com/envoy."
_EXPORT_TIMEOUT = "0.5s"
_FLUSH_MS = 500


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where spans go, and how many."""

    host: str
    port: int
    """OTLP/gRPC."""
    secure: bool = False
    """True: over TLS, checked with this machine's authorities."""

    @classmethod
    def at(cls, endpoint: str) -> Tracing | None:
        """Return where `http://host:port` or `https://host:port` is; None when it is empty.

        ValueError: it is neither.
        """
        if not endpoint:
            return None
        uri = urlsplit(endpoint)
        if uri.scheme not in ("http", "https") or not uri.hostname:
            raise ValueError(f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}: say http://host:port")
        return cls(uri.hostname, uri.port or ports.OTLP, uri.scheme == "https")

    def trace(
        self, bootstrap: dict[str, Any], service: str, *, begins: int = SHARE_PERCENT
    ) -> None:
        """Make every HTTP listener of a bootstrap write spans as this proxy.

        `begins`: share, in percent, of the calls without a choice of their own that are traced.
        Listeners that only serve health (`health-...`) are left out: they are asked all the time.
        """
        for listener in bootstrap["static_resources"]["listeners"]:
            if not str(listener["name"]).startswith(HEALTH_LISTENERS):
                for manager in _managers(listener):
                    manager["tracing"] = self.hcm(service, begins=begins)
        bootstrap["static_resources"]["clusters"].append(self.cluster())
        layers = bootstrap.setdefault("layered_runtime", {}).setdefault("layers", [])
        layers.append(self.runtime_layer())

    def hcm(self, service: str, *, begins: int = SHARE_PERCENT) -> dict[str, Any]:
        """Return the `tracing` block of a connection manager; `service` names its proxy."""
        share = {"numerator": begins, "denominator": "HUNDRED"}
        ratio = {
            "name": "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based",
            "typed_config": {
                "@type": f"{_TYPE}extensions.tracers.opentelemetry.samplers.v3."
                "TraceIdRatioBasedSamplerConfig",
                "sampling_percentage": share,
            },
        }
        parent_based = {
            "name": "envoy.tracers.opentelemetry.samplers.parent_based",
            "typed_config": {
                "@type": f"{_TYPE}extensions.tracers.opentelemetry.samplers.v3."
                "ParentBasedSamplerConfig",
                "wrapped_sampler": ratio,
            },
        }
        return {
            "operation": "%REQ(:METHOD)% %PATH(NQ:ORIG_OR_PATH)%",
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": {
                    "@type": f"{_TYPE}config.trace.v3.OpenTelemetryConfig",
                    "service_name": service,
                    "grpc_service": {
                        "envoy_grpc": {"cluster_name": COLLECTOR},
                        "timeout": _EXPORT_TIMEOUT,
                    },
                    "sampler": parent_based,
                },
            },
        }

    def cluster(self) -> dict[str, Any]:
        """Return the cluster of the collector: a bootstrap holds it once."""
        options = {
            "@type": f"{_TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        name = f"{_TYPE}extensions.upstreams.http.v3.HttpProtocolOptions".removeprefix(
            "type.googleapis.com/"
        )
        address = {"socket_address": {"address": self.host, "port_value": self.port}}
        return {
            **({"transport_socket": self._tls()} if self.secure else {}),
            "name": COLLECTOR,
            "type": "STRICT_DNS",
            "dns_lookup_family": "ALL",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {name: options},
            "load_assignment": {
                "cluster_name": COLLECTOR,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }

    def _tls(self) -> dict[str, Any]:
        matcher = {"san_type": "DNS", "matcher": {"exact": self.host}}
        trusted = ssl.get_default_verify_paths().cafile or SYSTEM_CA
        return {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TYPE}extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": self.host,
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    # both: an upstream context ends at TLS 1.2 by default
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_2",
                        "tls_maximum_protocol_version": "TLSv1_3",
                    },
                    "validation_context": {
                        "trusted_ca": {"filename": trusted},
                        "match_typed_subject_alt_names": [matcher],
                    },
                },
            },
        }

    @staticmethod
    def runtime_layer() -> dict[str, Any]:
        """Return the runtime layer that makes spans leave soon."""
        return {
            "name": "tracing",
            "static_layer": {
                "tracing.opentelemetry.flush_interval_ms": _FLUSH_MS,
                "tracing.opentelemetry.min_flush_spans": 1,
            },
        }


def _managers(listener: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for chain in listener["filter_chains"]:
        for chosen in chain["filters"]:
            if chosen["name"] == "envoy.filters.network.http_connection_manager":
                yield chosen["typed_config"]
