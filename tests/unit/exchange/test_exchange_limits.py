"""The limiter against a model of the exchange: never above a limit, the kept share always free."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.exchange.limits import (
    EXIT_SPACING_MS,
    MINUTE_MS,
    TEN_SECONDS_MS,
    Cost,
    Pushback,
    RateLimiter,
    RateLimits,
    Ticket,
    Use,
    rate_limits,
)

LIMITS = RateLimits(weight_1m=100, orders_1m=60, orders_10s=20)
KEPT = 25
ORDER = Cost(weight=0, orders=1)


@dataclass
class ModelExchange:
    """Counts as Binance does: fixed windows, by the time at which a request arrives."""

    counts: dict[tuple[str, int], int] = field(default_factory=dict)

    def arrive(self, now: int, cost: Cost) -> dict[str, str]:
        told = {}
        for name, length, amount in (
            ("X-MBX-USED-WEIGHT-1M", MINUTE_MS, cost.weight),
            ("X-MBX-ORDER-COUNT-1M", MINUTE_MS, cost.orders),
            ("X-MBX-ORDER-COUNT-10S", TEN_SECONDS_MS, cost.orders),
        ):
            key = (name, now // length)
            self.counts[key] = self.counts.get(key, 0) + amount
            if amount or "WEIGHT" in name:
                told[name] = str(self.counts[key])
        return told


@dataclass
class Flight:
    ticket: Ticket
    arrives: int
    heard: int
    lost: bool
    headers: dict[str, str] = field(default_factory=dict)


requests = st.tuples(
    st.integers(0, 3_000),  # pause before it
    st.sampled_from(list(Use)),
    st.builds(Cost, weight=st.integers(0, 40), orders=st.integers(0, 1)),
    st.integers(0, 400),  # way there
    st.integers(0, 400),  # way back
    st.booleans(),  # the reply is lost
)


def limits_of(name: str) -> int:
    return {
        "X-MBX-USED-WEIGHT-1M": LIMITS.weight_1m,
        "X-MBX-ORDER-COUNT-1M": LIMITS.orders_1m,
        "X-MBX-ORDER-COUNT-10S": LIMITS.orders_10s,
    }[name]


@given(st.lists(requests, max_size=120), st.booleans())
def test_never_above_a_limit_whatever_order_answers_come_in(
    plan: list[tuple[int, Use, Cost, int, int, bool]], everything_is_exit: bool
) -> None:
    """Requests that arrive in the window in which they were sent never exceed it."""
    limiter, exchange, now = RateLimiter(LIMITS, KEPT), ModelExchange(), 0
    flights: list[Flight] = []
    for pause, use, cost, there, back, lost in plan:
        target = now + pause
        now = _run(limiter, exchange, flights, now, target)
        if limiter.wait_ms(now, cost, Use.EXIT if everything_is_exit else use):
            continue
        # the edge of a window is the clock difference's business, not the counter's
        there = min(there, TEN_SECONDS_MS - now % TEN_SECONDS_MS - 1)
        flights.append(Flight(limiter.take(now, cost), now + there, now + there + back, lost))
    _run(limiter, exchange, flights, now, now + 1_000)
    over = {k: v for k, v in exchange.counts.items() if v > limits_of(k[0])}
    assert over == {}


def _run(
    limiter: RateLimiter, exchange: ModelExchange, flights: list[Flight], now: int, until: int
) -> int:
    """Let requests arrive and answers be heard, in the order of their times."""
    times = {t for f in flights for t in (f.arrives, f.heard) if now <= t <= until}
    for at in sorted(times):
        for flight in list(flights):
            if flight.arrives == at and not flight.headers:
                flight.headers = exchange.arrive(at, flight.ticket.cost)
        for flight in list(flights):
            if flight.heard == at:
                limiter.settle(at, flight.ticket, {} if flight.lost else flight.headers)
                flights.remove(flight)
    return until


@given(
    st.lists(
        st.tuples(st.sampled_from([Use.ENTRY, Use.READ]), st.integers(0, 40), st.integers(0, 1)),
        max_size=200,
    )
)
def test_a_flood_of_entries_and_reads_leaves_the_share_free(
    flood: list[tuple[Use, int, int]],
) -> None:
    """Whatever entries and reads ask for in one window, the kept share of exits goes at once."""
    limiter, now = RateLimiter(LIMITS, KEPT), 5_000
    for use, weight, orders in flood:
        cost = Cost(weight, orders)
        if not limiter.wait_ms(now, cost, use):
            limiter.take(now, cost)
    for _ in range(LIMITS.orders_10s * KEPT // 100):
        assert limiter.wait_ms(now, ORDER, Use.EXIT) == 0
        limiter.take(now, ORDER)
    for _ in range(LIMITS.weight_1m * KEPT // 100):
        assert limiter.wait_ms(now, Cost(), Use.EXIT) == 0
        limiter.take(now, Cost())


def test_entries_and_reads_wait_for_the_next_window_at_three_quarters() -> None:
    limiter, now = RateLimiter(LIMITS, KEPT), 61_000
    for _ in range(75):
        assert limiter.wait_ms(now, Cost(), Use.READ) == 0
        limiter.take(now, Cost())
    assert limiter.wait_ms(now, Cost(), Use.READ) == 59_000
    assert limiter.wait_ms(now, Cost(), Use.ENTRY) == 59_000
    assert limiter.wait_ms(now, Cost(), Use.EXIT) == 0
    # an order costs no weight, so used-up weight does not hold it
    assert limiter.wait_ms(now, ORDER, Use.ENTRY) == 0
    assert limiter.used_share(now) == 0.75
    assert limiter.wait_ms(121_000, Cost(), Use.READ) == 59_000  # still unanswered


def test_a_count_of_the_exchange_corrects_both_ways() -> None:
    """Others use the address too: their weight is ours; a lower count is believed as well."""
    limiter, now = RateLimiter(LIMITS, KEPT), 1_000
    limiter.settle(now, limiter.take(now, Cost()), {"X-MBX-USED-WEIGHT-1M": "90"})
    assert limiter.wait_ms(now, Cost(), Use.READ) == 59_000
    assert limiter.wait_ms(now, Cost(10), Use.EXIT) == 0
    assert limiter.wait_ms(now, Cost(11), Use.EXIT) == 59_000
    limiter.settle(now, limiter.take(now, Cost()), {"x-mbx-used-weight-1m": "3"})
    assert limiter.wait_ms(now, Cost(72), Use.READ) == 0
    assert limiter.wait_ms(now, Cost(73), Use.READ) == 59_000


def test_an_older_answer_does_not_lower_the_count() -> None:
    limiter, now = RateLimiter(LIMITS, KEPT), 1_000
    first, second = limiter.take(now, Cost()), limiter.take(now, Cost())
    limiter.settle(now, second, {"X-MBX-USED-WEIGHT-1M": "80"})
    limiter.settle(now, first, {"X-MBX-USED-WEIGHT-1M": "79"})
    assert limiter.used_share(now) == 0.8


def test_a_lost_reply_counts_until_a_newer_count_is_heard() -> None:
    limiter, now = RateLimiter(LIMITS, KEPT), 1_000
    overlapping = limiter.take(now, Cost())
    limiter.settle(now, limiter.take(now, Cost(40)), {})
    limiter.settle(now, overlapping, {"X-MBX-USED-WEIGHT-1M": "1"})
    assert limiter.used_share(now) == 0.41
    limiter.settle(now, limiter.take(now, Cost()), {"X-MBX-USED-WEIGHT-1M": "2"})
    assert limiter.used_share(now) == 0.02


def test_a_window_rolls_by_the_exchanges_minute() -> None:
    limiter = RateLimiter(LIMITS, KEPT)
    limiter.settle(59_000, limiter.take(59_000, Cost(75)), {})
    assert limiter.wait_ms(59_000, Cost(), Use.READ) == 1_000
    assert limiter.wait_ms(60_000, Cost(75), Use.READ) == 0


def test_a_clock_set_back_neither_empties_a_window_nor_freezes_it() -> None:
    limiter = RateLimiter(LIMITS, KEPT)
    limiter.settle(61_000, limiter.take(61_000, Cost(75)), {})
    assert limiter.wait_ms(59_000, Cost(), Use.READ) > 0
    far_back = 61_000 - 10 * MINUTE_MS
    assert limiter.wait_ms(far_back, Cost(), Use.READ) == 0


def test_429_stops_entries_and_reads_418_stops_all() -> None:
    pushback = Pushback()
    pushback.limited(1_000, 30, Use.READ)
    assert [pushback.wait_ms(1_000, use) for use in Use] == [0, 30_000, 30_000]
    pushback.limited(1_000, 30, Use.EXIT)
    assert pushback.wait_ms(1_000, Use.EXIT) == EXIT_SPACING_MS
    pushback.banned(1_000, 120)
    assert [pushback.wait_ms(1_000, use) for use in Use] == [120_000] * 3
    assert [pushback.wait_ms(121_000, use) for use in Use] == [0] * 3


def test_limits_are_read_from_exchange_info() -> None:
    raw = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 9},
    ]
    known = RateLimits()
    assert rate_limits(raw, known) == RateLimits(6000, known.orders_1m, 100)
    assert rate_limits([], known) == known


def test_a_share_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="100"):
        RateLimiter(LIMITS, 100)
