"""Traces: W3C trace context through gRPC and JetStream, exported by OTLP when asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.catalog.subjects import HEADER_TRACE

_PROPAGATOR = TraceContextTextMapPropagator()


class Telemetry:
    """The tracer of one process."""

    def __init__(self, *, service: str, instance: str, version: str, endpoint: str) -> None:
        self.provider = TracerProvider(
            resource=Resource.create(
                {
                    "service.name": service,
                    "service.instance.id": instance,
                    "service.version": version,
                }
            )
        )
        if endpoint:
            exporter = OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http:"))
            self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self.provider.get_tracer(service)

    @contextmanager
    def span(self, name: str, headers: Mapping[str, str] | None = None) -> Iterator[Span]:
        """Do something as a span; child of the trace in `headers`, else of the current one."""
        parent = _PROPAGATOR.extract(headers) if headers else None
        with self.tracer.start_as_current_span(name, context=parent) as span:
            yield span

    def close(self) -> None:
        """Send what is left."""
        self.provider.shutdown()


def current_trace_id() -> str:
    """Return the trace id of what is being done, 32 hexadecimal characters, or ''."""
    found = trace.get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else ""


def traceparent(trace_id: str, span_id: str = "", *, sampled: bool = False) -> str:
    """Return a W3C traceparent; the span id is taken from the trace id when not given."""
    return f"00-{trace_id}-{span_id or trace_id[:16]}-{'01' if sampled else '00'}"


def trace_id_of(headers: Mapping[str, str]) -> str:
    """Return the trace id of message headers; '' when there is none or it is malformed."""
    found = trace.get_current_span(_PROPAGATOR.extract(headers)).get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else ""


@contextmanager
def in_trace(trace_id: str) -> Iterator[None]:
    """Make logs and outgoing calls carry a trace id without recording a span."""
    if not trace_id:
        yield
        return
    span = NonRecordingSpan(
        SpanContext(int(trace_id, 16), int(trace_id[:16], 16) or 1, False, TraceFlags(0))
    )
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.detach(token)


def outgoing_headers() -> dict[str, str]:
    """Return the header that carries the current trace; empty without one."""
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers)
    return {HEADER_TRACE: headers[HEADER_TRACE]} if HEADER_TRACE in headers else {}
