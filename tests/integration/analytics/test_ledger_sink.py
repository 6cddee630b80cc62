"""Events from the bus into PostgreSQL, once in effect."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest
from google.protobuf.json_format import Parse
from quantum.analytics.v1 import events_pb2 as published

from services.analytics.app import SCHEMA
from services.analytics.codec import to_event
from services.analytics.ledger.rebuild import rebuild
from services.analytics.store import LedgerStore
from services.analytics.views import Cursor, Views
from services.catalog import subjects
from services.catalog.events import (
    CANDLES_MISSING,
    CANDLES_WANTED,
    MESSAGES,
    MODEL_PROMOTED,
    MODEL_ROLLED_BACK,
    MODEL_WEIGHT_CHANGED,
    PREDICTION,
    SIGNAL_GENERATED,
)
from services.kit.bus.bus import Bus, Message
from services.kit.bus.message import Outgoing
from services.kit.postgres.db import Database
from services.trade.codec import time_from_pb
from services.trade.times import from_datetime
from tests.integration.analytics.conftest import (
    KilledProcess,
    count,
    ready,
    running,
    settings_for,
    soon,
)
from tests.integration.analytics.ledger_samples import (
    MAY,
    MINUTE,
    closed_trade,
    delivered,
    fill,
    filled,
    outgoing,
    predictions,
    round_decided,
)
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(90)


async def test_every_event_type_arrives_in_the_ledger_whole(
    ledger_dsn: str, nats_url: str, bus: Bus, database: Database, free_port: int
) -> None:
    """Incidents 56, 68, 84: each event is published, recorded, and read back field for field.

    What ai tells of models and of gaps in candles travels as it does live: that one was taken away,
    or that candles do not come, reaches the ledger too.
    """
    live = {
        SIGNAL_GENERATED: subjects.signal("BTCUSDT"),
        PREDICTION: subjects.prediction("paper", "1m"),
        MODEL_PROMOTED: subjects.model_promoted("b"),
        MODEL_ROLLED_BACK: subjects.model_rolled_back("b"),
        MODEL_WEIGHT_CHANGED: subjects.model_weight_changed("nhits"),
        CANDLES_WANTED: subjects.candles_wanted("paper", "1m", "BTCUSDT"),
        CANDLES_MISSING: subjects.candles_missing("paper", "1m", "BTCUSDT"),
    }
    async with running(settings_for(ledger_dsn, nats_url, free_port)) as process:
        await ready(process)
        sent = {t: outgoing(filled(kind), name=f"id-{t}") for t, kind in MESSAGES.items()}
        sent |= {t: replace(sent[t], subject=subject) for t, subject in live.items()}
        await bus.publish_all(list(sent.values()))
        ids = [f"id-{t}" for t in MESSAGES]

        async def rows() -> dict[str, str]:
            found = await database.pool.fetch(
                "select type, data, event_id from events where event_id = any($1::text[])", ids
            )
            assert len(found) == len(MESSAGES)
            return {row["type"]: row["data"] for row in found}

        data = await soon(rows)
    for event_type, kind in MESSAGES.items():
        assert Parse(data[event_type], kind()) == filled(kind)
    assert await count(ledger_dsn, "select count(*) from rejections") == 0


async def test_what_cannot_be_read_is_dead_lettered_with_its_reason_and_an_alert(
    ledger_dsn: str, nats_url: str, bus: Bus, database: Database, free_port: int
) -> None:
    """Incident 58: a message that cannot be handled goes to the dead letter, nothing is lost."""
    good = [outgoing(m) for m in closed_trade(1)]
    odd = outgoing(round_decided(MAY, wallet="1"))
    poison = [
        replace(odd, message_id="p1", headers={**odd.headers, subjects.HEADER_TYPE: "market.tick"}),
        replace(odd, message_id="p2", data=b"\xff\xff"),
        replace(odd, message_id="p3", headers={**odd.headers, subjects.HEADER_TIME: "1"}),
        outgoing(fill(7, position="p", entry=True, price="abc"), name="p4"),
    ]
    buried: list[Message] = []
    await bus.follow(subjects.DEADLETTER.name, "quantum.deadletter.>", buried.append)
    await bus.publish_all([good[0], poison[0], poison[1], good[1], poison[2], *good[2:], poison[3]])
    async with running(settings_for(ledger_dsn, nats_url, free_port)) as process:
        await ready(process)
        await eventually(lambda: len(buried) == 4)
        views = Views(database)

        async def recorded() -> bool:
            trades, _ = await views.trades(symbol="", day=None, cursor=Cursor(), limit=10)
            return len(trades) == 1

        await soon(recorded)
        state = await soon(views.ledger_state)
    reasons = [m.headers[subjects.HEADER_REASON] for m in buried]
    assert any("unknown event type 'market.tick'" in r for r in reasons)
    assert any("is no RoundDecided" in r for r in reasons)
    assert any("impossible" in r for r in reasons)
    assert any("price" in r for r in reasons)
    assert state.rejected_last_hour == 4


async def test_a_decided_round_is_answered_after_its_commit(
    ledger_dsn: str, nats_url: str, bus: Bus, database: Database, free_port: int
) -> None:
    """Incident 67: the portfolio fills end to end, and exec_risk hears that it did."""
    answers: list[Message] = []
    await bus.follow(subjects.LIVE.name, subjects.ALL_ROUNDS_OBSERVED, answers.append)
    async with running(settings_for(ledger_dsn, nats_url, free_port)) as process:
        await ready(process)
        facts = [fill(1, position="p", entry=True, price="100", quantity="2", time=MAY)]
        await bus.publish_all([outgoing(f) for f in facts])
        decided = outgoing(round_decided(MAY + MINUTE, wallet="1000", close="104"))
        await bus.publish_all([decided, decided])
        await eventually(lambda: len(answers) == 1)
        value = await Views(database).portfolio()
        await bus.publish_all(
            [
                outgoing(
                    fill(2, position="p", entry=False, price="106", quantity="2", time=MAY + MINUTE)
                )
            ]
        )

        async def after() -> bool:
            later = await Views(database).portfolio()
            return not later.positions and later.total_value == Decimal("1011.96")

        await soon(after)
    told = published.RoundObserved.FromString(answers[0].data)
    assert (told.account, time_from_pb(told.time)) == ("main", MAY + MINUTE)
    assert answers[0].subject == subjects.round_observed("main")
    assert (value.wallet_balance, value.unrealized_pnl) == (Decimal(1000), Decimal(8))
    assert value.total_value == Decimal(1008)


async def test_two_sinks_that_write_the_same_events_at_once_count_each_once(
    database: Database, ledger_dsn: str
) -> None:
    """Redelivery to another replica while the first still writes: once in effect."""
    sent = [outgoing(m) for n in range(30) for m in closed_trade(n, time=MAY + n * MINUTE)]
    sent += [outgoing(predictions(MAY + n * MINUTE, ["A", "B"])) for n in range(10)]
    sent += [outgoing(round_decided(MAY + n * MINUTE, wallet=str(n))) for n in range(30)]
    events = [to_event(delivered(s, i + 1)) for i, s in enumerate(sent)]
    order = random.Random(7)  # noqa: S311 - a fixed shuffle

    async def replica() -> int:
        store = LedgerStore(database)
        mine = list(events)
        order.shuffle(mine)
        batches = [mine[i : i + 17] for i in range(0, len(mine), 17)]
        return sum([await store.record(batch) for batch in batches])

    new = await asyncio.gather(replica(), replica(), replica())
    assert sum(new) == len(events)
    assert await count(ledger_dsn, "select count(*) from trades where status = 'closed'") == 30
    assert await count(ledger_dsn, "select sum(predictions) from prediction_counts") == 20
    net = await database.pool.fetchval("select sum(net_pnl) from daily_performance")
    assert net == 30 * Decimal("4.92")
    report = await rebuild(ledger_dsn, SCHEMA, check=True)
    assert report.differences == ()
    assert report.trades == 30


_ROWS = """
select event_id, timestamp, type, source, trace_id, key, subject, sequence, data::text, payload
from events order by timestamp, event_id
"""


async def test_however_events_are_written_their_rows_are_the_same(
    database: Database, ledger_dsn: str
) -> None:
    """Copied when all are new, told apart one by one when some are there; ids may hold anything."""
    odd = ['q"uote', "back\\slash", "br{ac,e}", "null", "größe", " blank ", "tab\t"]
    messages = [fill(n, position=name, entry=True, price="1.50") for n, name in enumerate(odd)]
    sent = [outgoing(m) for m in messages] + [outgoing(round_decided(MAY, wallet="1"))]
    events = [to_event(delivered(s, n + 1)) for n, s in enumerate(sent)]
    store = LedgerStore(database)
    assert await store.record(events) == len(events)
    copied = await database.pool.fetch(_ROWS)
    trades = await database.pool.fetch("select * from trades order by position_id")
    assert [row["position_id"] for row in trades] == sorted(odd)
    assert (await rebuild(ledger_dsn, SCHEMA, check=True)).differences == ()
    await database.pool.execute("delete from events; delete from trade_fills; delete from trades")
    assert await store.record(events[:1]) == 1
    assert await store.record(events) == len(events) - 1
    assert await database.pool.fetch(_ROWS) == copied
    assert await database.pool.fetch("select * from trades order by position_id") == trades
    by_id = {event.event_id: event for event in events}
    for row in copied:
        event = by_id[row["event_id"]]
        for column in ("type", "source", "trace_id", "key", "subject", "sequence", "payload"):
            assert row[column] == getattr(event, column)
        assert from_datetime(row["timestamp"]) == event.time
        assert json.loads(row["data"]) == json.loads(event.data)


@pytest.mark.parametrize(
    ("number", "kills"),
    [
        pytest.param(10_000, 2, id="2-kills", marks=pytest.mark.timeout(240)),
        pytest.param(
            100_000, 10, id="10-kills", marks=[pytest.mark.drill, pytest.mark.timeout(1200)]
        ),
    ],
)
async def test_killed_again_and_again_no_event_is_lost_or_counted_twice(
    ledger_dsn: str,
    nats_url: str,
    bus: Bus,
    database: Database,
    free_port: int,
    number: int,
    kills: int,
) -> None:
    """Incident 84: SIGKILL while events flow: every closed trade is there, once; flat memory."""
    trades = number // 4
    sent = [
        outgoing(m, time=MAY + n * MINUTE)
        for n in range(trades)
        for m in closed_trade(n, time=MAY + n * MINUTE)
    ]
    service = KilledProcess(
        {
            "ANALYTICS_POSTGRES_URL": ledger_dsn,
            "NATS_URL": nats_url,
            "GRPC_ADDRESS": f"127.0.0.1:{free_port}",
            "HEARTBEAT_INTERVAL_SECONDS": "1",
        }
    )
    await service.start()
    patience = 60 + number / 250
    try:
        publishing = asyncio.create_task(_publish(bus, sent))
        for kill in range(kills):
            # the last kill leaves a half of the events, so that memory is seen over many
            share = 0.5 * (kill + 0.2) / kills
            await soon(partial(_reached, ledger_dsn, int(len(sent) * share)), patience, 0.1)
            await service.kill()
            await service.start()
        await soon(partial(_reached, ledger_dsn, int(len(sent) * 0.7)), patience, 0.1)
        early = service.memory_mb()
        await publishing
        await soon(partial(_reached, ledger_dsn, len(sent)), patience, 0.3)
        grown = service.memory_mb() - early
    finally:
        await service.kill()
    assert grown < _GROWTH_MB
    assert await count(ledger_dsn, _FACTS) == len(sent)
    assert await count(ledger_dsn, "select count(*) from trades where status = 'closed'") == trades
    assert await count(ledger_dsn, "select count(*) from trade_fills") == 2 * trades
    assert await database.pool.fetch("select subject, reason from rejections") == []
    report = await rebuild(ledger_dsn, SCHEMA, check=True)
    assert (report.differences, report.trades) == ((), trades)


_GROWTH_MB = 40
_FACTS = """
select count(*) from events where type in ('fill.recorded', 'position.opened', 'position.closed')
"""


async def _publish(bus: Bus, sent: list[Outgoing]) -> None:
    for start in range(0, len(sent), 200):
        await bus.publish_all(sent[start : start + 200], deadline=30)
        await asyncio.sleep(0.02)


async def _reached(dsn: str, number: int) -> bool:
    return await count(dsn, _FACTS) >= number
