"""Drills that other systems fail, on real processes: short, and 60 s in the form marked `drill`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb
from quantum.exec_risk.v1 import trading_pb2

from tests.support.drill_desk import BUY, DrillDesk, drill_desk
from tests.support.eventually import eventually

BTC, ETH, SOL = "BTCUSDT", "ETHUSDT", "SOLUSDT"
LONG_SECONDS = 60.0
SHORT_SECONDS = 8.0

lengths = pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(SHORT_SECONDS, id="short"),
        pytest.param(LONG_SECONDS, id="60s", marks=pytest.mark.drill),
    ],
)


async def health(desk: DrillDesk, name: str = "exec-a") -> Any:
    async with desk.calls(name) as stub:
        return await stub.GetHealth(pb.GetHealthRequest(), timeout=5)


@lengths
@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_postgres_gone(tmp_path: Path, how: str, seconds: float) -> None:
    """Positions are closed by time and by an operator meanwhile; all is recorded afterwards."""
    async with drill_desk(tmp_path, speed=4, MAX_HOLDING_MINUTES="20") as desk:
        desk.start()
        await desk.ready()
        await desk.open(BTC, ETH)
        begun = time.monotonic()
        desk.freeze_postgres() if how == "frozen" else desk.kill_postgres()
        desk.script.says = {SOL: BUY}
        async with desk.calls() as stub:
            closing = pb.ClosePositionRequest(symbol=ETH, request_id="close-eth")
            closed = await stub.ClosePosition(closing, timeout=10)
            again = await stub.ClosePosition(closing, timeout=10)
            assert closed.order.client_order_id == again.order.client_order_id != ""
        told = await health(desk)
        assert (told.status, told.entries_blocked_by, told.leader) == ("critical", "postgres", True)

        async def flat() -> bool:
            return not await desk.held()

        await eventually(flat, seconds, 0.1)
        await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))
        assert await desk.held() == {}
        before = [i for i in await desk.taken() if i.startswith("qte")]
        assert len(before) == 4, "two entries, two exits, and no entry without Postgres"

        desk.thaw_postgres() if how == "frozen" else await desk.postgres.launch()
        await desk.ready()

        async def recorded() -> bool:
            reasons = await desk.rows("select symbol, exit_reason from positions")
            found = {r["symbol"]: r["exit_reason"] for r in reasons if r["symbol"] != SOL}
            return found == {BTC: "TIMEOUT", ETH: "MANUAL"}

        await eventually(recorded, 10, 0.1)
        alerts = await desk.rows(
            "select 1 from outbox where position('POSTGRES_AWAY'::bytea in data) > 0"
        )
        assert alerts

        async def trades_on() -> bool:
            return SOL in await desk.held()

        await eventually(trades_on, 20, 0.1)
        desk.script.says = {}
        await desk.assert_same_books()

        async def free() -> bool:
            return str((await health(desk)).entries_blocked_by) == ""

        await eventually(free, 10, 0.2)


async def test_emergency_stop_without_postgres(tmp_path: Path) -> None:
    """Flat first, latched in memory and on disk, in PostgreSQL when it is back."""
    async with drill_desk(tmp_path, speed=4) as desk:
        desk.start()
        await desk.ready()
        desk.start("exec-b")
        await desk.open(BTC, ETH)
        await eventually(lambda: desk.replicas["exec-b"].logged('"serving"'), 20)
        desk.kill_postgres()
        stop = pb.EmergencyStopRequest(reason="drill", request_id="stop-1")
        async with desk.calls("exec-b") as standby:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await standby.EmergencyStop(stop, timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        async with desk.calls() as stub:
            told = await stub.EmergencyStop(stop, timeout=10)
        assert (told.latched, told.positions_closing) == (True, 2)

        async def flat() -> bool:
            return not await desk.held()

        await eventually(flat, 10, 0.1)
        latch = tmp_path / "latch.main"
        assert latch.exists()
        await desk.postgres.launch()
        assert await desk.ready() == "exec-a", "who acted without Postgres keeps the lease"
        await eventually(lambda: not latch.exists(), 5)
        rows = await desk.rows("select latched, reason from emergency_latch")
        assert [(r["latched"], r["reason"]) for r in rows] == [(True, "drill")]
        await desk.assert_same_books()
        desk.script.says = {SOL: BUY}
        await asyncio.sleep(1.5)
        assert await desk.held() == {}


@lengths
async def test_nats_gone(tmp_path: Path, seconds: float) -> None:
    """No signals, so no entries; the time exit and an operator's exit do not use NATS."""
    async with drill_desk(tmp_path, speed=4, MAX_HOLDING_MINUTES="20") as desk:
        desk.start()
        await desk.ready()
        await desk.open(BTC, ETH)
        begun = time.monotonic()
        desk.nats.kill()
        desk.script.says = {SOL: BUY}
        async with desk.calls() as stub:
            closing = pb.ClosePositionRequest(symbol=ETH, request_id="close-eth")
            await stub.ClosePosition(closing, timeout=10)

        async def flat() -> bool:
            return not await desk.held()

        await eventually(flat, seconds + 10, 0.1)
        await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))
        assert await desk.held() == {}
        rows = await desk.rows("select symbol, exit_reason from positions")
        assert {r["symbol"]: r["exit_reason"] for r in rows} == {BTC: "TIMEOUT", ETH: "MANUAL"}
        await desk.nats.launch()

        async def trades_on() -> bool:
            return SOL in await desk.held()

        await eventually(trades_on, 40, 0.2)
        desk.script.says = {}
        await desk.assert_same_books()


