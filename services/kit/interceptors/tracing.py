"""Spans of calls, by OpenTelemetry's own interceptor; health checks make none."""

from __future__ import annotations

from typing import Any

from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

from services.kit.telemetry import Telemetry


def tracing_interceptor(telemetry: Telemetry) -> Any:
    """Return the interceptor. It would break `Health/Watch`, so health is filtered out."""
    wanted = filters.negate(
        filters.any_of(
            filters.health_check(),
            filters.service_prefix("grpc.reflection"),
        )
    )
    make: Any = aio_server_interceptor
    return make(tracer_provider=telemetry.provider, filter_=wanted)
