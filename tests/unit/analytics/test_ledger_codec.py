"""Reading messages of the bus into the ledger, and refusing what cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from google.protobuf.json_format import MessageToDict, Parse
from google.protobuf.message import Message as Protobuf
from google.protobuf.timestamp_pb2 import Timestamp
from quantum.exec_risk.v1 import events_pb2 as facts
from quantum.exec_risk.v1 import trading_pb2 as trading
from quantum.ops.v1 import operations_service_pb2

from services.analytics.codec import Unreadable, facts_of, to_event
from services.analytics.core.ledger import BookedFill, PositionFact, PredictionFact, RoundFact
from services.analytics.ledger.codec_json import to_json
from services.catalog import subjects
from services.catalog.events import MESSAGES
from services.kit.bus.message import Message, Outgoing
from services.trade.order import OrderPurpose
from tests.integration.analytics.ledger_samples import (
    MAY,
    TRACE,
    closed_trade,
    delivered,
    fill,
    filled,
    outgoing,
    position,
    predictions,
    round_decided,
)


@pytest.mark.parametrize("event_type", sorted(MESSAGES))
def test_every_event_type_keeps_every_field(event_type: str) -> None:
    """Incidents 56, 68: what is published is what the ledger holds, for every event."""
    message = filled(MESSAGES[event_type])
    event = to_event(delivered(outgoing(message), 7))
    assert (event.type, event.time, event.sequence, event.trace_id) == (event_type, MAY, 7, TRACE)
    assert (event.key, event.source) == ("main", "exec-risk-service")
    assert MESSAGES[event_type].FromString(event.payload) == message
    assert Parse(event.data, MESSAGES[event_type]()) == message
    assert facts_of(event_type, event.payload, 7) == event.facts


@pytest.mark.parametrize("event_type", sorted(MESSAGES))
def test_the_json_is_protobufs_own(event_type: str) -> None:
    for message in (filled(MESSAGES[event_type]), MESSAGES[event_type]()):
        own = MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        assert json.loads(to_json(message)) == own


@pytest.mark.parametrize("event_type", sorted(MESSAGES))
def test_fields_stand_in_the_order_that_jsonb_keeps_them_in(event_type: str) -> None:
    names = list(json.loads(to_json(filled(MESSAGES[event_type]))))
    assert names == sorted(names, key=lambda name: (len(name), name))


@pytest.mark.parametrize("seconds", [0, -1, 1_746_057_600, 253_402_300_799])
@pytest.mark.parametrize("nanos", [0, 1, 1_000, 1_000_000, 120_000_000, 999_999_999])
def test_times_are_written_as_protobuf_does(seconds: int, nanos: int) -> None:
    time = Timestamp(seconds=seconds, nanos=nanos)
    assert json.loads(to_json(facts.RiskAlert(time=time)))["time"] == time.ToJsonString()


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE}-{'1' * 16}-01", TRACE),
        (f" 00-{TRACE}-{'1' * 16}-00 ", TRACE),
        (f"cc-{TRACE}-{'1' * 16}-00-more", TRACE),
        (f"00-{'0' * 32}-{'1' * 16}-00", ""),
        (f"00-{TRACE}-{'0' * 16}-00", ""),
        ("nonsense", ""),
    ],
)
def test_the_trace_is_read_as_w3c_writes_it(header: str, trace: str) -> None:
    change = with_header(subjects.HEADER_TRACE, header)
    assert to_event(change(outgoing(round_decided(MAY, wallet="1")))).trace_id == trace


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e300, -0.0])
def test_odd_floats_are_written_as_protobuf_does(value: float) -> None:
    message = operations_service_pb2.ServiceHeartbeat(cpu_percent=value, progress={"a": value})
    own = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert json.loads(to_json(message)) == own


def test_the_key_of_live_traffic_is_its_symbol() -> None:
    sent = outgoing(filled(MESSAGES["signal.generated"]))
    live = delivered(replace(sent, subject=subjects.signal("ETHUSDT")))
    assert to_event(live).key == "ETHUSDT"


def test_defaults_are_written_too() -> None:
    event = to_event(delivered(outgoing(round_decided(MAY, wallet="1"))))
    assert json.loads(event.data)["open_positions"] == 0


def test_facts_of_the_projected_types() -> None:
    kinds = {type(f) for m in closed_trade(1) for f in to_event(delivered(outgoing(m))).facts}
    assert kinds == {BookedFill, PositionFact}
    (told,) = to_event(delivered(outgoing(round_decided(MAY, wallet="")))).facts
    assert isinstance(told, RoundFact) and told.wallet_balance is None
    answers = to_event(delivered(outgoing(predictions(MAY, ["A", "B"])))).facts
    assert [f.symbol for f in answers if isinstance(f, PredictionFact)] == ["A", "B"]


def test_an_order_of_the_exchanges_own_closes() -> None:
    message = fill(1, position="p", entry=False, price="5")
    message.fill.ClearField("purpose")
    (booked,) = to_event(delivered(outgoing(message))).facts
    assert isinstance(booked, BookedFill) and booked.purpose is OrderPurpose.EXIT


def without(header: str) -> Callable[[Outgoing], Message]:
    """A delivery that lacks one header."""

    def change(sent: Outgoing) -> Message:
        message = delivered(sent)
        kept = {name: value for name, value in message.headers.items() if name != header}
        return replace(message, headers=kept)

    return change


def with_header(header: str, value: str) -> Callable[[Outgoing], Message]:
    """A delivery with another header."""

    def change(sent: Outgoing) -> Message:
        return delivered(replace(sent, headers={**sent.headers, header: value}))

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without(subjects.HEADER_TYPE), "unknown event type ''"),
        (with_header(subjects.HEADER_TYPE, "market.tick"), "unknown event type 'market.tick'"),
        (without(subjects.HEADER_MESSAGE_ID), "no message id"),
        (without(subjects.HEADER_TIME), "header ce-time"),
        (with_header(subjects.HEADER_TIME, "0"), "market time 0 is impossible"),
        (with_header(subjects.HEADER_TIME, "1746057600"), "is impossible"),
        (with_header(subjects.HEADER_TIME, "2025-05-01"), "not milliseconds"),
    ],
)
def test_a_message_with_wrong_headers_is_refused_by_name(
    change: Callable[[Outgoing], Message], reason: str
) -> None:
    """Incidents 57, 79: foreign types, missing ids and impossible times are errors."""
    with pytest.raises(Unreadable, match=reason.replace("'", ".")):
        to_event(change(outgoing(round_decided(MAY, wallet="1"))))


def test_bytes_that_are_no_message_are_refused() -> None:
    sent = outgoing(round_decided(MAY, wallet="1"))
    with pytest.raises(Unreadable, match="the payload is no RoundDecided"):
        to_event(delivered(replace(sent, data=b"\xff\xff\xff")))


def broken_fill(**changes: str) -> Protobuf:
    """A fill with wrong fields."""
    message = fill(1, position="p", entry=True, price="5")
    for name, value in changes.items():
        setattr(message.fill, name, value)
    return message


def confident(value: float) -> trading.Position:
    """A position with an entry confidence."""
    told = position("p", version=1, closed=False)
    told.entry_confidence = value
    return told


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (broken_fill(price="abc"), "price"),
        (broken_fill(price="NaN"), "price"),
        (broken_fill(quantity="0"), "fill 1 of 0"),
        (broken_fill(trade_id=""), "trade_id is empty"),
        (broken_fill(commission=""), "commission"),
        (facts.FillRecorded(), "unknown"),
        (facts.PositionChanged(), "position_id is empty"),
        (facts.FundingPaid(account="main", symbol="B", amount="1"), "missing"),
        (round_decided(MAY, wallet="much"), "wallet_balance"),
        (facts.ReconcileRepaired(account="main", kind="a\x00b"), "NUL"),
        (facts.RiskAlert(time=Timestamp(seconds=10**12)), "out of range"),
        (facts.PositionChanged(position=confident(float("nan"))), "entry_confidence"),
    ],
)
def test_a_fact_that_means_nothing_is_refused(message: Protobuf, reason: str) -> None:
    """Incident 68: a payload that breaks its meaning is an error, never half applied."""
    with pytest.raises(Unreadable, match=reason):
        to_event(delivered(outgoing(message)))