async def test_venue_silent_for_a_moment(tmp_path: Path) -> None:
    """Sockets open and nothing told for 8 s: afterwards both books are one."""
    async with drill_desk(tmp_path, speed=4) as desk:
        desk.start()
        await desk.ready()
        await desk.open(BTC, ETH)
        await desk.fault("silence", seconds=SHORT_SECONDS)
        desk.script.says = {SOL: BUY}
        await asyncio.sleep(SHORT_SECONDS)
        await assert_trades_on_without_doubles(desk)


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(25.0, id="25s"),
        pytest.param(LONG_SECONDS, id="60s", marks=pytest.mark.drill),
    ],
)
async def test_venue_silent(tmp_path: Path, seconds: float) -> None:
    """Sockets open and nothing told or answered: disconnected, no entry, an exit is tried."""
    async with drill_desk(tmp_path, speed=4) as desk:
        desk.start()
        await desk.ready()
        await desk.open(BTC, ETH)
        begun = time.monotonic()
        await desk.fault("silence", seconds=seconds)

        async def noticed() -> bool:
            told = await health(desk)
            assert told.leader and not told.binance_connected, told
            assert told.entries_blocked_by == "exchange", told
            return str(told.status) == "critical"

        await eventually(noticed, 20, 0.2)
        async with desk.calls() as stub:
            entry = pb.SubmitExecutionRequest(
                request_id="entry-sol",
                symbol=SOL,
                side=trading_pb2.SIDE_BUY,
                strategy=trading_pb2.EXECUTION_STRATEGY_MARKET,
                notional_usd="500",
            )
            refused = await stub.SubmitExecution(entry, timeout=10)
            assert (refused.approved, refused.rule) == (False, "exchange")
            closing = pb.ClosePositionRequest(symbol=ETH, request_id="close-eth")
            closed = await stub.ClosePosition(closing, timeout=10)
        sent = await desk.rows(
            "select 1 from orders where client_order_id = $1 and purpose = 'EXIT'"
            " and state = any($2)",
            closed.order.client_order_id,
            ["SUBMITTED", "UNKNOWN"],
        )
        assert sent, "an exit is sent whatever the gate of entries says"
        assert time.monotonic() < begun + seconds, "the venue spoke before all was looked at"
        await eventually(noticed, 1, 0.2)
        desk.script.says = {SOL: BUY}
        await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))
        await assert_trades_on_without_doubles(desk)
        reasons = await desk.rows("select exit_reason from positions where symbol = $1", ETH)
        assert [r["exit_reason"] for r in reasons] == ["MANUAL"]


async def assert_trades_on_without_doubles(desk: DrillDesk) -> None:
    """What is advised of SOL is opened, the books are one and no id was taken twice."""

    async def trades_on() -> bool:
        found = await desk.rows("select 1 from positions where symbol = $1", SOL)
        return bool(found)

    await eventually(trades_on, 60, 0.2)
    desk.script.says = {}
    await desk.assert_same_books()
    counts = Counter(await desk.taken())
    assert [c for c, n in counts.items() if n > 1] == []


@pytest.mark.parametrize("offset", [3000, -3000])
async def test_clock_skewed(tmp_path: Path, offset: int) -> None:
    """Incident 46: three seconds either way cost one resync, then it trades on."""
    async with drill_desk(tmp_path, speed=4) as desk:
        desk.start()
        await desk.ready()
        await desk.open(BTC)
        await desk.fault("skew", offset_ms=offset)
        await desk.open(ETH)
        async with desk.calls() as stub:
            closing = pb.ClosePositionRequest(symbol=BTC, request_id="close-btc")
            await stub.ClosePosition(closing, timeout=10)

        async def closed() -> bool:
            rows = await desk.rows("select symbol, status from positions order by symbol")
            return [(r["symbol"], r["status"]) for r in rows] == [(BTC, "closed"), (ETH, "open")]

        await eventually(closed, 20, 0.1)
        await desk.end_faults()
        await desk.assert_same_books()


