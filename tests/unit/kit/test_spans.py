"""Spans are written after the fact, where the flag is up."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from services.kit.observe.telemetry import SpanKind, Telemetry
from services.kit.observe.trace_context import TraceContext, current, within

PLACE = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)


def telemetry() -> tuple[Telemetry, InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    made = Telemetry(
        service="sample", instance="1", version="0", processor=SimpleSpanProcessor(kept)
    )
    return made, kept


def test_a_span_is_written_with_its_true_times_and_ids() -> None:
    made, kept = telemetry()
    child = PLACE.child()
    made.write(
        "send x",
        child,
        parent=PLACE,
        start=5,
        end=9,
        kind=SpanKind.PRODUCER,
        attributes={"messaging.system": "nats"},
    )
    (span,) = kept.get_finished_spans()
    assert span.context is not None and span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") == (
        PLACE.trace_id,
        child.span_id,
    )
    assert f"{span.parent.span_id:016x}" == PLACE.span_id
    assert (span.start_time, span.end_time, span.kind) == (5, 9, SpanKind.PRODUCER)
    assert span.resource.attributes["service.name"] == "sample"
    assert span.status.status_code is StatusCode.UNSET


def test_inside_a_span_calls_carry_it() -> None:
    made, kept = telemetry()
    with within(PLACE), made.span("outer") as outer:
        assert outer is not None and current() is outer.place
        with made.span("inner"):
            pass
    inner, written = kept.get_finished_spans()
    assert inner.parent is not None and written.context is not None
    assert inner.parent.span_id == written.context.span_id


def test_where_the_flag_is_down_nothing_is_written_and_the_id_is_carried_on() -> None:
    made, kept = telemetry()
    quiet = TraceContext(PLACE.trace_id, PLACE.span_id)
    with made.span("quiet", parent=quiet) as draft:
        assert draft is None
        assert current() is quiet
    with made.span("outside of every trace") as draft:
        assert draft is None
    assert kept.get_finished_spans() == ()


def test_an_exception_makes_a_failed_span_and_goes_on() -> None:
    made, kept = telemetry()
    with pytest.raises(ValueError, match="no"), made.span("bad", parent=PLACE):
        raise ValueError("no")
    (span,) = kept.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None and span.attributes["error.type"] == "ValueError"


def test_a_process_without_a_collector_writes_nothing() -> None:
    silent = Telemetry(service="sample", instance="1", version="0")
    assert not silent.writes
    silent.write("x", PLACE, start=1, end=2)
    silent.close()
