"""The register of faults: what is hit, how often, how long; and how faults are read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.venue.core.faults import (
    PAPER_POINT,
    Fault,
    FaultKind,
    FaultRegistry,
    Match,
    Subject,
)
from services.venue.server.fault_json import BadFault, parse

ORDER = Subject(
    method="POST", path="/fapi/v1/order", symbol="BTCUSDT", side="BUY", client_id="qte0-1"
)
DROP = FaultKind.REPLY_DROP


def struck(registry: FaultRegistry, subject: Subject = ORDER, now: float = 0.0) -> bool:
    return registry.strike([DROP], subject, now) is not None


@pytest.mark.parametrize(
    ("match", "hits"),
    [
        (Match(), True),
        (Match(method="POST", path="order", symbol="BTCUSDT", side="BUY", client_id="qte"), True),
        (Match(path="/fapi/v1/order"), True),
        (Match(path="rder"), False),
        (Match(method="GET"), False),
        (Match(symbol="ETHUSDT"), False),
        (Match(side="SELL"), False),
        (Match(client_id="qts"), False),
        (Match(event="kline"), False),
    ],
)
def test_a_fault_hits_only_what_it_names(match: Match, hits: bool) -> None:
    assert match.hits(ORDER) is hits


def test_the_clocks_own_socket_is_hit_only_by_name() -> None:
    point = Subject(event=PAPER_POINT)
    assert not Match().hits(point)
    assert Match(event=PAPER_POINT).hits(point)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 15))
def test_a_fault_strikes_as_often_as_said_after_what_it_skips(
    times: int, skip: int, calls: int
) -> None:
    registry = FaultRegistry()
    registry.add(Fault("f", DROP, times=times, skip=skip), 0.0)
    hits = [struck(registry) for _ in range(calls)]
    most = times or calls
    assert hits == [skip <= place < skip + most for place in range(calls)]


def test_a_fault_ends_by_time() -> None:
    registry = FaultRegistry()
    registry.add(Fault("f", DROP, times=0, seconds=2.0), 10.0)
    assert struck(registry, now=11.9)
    assert registry.next_end() == 12.0
    assert not struck(registry, now=12.0)
    assert [fault.fault_id for fault in registry.expire(12.0)] == ["f"]
    assert registry.empty


def test_two_equal_faults_strike_one_after_the_other() -> None:
    registry = FaultRegistry()
    for name in ("a", "b"):
        registry.add(Fault(name, DROP), 0.0)
    assert [struck(registry), struck(registry), struck(registry)] == [True, True, False]
    assert registry.standing(0.0) == []


def test_skews_add_up() -> None:
    registry = FaultRegistry()
    registry.add(Fault("a", FaultKind.SKEW, times=0, offset_ms=3000), 0.0)
    registry.add(Fault("b", FaultKind.SKEW, times=0, offset_ms=-500, seconds=1.0), 0.0)
    assert (registry.offset_ms(0.5), registry.offset_ms(1.0)) == (2500, 3000)


@pytest.mark.parametrize(
    ("asked", "times"),
    [
        ({"kind": "reply_drop"}, 1),
        ({"kind": "reply_drop", "seconds": 3}, 0),
        ({"kind": "reply_drop", "seconds": 3, "times": 2}, 2),
        ({"kind": "silence", "times": 5}, 0),
    ],
)
def test_how_often_unless_said(asked: dict[str, Any], times: int) -> None:
    assert parse(asked, "x").times == times


def test_a_ban_lasts_as_long_as_it_says() -> None:
    fault = parse({"kind": "ban", "status": 418, "retry_after": 7}, "x")
    assert (fault.seconds, fault.status) == (7.0, 418)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ([], "JSON object"),
        ({"kind": "flood"}, "kind is one of"),
        ({"kind": "error", "cod": 1}, "unknown fields: cod"),
        ({"kind": "error", "body": "xml"}, "body is one of"),
        ({"kind": "error", "code": 5}, "negative or 0"),
        ({"kind": "error", "times": "2"}, "whole number"),
        ({"kind": "error", "times": -2}, "not negative"),
        ({"kind": "silence", "seconds": -1}, "seconds is a number"),
        ({"kind": "silence", "seconds": float("nan")}, "seconds is a number"),
        ({"kind": "skew"}, "offset_ms"),
        ({"kind": "ban", "status": 500}, "429 or 418"),
        ({"kind": "gap", "amount": "0.1"}, "symbol"),
        ({"kind": "gap", "symbol": "BTCUSDT"}, "needs amount"),
        ({"kind": "gap", "symbol": "BTCUSDT", "amount": "-1"}, "above -1"),
        ({"kind": "gap", "symbol": "BTCUSDT", "amount": "NaN"}, "needs amount"),
        ({"kind": "partial", "amount": "1"}, "below 1"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(asked: Any, why: str) -> None:
    with pytest.raises(BadFault, match=why):
        parse(asked, "x")
