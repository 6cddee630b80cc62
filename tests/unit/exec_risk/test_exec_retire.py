"""A leader that is asked to stop: what it has decided is sent and answered before it leads no more.

What was stored and not sent would have to be proven never sent by the next leader, for seconds in
which a market in lockstep stands still.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.exec_risk.term.leader import Leader
from services.trade.order import OrderPurpose, OrderState, Side
from tests.support.eventually import eventually
from tests.unit.exec_risk.account_desk import SYMBOLS
from tests.unit.exec_risk.simulated_world import SoleLease
from tests.unit.exec_risk.test_exec_shell import World, check
from tests.unit.exec_risk.test_exec_store_away import Account

_ON_ITS_WAY = (OrderState.SUBMITTED, OrderState.UNKNOWN)


class NoLease(SoleLease):
    """Another replica leads."""

    held = False

    async def wait(self) -> None:
        """For ever."""
        await asyncio.Event().wait()


def unproven(world: World) -> list[str]:
    """Orders that are stored as sent and that the exchange does not know."""
    stored = (o for o in world.truth.orders.values() if o.state in _ON_ITS_WAY)
    return [o.client_order_id for o in stored if o.client_order_id not in world.exchange.orders]


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_left_to_be_proven(seed: int) -> None:
    """Incident 7: at whatever moment of a round it is asked, and the next leader loses nothing."""
    world = World(seed, faults=0.0)
    world.start()
    for number in range(20):
        point = world.exchange.step(close=number % 2 == 0)
        batch = world._answers(point.time) if number % 2 == 0 else None
        world._deliver(batch)
        await asyncio.sleep(world.dice.random() * 0.02)
        await world.leader.retire()
        assert world.leader.term is None and unproven(world) == []
        await world.kill()
        world.start()
        world._deliver(batch)
        world.exchange.inbox.put_nowait(point)
        await eventually(lambda n=point.number: world.exchange.idle_at >= n, 10, 0.001)  # type: ignore[misc]
        check(world)
    await world.kill()


async def test_a_step_whose_commit_is_slow_is_carried_out() -> None:
    """The entry is stored while the leader is asked to go: it is sent before it goes."""
    world = World(seed=3, faults=0.0)
    world.exchange.still = True
    world.start()
    account = Account(world)
    await world.point(close=True, crash=False)
    before = len(account.sent(OrderPurpose.ENTRY, live=False))
    world.truth.leave("hangs")
    await account.move(*(Side.BUY for _ in SYMBOLS), wait=False)
    retiring = asyncio.create_task(world.leader.retire())
    await asyncio.sleep(0)
    assert not retiring.done()
    world.truth.come_back()
    await retiring
    assert unproven(world) == []
    assert len(world.truth.orders) >= len(account.sent(OrderPurpose.ENTRY, live=False)) > before
    await world.kill()


async def test_what_analytics_answered_before_the_term_is_known_in_it() -> None:
    """The market does not stand for a round that was decided and observed under another leader."""
    world = World(seed=1, faults=0.0)
    world.limits = replace(world.limits, observed_wait=1e9)
    world.start()
    await eventually(lambda: world.leader.term is not None and world.leader.term.ready, 10, 0.001)
    point = world.exchange.step(close=True)
    world._deliver(world._answers(point.time))
    world.leader.round_observed(point.time)
    await eventually(lambda: world.exchange.idle_at >= point.number, 10, 0.001)
    await world.kill()
    world.exchange.idle_at = 0
    world.start()
    world.leader.round_observed(point.time)
    assert world.leader.term is None
    world.exchange.inbox.put_nowait(point)
    await eventually(lambda: world.exchange.idle_at >= point.number, 10, 0.001)
    await world.kill()


async def test_who_stands_by_or_never_began_retires_at_once() -> None:
    world = World(seed=1, faults=0.0)
    leader = Leader(exchange=world.exchange, lease=NoLease(), new_term=world._term)
    await leader.retire()
    leader = Leader(exchange=world.exchange, lease=NoLease(), new_term=world._term)
    running = asyncio.create_task(leader.run())
    await asyncio.sleep(0)
    await leader.retire()
    await running
    assert leader.term is None
