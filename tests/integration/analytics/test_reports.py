"""Reports out of a real ledger: every number against the arithmetic of the core."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

import pytest
from google.protobuf.message import Message as Protobuf
from quantum.ai.v1 import signal_pb2 as ai
from quantum.exec_risk.v1 import events_pb2 as facts

from services.analytics.app import SCHEMA
from services.analytics.codec import to_event
from services.analytics.core.truth import extremes_of, prices_between
from services.analytics.ledger.candles import CandleStore
from services.analytics.ledger.checks import LedgerChecks
from services.analytics.ledger.rebuild import rebuild
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.reports.views import ReportViews
from services.analytics.store import LedgerStore
from services.analytics.views import Views
from services.kit.clock import SystemClock
from services.kit.observe.metrics import Metrics
from services.kit.postgres.db import Database
from services.trade.candle import Candle
from services.trade.codec import time_to_pb
from services.trade.times import DAY_MS, to_datetime
from tests.integration.analytics.ledger_samples import (
    MAY,
    MINUTE,
    closed_trade,
    delivered,
    fill,
    outgoing,
    round_decided,
)

pytestmark = pytest.mark.timeout(90)
HOUR = 60 * MINUTE


async def record(database: Database, sent: list[tuple[int, Protobuf]], first: int = 1) -> int:
    """Record facts with their market times; return the next place in the stream."""
    store = LedgerStore(database)
    events = [
        to_event(delivered(outgoing(message, time=time), number))
        for number, (time, message) in enumerate(sent, first)
    ]
    for start in range(0, len(events), 50):
        await store.record(events[start : start + 50])
    return first + len(sent)


def with_stop(trade: list[Protobuf], stop: str) -> list[Protobuf]:
    """The facts of a trade whose entry planned a stop."""
    for message in trade:
        if isinstance(message, facts.PositionOpened):
            message.stop_loss_price = stop
        if isinstance(message, facts.PositionClosed):
            message.position.stop_loss_price = "104"
    return trade


def signal(name: str, price: str, time: int) -> ai.Signal:
    """A signal."""
    return ai.Signal(
        signal_id=name,
        symbol="BTCUSDT",
        action=ai.ACTION_BUY,
        confidence=0.6,
        price=price,
        model_version="m1",
        candle_close_time=time_to_pb(time),
    )


def candles(minutes: int, seed: int) -> list[Candle]:
    """A random walk by the minute."""
    choose = random.Random(seed)  # noqa: S311 - a fixed market
    found, price = [], Decimal(100)
    for number in range(minutes):
        close = price + Decimal(choose.randint(-20, 20)) / 10
        high = max(price, close) + Decimal(choose.randint(0, 9)) / 10
        low = min(price, close) - Decimal(choose.randint(0, 9)) / 10
        time = MAY + number * MINUTE
        found.append(Candle("paper", "BTCUSDT", "1m", time, price, high, low, close, Decimal(1)))
        price = close
    return found


async def test_a_trade_is_measured_against_its_signal_its_stop_and_its_candles(
    database: Database, ledger_dsn: str
) -> None:
    """Incidents 85, 89: what a trade was is known to the last digit, and where it came from."""
    bars = candles(60, 3)
    await CandleStore(database, days=90).keep(bars)
    await CandleStore(database, days=90).keep(bars[10:30])
    sent: list[tuple[int, Protobuf]] = []
    signals: list[tuple[int, Protobuf]] = []
    spans = []
    for number in range(12):
        opened = MAY + 1_000 + number * 97_000
        trade = with_stop(list(closed_trade(number, time=opened)), "98")
        signals.append((opened, signal(f"sig-pos-{number}", "99.5", opened)))
        sent += [(opened, message) for message in trade]
        spans.append((f"pos-{number}", opened, opened + MINUTE))
    # signals come by another stream than facts: in batches of their own
    await record(database, sent, await record(database, signals))
    views = ReportViews(database)
    for name, opened, closed in spans:
        found = await views.trade(name)
        assert found is not None
        truth, fills = found
        path = prices_between(bars, opened, closed)
        assert truth.extremes == extremes_of([*path, Decimal(100), Decimal(105)])
        assert truth.slippage == Decimal("0.5")
        assert (truth.risk, truth.r) == (Decimal(2), 2.46)
        assert sum(realized for _, realized in fills) == truth.position.realized_pnl == 5
    assert await views.trade("nobody") is None
    assert (await rebuild(ledger_dsn, SCHEMA, check=True)).differences == ()
    moment = MAY + 2 * MINUTE
    await database.pool.execute("delete from candles where open_time = $1", to_datetime(moment))
    gap = [await views.trade(name) for name, at, to in spans if at < moment < to]
    assert gap
    assert all(found is not None and found[0].extremes is None for found in gap)


async def test_the_flows_of_a_span_are_cut_by_the_time_of_each_fill(database: Database) -> None:
    """Incidents 85, 93: fills and funding of a span are those of the exchange's own history."""
    late = DAY_MS - 30_000
    sent: list[tuple[int, Protobuf]] = [(MAY + late, m) for m in closed_trade(1, time=MAY + late)]
    sent += [(MAY + HOUR, m) for m in closed_trade(2, time=MAY + HOUR, gross=-3)]
    paid = facts.FundingPaid(
        account="main",
        symbol="BTCUSDT",
        position_id="pos-2",
        amount="-0.25",
        time=time_to_pb(MAY + HOUR),
        transaction_id="f1",
    )
    sent.append((MAY + HOUR, paid))
    sent += [
        (MAY + n * 6 * HOUR, _round(MAY + n * 6 * HOUR, equity))
        for n, equity in enumerate(("1000", "1010", "909", "950", "1000", "1010"), 1)
    ]
    await record(database, sent)
    views = ReportViews(database)
    first = await views.report((MAY, MAY + DAY_MS))
    second = await views.report((MAY + DAY_MS, MAY + 2 * DAY_MS))
    both = await views.report((MAY, MAY + 2 * DAY_MS))
    assert first.flows.net == Decimal("-3") - Decimal("0.08") - Decimal("0.04") - Decimal("0.25")
    assert second.flows.net == Decimal("5") - Decimal("0.04")
    assert (first.flows.fills, second.flows.fills) == (3, 1)
    assert first.flows.net + second.flows.net == both.flows.net
    # a trade counts whole on the day it closed
    assert [g.name for g in both.by_day] == ["2025-05-01", "2025-05-02"]
    assert (first.total.trades, first.total.net) == (1, Decimal("-3.33"))
    assert second.total.net == Decimal("4.92")
    assert both.total.net == both.flows.net
    assert both.measures.drawdown.amount == 101
    assert both.measures.drawdown.fraction == 0.1
    assert [p.equity for p in second.equity][-2:] == [1000, 1010]
    assert (await views.surroundings((MAY, MAY + DAY_MS))).checks.made == 0


