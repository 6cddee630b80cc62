"""Spans of an account's steps hang below what caused them, and cost no trade."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.exec_risk.core.effects import Place, RiskDecided, TradingStateChanged
from services.exec_risk.core.inputs import RoundTimedOut, SetTradingState, Tick
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import Book
from services.exec_risk.messages.facts import encode
from services.exec_risk.tracing.step_spans import StepSpans
from services.kit.bus.message import Outgoing
from services.kit.observe.telemetry import Telemetry
from services.kit.observe.trace_context import TraceContext, current, parse, within
from services.trade import ids
from services.trade.candle import Candle
from services.trade.order import Order, OrderPurpose, OrderType, Side
from services.trade.position import TradingState

TIME = 1_746_057_660_000
MESSAGE = Outgoing("quantum.market.candle.paper.1m.part0", b"", "cnd-1")
CANDLE = Candle(
    venue="paper",
    symbol="BTCUSDT",
    timeframe="1m",
    open_time=TIME - 60_000,
    open=Decimal(1),
    high=Decimal(1),
    low=Decimal(1),
    close=Decimal(1),
    volume=Decimal(1),
)
TRACE = ids.trace_id(CANDLE.key)
SIGNAL = "sig-1"
DECIDED = RiskDecided(SIGNAL, "BTCUSDT", True, "approved", "", TIME, trace_id=TRACE)
MOVED = TradingStateChanged(
    TradingState.ACTIVE, TradingState.HALTED, "test", "operator", TIME, "request-1"
)
MOVE = SetTradingState("request-1", TradingState.HALTED, "test")


@pytest.fixture
def kept() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(kept: InMemorySpanExporter) -> StepSpans:
    processor = SimpleSpanProcessor(kept)
    telemetry = Telemetry(service="exec", instance="1", version="0", processor=processor)
    return StepSpans(telemetry, "main")


@pytest.fixture
def book() -> Book:
    return Book(Policy())


def named(kept: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in kept.get_finished_spans()}


def above(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def own(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}" if span.context else ""


def order() -> Order:
    return Order(
        client_order_id="qte0-1",
        account="main",
        symbol="BTCUSDT",
        side=Side.BUY,
        type=OrderType.MARKET,
        purpose=OrderPurpose.ENTRY,
        quantity=Decimal(1),
        decided_time=TIME,
    )


def test_a_decided_signal_writes_its_candle_and_its_way_here(
    spans: StepSpans, kept: InMemorySpanExporter, book: Book
) -> None:
    spans.published([CANDLE], MESSAGE, 5, 9)
    spans.handled(RoundTimedOut(TIME), [DECIDED], book, spans.began())
    found = named(kept)
    candle, judged = (
        found["send quantum.market.candle"],
        found["process quantum.live.signal.generated"],
    )
    assert (candle.start_time, candle.end_time, own(candle)) == (5, 9, ids.candle_span(CANDLE.key))
    said = candle.attributes or {}
    assert said["messaging.destination.name"] == MESSAGE.subject
    assert said["messaging.message.id"] == MESSAGE.message_id
    assert (above(candle), above(judged)) == ("", ids.signal_span(SIGNAL))
    assert above(found["decide round"]) == own(judged) == ids.judged_span("main", SIGNAL)


def test_a_round_without_a_signal_leaves_no_span(
    spans: StepSpans, kept: InMemorySpanExporter, book: Book
) -> None:
    spans.published([CANDLE], MESSAGE, 5, 9)
    spans.handled(RoundTimedOut(TIME), [], book, spans.began())
    spans.handled(RoundTimedOut(TIME), [MOVED], book, spans.began())
    assert kept.get_finished_spans() == ()


def test_a_fact_carries_its_step_and_the_commit_is_below_it(
    spans: StepSpans, kept: InMemorySpanExporter, book: Book
) -> None:
    spans.handled(RoundTimedOut(TIME), [DECIDED], book, spans.began())
    step = own(named(kept)["decide round"])
    place = parse(encode(DECIDED, "main", "paper", spans.place_of(DECIDED)).headers["traceparent"])
    assert place == TraceContext(TRACE, step, sampled=True)
    spans.committed([DECIDED], 7)
    commit = named(kept)["COMMIT exec_risk"]
    assert (above(commit), commit.start_time) == (step, 7)
    assert spans.place_of(DECIDED) is None, "what is kept is let go of"


def test_an_operators_command_is_below_the_call_that_asked(
    spans: StepSpans, kept: InMemorySpanExporter, book: Book
) -> None:
    asker, placing = TraceContext("ab" * 16, "cd" * 8, sampled=True), Place(order())
    spans.asked("request-1", asker)
    spans.handled(MOVE, [MOVED, placing], book, spans.began())
    step = named(kept)["set trading state"]
    assert above(step) == asker.span_id
    place = spans.place_of(MOVED)
    assert place is not None and place.trace_id == asker.trace_id
    with spans.acting(placing):
        here = current()
    assert here is not None and (here.trace_id, here.span_id) == (asker.trace_id, own(step))
    assert current() is None


def test_who_asks_is_always_written_but_for_a_question(
    spans: StepSpans, kept: InMemorySpanExporter
) -> None:
    quiet = TraceContext("ab" * 16, "cd" * 8)
    with within(quiet), spans.asking("r-1", "validate_entry"):
        assert not quiet.sampled
    with within(quiet), spans.asking("r-2", "close_position"):
        assert quiet.sampled
    assert [span.name for span in kept.get_finished_spans()] == ["ask leader"]


def test_what_goes_wrong_with_a_span_is_not_told_to_the_core(
    spans: StepSpans, kept: InMemorySpanExporter
) -> None:
    broken: Any = None
    spans.handled(Tick(), [Place(order())], broken, spans.began())
    assert kept.get_finished_spans() == ()
