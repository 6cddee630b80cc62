"""Two accounts as two real executors on one PostgreSQL and one NATS."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nats
from quantum.exec_risk.v1 import events_pb2 as facts
from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb
from quantum.exec_risk.v1 import trading_pb2

from services.catalog.subjects import EVENTS
from tests.support.drill_desk import BUY, DrillDesk, drill_desk
from tests.support.drill_ledger import analytics
from tests.support.eventually import eventually

BTC, ETH, SOL = "BTCUSDT", "ETHUSDT", "SOLUSDT"


async def closes(desk: DrillDesk, name: str, symbol: str, request_id: str) -> None:
    """Have a position closed by an operator and wait until it is."""
    async with desk.calls(name) as stub:
        closing = pb.ClosePositionRequest(symbol=symbol, request_id=request_id)
        await stub.ClosePosition(closing, timeout=10)

    async def closed() -> bool:
        return symbol not in await desk.held()

    await eventually(closed, 20, 0.1)


async def told_by_account(url: str) -> dict[str, set[str]]:
    """Return the ids of the orders that the bus told of each account."""
    connection = await nats.connect(url)
    try:
        reader = await connection.jetstream(timeout=10).pull_subscribe(
            "quantum.events.order.changed.>", stream=EVENTS.name
        )
        found: dict[str, set[str]] = {}
        while True:
            try:
                messages = await reader.fetch(200, timeout=1)
            except TimeoutError:
                return found
            for message in messages:
                order = facts.OrderChanged.FromString(message.data).order
                assert message.subject.split(".")[4] == order.account
                found.setdefault(order.account, set()).add(order.client_order_id)
    finally:
        await connection.close()


async def assert_ledger_tells_them_apart(main: DrillDesk) -> None:
    """Fills and open trades of analytics are those of exec_risk, account by account."""
    ours = "select account, symbol, trade_id from exec_risk.fills"
    ledger = "select account, symbol, trade_id from analytics.trade_fills"
    held = "select account, symbol from exec_risk.positions where status = 'open'"
    told = "select account, symbol from analytics.trades where status = 'open'"

    async def same() -> bool:
        for truth, copy in ((ours, ledger), (held, told)):
            wanted = {tuple(row) for row in await main.rows(truth)}
            found = {tuple(row) for row in await main.rows(copy)}
            assert wanted and wanted == found, wanted ^ found
        assert await main.rows("select 1 from analytics.rejections where stream = 'EVENTS'") == []
        return True

    await eventually(same, 20, 0.5)


async def test_accounts_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Leases, orders, requests, switches and events are each account's own; one dies alone."""
    async with (
        drill_desk(tmp_path, speed=1) as main,
        main.beside("second") as second,
        analytics(main),
    ):
        main.start("exec-a")
        second.start("second-a")
        await main.ready()
        await second.ready()
        main.script.says = {BTC: BUY, ETH: BUY}
        await asyncio.gather(main.open(BTC, ETH), second.open(BTC, ETH))
        # the same id asks each account for something else
        await closes(main, "exec-a", BTC, "close-1")
        await closes(second, "second-a", ETH, "close-1")
        assert (set(await main.held()), set(await second.held())) == ({ETH}, {BTC})

        async with main.calls() as stub:
            state = trading_pb2.TRADING_STATE_HALTED
            halt = pb.SetTradingStateRequest(state=state, reason="drill", request_id="halt-1")
            await stub.SetTradingState(halt, timeout=10)
        main.replicas["exec-a"].end()
        await second.open(SOL)
        assert SOL not in await main.held()
        main.start("exec-b")
        await main.ready(name="exec-b")
        assert await second.ready() == "second-a"
        await main.assert_same_books()
        await second.assert_same_books()

        async with main.calls("exec-b") as stub:
            stop = pb.EmergencyStopRequest(reason="drill", request_id="stop-1")
            assert (await stub.EmergencyStop(stop, timeout=10)).latched

        async def flat() -> bool:
            return not await main.held()

        await eventually(flat, 20, 0.1)
        assert set(await second.held()) == {BTC, SOL}
        await assert_each_has_its_own(main, second)
        await assert_ledger_tells_them_apart(main)


async def assert_each_has_its_own(main: DrillDesk, second: DrillDesk) -> None:
    """No id in both accounts; the latch, the state and the lease are one account's."""
    taken = set(await main.taken()), set(await second.taken())
    assert taken[0] and taken[1] and not taken[0] & taken[1]
    rows = await main.rows("select account, client_order_id from orders")
    for desk, ids in zip((main, second), taken, strict=True):
        assert ids == {r["client_order_id"] for r in rows if r["account"] == desk.account}
    latched = await main.rows("select account from emergency_latch where latched")
    assert [r["account"] for r in latched] == ["main"]
    states = await main.rows("select account, state from trading_state order by account")
    assert {r["account"]: r["state"] for r in states}.get("second", "ACTIVE") == "ACTIVE"
    leases = await main.rows("select resource, owner from lease order by resource")
    owners = {r["resource"]: r["owner"] for r in leases}
    assert owners == {"account.main": "exec-b", "account.second": "second-a"}

    async def told() -> bool:
        found = await told_by_account(main.nats.url)
        assert found == {"main": taken[0], "second": taken[1]}
        return True

    await eventually(told, 10, 0.5)