async def test_reply_lost_twice_after_accepting(tmp_path: Path) -> None:
    """Incident 26: the order and the question after it lose their replies: exactly one order."""
    async with drill_desk(tmp_path, speed=4) as desk:
        desk.start()
        await desk.ready()
        await desk.fault("reply_drop", path="order", client_id="qte", times=2)
        await desk.open(BTC)
        entries = [i for i in await desk.taken() if i.startswith("qte")]
        assert len(entries) == 1
        await desk.assert_same_books()
        rows = await desk.rows("select version from orders where purpose = 'ENTRY'")
        assert len(rows) == 1


@pytest.mark.parametrize("adopt", ["true", "false"])
async def test_an_unknown_position_at_start(tmp_path: Path, adopt: str) -> None:
    """Adopted and protected within the limits, or closed, by ADOPT_POSITIONS."""
    # so slow that the market does not pass the stop of what is adopted while a process starts
    async with drill_desk(tmp_path, speed=0.25, ADOPT_POSITIONS=adopt) as desk:
        first = desk.start("exec-0")
        await desk.ready()
        first.end()
        await desk.by_hand(BTC, "BUY", "0.05", "web_1")

        async def there() -> bool:
            return BTC in await desk.held()

        await eventually(there, 10)
        desk.start()
        await desk.ready(name="exec-a")
        if adopt == "true":
            assert set(await desk.held()) == {BTC}
        else:
            await eventually(lambda: _flat(desk), 10, 0.1)
        await eventually(desk._same_positions, 10, 0.1)
        rows = await desk.rows("select status, exit_reason from positions where symbol = $1", BTC)
        wanted = [("open", "")] if adopt == "true" else [("closed", "MANUAL")]
        assert [(r["status"], r["exit_reason"] or "") for r in rows] == wanted
        alert = "select 1 from outbox where position('UNKNOWN_POSITION'::bytea in data) > 0"
        assert await desk.rows(alert)


async def _flat(desk: DrillDesk) -> bool:
    return not await desk.held()


async def test_a_position_closed_by_hand_is_noticed(tmp_path: Path) -> None:
    """Incident 82: closed at the exchange's page: MANUAL here, and its stops are gone."""
    async with drill_desk(tmp_path, speed=4, RECONCILE_SECONDS="1") as desk:
        desk.start()
        await desk.ready()
        await desk.open(BTC)
        held = (await desk.held())[BTC]
        await desk.by_hand(BTC, "SELL", str(held), "web_2")
        await eventually(lambda: _flat(desk), 10)

        async def noticed() -> bool:
            rows = await desk.rows("select exit_reason from positions where status = 'closed'")
            return [r["exit_reason"] for r in rows] == ["MANUAL"]

        await eventually(noticed, 10)

        async def nothing_rests() -> bool:
            return not (await desk.asked().snapshot(0)).open_orders

        await eventually(nothing_rests, 10)
        await desk.assert_same_books()


async def test_what_other_engines_fill(tmp_path: Path) -> None:
    """REDUCING: a BUY while flat, a SELL of 0.050 while long 0.010; an order of 40 accounts."""
    async with drill_desk(tmp_path, speed=4) as desk:
        desk.start()
        await desk.ready()
        await desk.decided()
        async with desk.calls() as stub:

            async def move(state: trading_pb2.TradingState.ValueType, name: str) -> None:
                request = pb.SetTradingStateRequest(state=state, reason="drill", request_id=name)
                await stub.SetTradingState(request, timeout=10)

            async def submit(name: str, side: trading_pb2.Side.ValueType, **more: Any) -> Any:
                request = pb.SubmitExecutionRequest(
                    request_id=name,
                    symbol=BTC,
                    side=side,
                    strategy=trading_pb2.EXECUTION_STRATEGY_MARKET,
                    **more,
                )
                return await stub.SubmitExecution(request, timeout=10)

            async def holds(quantity: str) -> None:
                async def there() -> bool:
                    return (await desk.held()).get(BTC, Decimal(0)) == Decimal(quantity)

                await eventually(there, 10, 0.1)

            huge = await submit("huge", trading_pb2.SIDE_BUY, notional_usd="400000")
            assert (huge.approved, huge.rule) == (False, "notional")
            await move(trading_pb2.TRADING_STATE_REDUCING, "reduce-1")
            flat = await submit("flat", trading_pb2.SIDE_BUY, quantity="0.010")
            assert (flat.approved, flat.rule) == (False, "trading_state")
            await move(trading_pb2.TRADING_STATE_ACTIVE, "active-1")
            assert (await submit("long", trading_pb2.SIDE_BUY, quantity="0.010")).approved
            await holds("0.010")
            await move(trading_pb2.TRADING_STATE_REDUCING, "reduce-2")
            flip = await submit("flip", trading_pb2.SIDE_SELL, quantity="0.050")
            assert (flip.approved, flip.rule) == (True, "reduce_only")
            await holds("0")
            await asyncio.sleep(1)
            await holds("0")
            again = await submit("short", trading_pb2.SIDE_SELL, quantity="0.050")
            assert (again.approved, again.rule) == (False, "trading_state")
        await desk.assert_same_books()
