"""The real shell on a simulated exchange and store, with faults and crashes at any await."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from services.exec_risk.core.inputs import Prediction, PredictionsArrived
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from services.exec_risk.term.leader import Leader
from services.exec_risk.term.sender import SenderLimits
from services.exec_risk.term.term import Term, TermLimits
from services.trade.order import OrderPurpose, Side
from tests.unit.exec_risk.account_desk import SYMBOLS, signal_of
from tests.unit.exec_risk.memory_truth import MemoryStore, MemoryTruth
from tests.unit.exec_risk.simulated_world import NoCandles, QuickClock, SimulatedExchange, SoleLease

LIMITS = TermLimits(
    latch_file=Path(tempfile.mkdtemp(), "latch"),
    observed_wait=0.0,
    finish=400.0,
    sender=SenderLimits(timeout_seconds=5.0),
)


class World:
    """One replica that can be killed at any moment; exchange and rows survive."""

    def __init__(self, seed: int, faults: float) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - a seeded test
        self.faults = faults
        self.exchange = SimulatedExchange(self.dice, faults=faults)
        self.truth = MemoryTruth()
        self.exchange.is_stored = self.truth.orders.__contains__
        self.gates: Callable[[], Gates] = Gates
        self.limits = LIMITS
        self.crashes = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the replica."""
        self.leader = Leader(exchange=self.exchange, lease=SoleLease(), new_term=self._term)
        self._tasks = [
            asyncio.create_task(self.leader.listen()),
            asyncio.create_task(self.leader.run()),
        ]

    async def kill(self) -> None:
        """Cancel everything and throw its memory away; what it had not heard is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self.exchange.inbox.empty():
            self.exchange.inbox.get_nowait()
        self.crashes += 1

    def _term(self) -> Term:
        return Term(
            policy=Policy(cooldown_ms=0, protection=ProtectionPolicy(max_holding_ms=5 * 60_000)),
            exchange=self.exchange,
            store=MemoryStore(self.truth, self.dice, faults=self.faults),
            candles=NoCandles(),
            clock=QuickClock(),
            limits=self.limits,
            gates=lambda: self.gates(),
            on_effects=lambda _: None,
        )

    async def point(self, *, close: bool, crash: bool) -> None:
        """Move the market one point and wait until it is answered."""
        point = self.exchange.step(close=close)
        batch = self._answers(point.time) if close else None
        self._deliver(batch)
        kill_after = self.dice.random() * 0.02 if crash else None
        begun = asyncio.get_running_loop().time()
        while self.exchange.idle_at < point.number:
            if self._tasks[1].done():
                self._tasks[1].result()
            await asyncio.sleep(0.001)
            passed = asyncio.get_running_loop().time() - begun
            if kill_after is not None and passed > kill_after:
                kill_after = None
                await self.kill()
                self.start()
                self._deliver(batch)
                self.exchange.inbox.put_nowait(point)
            assert passed < 10, "the point was never answered"

    def _deliver(self, batch: PredictionsArrived | None) -> None:
        """Hand in the answers once, as a follower of the bus gets them: before the term is led."""
        if batch is not None:
            self.leader.put(batch)

    def _answers(self, time: int) -> PredictionsArrived:
        found = []
        for symbol in SYMBOLS:
            dice = random.Random(f"{symbol}{time}")  # noqa: S311 - scripted signals
            side = dice.choice([Side.BUY, Side.SELL, None, None])
            signal = signal_of(symbol, side, time) if side else None
            found.append(Prediction(symbol, "1m", time, signal))
        return PredictionsArrived(tuple(found))


def check(world: World) -> None:
    """What must hold whenever a point is answered."""
    exchange, truth = world.exchange, world.truth
    assert not exchange.uncommitted, "sent before its intent was committed"
    assert not exchange.accepted_twice, "an id was sent twice"
    assert all(n == 1 for n in exchange.live_entries().values()), "two entries for one decision"
    open_now = {p.symbol: p for p in truth.positions.values() if p.open}
    for symbol, held in exchange.held.items():
        ours = open_now.get(symbol)
        assert held == (ours.quantity * ours.side.sign if ours else 0), f"{symbol} differs"
        if ours and ours.exit_reason is None:
            stops = [
                o.quantity
                for o in exchange.orders.values()
                if o.position_id == ours.position_id
                and o.purpose is OrderPurpose.STOP_LOSS
                and not o.state.final
            ]
            assert stops and max(stops) >= ours.quantity, f"{symbol} has no stop"
    theirs = {(f.symbol, f.trade_id) for f in exchange.fills}
    assert set(truth.fills) == theirs, "fills differ"
    assert "PREDICTIONS_MISSING" not in {a.alert_type for a in truth.alerts}
    assert truth.account is None or truth.account.wallet_balance is not None


@pytest.mark.parametrize("seed", range(8))
async def test_nothing_is_lost_or_doubled(seed: int) -> None:
    """Incidents 7, 12, 26, 27, 52: lost replies, duplicates, store faults, crashes anywhere."""
    world = World(seed, faults=0.0 if seed == 0 else 0.12)
    world.start()
    for number in range(24):
        crash = seed > 1 and world.dice.random() < 0.3
        await world.point(close=number % 2 == 0, crash=crash)
        check(world)
    assert world.exchange.fills
    await world.kill()
