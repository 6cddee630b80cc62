"""What surrounds every call, outermost first: tracing, metrics, errors, deadline, validation."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from services.kit.interceptors.deadlines import DeadlineInterceptor
from services.kit.interceptors.errors import ErrorInterceptor
from services.kit.interceptors.metrics import MetricsInterceptor
from services.kit.interceptors.tracing import TracingInterceptor
from services.kit.interceptors.validation import ValidationInterceptor
from services.kit.observe.metrics import Metrics
from services.kit.observe.telemetry import Telemetry


def interceptors(
    metrics: Metrics, telemetry: Telemetry, *, longest_call_seconds: float = 30.0
) -> Sequence[grpc.aio.ServerInterceptor]:
    """Return the interceptors of a server in their order."""
    return [
        TracingInterceptor(telemetry),
        MetricsInterceptor(metrics),
        ErrorInterceptor(),
        DeadlineInterceptor(longest_call_seconds),
        ValidationInterceptor(),
    ]