def _round(time: int, equity: str) -> facts.RoundDecided:
    decided = round_decided(time, wallet=equity)
    decided.equity = equity
    return decided


async def test_money_that_no_fill_explains_is_found_within_the_hour(database: Database) -> None:
    """Incidents 84, 85: the ledger is held to the wallet, and a difference raises an alert."""
    checks = LedgerChecks(database, SystemClock(), AnalyticsMetrics(Metrics("checks")))
    place = await record(database, [(MAY, round_decided(MAY, wallet="1000"))])
    assert await checks.look() == []
    assert [c.difference for c in await checks.look()] == [0]
    trade = [(MAY + HOUR, m) for m in closed_trade(1, time=MAY + HOUR)]
    for _, message in trade:
        if isinstance(message, facts.FillRecorded) and message.fill.trade_id == "3":
            message.fill.realized_pnl = "5"
    until = MAY + 2 * HOUR
    place = await record(database, [*trade, (until, round_decided(until, wallet="1004.92"))], place)
    await checks.look()
    (good,) = await checks.look()
    assert (good.booked, good.difference, good.agrees) == (Decimal("4.92"), Decimal(0), True)
    assert (await Views(database).ledger_state()).unexplained == ""
    lost = MAY + 3 * HOUR
    place = await record(database, [(lost, round_decided(lost, wallet="1003.90"))], place)
    await checks.look()
    (bad,) = await checks.look()
    assert (bad.difference, bad.agrees) == (Decimal("-1.02"), False)
    assert (
        "changed by -1.02 and the ledger holds 0"
        in (await Views(database).ledger_state()).unexplained
    )
    around = await ReportViews(database).surroundings((MAY, MAY + DAY_MS))
    assert around.checks.made == 2
    assert [c.agrees for c in around.checks.shown] == [False]
    # another fill than the exchange's own: equal in the wallet, unequal in the trade
    odd = MAY + 4 * HOUR
    other = [(odd, m) for m in closed_trade(2, time=odd)]
    await record(database, [*other, (odd, round_decided(odd + MINUTE, wallet="1008.82"))], place)
    await checks.look()
    (unequal,) = await checks.look()
    assert unequal.difference == 0
    assert (unequal.realized_difference, unequal.agrees) == (Decimal(5), False)


