"""The exchange proves no life, whatever its events last told: no entries, exits are tried."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from services.exec_risk.core.inputs import ClosePosition
from services.trade.order import OrderPurpose, Side
from tests.support.eventually import eventually
from tests.unit.exec_risk.account_desk import SYMBOLS
from tests.unit.exec_risk.test_exec_shell import World
from tests.unit.exec_risk.test_exec_store_away import Account


@pytest_asyncio.fixture
async def account() -> AsyncIterator[Account]:
    world = World(seed=3, faults=0.0)
    world.exchange.still = True
    world.start()
    made = Account(world)
    await made.move(Side.BUY)
    await world.point(close=False, crash=False)
    assert made.sent(OrderPurpose.STOP_LOSS)
    yield made
    await world.kill()


async def test_silence_closes_the_gate_without_any_event(account: Account) -> None:
    """A word of the lost stream may wait behind others: the gate does not wait for it."""
    exchange = account.world.exchange
    exchange.lockstep = False
    exchange.step(close=False)
    exchange.connected = False
    await eventually(lambda: account.book_gate == "exchange", 5, 0.005)
    await account.move(None, Side.BUY, wait=False)
    account.world.leader.put(ClosePosition("close", SYMBOLS[0]))
    await eventually(lambda: account.sent(OrderPurpose.EXIT, live=False), 5, 0.005)
    assert [o.symbol for o in account.sent(OrderPurpose.ENTRY, live=False)] == [SYMBOLS[0]]
    exchange.connected = True
    await eventually(lambda: account.book_gate == "", 5, 0.005)
    await eventually(
        lambda: "EXCHANGE_AWAY" in {a.alert_type for a in account.world.truth.alerts}, 5, 0.005
    )


async def test_in_lockstep_the_market_waits_for_the_exchange(account: Account) -> None:
    """Nothing grows old while the market stands, so wall time must not decide anything."""
    account.world.exchange.connected = False
    await account.move(None, Side.BUY)
    assert len(account.sent(OrderPurpose.ENTRY, live=False)) == 2
