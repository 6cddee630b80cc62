"""The gates of entries are those of the moment at which is decided, however late that is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from services.exec_risk.core.inputs import Prediction, PredictionsArrived
from services.exec_risk.core.policy import Gates
from services.exec_risk.core.rules import blocked_by
from services.trade.order import OrderPurpose, Side
from tests.support.eventually import eventually
from tests.unit.exec_risk.account_desk import SYMBOLS, signal_of
from tests.unit.exec_risk.test_exec_shell import World

OPEN, DRAINING = Gates(), Gates(draining=True)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    made = World(seed=3, faults=0.0)
    made.exchange.still = True
    yield made
    await made.kill()


def gate_of(world: World) -> str:
    term = world.leader.term
    return "no term" if term is None else blocked_by(term.trader.book)


async def test_what_waited_is_decided_by_the_gates_of_now(world: World) -> None:
    """Incident 26: after a freeze the signals that waited were decided before the next beat."""
    world.start()
    await world.point(close=False, crash=False)
    world.gates = lambda: DRAINING
    point = world.exchange.step(close=True)
    sides = (Side.BUY, *[None] * (len(SYMBOLS) - 1))
    found = [
        Prediction(s, "1m", point.time, signal_of(s, side, point.time) if side else None)
        for s, side in zip(SYMBOLS, sides, strict=True)
    ]
    world.leader.put(PredictionsArrived(tuple(found)))
    await eventually(lambda: world.exchange.idle_at >= point.number, 5, 0.005)
    assert gate_of(world) == "drain"
    assert not [o for o in world.truth.orders.values() if o.purpose is OrderPurpose.ENTRY]


async def test_a_gate_that_closes_while_a_term_starts_is_told(world: World) -> None:
    """Incident 26: only a change was told, and it had come before the first beat."""
    asked: list[Gates] = []

    def closing() -> Gates:
        asked.append(DRAINING if asked else OPEN)
        return asked[-1]

    world.gates = closing
    world.start()
    await eventually(lambda: gate_of(world) == "drain", 5, 0.005)
    world.gates = lambda: OPEN
    await eventually(lambda: gate_of(world) == "", 5, 0.005)