async def test_a_late_fill_and_one_told_twice_are_no_difference(database: Database) -> None:
    """What comes after a round in the stream belongs to the next one, whatever its time says."""
    checks = LedgerChecks(database, SystemClock(), AnalyticsMetrics(Metrics("late")))
    place = await record(database, [(MAY, round_decided(MAY, wallet="1000"))])
    await checks.look()
    await checks.look()
    entry = fill(1, position="p", entry=True, price="100", time=MAY + HOUR)
    place = await record(
        database, [(MAY + 2 * HOUR, round_decided(MAY + 2 * HOUR, wallet="1000"))], place
    )
    await checks.look()
    (before,) = await checks.look()
    store = LedgerStore(database)
    late = to_event(delivered(outgoing(entry, time=MAY + HOUR), place))
    await store.record([late])
    await store.record([late._replace(sequence=place + 1)])
    until = MAY + 4 * HOUR
    await record(database, [(until, round_decided(until, wallet="999.96"))], place + 2)
    await checks.look()
    (after,) = await checks.look()
    assert [before.difference, after.difference] == [0, 0]


async def test_after_any_part_in_any_order_a_rebuild_is_what_is_there(
    database: Database, ledger_dsn: str
) -> None:
    """Incident 77: early, late or twice, the live projections are those of the ledger's events."""
    choose = random.Random(11)  # noqa: S311 - a fixed shuffle
    sent: list[tuple[int, Protobuf]] = []
    for number in range(40):
        time = MAY + number * 20 * MINUTE
        trade = with_stop(list(closed_trade(number, time=time, gross=number - 20)), "98")
        paid = facts.FundingPaid(
            account="main",
            symbol="BTCUSDT",
            position_id=f"pos-{number}",
            amount="0.125",
            time=time_to_pb(time),
            transaction_id=f"f{number}",
        )
        sent += [(time, m) for m in (*trade, paid, signal(f"s{number}", "99", time))]
        sent.append((time, _round(time, str(1000 - number))))
    events = [
        to_event(delivered(outgoing(message, time=time), number))
        for number, (time, message) in enumerate(sent, 1)
    ]
    choose.shuffle(events)
    store = LedgerStore(database)
    for start in range(0, len(events), 23):
        again = choose.sample(events[: start + 1], min(start, 5))
        await store.record([*events[start : start + 23], *again])
        if start % 69 == 0:
            assert (await rebuild(ledger_dsn, SCHEMA, check=True)).differences == ()
    found = await rebuild(ledger_dsn, SCHEMA, check=True)
    assert (found.differences, found.trades, found.events) == ((), 40, len(events))


async def test_candles_go_by_market_time_and_take_nothing_along(database: Database) -> None:
    """What is old is told by the newest round: a market of long ago keeps its candles."""
    store, bars = CandleStore(database, days=1), candles(60, 3)
    await store.keep(bars)
    await record(database, [(MAY + HOUR, m) for m in closed_trade(1, time=MAY + HOUR)])

    async def kept() -> int:
        return int(await database.pool.fetchval("select count(*) from candles"))

    assert await kept() == 60, "no round was decided yet"
    half = MAY + DAY_MS + 30 * MINUTE
    await record(database, [(half, round_decided(half, wallet="10000"))], 100)
    await store.forget()
    assert await kept() == 30
    end = MAY + 3 * DAY_MS
    await record(database, [(end, round_decided(end, wallet="10000"))], 200)
    later = replace(bars[0], open_time=end)
    await store.keep([later])
    assert await kept() == 1, "once a day of the market"
    assert await database.pool.fetchval("select count(*) from trades") == 1
