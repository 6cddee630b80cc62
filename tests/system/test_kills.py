"""Every process dies once in the middle of trading; the system comes back and owes nobody."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from services.catalog import subjects
from services.ctl.render.bus import OPERATOR
from services.ctl.supervisor.home import read_json
from services.kit.bus.bus import Bus
from services.kit.bus.login import BusLogin
from services.kit.postgres.db import TRANSIENT
from tests.support import books
from tests.support.eventually import eventually
from tests.support.folders import server_folder
from tests.support.stack import Stack

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

VICTIMS = ("venue", "ai-1", "exec_risk", "analytics", "nats", "postgres", "gateway", "ai-2")
RECOVERY_SECONDS = 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    with server_folder() as root, Stack(root).running() as stack:
        await stack.until_closed(3, 120)
        yield stack


async def decided_rounds(stack: Stack) -> int:
    """Return how many rounds the ledger holds; -1 while it cannot be asked."""
    try:
        async with stack.database() as connection:
            return int(
                await connection.fetchval(
                    "select count(*) from analytics.events where type = 'round.decided'"
                )
            )
    except TRANSIENT:
        return -1


SUBSCRIPTIONS = {
    subjects.MARKET.name: {subjects.ALL_OF_MARKET},
    subjects.EVENTS.name: {subjects.ALL_EVENTS, subjects.account_events("main")},
    subjects.LIVE.name: {
        subjects.ALL_SIGNALS,
        subjects.ALL_PREDICTIONS,
        subjects.ALL_HEARTBEATS,
        subjects.ALL_RECOVERIES_ASKED,
        subjects.ALL_RECOVERIES_DONE,
        subjects.round_observed("main"),
    },
}
"""By stream: what somebody must read for the system to work."""


async def test_every_subscription_of_the_table_is_made(stack: Stack) -> None:
    """Incident 69: a service that never subscribed, another to four of six."""
    login = BusLogin(OPERATOR, stack.home.identities().nkey_file(OPERATOR))
    bus = await Bus.connect(str(stack.endpoints["nats"]), "test", login)

    async def missing() -> set[str]:
        found: set[str] = set()
        for stream, wanted in SUBSCRIPTIONS.items():
            consumers = await bus.client.jetstream().consumers_info(stream)
            found |= wanted - {str(info.config.filter_subject) for info in consumers}
            named = {name for held, name, _ in subjects.DURABLE_CONSUMERS if held == stream}
            found |= named - {str(info.config.durable_name) for info in consumers}
        return found

    async def complete() -> bool:
        return not await missing()

    try:
        await eventually(complete, 30, 0.5)
    except AssertionError:
        raise AssertionError(f"nobody reads {await missing()}") from None
    finally:
        await bus.close()


async def test_every_process_dies_once_and_nothing_is_lost_or_doubled(stack: Stack) -> None:
    """Incidents 7, 12, 26, 27, 82: SIGKILL of each process in the middle of trading."""
    for victim in VICTIMS:
        before = await decided_rounds(stack)
        pid = stack.pid(victim)
        stack.kill(victim)

        async def replaced(name: str = victim, old: int = pid) -> bool:
            return stack.pids().get(name, old) != old

        async def trades_on(least: int = before + 20) -> bool:
            return await decided_rounds(stack) >= least

        try:
            await eventually(replaced, deadline=RECOVERY_SECONDS, interval=0.2)
            await eventually(trades_on, deadline=RECOVERY_SECONDS, interval=0.3)
        except AssertionError as error:
            raise AssertionError(f"after the kill of {victim}: {error}{stack.tails()}") from None

    more = await stack.closed_trades() + 5
    await stack.until_closed(more, 120)
    books.assert_equal(await books.read(stack))
    await assert_no_order_twice(stack)
    await eventually(lambda: every_position_has_a_stop(stack), deadline=15)


async def assert_no_order_twice(stack: Stack) -> None:
    """One order on the exchange per client order id, and no more filled than was ordered."""
    exchange = await stack.venue("/fapi/v1/exchangeInfo")
    for symbol in (s["symbol"] for s in exchange["symbols"]):
        orders = await stack.venue("/fapi/v1/allOrders", symbol=symbol, limit=1000)
        counts = Counter(order["clientOrderId"] for order in orders)
        assert [c for c, n in counts.items() if n > 1] == []
        for order in orders:
            assert Decimal(order["executedQty"]) <= Decimal(order["origQty"])
    async with stack.database() as connection:
        doubled = await connection.fetch(
            "select signal_id from orders where purpose = 'ENTRY' group by signal_id"
            " having count(*) > 1"
        )
    assert doubled == []


async def every_position_has_a_stop(stack: Stack) -> bool:
    held = {
        p["symbol"] for p in await stack.venue("/fapi/v3/positionRisk") if Decimal(p["positionAmt"])
    }
    resting = await stack.venue("/fapi/v1/openAlgoOrders")
    return held <= {o["symbol"] for o in resting if o["orderType"] == "STOP_MARKET"}


async def test_a_killed_supervisor_is_followed_by_one_that_adopts(stack: Stack) -> None:
    """SIGKILL of `qt up` leaves the system trading; the next one takes over what runs."""
    supervisor = int(read_json(stack.home.supervisor_file)["pid"])
    before = stack.pids()
    os.kill(supervisor, signal.SIGKILL)
    await eventually(lambda: not _lives(supervisor), deadline=5)
    rounds = await decided_rounds(stack)
    stack.up()
    assert stack.pids() == before

    async def trades_on() -> bool:
        return await decided_rounds(stack) > rounds + 5

    await eventually(trades_on, deadline=30)
    stack.kill("ai-1")
    await eventually(
        lambda: stack.pids().get("ai-1", before["ai-1"]) != before["ai-1"], deadline=30
    )


async def test_stop_and_start_resumes_where_it_was(stack: Stack) -> None:
    trades = await stack.closed_trades()
    rounds = await decided_rounds(stack)
    stack.qt("down")
    assert not any(_lives(pid) for pid in stack.pids().values())
    stack.up()
    assert await stack.closed_trades() >= trades

    async def trades_on() -> bool:
        return await decided_rounds(stack) > rounds + 5

    await eventually(trades_on, deadline=30)
    books.assert_equal(await books.read(stack))


async def test_health_turns_false_within_15_seconds_and_back(stack: Stack) -> None:
    """Incident 108: each flag follows the thing that it speaks of."""
    supervisor = int(read_json(stack.home.supervisor_file)["pid"])

    async def service_health(key: str) -> str:
        return str((await stack.health("analytics")).get("service_health", {}).get(key))

    async def connected() -> bool | None:
        return (await stack.health("exec_risk")).get("binance_connected")

    async def healthy() -> bool:
        return await connected() is True and await service_health("ai_service") == "healthy"

    # A replica that another test scaled away is remembered as missing for a minute.
    await eventually(healthy, deadline=90)
    os.kill(supervisor, signal.SIGSTOP)
    try:
        for victim in ("venue", "ai-1", "ai-2"):
            stack.kill(victim)

        async def noticed() -> bool:
            unhealthy = await service_health("ai_service")
            return await connected() is False and unhealthy in ("down", "critical", "degraded")

        await eventually(noticed, deadline=15, interval=0.3)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    await eventually(healthy, deadline=60, interval=0.3)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_scaling_up_and_down_loses_no_call(stack: Stack) -> None:
    stack.qt("scale", "ai=3", seconds=120)
    assert {"ai-1", "ai-2", "ai-3"} <= stack.pids().keys()
    failures: list[str] = []
    done = asyncio.Event()

    async def caller() -> None:
        while not done.is_set():
            status, body = await stack.get(f"http://{stack.ingress}/v1/ai/predictions")
            if status != 200:
                failures.append(f"{status} {body}")
            await asyncio.sleep(0.02)

    calling = asyncio.create_task(caller())
    await asyncio.to_thread(stack.qt, "scale", "ai=2", seconds=120)
    done.set()
    await calling
    assert failures == []
    assert "ai-3" not in stack.pids()
