"""Spans: written when they have ended, with their true times, and exported by OTLP when asked.

A span is written after the fact, so that what leads to nothing costs nothing and what turns out to
matter is there whole. Names and attributes follow OpenTelemetry's semantic conventions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from services.kit.observe.trace_context import TraceContext, current, within

__all__ = ["Attributes", "Draft", "SpanKind", "Telemetry", "now"]

Attributes = Mapping[str, str | int | float | bool]

_EXPORT_EVERY_MS = 500
_EXPORT_SECONDS = 2.0
_WAITING = 8192
"""Spans that wait for the exporter; more than that are dropped, nobody waits for them."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def now() -> int:
    """Wall time in nanoseconds, as spans carry it."""
    return time.time_ns()


@dataclass(slots=True)
class Draft:
    """A span that is still open."""

    place: TraceContext
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict)
    error: str = ""


class Telemetry:
    """Writes the spans of one process."""

    def __init__(
        self,
        *,
        service: str,
        instance: str,
        version: str,
        endpoint: str = "",
        processor: SpanProcessor | None = None,
    ) -> None:
        """Export to the OTLP/gRPC endpoint, or hand spans to a processor; neither: drop them."""
        self._resource = Resource.create(
            {
                "service.name": service,
                "service.instance.id": instance,
                "service.version": version,
            }
        )
        self._scope = InstrumentationScope("services.kit", version)
        self._processor = processor
        if processor is None and endpoint:
            exporter = OTLPSpanExporter(
                endpoint=endpoint,
                insecure=not endpoint.startswith("https:"),
                timeout=_EXPORT_SECONDS,
            )
            self._processor = BatchSpanProcessor(
                exporter, max_queue_size=_WAITING, schedule_delay_millis=_EXPORT_EVERY_MS
            )

    @property
    def writes(self) -> bool:
        """False when spans go nowhere."""
        return self._processor is not None

    def write(
        self,
        name: str,
        place: TraceContext,
        *,
        parent: TraceContext | None = None,
        start: int,
        end: int,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        error: str = "",
    ) -> None:
        """Write a span that began and ended (nanoseconds); `error` says why it failed."""
        if self._processor is None:
            return
        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=_context(place),
                parent=None if parent is None else _context(parent),
                resource=self._resource,
                attributes=attributes,
                kind=kind,
                status=Status(StatusCode.ERROR, error) if error else Status(),
                start_time=start,
                end_time=max(start, end),
                instrumentation_scope=self._scope,
            )
        )

    @contextmanager
    def span(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        parent: TraceContext | None = None,
    ) -> Iterator[Draft | None]:
        """Do something as a child of `parent`, else of where we are; None where nothing is written.

        An exception makes it a failed span and goes on.
        """
        above = parent or current()
        if above is None or not above.sampled:
            with within(above):
                yield None
            return
        draft = Draft(above.child(), dict(attributes or {}))
        began = now()
        try:
            with within(draft.place):
                yield draft
        except BaseException as error:
            draft.error = draft.error or type(error).__name__
            draft.attributes["error.type"] = type(error).__name__
            raise
        finally:
            self.write(
                name,
                draft.place,
                parent=above,
                start=began,
                end=now(),
                kind=kind,
                attributes=draft.attributes,
                error=draft.error,
            )

    def close(self) -> None:
        """Send what is left, for at most a few seconds."""
        if self._processor is not None:
            self._processor.shutdown()


def _context(place: TraceContext) -> SpanContext:
    return SpanContext(int(place.trace_id, 16), int(place.span_id, 16), False, _SAMPLED)
